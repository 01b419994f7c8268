// Runs beside each other: a chart for each metric, with a curve for each run.

import { Charts, getJson, onThemeChange } from "./charts.js";

const section = document.querySelector("[data-compare-page]");
const charts = new Charts(section.querySelector("[data-charts]"));
const addresses = [...document.querySelectorAll("[data-curves]")].map((cell) => cell.dataset.curves);
const runs = await Promise.all(addresses.map(getJson));
const groups = new Map();
runs.forEach((run, colour) => {
  for (const [name, curve] of Object.entries(run.metrics)) {
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push({ ...curve, name: run.name, colour });
  }
});
charts.draw(groups);
section.querySelector("[data-no-curves]").hidden = groups.size > 0;
const log = section.querySelector("[data-log]");
log.closest("label").hidden = false;
log.addEventListener("change", () => charts.setLog(log.checked));
onThemeChange(() => charts.redraw());
