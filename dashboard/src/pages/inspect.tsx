// What a running program does: the stacks of its threads, and where its time goes.
import { useState } from "react";

import { get, list, type Profile, type Row, type Stacks } from "../api";
import { plain } from "../format";
import { Flame, hottest } from "../flame";
import { go, usePolled } from "../hooks";
import { Badge, Card, Empty, Link, Problem, Rows, short } from "../ui";

export const inspectPath = (pid: unknown, node: unknown): string => `/inspect?${new URLSearchParams({ pid: plain(pid), node: plain(node) })}`;

const STATES: Record<string, string> = { R: "running", S: "waiting", D: "waiting for a device", T: "stopped" };

function Threads({ stacks }: { stacks: Stacks }) {
  return stacks.threads.map((thread) => (
    <section key={thread.native_id} className="thread">
      <h3>
        {thread.is_main ? "main thread" : thread.name} {thread.native_id} · {STATES[thread.state] ?? thread.state}
        {thread.holds_gil && " · holds the GIL"}
      </h3>
      <ol className="log">
        {thread.frames.map((frame, index) => (
          <li key={index}>
            <b>{frame.function}</b> <span className="note">{frame.file}:{frame.line}</span>
          </li>
        ))}
      </ol>
    </section>
  ));
}

function useAnswer<T>(): { value?: T; problem?: string; busy: boolean; ask: (path: string) => Promise<void> } {
  const [state, setState] = useState<{ value?: T; problem?: string; busy: boolean }>({ busy: false });
  const ask = async (path: string) => {
    setState((before) => ({ ...before, busy: true }));
    try {
      setState({ value: await get<T>(path), busy: false });
    } catch (failure) {
      setState({ problem: failure instanceof Error ? failure.message : String(failure), busy: false });
    }
  };
  return { ...state, ask };
}

export function Inspect({ pid, node }: { pid: string; node: string }) {
  return pid ? <Program key={`${pid} ${node}`} pid={pid} node={node} /> : <Programs />;
}

function Breakpoints() {
  const { value } = usePolled("breakpoints", (signal) => get<Record<string, Row>>("/api/narke/progress/debugger", signal));
  const rows = Object.values(value ?? {});
  if (rows.length === 0) return null;
  return (
    <Card title="Waiting at a breakpoint" extra={<span className="note">Enter one with: narke debug</span>}>
      <Rows
        rows={rows}
        columns={[
          { key: "why", label: "What" },
          { key: "where", label: "Where" },
          { key: "task", label: "Task" },
          { key: "host", label: "Host" },
          { key: "pid", label: "Process" },
        ]}
      />
    </Card>
  );
}

function Programs() {
  const { value, error } = usePolled("programs", (signal) => list("workers", { limit: 500, detail: true }, signal));
  return (
    <>
    <Breakpoints />
    <Card title="Choose a program">
      <Problem text={error} />
      {value?.rows.length === 0 && <Empty>No program runs.</Empty>}
      <Rows
        rows={value?.rows ?? []}
        open={(row) => inspectPath(row.pid, row.node_id)}
        columns={[
          { key: "pid", label: "Process" },
          { key: "worker_type", label: "Kind" },
          { key: "state", label: "State" },
          { key: "task_name", label: "Runs" },
          { key: "node_id", label: "Node", show: (row) => <code>{short(row.node_id)}</code> },
        ]}
      />
    </Card>
    </>
  );
}

function Program({ pid, node }: { pid: string; node: string }) {
  const whom = new URLSearchParams({ pid, node_id: node }).toString();
  const [live, setLive] = useState(true);
  const stacks = usePolled(`stack${whom}${live}`, (signal) => get<Stacks>(`/api/narke/stack?${whom}`, signal), live ? 1000 : 0);
  const [seconds, setSeconds] = useState(5);
  const [idle, setIdle] = useState(false);
  const [wanted, setWanted] = useState("");
  const profile = useAnswer<Profile>();
  const words = `${whom}&duration=${seconds}${idle ? "&idle=1" : ""}`;
  return (
    <>
      <Card
        title={`Stacks of process ${pid}`}
        extra={
          <span className="actions">
            <label>
              <input type="checkbox" checked={live} onChange={(event) => setLive(event.target.checked)} /> follow
            </label>
            <button onClick={stacks.reload}>Look again</button>
            <button onClick={() => go("/inspect")}>Other programs</button>
          </span>
        }
      >
        <Problem text={stacks.error} />
        {stacks.value ? <Threads stacks={stacks.value} /> : !stacks.error && <Empty>Asking the program…</Empty>}
      </Card>
      <Card
        title="CPU profile"
        extra={
          <span className="actions">
            <select aria-label="Seconds" value={seconds} onChange={(event) => setSeconds(Number(event.target.value))}>
              {[1, 5, 15, 30, 60].map((each) => (
                <option key={each} value={each}>
                  {each} s
                </option>
              ))}
            </select>
            <label>
              <input type="checkbox" checked={idle} onChange={(event) => setIdle(event.target.checked)} /> waiting threads too
            </label>
            <button disabled={profile.busy} onClick={() => void profile.ask(`/api/narke/profile?${words}`)}>
              {profile.busy ? "Recording…" : "Record"}
            </button>
          </span>
        }
      >
        <Problem text={profile.problem} />
        {profile.value ? (
          <>
            <div className="tools">
              <input type="search" placeholder="Chains with the function" aria-label="Search the profile" value={wanted} onChange={(event) => setWanted(event.target.value)} />
              <span className="count">
                {profile.value.rate} samples a second for {(profile.value.duration_ms / 1000).toFixed(1)} s
              </span>
              <a href={`/worker/cpu_profile?${words}&format=speedscope`} download="profile.speedscope.json">
                for speedscope
              </a>
            </div>
            <Flame profile={profile.value} wanted={wanted} />
            <Rows
              rows={hottest(profile.value).slice(0, 12).map((row) => ({ ...row }))}
              columns={[
                { key: "name", label: "Function", show: (row) => <code>{plain(row.name)}</code> },
                { key: "self", label: "Samples in itself", right: true },
                { key: "total", label: "With what it calls", right: true },
                { key: "place", label: "File" },
              ]}
            />
          </>
        ) : (
          <Empty>
            Looked at from inside the program, a hundred times a second; nothing needs to be installed, and no rights of others. <Badge state="LIVE" />
          </Empty>
        )}
      </Card>
      <p className="note">
        On a terminal: <code>narke stack {pid}</code>, <code>narke profile {pid}</code>. Output of the program: <Link to="/logs">logs</Link>.
      </p>
    </>
  );
}
