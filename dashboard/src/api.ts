// The one place that fetches. Types follow the gateway's answers.

export type Row = Record<string, unknown>;

export interface Page {
  rows: Row[];
  total: number;
  filtered: number;
}

export interface Filter {
  key: string;
  predicate: "=" | "!=" | "~";
  value: string;
}

export interface Query {
  limit: number;
  offset?: number;
  detail?: boolean;
  sortBy?: string;
  descending?: boolean;
  search?: string;
  filters?: Filter[];
}

export interface Overview {
  total: Record<string, number>;
  free: Record<string, number>;
  store: Record<string, number>;
  nodes: NodeSummary[];
}

export interface NodeSummary {
  hostname: string;
  ip: string;
  cpu: number;
  cpus: number[];
  mem: number[];
  shm: number;
  disk: Record<string, { total: number; free: number }>;
  networkSpeed: number[];
  loadAvg: number[][];
  workers: { pid: number; workerId: string; type: string; memoryInfo: { rss: number }; cpuTimes: { total: number } }[];
  raylet: {
    nodeId: string;
    state: string;
    stateMessage: string;
    isHeadNode: boolean;
    resourcesTotal: Record<string, number>;
    objectStoreUsedMemory: number;
    objectStoreAvailableMemory: number;
  };
}

export type Charts = Record<string, [number, number][]>;

export interface TraceEvent {
  name: string;
  ph: string;
  pid: string;
  tid: string;
  ts: number;
  dur: number;
  cat?: string;
  args?: Record<string, unknown>;
}

export interface Frame {
  function: string;
  file: string;
  line: number;
}

export interface Stacks {
  pid: number;
  threads: { native_id: number; name: string; state: string; is_main: boolean; holds_gil: boolean; frames: Frame[] }[];
}

// What a program allocated, by the calls that did so: `count` of a stack is bytes.
export interface MemoryProfile {
  pid: number;
  kind: "peak" | "leaks";
  duration_ms: number;
  traced_bytes: number;
  peak_bytes: number;
  resident_before_bytes: number;
  resident_bytes: number;
  left_out: number;
  stacks: { count: number; blocks: number; frames: Frame[] }[];
}

export interface Profile {
  pid: number;
  samples: number;
  rate: number;
  duration_ms: number;
  stacks: { count: number; frames: Frame[] }[];
}

export class Refused extends Error {
  constructor(
    readonly status: number,
    text: string,
  ) {
    super(text);
  }
}

async function send(method: string, path: string, init: RequestInit = {}): Promise<Response> {
  const response = await fetch(path, { method, credentials: "same-origin", ...init });
  if (!response.ok) throw new Refused(response.status, messageOf(await response.text()));
  return response;
}

function messageOf(text: string): string {
  try {
    return String((JSON.parse(text) as Row).msg ?? text);
  } catch {
    return text;
  }
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await send("GET", path, { signal })).json() as Promise<T>;
}

export async function post(path: string): Promise<void> {
  await send("POST", path);
}

export async function remove(path: string): Promise<void> {
  await send("DELETE", path);
}

export async function login(token: string): Promise<void> {
  await send("POST", "/api/authenticate", { headers: { Authorization: `Bearer ${token}` } });
}

export function listPath(table: string, query: Query): string {
  const words = new URLSearchParams({ limit: String(query.limit) });
  if (query.offset) words.set("offset", String(query.offset));
  if (query.detail) words.set("detail", "true");
  if (query.sortBy) words.set("sort_by", query.sortBy);
  if (query.descending) words.set("descending", "true");
  if (query.search) words.set("search", query.search);
  for (const filter of query.filters ?? []) {
    words.append("filter_keys", filter.key);
    words.append("filter_predicates", filter.predicate);
    words.append("filter_values", filter.value);
  }
  return `/api/v0/${table}?${words}`;
}

interface Listed {
  data: { result: { result: Row[]; total: number; num_filtered: number } };
}

export async function list(table: string, query: Query, signal?: AbortSignal): Promise<Page> {
  const { result } = (await get<Listed>(listPath(table, query), signal)).data;
  return { rows: result.result, total: result.total, filtered: result.num_filtered };
}

interface Summarized {
  data: { result: { result: { node_id_to_summary: { cluster: { summary: Record<string, Row> } } } } };
}

export async function summary(table: string, signal?: AbortSignal): Promise<Row[]> {
  const answer = await get<Summarized>(`/api/v0/${table}/summarize`, signal);
  return Object.values(answer.data.result.result.node_id_to_summary.cluster.summary);
}

export interface LogFile {
  name: string;
  group: string;
  size_bytes: number;
  modified_ms: number;
  node_id: string;
  ip: string;
}

export async function logFiles(signal?: AbortSignal): Promise<LogFile[]> {
  return (await get<{ files: LogFile[] }>("/api/narke/logs", signal)).files;
}

export interface LogPlace {
  name: string;
  node: string;
}

export const logPath = ({ name, node }: LogPlace, follow: boolean, lines: number): string =>
  `/api/v0/logs/${follow ? "stream" : "file"}?${new URLSearchParams({ filename: name, node_id: node, lines: String(lines) })}`;

// Calls back with the text of a long answer as it comes, until it ends or is aborted.
export async function stream(path: string, signal: AbortSignal, more: (text: string) => void): Promise<void> {
  const response = await send("GET", path, { signal });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    more(value);
  }
}
