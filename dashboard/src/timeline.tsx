// Spans of many workers on a canvas: wheel or +/- zooms, dragging or the arrow keys move.
import { useEffect, useMemo, useRef, useState } from "react";

import type { TraceEvent } from "./api";
import { duration } from "./format";

const ROW = 20;
const HEAD = 22;
const NAMES = 150;

interface View {
  from: number;
  to: number;
}

export function colour(name: string): string {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + letter.charCodeAt(0)) >>> 0;
  return `hsl(${hash % 360} 62% 52%)`;
}

export function Timeline({ events }: { events: TraceEvent[] }) {
  const spans = useMemo(() => events.filter((event) => event.ph === "X").sort((a, b) => a.ts - b.ts), [events]);
  const threads = useMemo(() => [...new Set(spans.map((event) => `${event.pid} ${event.tid}`))].sort(), [spans]);
  const whole = useMemo<View>(
    () => ({
      from: spans.length ? spans[0].ts : 0,
      to: spans.reduce((last, event) => Math.max(last, event.ts + event.dur), spans.length ? spans[0].ts + 1 : 1),
    }),
    [spans],
  );
  const [view, setView] = useState<View>();
  const [over, setOver] = useState<TraceEvent>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const drag = useRef<{ x: number; view: View }>(undefined);
  const shown = view ?? whole;

  useEffect(() => draw(canvas.current!, spans, threads, shown, whole.from), [spans, threads, shown, whole]);

  const zoom = (factor: number, share = 0.5) => {
    const width = Math.max(10, (shown.to - shown.from) * factor);
    const middle = shown.from + (shown.to - shown.from) * share;
    setView({ from: middle - width * share, to: middle + width * (1 - share) });
  };
  const shift = (share: number) => {
    const by = (shown.to - shown.from) * share;
    setView({ from: shown.from + by, to: shown.to + by });
  };
  useEffect(() => {
    const target = canvas.current!;
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      const box = target.getBoundingClientRect();
      zoom(event.deltaY > 0 ? 1.25 : 0.8, Math.max(0, (event.clientX - box.left - NAMES) / (box.width - NAMES)));
    };
    target.addEventListener("wheel", wheel, { passive: false });
    return () => target.removeEventListener("wheel", wheel);
  });

  const find = (event: React.PointerEvent): TraceEvent | undefined => {
    const box = canvas.current!.getBoundingClientRect();
    const row = Math.floor((event.clientY - box.top - HEAD) / ROW);
    const at = shown.from + ((event.clientX - box.left - NAMES) / (box.width - NAMES)) * (shown.to - shown.from);
    return spans.find((span) => `${span.pid} ${span.tid}` === threads[row] && span.ts <= at && at <= span.ts + span.dur);
  };
  return (
    <div className="timeline">
      <div className="tools">
        <button onClick={() => zoom(0.5)}>Zoom in</button>
        <button onClick={() => zoom(2)}>Zoom out</button>
        <button onClick={() => setView(undefined)}>All</button>
        <span className="count">
          {spans.length.toLocaleString("en")} spans, {duration((shown.to - shown.from) / 1e6)}
        </span>
        <a href="/api/v0/tasks/timeline?download=1">Download for chrome://tracing</a>
      </div>
      <canvas
        ref={canvas}
        tabIndex={0}
        aria-label="Timeline of tasks"
        style={{ height: HEAD + Math.max(1, threads.length) * ROW + 4 }}
        onKeyDown={(event) => {
          const action = { "+": () => zoom(0.8), "-": () => zoom(1.25), ArrowLeft: () => shift(-0.2), ArrowRight: () => shift(0.2) }[event.key];
          if (action) {
            event.preventDefault();
            action();
          }
        }}
        onPointerDown={(event) => {
          drag.current = { x: event.clientX, view: shown };
          canvas.current!.setPointerCapture(event.pointerId);
        }}
        onPointerUp={() => (drag.current = undefined)}
        onPointerMove={(event) => {
          if (!drag.current) return setOver(find(event));
          const width = canvas.current!.clientWidth - NAMES;
          const by = ((drag.current.x - event.clientX) / width) * (shown.to - shown.from);
          setView({ from: drag.current.view.from + by, to: drag.current.view.to + by });
        }}
      />
      <p className="over">
        {over
          ? `${over.name}: ${duration(over.dur / 1e6)} on ${over.tid}, ${duration((over.ts - whole.from) / 1e6)} after the first`
          : "Point at a span to see what it is."}
      </p>
    </div>
  );
}

function draw(canvas: HTMLCanvasElement, spans: TraceEvent[], threads: string[], view: View, zero: number): void {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d")!;
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const rows = new Map(threads.map((name, index) => [name, index]));
  const x = (ts: number) => NAMES + ((ts - view.from) / (view.to - view.from)) * (width - NAMES);
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = style.color;
  for (let i = 0; i <= 4; i += 1) {
    const ts = view.from + ((view.to - view.from) * i) / 4;
    context.globalAlpha = 0.6;
    context.textAlign = i === 4 ? "right" : "left";
    context.fillText(duration((ts - zero) / 1e6) || "0", x(ts), 12);
    context.globalAlpha = 0.12;
    context.fillRect(x(ts), 16, 1, height);
  }
  context.textAlign = "left";
  context.globalAlpha = 0.8;
  threads.forEach((name, index) => context.fillText(name.replace("Node ", "").slice(0, 26), 0, HEAD + index * ROW + 13));
  context.globalAlpha = 1;
  // What is narrower than a pixel is drawn once for each pixel.
  const last = new Map<number, number>();
  for (const span of spans) {
    const row = rows.get(`${span.pid} ${span.tid}`)!;
    const left = Math.max(NAMES, x(span.ts));
    const right = Math.min(width, x(span.ts + span.dur));
    if (right < NAMES || left > width || right <= (last.get(row) ?? -1)) continue;
    const wide = Math.max(1, right - left);
    context.fillStyle = colour(span.name);
    context.fillRect(left, HEAD + row * ROW, wide, ROW - 4);
    last.set(row, Math.ceil(left + wide));
    if (wide > 40) {
      context.fillStyle = "#fff";
      context.fillText(span.name.slice(0, wide / 6.5), left + 4, HEAD + row * ROW + 12);
    }
  }
}
