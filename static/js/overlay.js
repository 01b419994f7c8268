// The page of a project: one metric of the chosen runs laid over each other, and their rows kept up to date.

import { Chart, element, getJson, onThemeChange } from "./charts.js";
import { Polling } from "./polling.js";

const COLOURS = 10;
const BADGES = { running: "live", starting: "live", completed: "good", failed: "danger", stalled: "warn" };
const LIVE = new Set(["running", "starting", "pending", "stalled"]);

const section = document.querySelector("[data-overlay]");
const table = document.querySelector("[data-runs]");
const boxes = [...table.querySelectorAll("[data-run]")];
const all = table.querySelector("[data-all]");
const metric = section.querySelector("[data-metric]");
const log = section.querySelector("[data-log]");
const memory = `runs drawn of ${section.dataset.project}`;
const slots = new Map(); // the colour of each chosen run
let stamp = "";

const chart = new Chart(section.querySelector("[data-chart]"), metric.value);
chart.card.classList.add("large");

const chosen = () => boxes.filter((box) => box.checked);
const row = (box) => box.closest("tr");

// The lowest colour that no other chosen run has.
function colour() {
  for (const box of boxes) if (!box.checked) slots.delete(box.value);
  for (const box of chosen()) {
    if (slots.has(box.value)) continue;
    const taken = new Set(slots.values());
    slots.set(box.value, [...Array(boxes.length).keys()].find((slot) => !taken.has(slot)));
  }
  for (const box of boxes) {
    const slot = slots.get(box.value);
    row(box).querySelector("[data-swatch]").className = slot === undefined ? "swatch" : `swatch curve-${slot % COLOURS}`;
  }
  all.checked = chosen().length === boxes.length;
  all.indeterminate = !all.checked && chosen().length > 0;
  section.querySelector("[data-none]").hidden = chosen().length > 0;
}

function say(states) {
  for (const [id, state] of Object.entries(states)) {
    const line = boxes.find((box) => box.value === id)?.closest("tr");
    if (!line) continue;
    line.dataset.state = state.status;
    const badge = line.querySelector("[data-status]");
    badge.textContent = state.label;
    badge.className = `badge ${BADGES[state.status] ?? ""}`.trim();
    for (const name of ["epochs", "best", "metric", "elapsed"]) line.querySelector(`[data-${name}]`).textContent = state[name] || "–";
  }
}

async function load() {
  const name = metric.value;
  const query = new URLSearchParams({ metric: name, seen: stamp });
  for (const box of chosen()) query.append("run", box.value);
  for (const box of boxes) if (LIVE.has(row(box).dataset.state)) query.append("row", box.value);
  const found = await getJson(`${section.dataset.overlay}&${query}`);
  if (!found || name !== metric.value) return false;
  const isNew = stamp !== "";
  stamp = found.stamp;
  say(found.states);
  chart.rename(name);
  chart.draw(
    chosen()
      .filter((box) => found.curves[box.value]?.x.length)
      .map((box) => ({ name: box.dataset.name, colour: slots.get(box.value), ...found.curves[box.value] })),
  );
  return isNew;
}

function change() {
  stamp = "";
  colour();
  sessionStorage.setItem(memory, JSON.stringify(chosen().map((box) => box.value)));
  load();
}

const remembered = JSON.parse(sessionStorage.getItem(memory) ?? "null");
if (remembered && boxes.some((box) => remembered.includes(box.value))) {
  for (const box of boxes) box.checked = remembered.includes(box.value);
}
all.closest("label").hidden = false;
all.addEventListener("change", () => {
  for (const box of boxes) box.checked = all.checked;
  change();
});
for (const box of boxes) box.addEventListener("change", change);
metric.addEventListener("change", () => metric.form.requestSubmit());
section.querySelector("[data-submit]").hidden = true;
log.closest("label").hidden = false;
log.addEventListener("change", () => chart.setLog(log.checked));
onThemeChange(() => chart.redraw());
colour();
await Promise.allSettled([load()]);
new Polling(load, () => !boxes.some((box) => LIVE.has(row(box).dataset.state)));
