// Serve: applications, their routes and deployments, with the traffic of the last minutes.
import { get, type Row } from "../api";
import { Chart, type Line } from "../chart";
import { number, plain } from "../format";
import { useHistory, usePolled } from "../hooks";
import { Badge, Card, Empty, Meter, Problem, Rows, Stat } from "../ui";

interface Application {
  status: string;
  route_prefix: string;
  message: string;
  deployments: Record<string, Row>;
}

// As narke/serve/_private/figures.py writes it; counts are since the start of the proxies.
interface Route {
  application: string;
  route: string;
  requests: number;
  errors: number;
  latency_ms_sum: number;
  buckets: [number | null, number][];
}

interface Figures {
  time_s: number;
  ongoing: number;
  routes: Route[];
  deployments: (Row & { application: string; deployment: string })[];
}

const WINDOW_S = 30; // what "now" means for rates and latencies

const placeOf = (route: Route): string => `${route.application} ${route.route}`;

// The same route at an earlier look; zeros if it was not there.
function before(route: Route, past: Figures | undefined): Route {
  const found = past?.routes.find((each) => placeOf(each) === placeOf(route));
  const isSame = found !== undefined && found.requests <= route.requests; // else the proxy began anew
  return isSame ? found : { ...route, requests: 0, errors: 0, latency_ms_sum: 0, buckets: route.buckets.map(([bound]) => [bound, 0]) };
}

// Below which latency a share of the requests between two looks stayed, from their histograms.
function quantile(route: Route, past: Route, share: number): number | undefined {
  const counts = route.buckets.map(([bound, count], index): [number | null, number] => [bound, count - (past.buckets[index]?.[1] ?? 0)]);
  const all = counts.at(-1)?.[1] ?? 0;
  if (all <= 0) return undefined;
  let low = 0;
  let below = 0;
  for (const [bound, count] of counts) {
    if (count >= share * all) {
      if (bound === null) return low;
      return low + ((share * all - below) / Math.max(1e-9, count - below)) * (bound - low);
    }
    low = bound ?? low;
    below = count;
  }
  return low;
}

interface Traffic {
  rate: number;
  errors: number;
  mean?: number;
  p50?: number;
  p95?: number;
  p99?: number;
}

function traffic(route: Route, now: Figures, past?: Figures): Traffic {
  const then = before(route, past);
  const requests = route.requests - then.requests;
  const seconds = Math.max(0.001, now.time_s - (past?.time_s ?? now.time_s - WINDOW_S));
  return {
    rate: past ? requests / seconds : 0,
    errors: past ? (route.errors - then.errors) / seconds : 0,
    mean: requests > 0 ? (route.latency_ms_sum - then.latency_ms_sum) / requests : undefined,
    p50: quantile(route, then, 0.5),
    p95: quantile(route, then, 0.95),
    p99: quantile(route, then, 0.99),
  };
}

const milliseconds = (value?: number): string => (value === undefined ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`);

// The latest look that is at least so old, or the oldest there is.
const ago = (past: Figures[], seconds: number): Figures | undefined => {
  const now = past.at(-1)?.time_s ?? 0;
  return past.filter((each) => each.time_s <= now - seconds).at(-1) ?? (past.length > 1 ? past[0] : undefined);
};

export function Serve() {
  const { value, error } = usePolled("serve", (signal) =>
    get<{ applications: Record<string, Application> }>("/api/serve/applications/", signal),
  );
  const told = usePolled("serve-figures", (signal) => get<{ figures?: Figures }>("/api/narke/progress/serve?prefix=figures", signal), 2000);
  const past = useHistory(told.value?.figures, (each) => each.time_s);
  const now = past.at(-1);
  const applications = Object.entries(value?.applications ?? {});
  return (
    <>
      <Problem text={error ?? told.error} />
      {value && applications.length === 0 && <Empty>No application is deployed.</Empty>}
      {now && applications.length > 0 && <Requests now={now} past={past} />}
      {applications.map(([name, application]) => (
        <Card key={name} title={`${name} at ${application.route_prefix}`} extra={<Badge state={application.status} />}>
          {application.message && <p className="note">{application.message}</p>}
          <Deployments name={name} application={application} now={now} earlier={ago(past, WINDOW_S)} />
        </Card>
      ))}
    </>
  );
}

function Requests({ now, past }: { now: Figures; past: Figures[] }) {
  const earlier = ago(past, WINDOW_S);
  const rows = now.routes.map((route) => ({ ...route, ...traffic(route, now, earlier) }));
  const rate = rows.reduce((sum, row) => sum + row.rate, 0);
  const errors = rows.reduce((sum, row) => sum + row.errors, 0);
  const slowest = rows.reduce((most, row) => Math.max(most, row.p95 ?? 0), 0);
  return (
    <>
      <div className="stats">
        <Stat label="Requests a second" value={number(rate)} note={`over ${WINDOW_S} s`} />
        <Stat label="Errors a second" value={number(errors)} note="status 400 or more" />
        <Stat label="Under way" value={number(now.ongoing)} />
        <Stat label="p95 latency" value={milliseconds(slowest || undefined)} note="of the slowest route" />
      </div>
      <div className="columns">
        <Card title="Requests a second">
          <Chart lines={seriesOf(now, past, (each) => each.rate)} show={number} />
        </Card>
        <Card title="p95 latency">
          <Chart lines={seriesOf(now, past, (each) => each.p95)} show={(value) => milliseconds(value)} />
        </Card>
      </div>
      <Card title="Routes">
        <Rows
          rows={rows as unknown as Row[]}
          columns={[
            { key: "route", label: "Route" },
            { key: "application", label: "Application" },
            { key: "rate", label: "Requests/s", right: true, show: (row) => number(row.rate) },
            { key: "errors", label: "Errors/s", right: true, show: (row) => number(row.errors) },
            { key: "mean", label: "Mean", right: true, show: (row) => milliseconds(row.mean as number) },
            { key: "p50", label: "p50", right: true, show: (row) => milliseconds(row.p50 as number) },
            { key: "p95", label: "p95", right: true, show: (row) => milliseconds(row.p95 as number) },
            { key: "p99", label: "p99", right: true, show: (row) => milliseconds(row.p99 as number) },
            { key: "requests", label: "Requests", right: true, show: (row) => number(row.requests) },
          ]}
        />
      </Card>
    </>
  );
}

// One line for each route, a point for each look but the first.
function seriesOf(now: Figures, past: Figures[], value: (each: Traffic) => number | undefined): Line[] {
  return now.routes.map((route) => ({
    name: route.route,
    points: past.slice(1).flatMap((look, index): [number, number][] => {
      const found = look.routes.find((each) => placeOf(each) === placeOf(route));
      const shown = found && value(traffic(found, look, past[index]));
      return shown === undefined ? [] : [[look.time_s, shown]];
    }),
  }));
}

interface Deployed {
  name: string;
  application: Application;
  now?: Figures;
  earlier?: Figures;
}

function Deployments({ name, application, now, earlier }: Deployed) {
  const numbers = (from: Figures | undefined, deployment: string): Row =>
    from?.deployments.find((each) => each.application === name && each.deployment === deployment) ?? {};
  const rows = Object.entries(application.deployments ?? {}).map(([deployment, row]) => {
    const [latest, past] = [numbers(now, deployment), numbers(earlier, deployment)];
    const seconds = now && earlier ? now.time_s - earlier.time_s : 0;
    const handled = Number(latest.requests ?? 0) - Number(past.requests ?? 0);
    return { ...row, deployment, ...latest, status: row.status, rate: seconds > 0 ? Math.max(0, handled) / seconds : 0, shown: row };
  });
  return (
    <Rows
      rows={rows as Row[]}
      columns={[
        { key: "deployment", label: "Deployment" },
        { key: "status", label: "Status" },
        { key: "replicas", label: "Replicas", show: (row) => <Replicas row={row.shown as Row} /> },
        { key: "rate", label: "Requests/s", right: true, show: (row) => number(row.rate) },
        { key: "ongoing", label: "Under way", right: true, show: (row) => number(row.ongoing) },
        { key: "waiting", label: "Waiting", right: true, show: (row) => number(row.waiting) },
        { key: "errors", label: "Errors", right: true, show: (row) => number(row.errors) },
        { key: "message", label: "" },
      ]}
    />
  );
}

function Replicas({ row }: { row: Row }) {
  if (!Array.isArray(row.replicas)) return <>{plain(row.replica_states)}</>;
  const running = (row.replicas as Row[]).filter((each) => each.state === "RUNNING").length;
  const wanted = Number(row.target_num_replicas ?? running);
  return (
    <div className="amount">
      <span>{running} of {wanted}</span>
      <Meter used={running} total={wanted} label="replicas" calm />
    </div>
  );
}
