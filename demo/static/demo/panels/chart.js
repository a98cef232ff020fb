// Live chart: a topic of samples, summarised by the server over a sliding window.
/* global uPlot */
import { Connection } from "../connection.js";
import { Panel } from "./panel.js";

const SPAN = 60; // seconds in sight
const LINES = [
  { name: "value", width: 2, fill: true },
  { name: "mean", width: 1.5 },
  { name: "p95", width: 1.5, dash: [5, 4] },
];
const dark = matchMedia("(prefers-color-scheme: dark)");
const percent = (value) => (value === null ? "–" : `${value.toFixed(1)} %`);

let plot = null; // one for the life of the page, filled anew by each sign-in

export function startChart({ signIn }) {
  const panel = new Panel("chart-panel");
  const figures = ["value", "mean", "p95", "count"].map((name) => [name, panel.find(`#chart-${name}`)]);
  let rows = [];
  plot ??= makePlot(panel.find("#chart"));

  function show(message) {
    for (const [name, figure] of figures) {
      figure.textContent = name === "count" ? message.count : percent(message[name]);
    }
    draw([Date.parse(message.server_time) / 1000, ...LINES.map(({ name }) => message[name])]);
  }

  function draw(row) {
    const last = rows.at(-1)?.[0] ?? 0;
    if (row[0] <= last) row[0] = last + 1e-6; // the plot wants times that rise
    rows = rows.filter(([time]) => time > row[0] - SPAN - 1).concat([row]);
    plot.setData(LINES.reduce((data, _, i) => [...data, rows.map((r) => r[i + 1])], [rows.map((r) => r[0])]));
    panel.element.dataset.points = rows.length;
  }

  plot.setData([[], [], [], []]);
  panel.element.dataset.points = 0;
  for (const [, figure] of figures) figure.textContent = "–";

  return new Connection({
    path: "/ws/stats/host.cpu/",
    params: { window: `${SPAN}s`, interval: 0.25, fields: "p95" },
    signIn,
    onState(state, reason) {
      panel.showState(state, reason);
      // A hole in the lines: what happened meanwhile is not known here.
      if (state === "reconnecting" && rows.at(-1)?.[1] != null) draw([rows.at(-1)[0], null, null, null]);
    },
    onMessage(message) {
      if (message.type === "stats") {
        panel.say("");
        show(message);
      } else if (message.type === "error") {
        panel.showError(message);
      } else if (message.type === "subscribed" && message.offset === 0) {
        panel.say("No samples yet. “manage.py feed” publishes those of the server’s machine.");
      }
    },
  });
}

function makePlot(container) {
  let colours = {};
  const colour = (name) => () => colours[name];
  const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
  axis.font = "12px system-ui, sans-serif";
  const made = new uPlot(
    {
      ...sizeOf(container),
      legend: { show: false },
      cursor: { y: false, drag: { setScale: false } },
      padding: [8, 20, 0, 0],
      scales: {
        x: { range: (_, __, max) => [(max ?? SPAN) - SPAN, max ?? SPAN] },
        y: { range: (_, __, max) => [0, roundUp(max ?? 0)] },
      },
      axes: [
        { ...axis, space: 70, size: 36, gap: 10, values: (u, ticks) => ticks.map((t) => ago(u.scales.x.max - t)), splits: tenSeconds },
        { ...axis, size: 48, values: (_, ticks) => ticks.map((t) => `${t} %`) },
      ],
      series: [
        {},
        ...LINES.map(({ name, width, dash, fill }) => ({
          stroke: colour(name), width, dash, fill: fill && colour("fill"), points: { show: false },
        })),
      ],
    },
    [[], [], [], []],
    container,
  );

  function paint() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["value", "mean", "p95", "fill", "muted", "line"]) {
      colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
    made.redraw(false);
  }
  paint();
  dark.addEventListener("change", paint);
  new ResizeObserver(() => container.clientWidth && made.setSize(sizeOf(container))).observe(container);
  return made;
}

const sizeOf = ({ clientWidth, clientHeight }) => ({ width: clientWidth, height: clientHeight });
const roundUp = (max) => [5, 10, 20, 40, 60, 80].find((top) => max <= top) ?? 100;
const ago = (seconds) => (seconds < 1 ? "now" : `${Math.round(seconds)} s ago`);

function tenSeconds(plot) {
  // Fixed places, so that the labels stand still while the lines move.
  const { max } = plot.scales.x;
  const step = plot.width < 420 ? 20 : 10;
  return Array.from({ length: SPAN / step + 1 }, (_, i) => max - SPAN + i * step);
}
