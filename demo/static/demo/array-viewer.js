// The array viewer: a topic of arrays as a moving picture, and how fast it comes.
import { RealtimeError } from "../realtime/realtime.js";
import { CellReader } from "./cell-reader.js";
import { byId, chosen, make, onChoice } from "./elements.js";
import * as format from "./format.js";
import { HeatMap, drawColours } from "./heatmap.js";
import { Topics } from "./topics.js";

const ON_REQUEST = "on-request";
const REQUESTED = { shape: [36, 64], dtype: "float64", source: "random" };
const RATE_OVER = 3000; // ms
const PICTURES = {
  pond: { label: "A pond in the rain", about: "The water of a made-up pond, ten times a second: high is bright, low is dark." },
  "host.cpu": { label: "Each core, 5 minutes", about: "How busy the cores are: a row for each core, a column for each of the last 300 seconds.", format: format.percent },
  [ON_REQUEST]: { label: "Numbers on request", about: "Random numbers that the server makes when asked." },
};

export class ArrayViewer {
  #connections;
  #map = new HeatMap(byId("heatmap"));
  #reader;
  #link = null;
  #name = "pond";
  #topics;
  #arrived = []; // times of the last arrays, on the clock of performance.now()
  #skipped = 0;
  #timer = 0;

  constructor(connections) {
    this.#connections = connections;
    this.#reader = new CellReader(this.#map, (value) => this.#format(value));
    this.#topics = new Topics(byId("array-topic"), {
      Pictures: Object.entries(PICTURES).map(([name, { label }]) => [name, label]),
    });
    this.#topics.addEventListener("change", ({ detail }) => this.#show(detail));
    onChoice(byId("pace"), () => this.#show(this.#name));
    byId("array-request").addEventListener("click", () => this.#request());
    drawColours(byId("colour-bar"));
  }

  open() {
    this.#timer = setInterval(() => this.#showRate(), 500);
    this.#topics.show("pond");
    this.#show("pond");
  }

  close() {
    clearInterval(this.#timer);
    this.#connections.close(this.#link);
    this.#link = null;
  }

  #show(name) {
    this.#connections.close(this.#link);
    this.#name = name;
    this.#map.clear();
    this.#reader.hide();
    this.#arrived = [];
    this.#skipped = 0;
    byId("array-skipped").textContent = "0";
    byId("array-about").textContent = PICTURES[name]?.about ?? "One number for each cell; its colour says how large it is.";
    byId("array-request").hidden = name !== ON_REQUEST;
    byId("pace").hidden = name === ON_REQUEST;
    for (const id of ["colour-least", "colour-most", "array-shape"]) byId(id).textContent = format.NOTHING;
    byId("array-info").textContent = "";
    this.#say("Waiting for the first array", "");
    this.#link = this.#connections.open("arrays", name, {
      fleeting: true,
      history: 1,
      interval: Number(chosen(byId("pace"))),
    });
    this.#listen(this.#link.stream);
  }

  #listen(stream) {
    stream.addEventListener("binary", ({ detail: { header, array } }) => {
      this.#skipped += header.skipped ?? 0;
      if (array) this.#draw(array);
    });
    stream.addEventListener("subscribed", ({ detail: { offset } }) => {
      if (this.#name === ON_REQUEST) this.#request();
      else if (offset === 0) this.#say("There is no array here yet", "It is drawn as soon as somebody publishes one.");
    });
    stream.addEventListener("ending", ({ detail }) => this.#say(detail, ""));
  }

  async #request() {
    const button = byId("array-request");
    const link = this.#link;
    button.disabled = true;
    try {
      const array = await link.stream.request(REQUESTED);
      if (link === this.#link) this.#draw(array);
    } catch (error) {
      if (!(error instanceof RealtimeError)) throw error;
      if (link === this.#link) this.#say("The server made no array", error.detail ?? error.message);
    } finally {
      button.disabled = false;
    }
  }

  #draw(array) {
    try {
      this.#map.draw(array);
    } catch (error) {
      this.#map.clear();
      this.#say("This is no picture", error.message);
      return;
    }
    byId("array-empty").hidden = true;
    this.#arrived.push(performance.now());
    byId("array").dataset.frames = Number(byId("array").dataset.frames) + 1;
    byId("colour-least").textContent = this.#format(this.#map.least);
    byId("colour-most").textContent = this.#format(this.#map.most);
    byId("array-shape").textContent = array.shape.join(" × ");
    byId("array-skipped").textContent = format.count(this.#skipped);
    byId("array-info").textContent = `Numbers of type ${array.dtype}, ${format.bytes(array.data.byteLength)} in each array`;
    this.#reader.update();
  }

  #showRate() {
    const now = performance.now();
    this.#arrived = this.#arrived.filter((time) => time > now - RATE_OVER);
    const rate = this.#arrived.length / (RATE_OVER / 1000);
    byId("array-rate").textContent = this.#name === ON_REQUEST ? format.NOTHING : rate.toFixed(1);
  }

  #format(value) {
    return (PICTURES[this.#name]?.format ?? format.number)(value);
  }

  #say(title, text) {
    byId("array-empty").hidden = false;
    byId("array-empty").replaceChildren(make("strong", {}, title), text);
  }
}
