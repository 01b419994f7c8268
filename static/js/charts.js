// Charts of curves with uPlot: a card each, with a key that has the values under the pointer and switches curves off.
// A curve is {name, x: [...], y: [...]}, with `label`, `colour` (0 to 9) and `dashed` if wanted. The pointer, the zoom
// and the arrow keys move all charts of a page together that have the same kind of x.

const COLOURS = 10; // --curve-0 to --curve-9 in training.css

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function number(value) {
  if (typeof value !== "number") return "–";
  const size = Math.abs(value);
  return size !== 0 && (size < 0.001 || size >= 100000) ? value.toExponential(2) : String(+value.toPrecision(4));
}

function clock(seconds) {
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (part) => String(part).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

// The ends of the y axis: uPlot's own, but for a metric that is 0 as yet, which it would draw as one of 100.
function fromTo(_, least, most) {
  if (least === 0 && most === 0) return [0, 1];
  return least === null ? [null, null] : window.uPlot.rangeNum(least, most, 0.1, true);
}

// What all names have in front of them: a group of `train/…` need not say so at each curve.
function prefixOf(names) {
  const first = names[0]?.match(/^\w+\//)?.[0] ?? "";
  return names.every((name) => name.startsWith(first)) ? first : "";
}

export class Chart {
  // `xName` is what stands before the x under the pointer, `isTime` that it is seconds, `key` which charts move along.
  constructor(parent, title, { isTime = false, isLog = false, xName = "Epoch", key = "epochs" } = {}) {
    Object.assign(this, { title, isTime, isLog, xName, syncKey: key, names: null, curves: [], hidden: new Set() });
    this.card = element("figure", "chart-card");
    const caption = element("figcaption");
    this.heading = element("span", "", title);
    this.at = element("span", "at");
    caption.append(this.heading, this.at);
    this.legend = element("div", "legend");
    this.place = element("div", "chart");
    this.place.tabIndex = 0;
    this.place.setAttribute("role", "group");
    this.place.setAttribute("aria-roledescription", "chart");
    this.place.addEventListener("keydown", (event) => this.move(event));
    this.card.append(caption, this.legend, this.place);
    parent.append(this.card);
    this.resizer = new ResizeObserver(() => this.resize());
    this.resizer.observe(this.place);
  }

  rename(title) {
    this.title = title;
    this.heading.textContent = title;
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.place;
    if (this.plot && width && (width !== this.plot.width || height !== this.plot.height)) this.plot.setSize({ width, height });
  }

  // Draw `curves`: kept in place when only values are new, made anew when the set of curves is another.
  draw(curves) {
    this.curves = curves;
    const shown = curves.map((curve) => (this.isLog ? { ...curve, y: curve.y.map((y) => (y > 0 ? y : null)) } : curve));
    const names = JSON.stringify(shown.map(({ name, label, colour, dashed }) => [name, label, colour, dashed]));
    // One common x: what a curve lacks there is undefined, which uPlot bridges; null stays a gap. Copies, because the
    // curves grow in place, and what is drawn now must be known when the next values come.
    const data = shown.length ? window.uPlot.join(shown.map((curve) => [[...curve.x], [...curve.y]])) : [[]];
    if (this.plot && names === this.names) {
      const { min, max } = this.plot.scales.x;
      const [first, last] = [this.plot.data[0][0], this.plot.data[0].at(-1)];
      const isZoomed = min > first || max < last;
      this.plot.setData(data, !isZoomed);
      if (isZoomed) this.plot.redraw();
    } else {
      this.names = names;
      this.plot?.destroy();
      this.plot = null;
      this.drawLegend();
      this.plot = new window.uPlot(this.options(shown), data, this.place);
    }
    this.tell();
  }

  drawLegend() {
    const prefix = prefixOf(this.curves.map((curve) => curve.name));
    this.values = this.curves.map((curve, index) => {
      const button = element("button", "curve");
      button.type = "button";
      button.setAttribute("aria-pressed", String(!this.hidden.has(curve.name)));
      const swatch = element("span", `swatch curve-${(curve.colour ?? index) % COLOURS}${curve.dashed ? " dashed" : ""}`);
      const value = element("span", "value");
      button.append(swatch, element("span", "name", curve.label ?? curve.name.slice(prefix.length)), value);
      button.title = curve.name;
      button.addEventListener("click", () => {
        const isShown = this.hidden.delete(curve.name);
        if (!isShown) this.hidden.add(curve.name);
        button.setAttribute("aria-pressed", String(isShown));
        this.plot.setSeries(index + 1, { show: isShown });
      });
      return { button, value };
    });
    this.legend.replaceChildren(...this.values.map(({ button }) => button));
  }

  options(curves) {
    const grid = { stroke: style("--line"), width: 1 };
    const axis = { stroke: style("--muted"), grid, ticks: { ...grid, size: 4 }, font: "11px system-ui, sans-serif", gap: 4 };
    const xTick = (x) => (this.isTime ? clock(x) : this.xName === "Epoch" && !Number.isInteger(x) ? "" : +x.toPrecision(6));
    return {
      width: this.place.clientWidth || 300,
      height: this.place.clientHeight || 220,
      padding: [8, 14, 0, 0],
      legend: { show: false },
      cursor: {
        points: { size: 7 },
        drag: { x: true, y: false },
        focus: { prox: 24 },
        sync: { key: this.syncKey, scales: ["x", null] },
      },
      focus: { alpha: 0.35 },
      scales: { x: { time: false }, y: this.isLog ? { distr: 3 } : { range: fromTo } },
      axes: [
        { ...axis, size: 28, values: (_, ticks) => ticks.map(xTick) },
        { ...axis, size: 58, values: (_, ticks) => ticks.map((y) => (y === null ? "" : number(y))) },
      ],
      series: [
        {},
        ...curves.map((curve, index) => ({
          label: curve.name,
          show: !this.hidden.has(curve.name),
          stroke: style(`--curve-${(curve.colour ?? index) % COLOURS}`),
          width: 1.75,
          dash: curve.dashed ? [5, 4] : undefined,
          points: { show: curve.x.length < 3, size: 6 },
        })),
      ],
      hooks: { setCursor: [() => this.tell()] },
    };
  }

  // The values under the pointer; while there is none, the newest.
  tell() {
    if (!this.plot) return;
    const { cursor, data } = this.plot;
    const isPointed = cursor.left >= 0 && cursor.idx !== null && cursor.idx !== undefined;
    const x = isPointed ? data[0][cursor.idx] : data[0].at(-1);
    this.at.textContent = x === undefined ? "" : `${this.xName} ${this.isTime ? clock(x) : +x.toPrecision(6)}`;
    this.values.forEach(({ value }, index) => {
      const ys = data[index + 1];
      const y = isPointed ? ys[cursor.idxs?.[index + 1] ?? cursor.idx] : this.curves[index].y.findLast((each) => each !== null);
      value.textContent = number(y);
    });
    const values = this.curves.map((curve, index) => `${curve.label ?? curve.name} ${this.values[index].value.textContent}`);
    this.place.setAttribute("aria-label", `${this.title}, ${this.at.textContent}: ${values.join(", ")}. Arrow keys move.`);
  }

  // With the keys: one point on or back, ten with Shift, to the ends, and out of the chart.
  move(event) {
    const xs = this.plot?.data[0] ?? [];
    const { min, max } = this.plot?.scales.x ?? {};
    const [first, last] = [xs.findIndex((x) => x >= min), xs.findLastIndex((x) => x <= max)];
    const isInside = this.plot?.cursor.left >= 0;
    const now = isInside ? this.plot.cursor.idx : null;
    const step = event.shiftKey ? 10 : 1;
    const to = { ArrowLeft: (now ?? last + 1) - step, ArrowRight: (now ?? first - 1) + step, Home: first, End: last }[event.key];
    if (event.key === "Escape" && isInside) this.plot.setCursor({ left: -10, top: -10 }, true, true);
    else if (to === undefined || first < 0) return;
    else {
      const index = Math.min(last, Math.max(first, to));
      this.plot.setCursor({ left: this.plot.valToPos(xs[index], "x"), top: 10 }, true, true);
      document.getElementById("announcer").textContent = this.place.getAttribute("aria-label").replace(" Arrow keys move.", "");
    }
    event.preventDefault();
  }

  setLog(isLog) {
    this.isLog = isLog;
    this.redraw();
  }

  redraw() {
    this.names = null;
    if (this.curves.length) this.draw(this.curves);
  }

  remove() {
    this.resizer.disconnect();
    this.plot?.destroy();
    this.card.remove();
  }
}

// A set of charts, one for each group, that come and go with the curves.
export class Charts {
  constructor(parent, options = {}) {
    Object.assign(this, { parent, options, charts: new Map() });
  }

  // `groups` maps titles to lists of curves, in the order to show.
  draw(groups) {
    for (const [title, chart] of this.charts) {
      if (groups.has(title)) continue;
      chart.remove();
      this.charts.delete(title);
    }
    for (const [title, curves] of groups) {
      if (!this.charts.has(title)) this.charts.set(title, new Chart(this.parent, title, this.options));
      this.charts.get(title).draw(curves);
      this.parent.append(this.charts.get(title).card);
    }
  }

  setLog(isLog) {
    this.options.isLog = isLog;
    for (const chart of this.charts.values()) chart.setLog(isLog);
  }

  redraw() {
    for (const chart of this.charts.values()) chart.redraw();
  }
}

// Charts take their colours from the style sheet: made anew when that turns dark or light.
export function onThemeChange(act) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", act);
}

// The JSON at an address, null where nothing is new (204). Throws an Error with `status`, which is 401 where the answer
// is the sign-in page.
export async function getJson(address) {
  const response = await fetch(address, { headers: { Accept: "application/json" }, credentials: "same-origin" });
  const status = response.redirected ? 401 : response.status;
  if (status === 204) return null;
  if (status !== 200) throw Object.assign(new Error(`${status}`), { status });
  return response.json();
}
