// The parts that every page is made of.
import { type ReactNode, useState } from "react";

import { list, type Filter, type Row } from "./api";
import { plain } from "./format";
import { go, usePolled, useSettled } from "./hooks";

export function Link({ to, children, className }: { to: string; children: ReactNode; className?: string }) {
  return (
    <a
      href={to}
      className={className}
      onClick={(event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey) return;
        event.preventDefault();
        go(to);
      }}
    >
      {children}
    </a>
  );
}

export function Card({ title, extra, children }: { title?: ReactNode; extra?: ReactNode; children: ReactNode }) {
  return (
    <section className="card">
      {title !== undefined && (
        <header>
          <h2>{title}</h2>
          {extra}
        </header>
      )}
      {children}
    </section>
  );
}

export function Stat({ label, value, note }: { label: string; value: ReactNode; note?: ReactNode }) {
  return (
    <div className="stat">
      <span className="label">{label}</span>
      <strong>{value}</strong>
      {note && <span className="note">{note}</span>}
    </div>
  );
}

const GOOD = ["ALIVE", "CREATED", "SUCCEEDED", "FINISHED", "HEALTHY", "TERMINATED"];
const BAD = ["DEAD", "FAILED", "ERROR", "UNHEALTHY", "DEPLOY_FAILED", "REMOVED"];
const QUIET = ["INFO", "DEBUG"];
const BUSY = ["RUNNING", "RUNNING_IN_RAY_GET", "RUNNING_IN_RAY_WAIT"];

export function Badge({ state }: { state: string }) {
  const kind = BAD.includes(state) ? "bad" : GOOD.includes(state) ? "good" : QUIET.includes(state) ? "quiet" : BUSY.includes(state) ? "busy" : "other";
  return <span className={`badge ${kind}`}>{state || "-"}</span>;
}

export function Meter({ used, total, label, calm }: { used: number; total: number; label: string; calm?: boolean }) {
  const share = total > 0 ? Math.min(1, Math.max(0, used / total)) : 0;
  return (
    <div className="meter" role="meter" aria-valuenow={Math.round(share * 100)} aria-label={label}>
      <div className={share > 0.9 && !calm ? "fill full" : "fill"} style={{ width: `${share * 100}%` }} />
    </div>
  );
}

export function Problem({ text }: { text?: string }) {
  return text ? (
    <p className="problem" role="alert">
      {text}
    </p>
  ) : null;
}

export const Empty = ({ children }: { children: ReactNode }) => <p className="empty">{children}</p>;

export interface Column {
  key: string;
  label: string;
  show?: (row: Row) => ReactNode;
  sortable?: boolean;
  right?: boolean;
}

export function Rows({
  columns,
  rows,
  sort,
  onSort,
  open,
}: {
  columns: Column[];
  rows: Row[];
  sort?: Sort;
  onSort?: (key: string) => void;
  open?: (row: Row) => string | undefined;
}) {
  return (
    <div className="scroll">
      <table>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.key} className={column.right ? "right" : undefined} aria-sort={sorting(column.key, sort)}>
                {onSort && column.sortable !== false ? (
                  <button onClick={() => onSort(column.key)}>
                    {column.label}
                    {sort?.key === column.key ? (sort.descending ? " ↓" : " ↑") : ""}
                  </button>
                ) : (
                  column.label
                )}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, index) => {
            const to = open?.(row);
            return (
              <tr key={index} className={to ? "open" : undefined} onClick={to ? () => go(to) : undefined}>
                {columns.map((column, at) => (
                  <td key={column.key} className={column.right ? "right" : undefined}>
                    {at === 0 && to ? (
                      <Link to={to}>{cell(column, row)}</Link>
                    ) : (
                      cell(column, row)
                    )}
                  </td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

const cell = (column: Column, row: Row): ReactNode =>
  column.show ? column.show(row) : column.key === "state" || column.key === "status" ? (
    <Badge state={plain(row[column.key])} />
  ) : (
    plain(row[column.key])
  );

const sorting = (key: string, sort?: Sort): "ascending" | "descending" | undefined =>
  sort?.key !== key ? undefined : sort.descending ? "descending" : "ascending";

export interface Sort {
  key: string;
  descending: boolean;
}

const PAGE = 50;

// A table of the cluster's state, chosen and paged on the server.
export function Resource({
  table,
  columns,
  states,
  filters = [],
  initialSort,
  detail,
  open,
  empty,
}: {
  table: string;
  columns: Column[];
  states?: string[];
  filters?: Filter[];
  initialSort?: Sort;
  detail?: boolean;
  open?: (row: Row) => string | undefined;
  empty: string;
}) {
  const [sort, setSort] = useState<Sort | undefined>(initialSort);
  const [typed, setTyped] = useState("");
  const [state, setState] = useState("");
  const [page, setPage] = useState(0);
  const search = useSettled(typed);
  const query = {
    limit: PAGE,
    offset: page * PAGE,
    detail,
    sortBy: sort?.key,
    descending: sort?.descending,
    search,
    filters: state ? [...filters, { key: "state", predicate: "=" as const, value: state }] : filters,
  };
  const { value, error } = usePolled(`${table}${JSON.stringify(query)}`, (signal) => list(table, query, signal));
  const pages = Math.max(1, Math.ceil((value?.filtered ?? 0) / PAGE));
  const turnTo = (key: string) => {
    setPage(0);
    setSort((before) => ({ key, descending: before?.key === key ? !before.descending : false }));
  };
  return (
    <>
      <div className="tools">
        <input
          type="search"
          placeholder="Search"
          aria-label={`Search ${table}`}
          value={typed}
          onChange={(event) => {
            setTyped(event.target.value);
            setPage(0);
          }}
        />
        {states && (
          <select
            aria-label="State"
            value={state}
            onChange={(event) => {
              setState(event.target.value);
              setPage(0);
            }}
          >
            <option value="">All states</option>
            {states.map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        )}
        <span className="count">{value ? `${value.filtered.toLocaleString("en")} rows` : ""}</span>
        <span className="pager">
          <button disabled={page === 0} onClick={() => setPage(page - 1)} aria-label="Previous page">
            ‹
          </button>
          {page + 1} / {pages}
          <button disabled={page + 1 >= pages} onClick={() => setPage(page + 1)} aria-label="Next page">
            ›
          </button>
        </span>
      </div>
      <Problem text={error} />
      {value && value.rows.length === 0 ? (
        <Empty>{search || state ? "Nothing matches." : empty}</Empty>
      ) : (
        <Rows columns={columns} rows={value?.rows ?? []} sort={sort} onSort={turnTo} open={open} />
      )}
    </>
  );
}

export function Facts({ row, hide = [] }: { row: Row; hide?: string[] }) {
  const shown = Object.entries(row).filter(([key, value]) => !hide.includes(key) && plain(value) !== "");
  return (
    <dl className="facts">
      {shown.map(([key, value]) => (
        <div key={key}>
          <dt>{key.replaceAll("_", " ")}</dt>
          <dd>{key === "state" || key === "status" ? <Badge state={plain(value)} /> : plain(value)}</dd>
        </div>
      ))}
    </dl>
  );
}

export const short = (id: unknown): string => {
  const text = plain(id);
  return text.length > 14 ? `${text.slice(0, 12)}…` : text;
};
