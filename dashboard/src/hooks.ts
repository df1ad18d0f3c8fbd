import { useCallback, useEffect, useRef, useState } from "react";

import { Refused } from "./api";

export interface Loaded<T> {
  value?: T;
  error?: string;
  reload: () => void;
}

export const LOGIN_NEEDED = "narke-login-needed";

// Loads again every `periodMs`, and when `key` changes; waits while the page is hidden.
export function usePolled<T>(key: string, load: (signal: AbortSignal) => Promise<T>, periodMs = 3000): Loaded<T> {
  const [state, setState] = useState<{ key: string; value?: T; error?: string }>({ key });
  const latest = useRef(load);
  latest.current = load;
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const control = new AbortController();
    let timer = 0;
    const run = async () => {
      try {
        if (!document.hidden) {
          const value = await latest.current(control.signal);
          setState({ key, value });
        }
      } catch (error) {
        if (control.signal.aborted) return;
        if (error instanceof Refused && error.status === 401) window.dispatchEvent(new Event(LOGIN_NEEDED));
        setState((before) => ({ ...before, key, error: error instanceof Error ? error.message : String(error) }));
      }
      if (!control.signal.aborted && periodMs > 0) timer = window.setTimeout(run, periodMs);
    };
    void run();
    return () => {
      control.abort();
      window.clearTimeout(timer);
    };
  }, [key, periodMs, turn]);
  const reload = useCallback(() => setTurn((before) => before + 1), []);
  return state.key === key ? { ...state, reload } : { reload };
}

const KEPT = 240;

// The values that came since the page was opened, oldest first; one for each moment.
export function useHistory<T>(value: T | undefined, moment: (value: T) => number): T[] {
  const past = useRef<T[]>([]);
  const last = past.current.at(-1);
  if (value !== undefined && (last === undefined || moment(value) > moment(last))) past.current = [...past.current, value].slice(-KEPT);
  return past.current;
}

// A value that follows `value` once it has been still for a while.
export function useSettled<T>(value: T, delayMs = 250): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = window.setTimeout(() => setSettled(value), delayMs);
    return () => window.clearTimeout(timer);
  }, [value, delayMs]);
  return settled;
}

export function usePath(): [string, URLSearchParams] {
  const [place, setPlace] = useState(location.pathname + location.search);
  useEffect(() => {
    const changed = () => setPlace(location.pathname + location.search);
    window.addEventListener("popstate", changed);
    return () => window.removeEventListener("popstate", changed);
  }, []);
  const url = new URL(place, location.origin);
  return [url.pathname, url.searchParams];
}

export function go(path: string): void {
  history.pushState(null, "", path);
  window.dispatchEvent(new PopStateEvent("popstate"));
  window.scrollTo(0, 0);
}
