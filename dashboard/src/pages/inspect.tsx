// What a running program does: the stacks of its threads, and where its time goes.
import { type ReactNode, useState } from "react";

import { get, list, type MemoryProfile, type Profile, type Row, type Stacks } from "../api";
import { bytes, plain } from "../format";
import { Flame, hottest } from "../flame";
import { go, usePolled } from "../hooks";
import { Card, Empty, Link, Problem, Rows, short } from "../ui";

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

function Seconds({ label, value, choose }: { label: string; value: number; choose: (seconds: number) => void }) {
  return (
    <select aria-label={label} value={value} onChange={(event) => choose(Number(event.target.value))}>
      {[1, 5, 15, 30, 60].map((each) => (
        <option key={each} value={each}>
          {each} s
        </option>
      ))}
    </select>
  );
}

type Shape = Profile | MemoryProfile;

// A profile that is taken when it is asked for: for how long, with one thing to choose; then what it found.
function ProfileCard<T extends Shape>(props: {
  title: string;
  path: string; // with the program
  choice: { word: string; label: string };
  button: { ask: string; busy: string };
  self: string; // what a function's own share is called
  of?: (count: number) => string;
  summary: (value: T) => string;
  download: (words: string) => ReactNode;
  children: ReactNode; // before there is a profile
}) {
  const [seconds, setSeconds] = useState(5);
  const [chosen, setChosen] = useState(false);
  const [wanted, setWanted] = useState("");
  const { value, problem, busy, ask } = useAnswer<T>();
  const { title, of } = props;
  const words = `&duration=${seconds}${chosen ? `&${props.choice.word}=1` : ""}`;
  return (
    <Card
      title={title}
      extra={
        <span className="actions">
          <Seconds label={`${title}: seconds`} value={seconds} choose={setSeconds} />
          <label>
            <input type="checkbox" checked={chosen} onChange={(event) => setChosen(event.target.checked)} /> {props.choice.label}
          </label>
          <button disabled={busy} onClick={() => void ask(props.path + words)}>
            {busy ? props.button.busy : props.button.ask}
          </button>
        </span>
      }
    >
      <Problem text={problem} />
      {value ? (
        <>
          <div className="tools">
            <input type="search" placeholder="Chains with the function" aria-label={`${title}: search`} value={wanted} onChange={(event) => setWanted(event.target.value)} />
            <span className="count">{props.summary(value)}</span>
            {props.download(words)}
          </div>
          <Flame profile={value} wanted={wanted} of={of} />
          <Rows
            rows={hottest(value).slice(0, 12).map((row) => ({ ...row }))}
            columns={[
              { key: "name", label: "Function", show: (row) => <code>{plain(row.name)}</code> },
              { key: "self", label: props.self, right: true, show: (row) => (of ?? String)(Number(row.self)) },
              { key: "total", label: "With what it calls", right: true, show: (row) => (of ?? String)(Number(row.total)) },
              { key: "place", label: "File" },
            ]}
          />
        </>
      ) : (
        <Empty>{props.children}</Empty>
      )}
    </Card>
  );
}

function Memory({ whom }: { whom: string }) {
  return (
    <ProfileCard<MemoryProfile>
      title="Memory profile"
      path={`/api/narke/memory_profile?${whom}`}
      choice={{ word: "leaks", label: "what is left at the end" }}
      button={{ ask: "Trace memory", busy: "Tracing…" }}
      self="Allocated in itself"
      of={bytes}
      summary={(value) =>
        `peak ${bytes(value.peak_bytes)}, at the end ${bytes(value.traced_bytes)}; resident ${bytes(value.resident_before_bytes)} before, ${bytes(value.resident_bytes)} after`
      }
      download={(words) => <a href={`/memory_profile?${whom}${words}&format=table`}>as a table</a>}
    >
      What Python and NumPy allocate while it is traced, by the calls that do so. The program is slower meanwhile.
    </ProfileCard>
  );
}

function Processor({ whom }: { whom: string }) {
  return (
    <ProfileCard<Profile>
      title="CPU profile"
      path={`/api/narke/profile?${whom}`}
      choice={{ word: "idle", label: "waiting threads too" }}
      button={{ ask: "Record", busy: "Recording…" }}
      self="Samples in itself"
      summary={(value) => `${value.rate} samples a second for ${(value.duration_ms / 1000).toFixed(1)} s`}
      download={(words) => (
        <a href={`/worker/cpu_profile?${whom}${words}&format=speedscope`} download="profile.speedscope.json">
          for speedscope
        </a>
      )}
    >
      Looked at from inside the program, a hundred times a second; nothing needs to be installed, and no rights of others.
    </ProfileCard>
  );
}

export function Inspect({ pid, node }: { pid: string; node: string }) {
  return pid ? <Program key={`${pid} ${node}`} pid={pid} node={node} /> : <Programs />;
}

function Breakpoints() {
  const { value } = usePolled("breakpoints", (signal) => get<Record<string, Row>>("/api/narke/progress/debugger", signal));
  const rows = Object.values(value ?? {});
  if (rows.length === 0) return null;
  return (
    <Card title="Waiting at a breakpoint" extra={<span className="note">Enter one on a terminal: <code>narke debug</code>, from another machine with <code>--address narke://HOST:PORT</code></span>}>
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
      <Processor whom={whom} />
      <Memory whom={whom} />
      <p className="note">
        On a terminal: <code>narke stack {pid}</code>, <code>narke profile {pid}</code>. Output of the program: <Link to="/logs">logs</Link>.
      </p>
    </>
  );
}
