// A line chart of one or a few series, drawn as SVG; the pointer shows the values under it.
import { useRef, useState } from "react";

export interface Line {
  name: string;
  points: [number, number][];
}

const W = 600;
const H = 150;
const LEFT = 68; // room for the longest value on the left, as 1023.9 KiB/s
const BOTTOM = 18;

// The next of 1, 2, 4, 6, 8, 10 and so on: it and its half are short to read.
function neat(value: number): number {
  const unit = 10 ** Math.floor(Math.log10(value));
  return unit * ([1, 2, 4, 6, 8].find((each) => each * unit >= value) ?? 10);
}

function extent(lines: Line[], most?: number): { from: number; to: number; top: number; bottom: number } {
  const xs = lines.flatMap((line) => line.points.map((point) => point[0]));
  const ys = lines.flatMap((line) => line.points.map((point) => point[1]));
  const top = ys.reduce((a, b) => Math.max(a, b), 0);
  const bottom = ys.reduce((a, b) => Math.min(a, b), 0);
  return {
    from: xs.reduce((a, b) => Math.min(a, b), Infinity),
    to: xs.reduce((a, b) => Math.max(a, b), -Infinity),
    top: most ?? (top > 0 ? neat(top) : bottom + 1),
    bottom,
  };
}

export function Chart({
  lines,
  show,
  at = (x) => new Date(x * 1000).toLocaleTimeString("sv"),
  most,
}: {
  lines: Line[];
  show: (value: number) => string;
  at?: (x: number) => string;
  most?: number;
}) {
  const [pointer, setPointer] = useState<number>();
  const frame = useRef<SVGSVGElement>(null);
  const drawn = lines.filter((line) => line.points.length > 0);
  if (drawn.length === 0) return <p className="empty">No values yet.</p>;
  const { from, to, top, bottom } = extent(drawn, most);
  const x = (value: number) => LEFT + ((value - from) / Math.max(1e-9, to - from)) * (W - LEFT - 6);
  const y = (value: number) => 6 + (1 - (value - bottom) / (top - bottom)) * (H - BOTTOM - 6);
  const near = (line: Line): [number, number] =>
    line.points.reduce((best, point) =>
      Math.abs(point[0] - pointer!) < Math.abs(best[0] - pointer!) ? point : best,
    );
  const move = (clientX: number) => {
    const box = frame.current!.getBoundingClientRect();
    const share = ((clientX - box.left) / box.width) * W;
    setPointer(from + ((share - LEFT) / (W - LEFT - 6)) * (to - from));
  };
  const ticks = [bottom, bottom + (top - bottom) / 2, top];
  return (
    <figure className="chart">
      <svg
        ref={frame}
        viewBox={`0 0 ${W} ${H}`}
        role="img"
        aria-label={drawn.map((line) => line.name).join(", ")}
        onPointerMove={(event) => move(event.clientX)}
        onPointerLeave={() => setPointer(undefined)}
      >
        {ticks.map((tick) => (
          <g key={tick} className="tick">
            <line x1={LEFT} x2={W - 6} y1={y(tick)} y2={y(tick)} />
            <text x={LEFT - 6} y={y(tick) + 3} textAnchor="end">
              {show(tick)}
            </text>
          </g>
        ))}
        <text className="axis" x={LEFT} y={H - 4}>
          {at(from)}
        </text>
        <text className="axis" x={W - 6} y={H - 4} textAnchor="end">
          {at(to)}
        </text>
        {drawn.map((line, index) => (
          <polyline
            key={line.name}
            className={`line c${index % 6}${line.points.length === 1 ? " dot" : ""}`}
            points={(line.points.length === 1 ? [line.points[0], line.points[0]] : line.points).map((point) => `${x(point[0]).toFixed(1)},${y(point[1]).toFixed(1)}`).join(" ")}
          />
        ))}
        {pointer !== undefined && <line className="pointer" x1={x(near(drawn[0])[0])} x2={x(near(drawn[0])[0])} y1={6} y2={H - BOTTOM} />}
      </svg>
      <figcaption>
        {drawn.map((line, index) => {
          const point = pointer === undefined ? line.points[line.points.length - 1] : near(line);
          return (
            <span key={line.name}>
              <i className={`dot c${index % 6}`} /> {line.name} <b>{show(point[1])}</b>
            </span>
          );
        })}
        {pointer !== undefined && <span className="moment">{at(near(drawn[0])[0])}</span>}
      </figcaption>
    </figure>
  );
}
