import { useEffect, useRef, useState } from "react";

import { get, logNames, logPath, stream } from "../api";
import { go, usePolled, useSettled } from "../hooks";
import { Card, Empty, Link, Problem } from "../ui";

const MOST = 2_000_000; // characters kept of one log

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
  matches: { file: string; line: number; text: string }[];
  complete: boolean;
}

export function Logs({ file }: { file: string }) {
  const names = usePolled("log-names", logNames, 5000);
  const [typed, setTyped] = useState("");
  const query = useSettled(typed, 400);
  const found = usePolled(
    `log-search${query}`,
    (signal) => (query.length > 1 ? get<Matches>(`/api/narke/logs/search?${new URLSearchParams({ query })}`, signal) : Promise.resolve(undefined)),
    0,
  );
  return (
    <div className="logs">
      <Card title="Files">
        <Problem text={names.error} />
        <nav aria-label="Log files">
          {Object.entries(names.value ?? {}).map(([group, files]) => (
            <details key={group} open={group === "driver" || group === "worker_out" || files.includes(file)}>
              <summary>
                {group.replaceAll("_", " ")} ({files.length})
              </summary>
              {files.map((name) => (
                <Link key={name} to={`/logs?file=${encodeURIComponent(name)}`} className={name === file ? "here" : undefined}>
                  {name}
                </Link>
              ))}
            </details>
          ))}
        </nav>
      </Card>
      <div>
        <Card title="Search all logs">
          <div className="tools">
            <input type="search" placeholder="Search in every file" aria-label="Search all logs" value={typed} onChange={(event) => setTyped(event.target.value)} />
            {found.value && <span className="count">{found.value.matches.length}{found.value.complete ? "" : "+"} lines</span>}
          </div>
          {found.value && (
            <ul className="matches">
              {found.value.matches.slice(0, 100).map((match) => (
                <li key={`${match.file}:${match.line}`}>
                  <button onClick={() => go(`/logs?file=${encodeURIComponent(match.file)}`)}>
                    {match.file}:{match.line}
                  </button>{" "}
                  {match.text}
                </li>
              ))}
            </ul>
          )}
        </Card>
        <Card title={file || "Choose a file"}>{file ? <LogView path={logPath(file, true, 1000)} /> : <Empty>Its lines are shown here, and followed.</Empty>}</Card>
      </div>
    </div>
  );
}
