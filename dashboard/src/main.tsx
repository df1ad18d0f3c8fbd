import { StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

import { get, login, Refused } from "./api";
import { LOGIN_NEEDED, usePath } from "./hooks";
import { Data } from "./pages/data";
import { Inspect } from "./pages/inspect";
import { Job, Jobs } from "./pages/jobs";
import { Train, Tune } from "./pages/learning";
import { Logs } from "./pages/logs";
import { Metrics } from "./pages/metrics";
import { Overview } from "./pages/overview";
import { Serve } from "./pages/serve";
import { Actor, Actors, Events, Nodes, Objects, PlacementGroups, Task, Tasks } from "./pages/tables";
import "./styles.css";
import { Card, Empty, Link, Problem } from "./ui";

const PLACES: [string, [string, string][]][] = [
  ["Cluster", [["/", "Overview"], ["/jobs", "Jobs"], ["/nodes-list", "Nodes"], ["/events", "Events"]]],
  ["Program", [["/actors", "Actors"], ["/tasks", "Tasks"], ["/placement-groups", "Placement groups"], ["/objects", "Objects"]]],
  ["Look closer", [["/logs", "Logs"], ["/metrics-charts", "Metrics"], ["/inspect", "Stacks and profiles"]]],
  ["Libraries", [["/data", "Data"], ["/train", "Train"], ["/tune", "Tune"], ["/serve", "Serve"]]],
];

function page(path: string, words: URLSearchParams) {
  const [, first, second] = path.split("/");
  const id = second ? decodeURIComponent(second) : "";
  switch (first) {
    case "":
      return <Overview />;
    case "jobs":
      return id ? <Job key={id} id={id} /> : <Jobs />;
    case "nodes-list":
      return <Nodes />;
    case "events":
      return <Events />;
    case "actors":
      return id ? <Actor key={id} id={id} /> : <Actors />;
    case "tasks":
      return id ? <Task key={id} id={id} /> : <Tasks />;
    case "placement-groups":
      return <PlacementGroups />;
    case "objects":
      return <Objects />;
    case "inspect":
      return <Inspect pid={words.get("pid") ?? ""} node={words.get("node") ?? ""} />;
    case "logs":
      return <Logs file={words.get("file") ?? ""} node={words.get("node") ?? ""} />;
    case "metrics-charts":
      return <Metrics />;
    case "data":
      return <Data />;
    case "train":
      return <Train />;
    case "tune":
      return <Tune />;
    case "serve":
      return <Serve />;
    default:
      return <Empty>There is no page at {path}.</Empty>;
  }
}

function title(path: string): string {
  const here = PLACES.flatMap(([, places]) => places).find(([to]) => to !== "/" && path.startsWith(to));
  return here ? here[1] : "Overview";
}

function Shell() {
  const [path, words] = usePath();
  const [theme, setTheme] = useTheme();
  useEffect(() => {
    document.title = `${title(path)} · Narke`;
  }, [path]);
  return (
    <div className="shell">
      <a className="skip" href="#content">
        Skip to the content
      </a>
      <aside>
        <div className="brand">
          <img src="/favicon.svg" alt="" width="24" height="24" /> Narke
        </div>
        <nav aria-label="Pages">
          {PLACES.map(([group, places]) => (
            <div key={group}>
              <h3>{group}</h3>
              {places.map(([to, label]) => (
                <Link key={to} to={to} className={(to === "/" ? path === "/" : path.startsWith(to)) ? "here" : undefined}>
                  {label}
                </Link>
              ))}
            </div>
          ))}
        </nav>
        <button className="theme" onClick={() => setTheme(theme === "dark" ? "light" : "dark")}>
          {theme === "dark" ? "Light" : "Dark"} colours
        </button>
      </aside>
      <main id="content" tabIndex={-1}>
        <h1>{title(path)}</h1>
        {page(path, words)}
      </main>
    </div>
  );
}

const preferred = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
document.documentElement.dataset.theme = localStorage.getItem("theme") ?? preferred;

function useTheme(): [string, (theme: string) => void] {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme!);
  const choose = (chosen: string) => {
    document.documentElement.dataset.theme = chosen;
    localStorage.setItem("theme", chosen);
    setTheme(chosen);
  };
  return [theme, choose];
}

function Login({ done }: { done: () => void }) {
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState<string>();
  return (
    <div className="login">
      <Card title="Narke">
        <form
          onSubmit={async (event) => {
            event.preventDefault();
            try {
              await login(token.trim());
              done();
            } catch (failure) {
              setProblem(failure instanceof Error ? failure.message : String(failure));
            }
          }}
        >
          <label htmlFor="token">The cluster's token</label>
          <input id="token" type="password" autoComplete="current-password" autoFocus value={token} onChange={(event) => setToken(event.target.value)} />
          <button type="submit">Log in</button>
          <Problem text={problem} />
          <p className="note">It is in the file “token” of the session's folder, or what RAY_AUTH_TOKEN was when the cluster began.</p>
        </form>
      </Card>
    </div>
  );
}

// A token in the address' fragment logs in: it is sent to no server and kept in no history.
async function useFragment(): Promise<void> {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  history.replaceState(null, "", location.pathname + location.search);
  await login(token).catch(() => undefined); // a wrong one shows the login page
}

function App() {
  const [known, setKnown] = useState<boolean>();
  useEffect(() => {
    const look = async () => {
      await useFragment();
      try {
        await get("/api/version");
        setKnown(true);
      } catch (failure) {
        setKnown(!(failure instanceof Refused && [401, 403].includes(failure.status)));
      }
    };
    void look();
    const needed = () => setKnown(false);
    window.addEventListener(LOGIN_NEEDED, needed);
    return () => window.removeEventListener(LOGIN_NEEDED, needed);
  }, []);
  if (known === undefined) return null;
  return known ? <Shell /> : <Login done={() => setKnown(true)} />;
}

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
