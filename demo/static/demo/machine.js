// The figures of the machine: five tiles to choose from, a chart of the chosen one, its statistics.
import { Chart } from "./chart.js";
import { byId, chosen, make, onChoice } from "./elements.js";
import * as format from "./format.js";
import { Metric } from "./metric.js";
import { Topics } from "./topics.js";

const METRICS = [
  { name: "host.cpu", label: "Processor", format: format.percent, ceiling: 100 },
  { name: "host.memory", label: "Memory", format: format.percent, ceiling: 100 },
  { name: "host.load", label: "Workload", format: format.number },
  { name: "host.network", label: "Network", format: format.bytesPerSecond },
  { name: "host.disk", label: "Disks", format: format.bytesPerSecond },
];
const QUANTILES = { median: "50 %", p90: "90 %", p95: "95 %", p99: "99 %" };
const SPARK = { seconds: 60, width: 120, height: 32 };
const SVG = "http://www.w3.org/2000/svg";

export class Machine {
  #connections;
  #chart = null;
  #metrics = new Map(); // by name, those that are open
  #tiles = new Map();
  #shown = METRICS[0].name;
  #topics;
  #due = 0;

  constructor(connections) {
    this.#connections = connections;
    byId("tiles").replaceChildren(...METRICS.map((metric) => this.#makeTile(metric)));
    byId("tiles").addEventListener("change", ({ target }) => this.#show(target.value));
    this.#topics = new Topics(byId("metric-topic"), listTopics(0));
    this.#topics.addEventListener("change", ({ detail }) => this.#show(detail));
    onChoice(byId("window"), () => this.#reopen());
    onChoice(byId("quantile"), () => this.#draw());
  }

  open() {
    this.#chart ??= new Chart(byId("chart"));
    for (const { name } of METRICS) this.#watch(name);
    this.#show(METRICS[0].name);
  }

  close() {
    for (const metric of this.#metrics.values()) metric.close();
    this.#metrics.clear();
  }

  /** How many cores there are to choose from, once that is known. */
  offerCores(number) {
    this.#topics.offer(listTopics(number));
  }

  #reopen() {
    for (const metric of this.#metrics.values()) metric.open(this.#seconds);
    this.#draw();
  }

  get #seconds() {
    return Number(chosen(byId("window")));
  }

  #watch(name) {
    const metric = new Metric(this.#connections, name);
    this.#metrics.set(name, metric);
    metric.addEventListener("points", () => this.#schedule());
    metric.addEventListener("waiting", () => this.#say(name, "Nothing has been measured here yet", "The chart begins with the first number."));
    metric.addEventListener("ending", ({ detail }) => this.#say(name, detail, ""));
    metric.open(this.#seconds);
  }

  #show(name) {
    const before = this.#shown;
    this.#shown = name;
    if (before !== name && !this.#tiles.has(before)) {
      this.#metrics.get(before)?.close();
      this.#metrics.delete(before);
    }
    if (!this.#metrics.has(name)) this.#watch(name);
    for (const [tile, { input }] of this.#tiles) input.checked = tile === name;
    this.#topics.show(name);
    this.#say(name, "Waiting for the first figures", "");
    this.#draw();
  }

  /** At most one drawing for each frame, however many numbers come. */
  #schedule() {
    this.#due ||= requestAnimationFrame(() => {
      this.#due = 0;
      this.#draw();
    });
  }

  #draw() {
    for (const [name, tile] of this.#tiles) drawTile(tile, this.#metrics.get(name));
    const metric = this.#metrics.get(this.#shown);
    if (!metric || !this.#chart) return;
    const about = describe(this.#shown);
    const quantile = chosen(byId("quantile"));
    const level = `Below this ${QUANTILES[quantile]} of the time`;
    byId("quantile-label").textContent = level;
    const latest = metric.latest ?? {};
    for (const figure of byId("figures").querySelectorAll("[data-figure]")) {
      const field = figure.dataset.figure;
      const value = latest[field === "quantile" ? quantile : field];
      figure.textContent = field === "count" ? format.count(value) : about.format(value);
    }
    this.#chart.configure({
      span: this.#seconds,
      format: about.format,
      ceiling: about.ceiling,
      names: ["Measured", "On average", level],
    });
    this.#chart.draw(metric.points, quantile);
    byId("chart").dataset.points = metric.points.length;
    byId("chart").setAttribute(
      "aria-label",
      `Line chart of ${about.label}, the last ${format.duration(this.#seconds)}: now ${about.format(latest.value)}, on average ${about.format(latest.mean)}, at most ${about.format(latest.max)}`,
    );
    byId("chart-empty").hidden = metric.points.length > 0;
  }

  #say(name, title, text) {
    if (name === this.#shown) byId("chart-empty").replaceChildren(make("strong", {}, title), text);
  }

  #makeTile({ name, label, format }) {
    const input = make("input", { type: "radio", name: "metric", value: name, ariaLabel: label });
    const figure = make("strong", {}, "–");
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${SPARK.width} ${SPARK.height}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const line = svg.appendChild(document.createElementNS(SVG, "polyline"));
    this.#tiles.set(name, { input, figure, line, format });
    return make("label", { className: "tile" }, input, make("span", {}, make("span", { className: "small" }, label), figure, svg));
  }
}

function drawTile({ figure, line, format }, metric) {
  figure.textContent = format(metric?.latest?.value);
  const points = metric?.points ?? [];
  const end = points.at(-1)?.time ?? 0;
  const recent = points.filter(({ time, value }) => time > end - SPARK.seconds && value != null);
  const most = Math.max(...recent.map(({ value }) => value)) || 1;
  const place = ({ time, value }) => {
    const x = SPARK.width * (1 - (end - time) / SPARK.seconds);
    return `${x.toFixed(1)},${(SPARK.height - 3 - (value / most) * (SPARK.height - 6)).toFixed(1)}`;
  };
  line.setAttribute("points", recent.map(place).join(" "));
}

/** What is known of a topic: `label`, `format`, `ceiling`. */
function describe(name) {
  const known = METRICS.find((metric) => metric.name === name);
  if (known) return known;
  const core = /^host\.cpu\.(\d+)$/.exec(name);
  if (core) return { label: `core ${core[1]}`, format: format.percent, ceiling: 100 };
  return { label: name, format: format.number };
}

function listTopics(cores) {
  const groups = { "This machine": METRICS.map(({ name, label }) => [name, label]) };
  if (cores > 0) {
    groups["Each core"] = Array.from({ length: cores }, (_, i) => [`host.cpu.${i}`, `Core ${i}`]);
  }
  return groups;
}
