// The plots that a client reports at the end of a run, drawn from their numbers: curves by class, confusion matrix.

import { Chart, element, getJson } from "./charts.js";

const TITLES = {
  pr_curve: ["Precision by recall", "Recall"],
  f1_curve: ["F1 by confidence", "Confidence"],
  precision_curve: ["Precision by confidence", "Confidence"],
  recall_curve: ["Recall by confidence", "Confidence"],
};
const MOST_CURVES = 12; // classes drawn beside the mean of all
const MOST_CLASSES = 40; // in a table
const MOST_CONFUSED = 25;
const SHADES = 8;

const nameOf = (names, index, length) => names[index] ?? (index === length - 1 ? "background" : `class ${index}`);

function curves(plot, names) {
  const rows = Array.isArray(plot.y?.[0]) ? plot.y : [plot.y ?? []];
  const good = [...plot.x.keys()].filter((index) => typeof plot.x[index] === "number");
  const x = good.map((index) => plot.x[index]);
  const drawn = rows.slice(0, MOST_CURVES).map((y, index) => ({
    name: String(plot.classes?.[index] ?? names[index] ?? `class ${index}`),
    x,
    y: good.map((at) => (typeof y[at] === "number" ? y[at] : null)),
    colour: index + 1,
  }));
  if (rows.length < 2) return drawn;
  const mean = good.map((at) => {
    const there = rows.map((y) => y[at]).filter((value) => typeof value === "number");
    return there.length ? there.reduce((sum, value) => sum + value, 0) / there.length : null;
  });
  return [{ name: "mean of all classes", x, y: mean, colour: 0 }, ...drawn];
}

function scrolling(label, table) {
  const scroll = element("div", "scroll");
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", label);
  scroll.append(table);
  return scroll;
}

function heads(row, labels) {
  for (const label of labels) {
    const cell = element("th", "", label);
    cell.scope = "col";
    row.append(cell);
  }
}

// Rows are what was predicted, columns what is true; shaded by the share of what is true.
function matrix(cells, names) {
  const labels = cells.map((_, index) => nameOf(names, index, cells.length));
  const totals = labels.map((_, column) => cells.reduce((sum, row) => sum + (Number(row[column]) || 0), 0));
  const table = element("table", "matrix");
  heads(table.createTHead().insertRow(), ["predicted \\ true", ...labels]);
  const body = table.createTBody();
  cells.forEach((row, index) => {
    const line = body.insertRow();
    const name = element("th", "", labels[index]);
    name.scope = "row";
    line.append(name);
    row.forEach((value, column) => {
      const share = totals[column] ? (Number(value) || 0) / totals[column] : 0;
      const cell = element("td", `number shade-${Math.round(share * SHADES)}`, String(value ?? ""));
      cell.title = `${Math.round(share * 100)} % of ${labels[column]}`;
      line.append(cell);
    });
  });
  return scrolling("Confusion matrix", table);
}

// Of so many classes that no table shows them: which are taken for which most often.
function confused(cells, names) {
  const found = [];
  cells.forEach((row, predicted) => row.forEach((value, real) => value > 0 && predicted !== real && found.push([value, real, predicted])));
  const table = element("table");
  heads(table.createTHead().insertRow(), ["True", "Predicted", "How often"]);
  const body = table.createTBody();
  for (const [value, real, predicted] of found.sort((a, b) => b[0] - a[0]).slice(0, MOST_CONFUSED)) {
    const line = body.insertRow();
    line.append(element("td", "", nameOf(names, real, cells.length)), element("td", "", nameOf(names, predicted, cells.length)));
    line.append(element("td", "number", String(value)));
  }
  return scrolling("What is confused most often", table);
}

function raw(plot) {
  const details = element("details");
  const text = element("pre", "", JSON.stringify(plot, null, 1).slice(0, 20000));
  text.tabIndex = 0;
  details.append(element("summary", "", "Numbers"), text);
  return details;
}

async function drawOne(figure) {
  const { plot, classNames } = await getJson(figure.dataset.plot);
  const caption = figure.querySelector("figcaption");
  if (TITLES[plot.type] && Array.isArray(plot.x)) {
    const [title, xName] = TITLES[plot.type];
    const chart = new Chart(figure.parentElement, title, { xName, key: plot.type });
    figure.replaceWith(chart.card);
    chart.draw(curves(plot, classNames));
  } else if (plot.type === "confusion_matrix" && plot.matrix?.every(Array.isArray)) {
    const isSmall = plot.matrix.length <= MOST_CLASSES;
    caption.textContent = isSmall ? "Confusion matrix" : `Confusion of ${plot.matrix.length - 1} classes`;
    figure.append(isSmall ? matrix(plot.matrix, classNames) : confused(plot.matrix, classNames));
  } else figure.append(raw(plot));
}

// Draw each plot when it comes into view: some are megabytes.
export function drawPlots(page) {
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((one) => one.isIntersecting)) {
        watcher.unobserve(entry.target);
        drawOne(entry.target);
      }
    },
    { rootMargin: "400px" },
  );
  for (const figure of page.querySelectorAll("[data-plot]")) watcher.observe(figure);
}
