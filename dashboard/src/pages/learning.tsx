// Training runs with their curves, and experiments with their trials.
import type { Row } from "../api";
import { Chart, type Line } from "../chart";
import { duration, number, plain } from "../format";
import { Empty, Facts, Meter, Problem, Rows, Stat } from "../ui";
import { Run, useRecords } from "./records";

const CURVES = 6;
const DRAWN_TRIALS = 30;

// What people look at first stands first.
const rank = (name: string): number => (/loss/i.test(name) ? 0 : /acc|auc|f1|score/i.test(name) ? 1 : 2);

const lines = (curves: unknown): Line[] =>
  Object.entries((curves ?? {}) as Record<string, [number, number][]>)
    .filter(([, points]) => points.length > 1)
    .map(([name, points]) => ({ name, points }))
    .sort((a, b) => rank(a.name) - rank(b.name));

const FACTS_HIDDEN = ["curves", "workers", "status", "started_s", "updated_s", "run_id", "name", "trainer", "metrics", "settings", "framework_versions", "history"];

export function Train() {
  const { rows, error } = useRecords("train", "run:");
  return (
    <>
      <Problem text={error} />
      {rows?.length === 0 && <Empty>No training has run yet.</Empty>}
      {rows?.map((row) => (
        <Run key={plain(row.run_id)} title={`${plain(row.trainer)} ${plain(row.name)}`} row={row} state={plain(row.status)}>
          <div className="stats">
            {Object.entries((row.metrics ?? {}) as Row)
              .sort(([a], [b]) => rank(a) - rank(b))
              .slice(0, 4)
              .map(([name, value]) => (
                <Stat key={name} label={name} value={typeof value === "number" ? number(value) : plain(value)} note={`report ${plain(row.reports)}`} />
              ))}
          </div>
          <div className="columns">
            {lines(row.curves)
              .slice(0, CURVES)
              .map((line) => (
                <Chart key={line.name} lines={[line]} show={number} at={(x) => `report ${Math.round(x)}`} />
              ))}
          </div>
          <Facts row={row} hide={FACTS_HIDDEN} />
          <Rows
            rows={(row.workers ?? []) as Row[]}
            columns={[{ key: "rank", label: "Rank" }, { key: "node_ip", label: "Node" }, { key: "pid", label: "Process" }]}
          />
        </Run>
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
      {rows?.map((row) => <Experiment key={plain(row.name)} row={row} />)}
    </>
  );
}

function Experiment({ row }: { row: Row }) {
  const counts = (row.counts ?? {}) as Record<string, number>;
  const all = Object.values(counts).reduce((a, b) => a + b, 0);
  const metric = plain(row.metric);
  const trials = ordered((row.trials ?? []) as Row[], metric, row.mode === "min");
  return (
    <Run title={plain(row.name)} row={row} state={row.ended ? "FINISHED" : "RUNNING"}>
      <div className="resources">
        <div>
          <span>{Object.entries(counts).map(([state, count]) => `${count} ${state.toLowerCase()}`).join(", ")}</span>
          <span className="right">{number(counts.TERMINATED ?? 0)} of {number(row.total ?? all)} trials</span>
          <Meter used={counts.TERMINATED ?? 0} total={Number(row.total ?? all)} label="trials" calm />
        </div>
      </div>
      {metric && trials.length > 0 && (
        <p className="note">
          Best {metric} ({plain(row.mode)}): <b>{valueOf(trials[0], metric)}</b> of {plain(trials[0].name)}, {plain(trials[0].config)}
        </p>
      )}
      <Chart
        lines={trials.slice(0, DRAWN_TRIALS).map((trial) => ({ name: plain(trial.id), points: (trial.curve ?? []) as [number, number][] }))}
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
          { key: "metrics", label: metric || "Metrics", show: (trial) => valueOf(trial, metric) },
          { key: "config", label: "Configuration", show: (trial) => <span className="clip">{plain(trial.config)}</span> },
          { key: "error", label: "", show: (trial) => <span className="clip narrow">{plain(trial.error)}</span> },
        ]}
      />
    </Run>
  );
}

// The best first; those without the metric last.
function ordered(trials: Row[], metric: string, leastIsBest: boolean): Row[] {
  const measure = (trial: Row): number => {
    const value = metric ? Number(((trial.metrics ?? {}) as Row)[metric] ?? NaN) : NaN;
    return Number.isNaN(value) ? Infinity : leastIsBest ? value : -value;
  };
  return [...trials].sort((a, b) => measure(a) - measure(b) || 0);
}

function valueOf(trial: Row, name: string): string {
  const metrics = (trial.metrics ?? {}) as Row;
  return name ? plain(metrics[name]) : plain(metrics);
}
