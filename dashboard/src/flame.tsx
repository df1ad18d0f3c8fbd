// A flame graph: how often each chain of calls was seen, the outermost call at the top. A box can be zoomed into.
import { useMemo, useState } from "react";

import type { Frame, Profile } from "./api";

export interface Box {
  name: string;
  place: string;
  count: number;
  self: number;
  callees: Map<string, Box>;
}

const LEAST = 0.002; // of the width; narrower boxes are left out
const ROW = 20; // pixels

const box = (name: string, place: string): Box => ({ name, place, count: 0, self: 0, callees: new Map() });

const placeOf = (frame: Frame): string => `${frame.file.split("/").pop()}:${frame.line}`;

export function treeOf(profile: Pick<Profile, "stacks">, wanted = ""): Box {
  const root = box("all", "");
  for (const stack of profile.stacks) {
    const texts = stack.frames.map((frame) => `${frame.function} (${placeOf(frame)})`);
    if (wanted && !texts.some((text) => text.toLowerCase().includes(wanted.toLowerCase()))) continue;
    root.count += stack.count;
    let at = root;
    stack.frames.forEach((frame, index) => {
      let next = at.callees.get(texts[index]);
      if (!next) at.callees.set(texts[index], (next = box(frame.function, `${frame.file}:${frame.line}`)));
      next.count += stack.count;
      at = next;
    });
    at.self += stack.count;
  }
  return root;
}

interface Drawn {
  box: Box;
  path: string;
  left: number; // shares of the width
  width: number;
  depth: number;
}

function layOut(root: Box): Drawn[] {
  const out: Drawn[] = [];
  const visit = (at: Box, path: string, left: number, width: number, depth: number) => {
    out.push({ box: at, path, left, width, depth });
    let from = left;
    for (const [key, callee] of [...at.callees].sort(([a], [b]) => a.localeCompare(b))) {
      const part = (width * callee.count) / at.count;
      if (part >= LEAST) visit(callee, `${path}\n${key}`, from, part, depth + 1);
      from += part;
    }
  };
  if (root.count > 0) visit(root, "", 0, 1, 0);
  return out;
}

function hue(name: string): number {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + letter.charCodeAt(0)) >>> 0;
  return 8 + (hash % 44);
}

// of: how an amount is told, samples unless it is something else.
export function Flame({ profile, wanted, of = (count) => `${count} samples` }: { profile: Pick<Profile, "stacks">; wanted: string; of?: (count: number) => string }) {
  const [zoom, setZoom] = useState<string[]>([]);
  const root = useMemo(() => treeOf(profile, wanted), [profile, wanted]);
  const top = zoom.reduce<Box>((at, key) => at.callees.get(key) ?? at, root);
  const drawn = useMemo(() => layOut(top), [top]);
  const rows = drawn.reduce((most, each) => Math.max(most, each.depth + 1), 1);
  const share = (count: number) => `${((100 * count) / Math.max(1, root.count)).toFixed(1)}%`;
  if (root.count === 0) return <p className="empty">{wanted ? "Nothing matches." : "Nothing ran while it was looked at: the program was waiting."}</p>;
  return (
    <>
      <p className="over">
        {of(root.count)}{zoom.length > 0 && <button onClick={() => setZoom([])}>Show all</button>}
      </p>
      <div className="flame" role="group" aria-label="Flame graph" style={{ height: rows * ROW }}>
        {drawn.map((each) => (
          <button
            key={each.path}
            title={`${each.box.name} ${each.box.place}\n${of(each.box.count)}, ${share(each.box.count)}; itself ${share(each.box.self)}`}
            style={{
              left: `${each.left * 100}%`,
              width: `${each.width * 100}%`,
              top: each.depth * ROW,
              height: ROW - 1,
              background: `hsl(${hue(each.box.name)} 85% var(--flame))`,
            }}
            onClick={() => setZoom([...zoom, ...each.path.split("\n").slice(1)])}
          >
            {each.width > 0.02 ? each.box.name : ""}
          </button>
        ))}
      </div>
    </>
  );
}

// Where the time went, functions with most of their own first.
export function hottest(profile: Pick<Profile, "stacks">): { name: string; place: string; self: number; total: number }[] {
  const found = new Map<string, { name: string; place: string; self: number; total: number }>();
  for (const stack of profile.stacks) {
    const seen = new Set<string>();
    stack.frames.forEach((frame, index) => {
      const key = `${frame.function} ${frame.file}`;
      let row = found.get(key);
      if (!row) found.set(key, (row = { name: frame.function, place: frame.file, self: 0, total: 0 }));
      if (!seen.has(key)) row.total += stack.count;
      seen.add(key);
      if (index === stack.frames.length - 1) row.self += stack.count;
    });
  }
  return [...found.values()].sort((a, b) => b.self - a.self || b.total - a.total);
}
