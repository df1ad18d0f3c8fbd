// Datasets as they are executed: what each operator has done, and how fast.
import type { Row } from "../api";
import { Chart } from "../chart";
import { bytes, duration, number, plain } from "../format";
import { useHistory } from "../hooks";
import { Card, Empty, Meter, Problem, Rows } from "../ui";
import { Run, tookSeconds, useRecords } from "./records";

const SHOWN = 8; // in full; older ones are a line each

export function Data() {
  const { rows, error } = useRecords("narke_data");
  const older = (rows ?? []).slice(SHOWN);
  return (
    <>
      <Problem text={error} />
      {rows?.length === 0 && <Empty>No dataset has been executed yet.</Empty>}
      {rows?.slice(0, SHOWN).map((row) => <Execution key={`${plain(row.name)} ${plain(row.started_s)}`} row={row} />)}
      {older.length > 0 && (
        <Card title="Before these">
          <Rows
            rows={older}
            columns={[
              { key: "name", label: "Dataset" },
              { key: "state", label: "State" },
              { key: "took", label: "Took", right: true, show: (row) => duration(tookSeconds(row)) },
            ]}
          />
        </Card>
      )}
    </>
  );
}

function Execution({ row }: { row: Row }) {
  const operators = (row.operators ?? []) as Row[];
  const past = useHistory(row.state === "RUNNING" ? row : undefined, (each) => Number(each.updated_s));
  const lines = operators.map((operator, index) => ({ name: plain(operator.name), points: rates(past, index) }));
  const most = Math.max(1, ...operators.map((operator) => Number(operator.busy_s)));
  return (
    <Run title={plain(row.name)} row={row} state={plain(row.state)}>
      {lines.some((line) => line.points.length > 1) && <Chart lines={lines} show={(value) => `${number(value)}/s`} />}
      <Rows
        rows={operators}
        columns={[
          { key: "name", label: "Operator" },
          { key: "done", label: "Tasks done", show: (each) => <Done operator={each} /> },
          { key: "running", label: "Running", right: true },
          { key: "rows", label: "Rows", right: true, show: (each) => number(each.rows) },
          { key: "rate", label: "Rows/s", right: true, show: (each) => number(Math.round(Number(each.rows) / Math.max(0.001, tookSeconds(row)))) },
          { key: "size_bytes", label: "Size", right: true, show: (each) => bytes(each.size_bytes) },
          { key: "queued_bytes", label: "Queued", right: true, show: (each) => bytes(each.queued_bytes) },
          { key: "busy_s", label: "Busy", show: (each) => <Busy seconds={Number(each.busy_s)} most={most} /> },
          { key: "errors", label: "Errors", right: true },
        ]}
      />
    </Run>
  );
}

// Of the tasks that were given out so far: there may be more to come.
function Done({ operator }: { operator: Row }) {
  const given = Number(operator.tasks ?? 0);
  const done = given - Number(operator.running ?? 0);
  return (
    <div className="amount">
      <span>{number(done)} of {number(given)}</span>
      <Meter used={done} total={given} label={`tasks of ${plain(operator.name)}`} calm />
    </div>
  );
}

function Busy({ seconds, most }: { seconds: number; most: number }) {
  return (
    <div className="amount">
      <span>{duration(seconds)}</span>
      <Meter used={seconds} total={most} label="busy" calm />
    </div>
  );
}

// Rows a second between one look and the next.
function rates(past: Row[], index: number): [number, number][] {
  const rowsOf = (row: Row) => Number((row.operators as Row[])[index]?.rows ?? 0);
  return past.slice(1).map((row, at) => {
    const seconds = Number(row.updated_s) - Number(past[at].updated_s);
    return [Number(row.updated_s), seconds > 0 ? Math.max(0, rowsOf(row) - rowsOf(past[at])) / seconds : 0];
  });
}
