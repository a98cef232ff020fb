// The chart: a line of what was measured, its mean and a quantile, over the last seconds.
/* global uPlot */
import { make } from "./elements.js";
import { exactTime } from "./format.js";

const LINES = ["value", "mean", "quantile"];
const HOLE = 3; // seconds without a point that are shown as a hole

export class Chart {
  #root;
  #plot;
  #tip = make("div", { className: "tip", hidden: true });
  #colours = {};
  #span = 60;
  #format = String;
  #names = [];
  #ceiling = null;

  constructor(root) {
    this.#root = root;
    this.#plot = new uPlot(this.#describe(), [[], [], [], []], root);
    root.append(this.#tip);
    this.#paint();
    addEventListener("themechange", () => this.#paint());
    new ResizeObserver(() => root.clientWidth && this.#plot.setSize(sizeOf(root))).observe(root);
  }

  /** `span`: seconds; `format`: of a value; `names`: of the three lines; `ceiling`: of the values, or null. */
  configure({ span, format, names, ceiling }) {
    this.#span = span;
    this.#format = format;
    this.#names = names;
    this.#ceiling = ceiling;
  }

  /** Draw points of a Metric; `quantile` is the field that makes the third line. */
  draw(points, quantile) {
    const end = points.at(-1)?.time ?? 0;
    const columns = [[], [], [], []];
    const add = (time, ...values) => [time, ...values].forEach((value, i) => columns[i].push(value ?? null));
    let before = null;
    for (const point of points) {
      if (point.time < end - this.#span - 2) continue;
      if (before !== null && point.time - before > HOLE) add(before + 0.001, null, null, null);
      add(point.time, point.value, point.mean, point[quantile]);
      before = point.time;
    }
    this.#plot.setData(columns);
  }

  #describe() {
    const colour = (name) => () => this.#colours[name];
    const axis = { stroke: colour("muted"), ticks: { show: false }, font: "12px Inter, sans-serif" };
    const line = (name, width, more = {}) => ({ stroke: colour(name), width, points: { show: false }, ...more });
    return {
      ...sizeOf(this.#root),
      legend: { show: false },
      cursor: { y: false, drag: { setScale: false }, points: { size: 8 } },
      padding: [8, 24, 0, 0],
      scales: {
        x: { range: (_, __, max) => [(max ?? 0) - this.#span, max ?? 0] },
        y: { range: (_, __, max) => [0, roundUp(max ?? 0, this.#ceiling)] },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: 28,
          splits: (plot) => splitTime(plot, this.#span),
          values: (plot, ticks) => ticks.map((time) => ago(plot.scales.x.max - time)),
        },
        {
          ...axis,
          grid: { stroke: colour("line"), width: 1 },
          size: (_, labels) => Math.max(...(labels ?? [""]).map(({ length }) => length)) * 7 + 18,
          splits: (plot) => [0, 0.25, 0.5, 0.75, 1].map((part) => part * plot.scales.y.max),
          values: (_, ticks) => ticks.map((value) => this.#format(value)),
        },
      ],
      series: [
        {},
        line("value", 1.75, { fill: colour("value-fill") }),
        line("mean", 2),
        line("quantile", 2, { dash: [6, 5] }),
      ],
      hooks: { setCursor: [(plot) => this.#point(plot)] },
    };
  }

  /** Say what is under the pointer. */
  #point({ cursor: { idx, left }, data, width }) {
    this.#tip.hidden = idx == null || left < 0 || data[1][idx] == null;
    if (this.#tip.hidden) return;
    const rows = this.#names
      .map((name, i) => [name, data[i + 1][idx]])
      .filter(([, value]) => value != null)
      .flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, this.#format(value))]);
    this.#tip.replaceChildren(exactTime(data[0][idx] * 1000), make("dl", {}, ...rows));
    const room = this.#tip.offsetWidth + 16;
    const at = left + (width - this.#plot.over.clientWidth);
    this.#tip.style.left = `${at + room > width ? at - room : at + 16}px`;
  }

  #paint() {
    // Canvas knows no custom properties, so an element is asked what they come to.
    const probe = this.#root.appendChild(document.createElement("i"));
    for (const name of [...LINES, "value-fill", "muted", "line"]) {
      probe.style.color = `var(--${name})`;
      this.#colours[name] = getComputedStyle(probe).color;
    }
    probe.remove();
    this.#plot.redraw(false);
  }
}

const sizeOf = ({ clientWidth, clientHeight }) => ({ width: clientWidth, height: clientHeight });

/** The next number of 1, 2, 4 or 8 times a power of ten: its quarters are round too. */
function roundUp(max, ceiling) {
  if (max <= 0) return ceiling ? ceiling / 10 : 1;
  const power = 10 ** Math.floor(Math.log10(max));
  const top = [1, 2, 4, 8, 10].map((step) => step * power).find((each) => each >= max * 1.02) ?? 20 * power;
  return ceiling ? Math.min(top, ceiling) : top;
}

function splitTime({ scales: { x }, width }, span) {
  // Fixed places, so that the labels stand still while the lines move.
  const parts = width < 480 ? 3 : 5;
  return Array.from({ length: parts + 1 }, (_, i) => x.max - span + (i * span) / parts);
}

function ago(seconds) {
  if (seconds < 0.5) return "now";
  return seconds <= 90 ? `−${Math.round(seconds)} s` : `−${Number((seconds / 60).toFixed(1))} min`;
}
