// Values as people read them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(value: unknown): string {
  let size = Number(value ?? 0);
  let unit = 0;
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(size) : size.toFixed(size < 10 ? 2 : 1)} ${UNITS[unit]}`;
}

export const number = (value: unknown): string =>
  Number(value ?? 0).toLocaleString("en", { maximumFractionDigits: 2 });

export function time(ms: unknown): string {
  const value = Number(ms ?? 0);
  return value > 0 ? new Date(value).toLocaleString("sv") : "";
}

export function duration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return "";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes} min ${Math.round(seconds % 60)} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export const span = (startMs: unknown, endMs: unknown): string =>
  Number(startMs) > 0 ? duration(((Number(endMs) > 0 ? Number(endMs) : Date.now()) - Number(startMs)) / 1000) : "";

export function plain(value: unknown): string {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

export function resources(value: unknown): string {
  return Object.entries((value ?? {}) as Record<string, number>)
    .filter(([name]) => !name.startsWith("node:"))
    .map(([name, amount]) => `${name} ${name.includes("memory") ? bytes(amount) : number(amount)}`)
    .join(", ");
}
