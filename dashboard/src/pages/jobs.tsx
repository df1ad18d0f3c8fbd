import { useState } from "react";

import { get, post, remove, type Row } from "../api";
import { plain, span, time } from "../format";
import { go, usePolled } from "../hooks";
import { Badge, Card, Facts, Problem, Resource } from "../ui";
import { LogView } from "./logs";

export function Jobs() {
  return (
    <Card>
      <Resource
        table="jobs"
        detail
        initialSort={{ key: "start_time", descending: true }}
        open={(row) => `/jobs/${plain(row.submission_id) || plain(row.job_id)}`}
        empty="No job has run yet. Submit one with: narke job submit -- python program.py"
        columns={[
          { key: "submission_id", label: "Job", show: (row) => <code>{plain(row.submission_id) || plain(row.job_id)}</code> },
          { key: "status", label: "Status" },
          { key: "type", label: "Kind", show: (row) => plain(row.type).toLowerCase() },
          { key: "entrypoint", label: "Entry point", show: (row) => <span className="clip">{plain(row.entrypoint)}</span> },
          { key: "start_time", label: "Started", show: (row) => time(row.start_time) },
          { key: "end_time", label: "Took", show: (row) => span(row.start_time, row.end_time) },
        ]}
      />
    </Card>
  );
}

export function Job({ id }: { id: string }) {
  const path = `/api/jobs/${encodeURIComponent(id)}`;
  const { value, error, reload } = usePolled(`job${id}`, (signal) => get<Row>(path, signal), 2000);
  const [problem, setProblem] = useState<string>();
  const attempt = async (action: () => Promise<void>, then: () => void) => {
    try {
      await action();
      then();
    } catch (failure) {
      setProblem(failure instanceof Error ? failure.message : String(failure));
    }
  };
  const over = value && ["SUCCEEDED", "FAILED", "STOPPED"].includes(plain(value.status));
  const submitted = value?.type === "SUBMISSION";
  return (
    <>
      <Problem text={problem ?? error} />
      {value && (
        <Card
          title={<span className="clip">{plain(value.entrypoint)}</span>}
          extra={
            <span className="actions">
              <Badge state={plain(value.status)} />
              {submitted && !over && <button onClick={() => attempt(() => post(`${path}/stop`), reload)}>Stop</button>}
              {submitted && over && <button onClick={() => attempt(() => remove(path), () => go("/jobs"))}>Forget</button>}
            </span>
          }
        >
          <Facts
            row={{ ...value, start_time: time(value.start_time), end_time: time(value.end_time), took: span(value.start_time, value.end_time) }}
            hide={["entrypoint", "status", "type"]}
          />
        </Card>
      )}
      {submitted && (
        <Card title="Output">
          <LogView path={`${path}/logs/tail`} />
        </Card>
      )}
    </>
  );
}
