// The pages that are a table of the cluster's state.
import { useState } from "react";

import { get, list, type NodeSummary, type Row, summary, type TraceEvent } from "../api";
import { bytes, number, plain, resources, span, time } from "../format";
import { usePolled } from "../hooks";
import { Timeline } from "../timeline";
import { Badge, Card, Empty, Facts, Link, Meter, Problem, Resource, Rows, short } from "../ui";
import { inspectPath } from "./inspect";
import { LogView } from "./logs";

const id = (key: string, label: string) => ({ key, label, show: (row: Row) => <code title={plain(row[key])}>{short(row[key])}</code> });

const ACTOR_STATES = ["ALIVE", "PENDING_CREATION", "DEPENDENCIES_UNREADY", "RESTARTING", "DEAD"];
const TASK_STATES = ["RUNNING", "FINISHED", "FAILED", "PENDING_NODE_ASSIGNMENT", "PENDING_ARGS_AVAIL", "SUBMITTED_TO_WORKER", "RUNNING_IN_RAY_GET"];

export function Actors() {
  return (
    <Card>
      <Resource
        table="actors"
        states={ACTOR_STATES}
        detail
        open={(row) => `/actors/${plain(row.actor_id)}`}
        empty="No actor has been created yet."
        columns={[
          id("actor_id", "Actor"),
          { key: "class_name", label: "Class" },
          { key: "name", label: "Name" },
          { key: "state", label: "State" },
          { key: "pid", label: "Process", right: true },
          { key: "num_restarts", label: "Restarts", right: true },
          { key: "required_resources", label: "Holds", sortable: false, show: (row) => resources(row.required_resources) },
          { key: "job_id", label: "Job" },
          id("node_id", "Node"),
        ]}
      />
    </Card>
  );
}

export function Actor({ id: actor }: { id: string }) {
  const { value, error } = usePolled(`actor${actor}`, (signal) =>
    list("actors", { limit: 1, detail: true, filters: [{ key: "actor_id", predicate: "=", value: actor }] }, signal),
  );
  const row = value?.rows[0];
  return (
    <>
      <Problem text={error} />
      {value && !row && <Empty>There is no actor {actor} any more.</Empty>}
      {row && (
        <>
          <Card
            title={plain(row.class_name)}
            extra={
              <span className="actions">
                {row.state === "ALIVE" && <Link to={inspectPath(row.pid, row.node_id)}>Stacks and profile</Link>}
                <Badge state={plain(row.state)} />
              </span>
            }
          >
            <Facts row={row} />
          </Card>
          <Card title="Calls">
            <Resource
              table="tasks"
              filters={[{ key: "actor_id", predicate: "=", value: actor }]}
              states={TASK_STATES}
              empty="No call of it is known."
              columns={[{ key: "name", label: "Call" }, { key: "state", label: "State" }, id("task_id", "Task"), { key: "error_type", label: "Error" }]}
            />
          </Card>
          <Card title="Log">
            <LogView path={`/api/v0/logs/stream?actor_id=${actor}&lines=500`} />
          </Card>
        </>
      )}
    </>
  );
}

export function Tasks() {
  const [view, setView] = useState<"list" | "summary" | "timeline">("list");
  return (
    <Card
      title={
        <span className="tabs" role="tablist">
          {(["list", "summary", "timeline"] as const).map((each) => (
            <button key={each} role="tab" aria-selected={view === each} onClick={() => setView(each)}>
              {each[0].toUpperCase() + each.slice(1)}
            </button>
          ))}
        </span>
      }
    >
      {view === "list" && (
        <Resource
          table="tasks"
          states={TASK_STATES}
          detail
          empty="No task has run yet."
          open={(row) => (row.task_id ? `/tasks/${plain(row.task_id)}` : undefined)}
          columns={[
            { key: "name", label: "Task" },
            { key: "state", label: "State" },
            { key: "type", label: "Kind", show: (row) => plain(row.type).replaceAll("_", " ").toLowerCase() },
            { key: "attempt_number", label: "Attempt", right: true },
            { key: "start_time_ms", label: "Started", show: (row) => time(row.start_time_ms) },
            { key: "end_time_ms", label: "Took", show: (row) => span(row.start_time_ms, row.end_time_ms) },
            { key: "worker_pid", label: "Process", right: true },
            { key: "error_type", label: "Error" },
            id("task_id", "Id"),
          ]}
        />
      )}
      {view === "summary" && <TaskSummary />}
      {view === "timeline" && <TaskTimeline />}
    </Card>
  );
}

function TaskSummary() {
  const { value, error } = usePolled("tasks-summary", (signal) => summary("tasks", signal));
  const states = [...new Set((value ?? []).flatMap((row) => Object.keys(row.state_counts as Row)))].sort();
  return (
    <>
      <Problem text={error} />
      <Rows
        rows={value ?? []}
        columns={[
          { key: "func_or_class_name", label: "Function or method" },
          { key: "type", label: "Kind" },
          ...states.map((state) => ({
            key: state,
            label: state.replaceAll("_", " ").toLowerCase(),
            right: true,
            show: (row: Row) => number((row.state_counts as Record<string, number>)[state] ?? 0),
          })),
        ]}
      />
    </>
  );
}

function TaskTimeline() {
  const { value, error } = usePolled("timeline", (signal) => get<TraceEvent[]>("/api/v0/tasks/timeline", signal), 5000);
  return (
    <>
      <Problem text={error} />
      {value && (value.length ? <Timeline events={value} /> : <Empty>No task has finished yet.</Empty>)}
    </>
  );
}

export function Task({ id: task }: { id: string }) {
  const { value, error } = usePolled(`task${task}`, (signal) =>
    list("tasks", { limit: 10, detail: true, filters: [{ key: "task_id", predicate: "=", value: task }] }, signal),
  );
  return (
    <>
      <Problem text={error} />
      {value?.rows.length === 0 && <Empty>Task {task} is not known any more.</Empty>}
      {value?.rows.map((row) => (
        <Card
          key={plain(row.attempt_number)}
          title={plain(row.name)}
          extra={
            <span className="actions">
              {plain(row.state).startsWith("RUNNING") && <Link to={inspectPath(row.worker_pid, row.node_id)}>Stacks and profile</Link>}
              <Badge state={plain(row.state)} />
            </span>
          }
        >
          <Facts row={row} hide={["error_message"]} />
          {Boolean(row.error_message) && <pre className="log">{plain(row.error_message)}</pre>}
        </Card>
      ))}
      <Card title="Log">
        <LogView path={`/api/v0/logs/file?task_id=${task}&lines=500`} />
      </Card>
    </>
  );
}

export function PlacementGroups() {
  return (
    <Card>
      <Resource
        table="placement_groups"
        states={["CREATED", "PENDING", "RESCHEDULING", "REMOVED"]}
        detail
        empty="No placement group has been created yet."
        columns={[
          id("placement_group_id", "Group"),
          { key: "name", label: "Name" },
          { key: "state", label: "State" },
          {
            key: "bundles",
            label: "Bundles",
            sortable: false,
            show: (row) =>
              ((row.bundles ?? []) as Row[]).map((bundle) => resources(bundle.unit_resources ?? bundle)).join(" | "),
          },
          { key: "creator_job_id", label: "Job" },
          { key: "is_detached", label: "Detached" },
        ]}
      />
    </Card>
  );
}

export function Objects() {
  const store = usePolled("store", (signal) => get<{ store: Record<string, number> }>("/api/narke/overview", signal));
  const figures = store.value?.store;
  return (
    <>
      {figures && (
        <Card title="Object store">
          <div className="resources">
            <div>
              <span>in memory</span>
              <span className="right">
                {bytes(figures.used_bytes)} of {bytes(figures.capacity_bytes)}
              </span>
              <Meter used={figures.used_bytes} total={figures.capacity_bytes} label="object store" />
            </div>
          </div>
          <p className="note">
            {number(figures.objects)} objects, {number(figures.pinned_objects)} of them in use; {number(figures.spilled_objects)} spilled ({bytes(figures.spilled_bytes)} on disk).
          </p>
        </Card>
      )}
      <Card>
        <Resource
          table="objects"
          detail
          empty="No program holds a reference to an object."
          initialSort={{ key: "object_size", descending: true }}
          columns={[
            { key: "object_id", label: "Object", show: (row) => <code title={plain(row.object_id)}>{short(row.object_id)}…{plain(row.object_id).slice(-8)}</code> },
            { key: "object_size", label: "Size", right: true, show: (row) => (Number(row.object_size) < 0 ? "" : bytes(row.object_size)) },
            { key: "reference_type", label: "Held as", show: (row) => plain(row.reference_type).replaceAll("_", " ").toLowerCase() },
            { key: "pid", label: "By process", right: true, show: (row) => (row.pid ? <Link to={inspectPath(row.pid, "")}>{plain(row.pid)}</Link> : "") },
            { key: "type", label: "Kind", show: (row) => plain(row.type).toLowerCase() },
            { key: "task_status", label: "State" },
            { key: "call_site", label: "Made at", show: (row) => <span className="clip" title={plain(row.call_site)}>{plain(row.call_site) || "not recorded"}</span> },
            { key: "ip", label: "Node" },
          ]}
        />
      </Card>
    </>
  );
}

export function Nodes() {
  const { value, error } = usePolled("nodes", (signal) =>
    get<{ data: { summary: NodeSummary[] } }>("/nodes?view=summary", signal),
  );
  return (
    <>
      <Problem text={error} />
      {value?.data.summary.map((node) => (
        <Card key={node.raylet.nodeId} title={node.hostname} extra={<Badge state={node.raylet.state} />}>
          <div className="resources">
            <div>
              <span>CPU</span>
              <span className="right">
                {node.cpu.toFixed(0)}% of {node.cpus[0]} cores
              </span>
              <Meter used={node.cpu} total={100} label="CPU" />
            </div>
            <div>
              <span>memory</span>
              <span className="right">
                {bytes(node.mem[3])} of {bytes(node.mem[0])}
              </span>
              <Meter used={node.mem[3]} total={node.mem[0]} label="memory" />
            </div>
            <div>
              <span>disk</span>
              <span className="right">
                {bytes(node.disk["/"].total - node.disk["/"].free)} of {bytes(node.disk["/"].total)}
              </span>
              <Meter used={node.disk["/"].total - node.disk["/"].free} total={node.disk["/"].total} label="disk" />
            </div>
            <div>
              <span>object store</span>
              <span className="right">
                {bytes(node.raylet.objectStoreUsedMemory)} of {bytes(node.raylet.objectStoreUsedMemory + node.raylet.objectStoreAvailableMemory)}
              </span>
              <Meter
                used={node.raylet.objectStoreUsedMemory}
                total={node.raylet.objectStoreUsedMemory + node.raylet.objectStoreAvailableMemory}
                label="object store"
              />
            </div>
          </div>
          <p className="note">
            {node.ip} · {node.raylet.isHeadNode ? "head" : "worker"} node <code>{short(node.raylet.nodeId)}</code> · offers{" "}
            {resources(node.raylet.resourcesTotal)} · load {node.loadAvg[0].map((each) => each.toFixed(1)).join(" ")} · network {bytes(node.networkSpeed[0])}/s out, {bytes(node.networkSpeed[1])}/s in
            {node.raylet.stateMessage && ` · ${node.raylet.stateMessage}`}
          </p>
          {node.workers.length > 0 && (
            <details>
              <summary>
                {node.workers.length} processes, {bytes(node.workers.reduce((sum, each) => sum + each.memoryInfo.rss, 0))}
              </summary>
              <Rows
                rows={node.workers.map((each) => ({ ...each, rss: each.memoryInfo.rss, cpu: each.cpuTimes.total }))}
                columns={[
                  { key: "pid", label: "Process" },
                  { key: "type", label: "Kind", show: (row) => plain(row.type).toLowerCase() },
                  { key: "rss", label: "Memory", right: true, show: (row) => bytes(row.rss) },
                  { key: "cpu", label: "CPU time", right: true, show: (row) => `${Number(row.cpu).toFixed(1)} s` },
                ]}
              />
            </details>
          )}
        </Card>
      ))}
      <Card title="Worker processes">
        <Resource
          table="workers"
          detail
          empty="No worker runs."
          columns={[
            id("worker_id", "Worker"),
            { key: "worker_type", label: "Kind" },
            { key: "pid", label: "Process", right: true },
            { key: "is_alive", label: "Alive" },
            id("node_id", "Node"),
            { key: "inspect", label: "Look", sortable: false, show: (row) => <Link to={inspectPath(row.pid, row.node_id)}>stacks, profile</Link> },
            { key: "log", label: "Log", sortable: false, show: (row) => <Link to={`/logs?file=worker-${plain(row.worker_id).slice(0, 16)}.out`}>output</Link> },
          ]}
        />
      </Card>
    </>
  );
}

export function Events() {
  const [view, setView] = useState<"events" | "errors">("events");
  return (
    <Card
      title={
        <span className="tabs" role="tablist">
          {(["events", "errors"] as const).map((each) => (
            <button key={each} role="tab" aria-selected={view === each} onClick={() => setView(each)}>
              {each === "events" ? "What happened" : "Tasks that failed"}
            </button>
          ))}
        </span>
      }
    >
      {view === "events" ? (
        <Resource
          key="events"
          table="cluster_events"
          initialSort={{ key: "time", descending: true }}
          empty="Nothing has happened that is worth telling."
          columns={[
            { key: "time", label: "Time", show: (row) => time(Number(row.time)) },
            { key: "severity", label: "Severity", show: (row) => <Badge state={plain(row.severity)} /> },
            { key: "source_type", label: "From" },
            { key: "message", label: "What" },
          ]}
        />
      ) : (
        <Resource
          key="errors"
          table="tasks"
          detail
          filters={[{ key: "state", predicate: "=", value: "FAILED" }]}
          open={(row) => `/tasks/${plain(row.task_id)}`}
          empty="No task has failed."
          columns={[
            { key: "name", label: "Task" },
            { key: "error_type", label: "Error", show: (row) => plain(row.error_type).replaceAll("_", " ").toLowerCase() },
            { key: "error_message", label: "Message", sortable: false, show: (row) => <span className="clip">{lastLine(plain(row.error_message))}</span> },
            { key: "attempt_number", label: "Attempt", right: true },
            { key: "end_time_ms", label: "Ended", show: (row) => time(row.end_time_ms) },
            { key: "worker_pid", label: "Process", right: true },
          ]}
        />
      )}
    </Card>
  );
}

const lastLine = (text: string): string => text.trimEnd().split("\n").pop() ?? "";
