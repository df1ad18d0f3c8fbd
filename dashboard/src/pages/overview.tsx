import { type Charts, get, list, type Overview as Facts, summary } from "../api";
import { Chart } from "../chart";
import { bytes, number, plain, span, time } from "../format";
import { usePolled } from "../hooks";
import { Badge, Card, Empty, Link, Meter, Problem, Rows, Stat } from "../ui";

const ORDER = ["CPU", "GPU", "memory", "object_store_memory"];

export function Overview() {
  const facts = usePolled("overview", (signal) => get<Facts>("/api/narke/overview", signal));
  const jobs = usePolled("jobs", (signal) => list("jobs", { limit: 5, detail: true, sortBy: "start_time", descending: true }, signal));
  const actors = usePolled("actor-counts", (signal) => summary("actors", signal));
  const tasks = usePolled("task-counts", (signal) => summary("tasks", signal));
  const events = usePolled("recent-events", (signal) =>
    list("cluster_events", { limit: 6, sortBy: "time", descending: true }, signal),
  );
  const charts = usePolled("charts", (signal) => get<Charts>("/api/narke/charts?minutes=15", signal), 5000);
  const counts = (rows: typeof actors.value, state: string) =>
    (rows ?? []).reduce((sum, row) => sum + Number((row.state_counts as Record<string, number>)[state] ?? 0), 0);
  const all = (rows: typeof actors.value) =>
    (rows ?? []).reduce(
      (sum, row) => sum + Object.values(row.state_counts as Record<string, number>).reduce((a, b) => a + b, 0),
      0,
    );
  return (
    <>
      <Problem text={facts.error} />
      <div className="stats">
        <Stat label="Nodes" value={facts.value?.nodes.length ?? "–"} note={facts.value?.nodes[0]?.hostname} />
        <Stat label="Jobs running" value={jobs.value ? jobs.value.rows.filter((row) => row.status === "RUNNING").length : "–"} note={`${jobs.value?.total ?? 0} in all`} />
        <Stat label="Actors alive" value={number(counts(actors.value, "ALIVE"))} note={`${number(all(actors.value))} in all`} />
        <Stat label="Tasks running" value={number(counts(tasks.value, "RUNNING"))} note={`${number(counts(tasks.value, "FINISHED"))} finished, ${number(counts(tasks.value, "FAILED"))} failed`} />
        <Stat label="Objects" value={number(facts.value?.store.objects)} note={bytes(facts.value?.store.used_bytes)} />
      </div>
      <div className="columns">
       <div>
        <Card title="Resources">{facts.value ? <Resources facts={facts.value} /> : <Empty>Loading…</Empty>}</Card>
        <Card title="Latest jobs" extra={<Link to="/jobs">All jobs</Link>}>
          {jobs.value?.rows.length ? (
            <Rows
              columns={[
                { key: "entrypoint", label: "Job", show: (row) => <span className="clip narrow">{plain(row.entrypoint)}</span> },
                { key: "status", label: "Status" },
                { key: "start_time", label: "Took", show: (row) => span(row.start_time, row.end_time) },
              ]}
              rows={jobs.value.rows}
              open={(row) => `/jobs/${plain(row.submission_id) || plain(row.job_id)}`}
            />
          ) : (
            <Empty>No job has run yet. Submit one with: narke job submit -- python program.py</Empty>
          )}
        </Card>
       </div>
       <div>
        <Card title="CPU and tasks" extra={<Link to="/metrics-charts">All charts</Link>}>
          <Chart
            lines={[{ name: "CPU %", points: charts.value?.cpu_percent ?? [] }]}
            show={(value) => `${Math.round(value)}%`}
            most={100}
          />
          <Chart
            lines={[
              { name: "running", points: charts.value?.tasks_running ?? [] },
              { name: "waiting", points: charts.value?.tasks_waiting ?? [] },
            ]}
            show={number}
          />
        </Card>
        <Card title="Latest events" extra={<Link to="/events">All events</Link>}>
          {events.value?.rows.length ? (
            <ul className="events">
              {events.value.rows.map((event) => (
                <li key={plain(event.event_id)}>
                  <time>{time(Number(event.time))}</time> <Badge state={plain(event.severity)} /> {plain(event.message)}
                </li>
              ))}
            </ul>
          ) : (
            <Empty>Nothing has happened that is worth telling.</Empty>
          )}
        </Card>
       </div>
      </div>
    </>
  );
}

function Resources({ facts }: { facts: Facts }) {
  const names = Object.keys(facts.total)
    .filter((name) => !name.startsWith("node:"))
    .sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  return (
    <div className="resources">
      {names.map((name) => {
        const total = facts.total[name];
        const used =
          name === "object_store_memory" ? Number(facts.store.used_bytes ?? 0) : total - Number(facts.free[name] ?? 0);
        const show = name.includes("memory") ? bytes : number;
        return (
          <div key={name}>
            <span>{name.replaceAll("_", " ")}</span>
            <span className="right">
              {show(used)} of {show(total)}
            </span>
            <Meter used={used} total={total} label={name} />
          </div>
        );
      })}
    </div>
  );
}

const rank = (name: string): number => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
