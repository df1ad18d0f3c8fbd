// Drives a Chromium over every page of a running cluster; started by tests/gateway/test_dashboard.py.
// Environment: CHROMIUM, URL, TOKEN, JOB, PROFILE, PICTURES (a folder, or nothing).
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const { CHROMIUM, URL: url, TOKEN, JOB, PROFILE, PICTURES } = process.env;

const context = await chromium.launchPersistentContext(PROFILE, {
  executablePath: CHROMIUM,
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  viewport: { width: 1320, height: 900 },
  colorScheme: "light",
});
const page = await context.newPage();
const problems = [];
page.on("pageerror", (error) => problems.push(`${page.url()}: ${error}`));
page.on("console", (message) => {
  if (message.type() === "error" && !message.text().includes("401")) problems.push(`${page.url()}: ${message.text()}`);
});
page.on("request", (request) => {
  if (!request.url().startsWith(url) && !request.url().startsWith("data:")) problems.push(`left the server: ${request.url()}`);
});

async function picture(name) {
  if (!PICTURES) return;
  mkdirSync(PICTURES, { recursive: true });
  await page.waitForTimeout(700);
  await page.screenshot({ path: join(PICTURES, `${name}.png`) });
}

async function visit(label, path, text) {
  await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: label, exact: true }).click();
  await page.waitForURL(`**${path}`);
  await page.getByRole("heading", { level: 1, name: label }).waitFor();
  await page.getByText(text, { exact: false }).first().waitFor();
  await picture(label.toLowerCase().replaceAll(" ", "-"));
}

// Logging in: a wrong token is refused, the right one gives a cookie that scripts do not see.
await page.goto(url);
await page.getByLabel("The cluster's token").fill("wrong");
await page.getByRole("button", { name: "Log in" }).click();
await page.getByText("Invalid authentication token").waitFor();
await picture("login");
await page.getByLabel("The cluster's token").fill(TOKEN);
await page.keyboard.press("Enter");
await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
assert.equal(await page.evaluate(() => document.cookie), "");
problems.length = 0; // what the refused log-in left in the console

await page.getByText("Latest jobs").waitFor();
await page.getByText("CPU", { exact: true }).first().waitFor();
await visit("Jobs", "/jobs", JOB);
await page.getByRole("link", { name: JOB }).click();
await page.getByText("from the job").nth(1).waitFor();
await picture("job");
await visit("Nodes", "/nodes-list", "head node");
await visit("Events", "/events", /Severity|Nothing has happened/);
await page.getByRole("tab", { name: "Tasks that failed" }).click();
await page.getByRole("link", { name: "fails" }).first().waitFor();
await picture("errors");
await visit("Actors", "/actors", "Keeper");
await page.getByRole("cell", { name: "Keeper", exact: true }).first().click();
await page.getByText("pinged").first().waitFor();
await picture("actor");
await visit("Tasks", "/tasks", "rows");
await page.getByLabel("Search tasks").fill("square");
await page.getByRole("cell", { name: "square", exact: true }).first().waitFor();
await page.getByRole("tab", { name: "Summary" }).click();
await page.getByText("Function or method").waitFor();
await page.getByRole("tab", { name: "Timeline" }).click();
await page.getByText("spans", { exact: false }).first().waitFor();
const canvas = page.getByLabel("Timeline of tasks");
await canvas.focus();
await page.keyboard.press("+");
await page.keyboard.press("ArrowRight");
await page.getByRole("button", { name: "All" }).click();
await picture("timeline");
await visit("Placement groups", "/placement-groups", "corner");
await visit("Objects", "/objects", "local reference");
await visit("Logs", "/logs", "Files");
await page.getByLabel("Search all logs").fill("pinged");
await page.getByRole("button", { name: /worker-.*:\d+/ }).first().click();
await page.waitForURL("**/logs?file=*");
await page.locator("pre.log", { hasText: "pinged" }).waitFor();
await page.getByLabel("Filter files").fill("worker-");
await page.getByRole("navigation", { name: "Log files" }).getByRole("link").first().waitFor();
await picture("logs");
await visit("Metrics", "/metrics-charts", "CPU of the host");
// A stack dump and a flame graph of a worker that computes.
await visit("Stacks and profiles", "/inspect", "Choose a program");
await page.getByRole("row", { name: /spins/ }).first().click();
await page.getByText("main thread").first().waitFor();
await page.locator("ol.log b", { hasText: "burn" }).first().waitFor();
await picture("stacks");
await page.getByLabel("CPU profile: seconds").selectOption("1");
await page.getByRole("button", { name: "Record" }).click();
const flame = page.getByRole("group", { name: "Flame graph" }).first();
await flame.getByRole("button", { name: /burn/ }).first().waitFor();
await picture("flame-graph");
await flame.getByRole("button", { name: /burn/ }).first().click();
await page.getByRole("button", { name: "Show all" }).click();
await page.getByLabel("Memory profile: seconds").selectOption("1");
await page.getByRole("button", { name: "Trace memory" }).click();
await page.getByText(/peak .* at the end .* resident/).waitFor();
await page.getByText("Memory profile").scrollIntoViewIfNeeded();
await picture("memory-profile");
await visit("Data", "/data", "MapBatches");
await page.getByText("FINISHED").first().waitFor();
await visit("Train", "/train", "accuracy");
await page.getByRole("img", { name: "loss" }).first().waitFor();
await visit("Tune", "/tune", "Best loss (min)");
await page.getByText("6 of 6 trials").waitFor();
await visit("Serve", "/serve", "greeter at /hello");
await page.getByRole("heading", { name: "Routes" }).waitFor();
await page.getByRole("cell", { name: "/hello", exact: true }).waitFor();
// Requests keep coming: a rate, a latency and two replicas are shown.
await page.locator(".stat", { hasText: "Requests a second" }).locator("strong", { hasText: /^[1-9]/ }).waitFor();
await page.getByText("2 of 2").waitFor();
await page.locator(".chart polyline[points*=' ']").first().waitFor(); // two looks and more
await picture("serve");

// Searching, filtering and sorting happen on the server.
await visit("Actors", "/actors", "Keeper");
await page.getByLabel("Search actors").fill("nothing has this name");
await page.getByText("Nothing matches.").waitFor();
await page.getByLabel("Search actors").fill("keep");
await page.getByRole("cell", { name: "Keeper", exact: true }).first().waitFor();
await page.getByRole("button", { name: "Class" }).click();
await page.locator("th[aria-sort=ascending]").waitFor();

await visit("Overview", "/", "Latest jobs"); // by now its charts show something

// Dark colours stay chosen, and the keyboard reaches the navigation.
await page.getByRole("button", { name: "Dark colours" }).click();
await page.goto(`${url}/`);
assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
await page.getByText("Latest jobs").waitFor();
await picture("overview-dark");
await page.keyboard.press("Tab");
assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Skip to the content");
await page.keyboard.press("Tab");
assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Overview");

// A token in the fragment logs in, and is gone from the address.
await context.clearCookies();
await page.goto("about:blank");
await page.goto(`${url}/jobs#token=${TOKEN}`);
await page.getByRole("heading", { level: 1, name: "Jobs" }).waitFor();
assert.ok(!page.url().includes(TOKEN));

await context.close();
assert.deepEqual(problems.filter((each) => !each.includes("favicon")), []);
console.log("all pages work");
