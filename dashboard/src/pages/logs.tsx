import { useEffect, useRef, useState } from "react";

import { get, type LogFile, logFiles, logPath, stream } from "../api";
import { bytes } from "../format";
import { go, usePolled, useSettled } from "../hooks";
import { Card, Empty, Link, Problem } from "../ui";

const MOST = 2_000_000; // characters kept of one log
const MOST_FILES = 300; // shown of one group

// A log as it comes; stays at its end unless it is scrolled away from there.
export function LogView({ path }: { path: string }) {
  const [text, setText] = useState("");
  const [error, setError] = useState<string>();
  const [wanted, setWanted] = useState("");
  const box = useRef<HTMLPreElement>(null);
  const atEnd = useRef(true);
  useEffect(() => {
    setText("");
    setError(undefined);
    const control = new AbortController();
    stream(path, control.signal, (more) => setText((before) => (before + more).slice(-MOST))).catch((failure: unknown) => {
      if (!control.signal.aborted) setError(failure instanceof Error ? failure.message : String(failure));
    });
    return () => control.abort();
  }, [path]);
  const lines = wanted ? text.split("\n").filter((line) => line.toLowerCase().includes(wanted.toLowerCase())).join("\n") : text;
  useEffect(() => {
    if (atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines]);
  return (
    <>
      <div className="tools">
        <input type="search" placeholder="Lines that contain" aria-label="Filter lines" value={wanted} onChange={(event) => setWanted(event.target.value)} />
      </div>
      <Problem text={error} />
      <pre
        ref={box}
        className="log"
        tabIndex={0}
        onScroll={(event) => {
          const target = event.currentTarget;
          atEnd.current = target.scrollHeight - target.scrollTop - target.clientHeight < 8;
        }}
      >
        {lines || (error ? "" : "Nothing printed yet.")}
      </pre>
    </>
  );
}

interface Matches {
  matches: { file: string; line: number; text: string; node_id: string; ip: string }[];
  complete: boolean;
}

const place = (name: string, node: string): string => `/logs?${new URLSearchParams({ file: name, node })}`;

function Files({ files, chosen, node }: { files: LogFile[]; chosen: string; node: string }) {
  const [typed, setTyped] = useState("");
  const shown = files.filter((file) => file.name.toLowerCase().includes(typed.toLowerCase()));
  const several = new Set(files.map((file) => file.node_id)).size > 1;
  const groups = new Map<string, LogFile[]>();
  for (const file of shown) {
    const group = (several ? `${file.ip} · ` : "") + file.group.replaceAll("_", " ");
    groups.set(group, [...(groups.get(group) ?? []), file]);
  }
  return (
    <>
      <input type="search" placeholder="Names that contain" aria-label="Filter files" value={typed} onChange={(event) => setTyped(event.target.value)} />
      <nav aria-label="Log files">
        {[...groups].map(([group, members]) => (
          <details key={group} open={groups.size < 4 || /driver|worker out/.test(group) || members.some((file) => file.name === chosen)}>
            <summary>
              {group} ({members.length})
            </summary>
            {members
              .sort((a, b) => b.modified_ms - a.modified_ms)
              .slice(0, MOST_FILES)
              .map((file) => (
                <Link
                  key={file.node_id + file.name}
                  to={place(file.name, file.node_id)}
                  className={file.name === chosen && (!node || node === file.node_id) ? "here" : undefined}
                >
                  {file.name} <span className="note">{bytes(file.size_bytes)}</span>
                </Link>
              ))}
          </details>
        ))}
      </nav>
    </>
  );
}

export function Logs({ file, node }: { file: string; node: string }) {
  const files = usePolled("log-files", logFiles, 5000);
  const [typed, setTyped] = useState("");
  const [follow, setFollow] = useState(true);
  const query = useSettled(typed, 400);
  const found = usePolled(
    `log-search${query}`,
    (signal) => (query.length > 1 ? get<Matches>(`/api/narke/logs/search?${new URLSearchParams({ query })}`, signal) : Promise.resolve(undefined)),
    0,
  );
  const where = { name: file, node };
  return (
    <div className="logs">
      <Card title="Files">
        <Problem text={files.error} />
        <Files files={files.value ?? []} chosen={file} node={node} />
      </Card>
      <div>
        <Card title="Search all logs">
          <div className="tools">
            <input type="search" placeholder="Search in every file of every node" aria-label="Search all logs" value={typed} onChange={(event) => setTyped(event.target.value)} />
            {found.value && <span className="count">{found.value.matches.length}{found.value.complete ? "" : "+"} {found.value.matches.length === 1 ? "line" : "lines"}</span>}
          </div>
          <Problem text={found.error} />
          {found.value && (
            <ul className="matches">
              {found.value.matches.slice(0, 200).map((match) => (
                <li key={`${match.node_id}${match.file}:${match.line}`}>
                  <button onClick={() => go(place(match.file, match.node_id))}>
                    {match.file}:{match.line}
                  </button>{" "}
                  {match.text}
                </li>
              ))}
            </ul>
          )}
        </Card>
        <Card
          title={file || "Choose a file"}
          extra={
            file && (
              <span className="actions">
                <label>
                  <input type="checkbox" checked={follow} onChange={(event) => setFollow(event.target.checked)} /> follow
                </label>
                <a href={`${logPath(where, false, -1)}&download_filename=${encodeURIComponent(file.replaceAll("/", "-"))}`}>Download</a>
              </span>
            )
          }
        >
          {file ? <LogView path={logPath(where, follow, 1000)} /> : <Empty>Its lines are shown here, and followed.</Empty>}
        </Card>
      </div>
    </div>
  );
}
