// How long a message to the server and back takes, as a histogram that lives.
import { RealtimeError } from "../realtime/realtime.js";
import { byId, make } from "./elements.js";
import { milliseconds } from "./format.js";

const EVERY = 1000; // ms
const KEPT = 200;
const EDGES = [1, 2, 5, 10, 20, 50, 100, 200, 500]; // ms; a bar between each two, and one beyond

export class RoundTrips {
  #getStream;
  #trips = [];
  #bars;
  #timer = 0;

  /** `getStream`: the stream to measure, or null where there is none now. */
  constructor(getStream) {
    this.#getStream = getStream;
    const names = [...EDGES.map((edge) => [edge, `up to ${edge}`]), ["more", "over 500"]];
    this.#bars = names.map(([label, name]) => {
      const spoken = make("span", { className: "unseen" });
      const bar = make("li", {}, make("i", { ariaHidden: "true" }), make("span", {}, String(label)), spoken);
      return { bar, name, spoken };
    });
    byId("trips").replaceChildren(...this.#bars.map(({ bar }) => bar));
  }

  open() {
    this.#trips = [];
    this.#show();
    this.#timer = setInterval(() => this.#measure(), EVERY);
  }

  close() {
    clearInterval(this.#timer);
  }

  async #measure() {
    const stream = this.#getStream();
    if (stream?.state !== "live" || document.hidden) return;
    try {
      this.#trips.push(await stream.ping());
    } catch (error) {
      if (!(error instanceof RealtimeError)) throw error;
      return; // the connection broke before the answer
    }
    if (this.#trips.length > KEPT) this.#trips.shift();
    this.#show();
  }

  #show() {
    const sorted = [...this.#trips].sort((one, other) => one - other);
    const level = (part) => sorted[Math.min(Math.floor(sorted.length * part), sorted.length - 1)];
    byId("trip-latest").textContent = milliseconds(this.#trips.at(-1));
    byId("trip-median").textContent = milliseconds(level(0.5));
    byId("trip-p95").textContent = milliseconds(level(0.95));
    const counts = this.#bars.map(() => 0);
    for (const trip of this.#trips) counts[findBar(trip)] += 1;
    const most = Math.max(...counts, 1);
    const latest = this.#trips.length ? findBar(this.#trips.at(-1)) : -1;
    this.#bars.forEach(({ bar, name, spoken }, i) => {
      bar.style.setProperty("--share", counts[i] / most);
      bar.toggleAttribute("data-some", counts[i] > 0);
      bar.toggleAttribute("data-latest", i === latest);
      spoken.textContent = ` (${name} ms: ${counts[i]})`;
    });
  }
}

function findBar(trip) {
  const bar = EDGES.findIndex((edge) => trip <= edge);
  return bar < 0 ? EDGES.length : bar;
}
