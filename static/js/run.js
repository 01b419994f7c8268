// The page of a run: its curves, its console and its state, kept up to date without reloading.

import { Charts, getJson, onThemeChange } from "./charts.js";
import { Console } from "./console.js";
import { drawPlots } from "./plots.js";
import { Polling } from "./polling.js";

const BADGES = { running: "live", starting: "live", completed: "good", failed: "danger", stalled: "warn" };
const ENDED = new Set(["completed", "failed", "cancelled", "untrained"]);

const page = document.querySelector("[data-run-page]");
const find = (name) => page.querySelector(`[data-${name}]`);

// What is known: curves by name, each as {x, y, group}.
const known = { version: Number(page.dataset.version), status: page.dataset.status, stage: page.dataset.stage, order: [] };
known.metrics = new Map();
known.system = new Map();
let compared = null;
const charts = new Charts(find("charts"));
const machine = new Charts(find("system"), { isTime: true, xName: "", key: "time" });
const log = new Console(find("console-card"), page.dataset.consoleFrom);

function add(curve, x, y) {
  let at = curve.x.length;
  while (at > 0 && curve.x[at - 1] > x) at -= 1;
  if (at > 0 && curve.x[at - 1] === x) curve.y[at - 1] = y;
  else {
    curve.x.splice(at, 0, x);
    curve.y.splice(at, 0, y);
  }
}

function grouped(curves) {
  const groups = new Map(known.order.map((title) => [title, []]));
  for (const [name, curve] of curves) groups.get(curve.group)?.push({ name, ...curve });
  for (const [title, list] of groups) {
    list.forEach((curve, index) => Object.assign(curve, { colour: index }));
    if (!list.length) groups.delete(title);
  }
  return groups;
}

function draw() {
  const groups = grouped(known.metrics);
  for (const list of compared ? groups.values() : []) {
    for (const curve of [...list]) {
      const other = compared.metrics[curve.name];
      if (other) list.push({ ...other, name: `${curve.name} ${compared.name}`, label: compared.name, dashed: true, colour: curve.colour });
    }
  }
  charts.draw(groups);
  find("no-curves").hidden = groups.size > 0;
  const readings = grouped(known.system);
  find("system-section").hidden = readings.size === 0;
  machine.draw(readings);
}

async function loadCurves() {
  const found = await getJson(page.dataset.curves);
  known.order = found.order;
  known.metrics = new Map(Object.entries(found.metrics));
  known.system = new Map(Object.entries(found.system));
  draw();
  return found.version;
}

// What the server writes once more where the run has reached another stage: its buttons, its results, its plots.
async function renew() {
  const response = await fetch(location.href, { credentials: "same-origin" });
  if (!response.ok || response.redirected) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of page.querySelectorAll("[data-part]")) {
    const newer = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
    if (!newer) continue;
    if (part.contains(document.activeElement)) part.addEventListener("focusout", () => setTimeout(renew), { once: true });
    else part.replaceWith(document.adoptNode(newer));
  }
  drawPlots(page);
}

function say(state) {
  const badge = find("status");
  if (badge.textContent !== state.label) {
    badge.textContent = state.label;
    badge.className = `badge ${BADGES[state.status] ?? ""}`.trim();
    document.getElementById("announcer").textContent = `The run is ${state.label.toLowerCase()}.`;
  }
  find("bar").value = state.percentage;
  for (const name of ["epochs", "percentage", "left", "elapsed", "best", "best-epoch", "metric"]) {
    const text = { "best-epoch": state.bestEpoch, percentage: `${state.percentage} %` }[name] ?? state[name];
    if (find(name)) find(name).textContent = text || (name === "best-epoch" ? "" : "–");
  }
  log.show(state.progress);
  if (state.stage !== known.stage) renew();
  Object.assign(known, { version: state.version, status: state.status, stage: state.stage });
}

function merge({ groups, epochs, system, console: pieces }) {
  const note = (curves, name, x, y) => {
    if (!curves.has(name)) curves.set(name, { x: [], y: [], group: groups[name] });
    add(curves.get(name), x, y);
  };
  for (const { x, metrics } of epochs) for (const [name, y] of Object.entries(metrics)) note(known.metrics, name, x, y);
  for (const { x, values } of system) for (const [name, y] of Object.entries(values)) note(known.system, name, x, y);
  log.take(pieces);
  if (epochs.length || system.length) draw();
}

async function ask() {
  const found = await getJson(`${page.dataset.live}&after=${known.version}&status=${known.status}`);
  if (!found) return false;
  if (found.changes) merge(found.changes);
  else await Promise.all([loadCurves(), log.load()]); // too much has happened meanwhile
  say(found.state);
  return true;
}

for (const part of page.querySelectorAll("[data-needs-script]")) part.hidden = false;
find("log").addEventListener("change", (event) => charts.setLog(event.target.checked));
find("compare")?.addEventListener("change", async (event) => {
  compared = event.target.value ? await getJson(event.target.value) : null;
  draw();
});
onThemeChange(() => {
  charts.redraw();
  machine.redraw();
});

drawPlots(page);
await Promise.allSettled([loadCurves(), log.load()]);
new Polling(ask, () => ENDED.has(known.status), (text) => {
  find("trouble").textContent = text;
  find("trouble").hidden = !text;
});
