// Live progress of Data, Train, Tune and Serve, from the records that these libraries keep in the cluster.
import { get, type Row } from "../api";
import { Chart } from "../chart";
import { bytes, duration, number, plain } from "../format";
import { usePolled } from "../hooks";
import { Badge, Card, Empty, Facts, Meter, Problem, Rows } from "../ui";

function useRecords(namespace: string, prefix = ""): { rows?: Row[]; error?: string } {
  const { value, error } = usePolled(namespace + prefix, (signal) =>
    get<Record<string, Row>>(`/api/narke/progress/${namespace}?prefix=${prefix}`, signal),
  );
  const latest = (row: Row) => Number(row.started_s ?? row.started ?? 0);
  return { rows: value && Object.values(value).sort((a, b) => latest(b) - latest(a)), error };
}

const took = (row: Row) =>
  duration(Number(row.updated_s ?? row.updated ?? 0) - Number(row.started_s ?? row.started ?? 0));

export function Data() {
  const { rows, error } = useRecords("narke_data");
  return (
    <>
      <Problem text={error} />
      {rows?.length === 0 && <Empty>No dataset has been executed yet.</Empty>}
      {rows?.map((row, index) => (
        <Card key={index} title={plain(row.name)} extra={<span className="actions">{took(row)} <Badge state={plain(row.state)} /></span>}>
          <Rows
            rows={row.operators as Row[]}
            columns={[
              { key: "name", label: "Operator" },
              { key: "running", label: "Running", right: true },
              { key: "tasks", label: "Tasks", right: true, show: (each) => number(each.tasks) },
              { key: "rows", label: "Rows", right: true, show: (each) => number(each.rows) },
              { key: "size_bytes", label: "Size", right: true, show: (each) => bytes(each.size_bytes) },
              { key: "queued_bytes", label: "Queued", right: true, show: (each) => bytes(each.queued_bytes) },
              { key: "busy_s", label: "Busy", right: true, show: (each) => duration(Number(each.busy_s)) },
              { key: "errors", label: "Errors", right: true },
            ]}
          />
        </Card>
      ))}
    </>
  );
}

const lines = (curves: unknown) =>
  Object.entries((curves ?? {}) as Record<string, [number, number][]>)
    .filter(([, points]) => points.length > 1)
    .map(([name, points]) => ({ name, points }));

export function Train() {
  const { rows, error } = useRecords("train", "run:");
  return (
    <>
      <Problem text={error} />
      {rows?.length === 0 && <Empty>No training has run yet.</Empty>}
      {rows?.map((row) => (
        <Card key={plain(row.run_id)} title={`${plain(row.trainer)} ${plain(row.name)}`} extra={<span className="actions">{took(row)} <Badge state={plain(row.status)} /></span>}>
          <div className="columns">
            {lines(row.curves)
              .slice(0, 4)
              .map((line) => (
                <Chart key={line.name} lines={[line]} show={number} at={(x) => `report ${Math.round(x)}`} />
              ))}
          </div>
          <Facts row={row} hide={["curves", "workers", "status", "started_s", "updated_s", "run_id", "name", "trainer"]} />
          <Rows
            rows={(row.workers ?? []) as Row[]}
            columns={[{ key: "rank", label: "Rank" }, { key: "node_ip", label: "Node" }, { key: "pid", label: "Process" }]}
          />
        </Card>
      ))}
    </>
  );
}

export function Tune() {
  const { rows, error } = useRecords("tune", "experiment:");
  return (
    <>
      <Problem text={error} />
      {rows?.length === 0 && <Empty>No experiment has run yet.</Empty>}
      {rows?.map((row) => {
        const counts = (row.counts ?? {}) as Record<string, number>;
        const all = Object.values(counts).reduce((a, b) => a + b, 0);
        const trials = (row.trials ?? []) as Row[];
        return (
          <Card key={plain(row.name)} title={plain(row.name)} extra={<span className="actions">{took(row)} <Badge state={row.ended ? "FINISHED" : "RUNNING"} /></span>}>
            <div className="resources">
              <div>
                <span>{Object.entries(counts).map(([state, count]) => `${count} ${state.toLowerCase()}`).join(", ")}</span>
                <span className="right">{number(counts.TERMINATED ?? 0)} of {number(row.total ?? all)} trials</span>
                <Meter used={counts.TERMINATED ?? 0} total={Number(row.total ?? all)} label="trials" />
              </div>
            </div>
            <Chart
              lines={trials.slice(0, 30).map((trial) => ({ name: plain(trial.id), points: (trial.curve ?? []) as [number, number][] }))}
              show={number}
              at={(x) => `iteration ${Math.round(x)}`}
            />
            <Rows
              rows={trials}
              columns={[
                { key: "name", label: "Trial" },
                { key: "status", label: "Status" },
                { key: "iteration", label: "Iteration", right: true },
                { key: "time_total_s", label: "Time", right: true, show: (trial) => duration(Number(trial.time_total_s ?? 0)) },
                { key: "metrics", label: plain(row.metric) || "Metrics", show: (trial) => metric(trial, plain(row.metric)) },
                { key: "config", label: "Configuration", show: (trial) => <span className="clip">{plain(trial.config)}</span> },
              ]}
            />
          </Card>
        );
      })}
    </>
  );
}

function metric(trial: Row, name: string): string {
  const metrics = (trial.metrics ?? {}) as Row;
  return name ? plain(metrics[name]) : plain(metrics);
}

interface Serving {
  applications: Record<string, { status: string; route_prefix: string; message: string; deployments: Record<string, Row> }>;
}

export function Serve() {
  const { value, error } = usePolled("serve", (signal) => get<Serving>("/api/serve/applications/", signal));
  const applications = Object.entries(value?.applications ?? {});
  return (
    <>
      <Problem text={error} />
      {value && applications.length === 0 && <Empty>No application is deployed.</Empty>}
      {applications.map(([name, application]) => (
        <Card key={name} title={`${name} at ${application.route_prefix}`} extra={<Badge state={application.status} />}>
          {application.message && <p className="note">{application.message}</p>}
          <Rows
            rows={Object.entries(application.deployments ?? {}).map(([deployment, row]) => ({ ...row, deployment }))}
            columns={[
              { key: "deployment", label: "Deployment" },
              { key: "status", label: "Status" },
              { key: "replicas", label: "Replicas", show: (row) => replicas(row) },
              { key: "message", label: "" },
            ]}
          />
        </Card>
      ))}
    </>
  );
}

function replicas(row: Row): string {
  if (Array.isArray(row.replicas)) return `${row.replicas.length} of ${plain(row.target_num_replicas)}`;
  return Object.entries((row.replica_states ?? {}) as Record<string, number>)
    .map(([state, count]) => `${count} ${state.toLowerCase()}`)
    .join(", ");
}
