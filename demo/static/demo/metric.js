// One topic of numbers: its newest statistics, and the past minutes of it for a chart.
import { RealtimeError } from "../realtime/realtime.js";

const INTERVAL = 0.25; // seconds between two points
const KEPT = 910; // seconds, a little more than the longest window
const RATE = 10; // numbers a second that the past is reckoned with
const PAGE = 1000; // publications; the most that one answer holds
const QUANTILES = ["median", "p90", "p95", "p99"];
const LINES = ["value", "mean", ...QUANTILES];

/** Events: "points" (there are new ones), "waiting" (there is no number yet), "ending" (detail: why). */
export class Metric extends EventTarget {
  points = []; // { time (seconds since the epoch), value, mean, median, … }, in order of time
  latest = null;
  #connections;
  #link = null;
  #offset = 0; // of the last number among the points
  #epoch = null;

  constructor(connections, name) {
    super();
    this.#connections = connections;
    this.name = name;
  }

  /** Watch it; the statistics are over the last `seconds`. */
  open(seconds) {
    this.close();
    this.#offset = 0; // another window may need more of the past
    this.#link = this.#connections.open("stats", this.name, {
      window: `${seconds}s`,
      interval: INTERVAL,
      fields: QUANTILES,
    });
    const { stream } = this.#link;
    stream.addEventListener("subscribed", ({ detail }) => this.#fill(stream, detail, seconds));
    stream.addEventListener("stats", ({ detail }) => this.#add(detail));
    stream.addEventListener("ending", ({ detail }) => this.#tell("ending", detail));
  }

  close() {
    this.#connections.close(this.#link);
    this.#link = null;
  }

  /** Read what the server retains: the past before this page was here, or a hole in it. */
  async #fill(stream, { epoch, offset: top }, seconds) {
    if (epoch !== this.#epoch) this.#offset = 0;
    this.#epoch = epoch;
    if (top === 0) this.#tell("waiting");
    let after = Math.max(this.#offset, top - Math.max(seconds, 60) * RATE, 0);
    while (after < top) {
      const page = await read(stream, after);
      if (!page?.length) return;
      after = page.at(-1).offset;
      this.#merge(page.flatMap(({ data }) => data.timestamps.map((time, i) => ({ time, value: data.values[i] }))));
    }
  }

  #merge(past) {
    const seen = new Set(this.points.map(slot));
    const fresh = past.filter((point, i) => !seen.has(slot(point)) && slot(point) !== slot(past[i + 1] ?? {}));
    this.points = [...this.points, ...fresh].sort((one, other) => one.time - other.time);
    this.#tell("points");
  }

  #add(message) {
    this.latest = message;
    this.#offset = message.offset ?? 0;
    const point = { time: Date.parse(message.server_time) / 1000 };
    for (const name of LINES) point[name] = message[name];
    if (point.time > (this.points.at(-1)?.time ?? 0)) this.points.push(point);
    if (this.points[0].time < point.time - KEPT) this.points = this.points.filter(({ time }) => time >= point.time - KEPT + 10);
    this.#tell("points");
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Where a point belongs; of many within one interval a single one is kept. */
const slot = ({ time }) => Math.floor(time / INTERVAL);

/** Publications after an offset; null where they cannot be had, for then the chart begins now. */
async function read(stream, after) {
  try {
    return (await stream.history({ after, limit: PAGE })).publications;
  } catch (error) {
    if (!(error instanceof RealtimeError)) throw error;
    return null;
  }
}
