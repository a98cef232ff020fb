// The last thing worth telling about the machine, and how many cores it has.
import { byId, make } from "./elements.js";
import { timeOfDay } from "./format.js";

export class News {
  #connections;
  #onCores;
  #link = null;

  constructor(connections, onCores) {
    this.#connections = connections;
    this.#onCores = onCores;
  }

  open() {
    byId("news").replaceChildren();
    this.#link = this.#connections.open("broadcast", "host.events", { history: 100 });
    this.#link.stream.addEventListener("publication", ({ detail }) => this.#show(detail));
  }

  close() {
    this.#connections.close(this.#link);
  }

  #show({ data, server_time: time }) {
    if (data.kind === "feed_started") this.#onCores(data.cores);
    const when = make("time", { dateTime: time }, timeOfDay(new Date(time)));
    byId("news").replaceChildren(when, ` ${data.text}`);
  }
}
