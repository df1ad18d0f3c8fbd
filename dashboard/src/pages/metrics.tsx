import { useState } from "react";

import { type Charts, get } from "../api";
import { Chart, type Line } from "../chart";
import { bytes, number } from "../format";
import { usePolled } from "../hooks";
import { Card, Problem } from "../ui";

const percent = (value: number) => `${Math.round(value)}%`;
const rate = (value: number) => `${bytes(value)}/s`;

const CHARTS: { title: string; names: [string, string][]; show: (value: number) => string }[] = [
  { title: "CPU of the host", names: [["cpu_percent", "in use"]], show: percent },
  { title: "Memory of the host", names: [["memory_used", "in use"]], show: bytes },
  { title: "Tasks", names: [["tasks_running", "running"], ["tasks_waiting", "waiting"]], show: number },
  { title: "Actors", names: [["actors_ALIVE", "alive"], ["actors_PENDING_CREATION", "pending"], ["actors_RESTARTING", "restarting"]], show: number },
  { title: "CPUs and GPUs held", names: [["used_CPU", "CPU"], ["used_GPU", "GPU"]], show: number },
  { title: "Object store", names: [["store_used", "in memory"], ["store_spilled", "spilled"]], show: bytes },
  { title: "Network", names: [["network_sent", "sent"], ["network_received", "received"]], show: rate },
  { title: "Disks", names: [["disk_read", "read"], ["disk_write", "written"]], show: rate },
  { title: "Worker processes", names: [["workers", "workers"]], show: number },
];

// Series of single nodes are called <name>@<first digits of the node>.
const nodesOf = (charts: Charts): string[] => [...new Set(Object.keys(charts).filter((key) => key.includes("@")).map((key) => key.split("@")[1]))].sort();

const BY_NODE = new Set(["cpu_percent", "memory_used", "network_sent", "network_received", "disk_read", "disk_write", "store_used", "store_spilled"]);

export function Metrics() {
  const [minutes, setMinutes] = useState(15);
  const [node, setNode] = useState("");
  const { value, error } = usePolled(`charts${minutes}`, (signal) => get<Charts>(`/api/narke/charts?minutes=${minutes}`, signal), 5000);
  return (
    <>
      <div className="tools">
        <select aria-label="Time shown" value={minutes} onChange={(event) => setMinutes(Number(event.target.value))}>
          {[[15, "15 minutes"], [120, "2 hours"], [1440, "24 hours"]].map(([count, label]) => (
            <option key={count} value={count}>
              {label}
            </option>
          ))}
        </select>
        {value && nodesOf(value).length > 0 && (
          <select aria-label="Node" value={node} onChange={(event) => setNode(event.target.value)}>
            <option value="">All nodes</option>
            <option value="*">Each node</option>
            {nodesOf(value).map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        )}
        <span className="count">Prometheus reads the same and more; see /api/prometheus/sd.</span>
      </div>
      <Problem text={error} />
      <div className="columns">
        {CHARTS.map((chart) => (
          <Card key={chart.title} title={chart.title}>
            <Chart lines={linesOf(chart.names, value ?? {}, node)} show={chart.show} most={chart.show === percent ? 100 : undefined} />
          </Card>
        ))}
      </div>
    </>
  );
}

function linesOf(names: [string, string][], charts: Charts, node: string): Line[] {
  if (node === "*" && BY_NODE.has(names[0][0]))
    return nodesOf(charts).map((each) => ({ name: each, points: charts[`${names[0][0]}@${each}`] ?? [] }));
  const of = (key: string) => (node && node !== "*" && BY_NODE.has(key) ? `${key}@${node}` : key);
  return names.map(([key, name]) => ({ name, points: charts[of(key)] ?? [] }));
}
