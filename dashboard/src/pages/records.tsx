// The records that libraries keep of their progress in the cluster's key-value table, and what pages of them share.
import { get, type Row } from "../api";
import { duration, plain } from "../format";
import { usePolled } from "../hooks";
import { Badge, Card } from "../ui";

// The latest first.
export function useRecords(namespace: string, prefix = ""): { rows?: Row[]; error?: string } {
  const { value, error } = usePolled(
    namespace + prefix,
    (signal) => get<Record<string, Row>>(`/api/narke/progress/${namespace}?prefix=${prefix}`, signal),
    1500,
  );
  const latest = (row: Row) => Number(row.started_s ?? row.started ?? 0);
  return { rows: value && Object.values(value).sort((a, b) => latest(b) - latest(a)), error };
}

export const tookSeconds = (row: Row): number =>
  Number(row.updated_s ?? row.updated ?? 0) - Number(row.started_s ?? row.started ?? 0);

// A card with how long it took, or takes, and its state.
export function Run({ title, row, state, children }: { title: string; row: Row; state: string; children: React.ReactNode }) {
  return (
    <Card title={title} extra={<span className="actions">{duration(tookSeconds(row))} <Badge state={plain(state)} /></span>}>
      {children}
    </Card>
  );
}
