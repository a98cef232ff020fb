// The connection, for whoever wants to know: its state, its streams, and what happened to it.
import { byId, make } from "./elements.js";
import { count, exactTime, plural, times } from "./format.js";
import { STATES } from "./status.js";

const TOLD = 5; // lines of what happened
const OFTEN = 500; // ms between two looks at the offsets

export class ConnectionPanel {
  #connections;
  #timer = 0;
  #rows = new Map();

  constructor(connections) {
    this.#connections = connections;
    byId("break").addEventListener("click", () => {
      this.tell("You broke the connection");
      connections.break();
    });
    connections.addEventListener("change", () => this.#show());
    connections.addEventListener("connected", () => this.tell("Connected"));
    connections.addEventListener("complaint", ({ detail }) => this.tell(detail));
    connections.addEventListener("lost", () => this.tell("The connection was lost"));
  }

  open() {
    byId("happened").replaceChildren();
    this.#timer = setInterval(() => this.#show(), OFTEN);
    this.#show();
  }

  close() {
    clearInterval(this.#timer);
    this.#rows.clear();
    byId("streams").replaceChildren();
  }

  /** Add a line to what happened. */
  tell(text) {
    const now = new Date();
    const when = make("time", { dateTime: now.toISOString() }, exactTime(now));
    byId("happened").prepend(make("li", {}, when, make("span", {}, text)));
    while (byId("happened").children.length > TOLD) byId("happened").lastElementChild.remove();
  }

  #show() {
    const { links, state, reconnects, gaps } = this.#connections;
    byId("connection-state").textContent = STATES[state];
    byId("connection-reconnects").textContent = reconnects ? times(reconnects) : "never";
    byId("connection-gaps").textContent = gaps ? plural(gaps, "gap", "gaps") : "none";
    byId("break").disabled = state !== "live";
    for (const [link, { row }] of this.#rows) {
      if (links.has(link)) continue;
      row.remove();
      this.#rows.delete(link);
    }
    for (const link of links) {
      if (!this.#rows.has(link)) this.#rows.set(link, addRow(link.topic));
      const { light, spoken, cells } = this.#rows.get(link);
      light.dataset.state = link.state;
      spoken.textContent = `, ${STATES[link.state]}`;
      [link.stream.position?.offset, link.gaps, link.reconnects].forEach((value, i) => {
        cells[i].textContent = count(value);
      });
    }
  }
}

function addRow(topic) {
  const light = make("span", { className: "light", ariaHidden: "true" });
  const spoken = make("span", { className: "unseen" });
  const cells = [0, 1, 2].map(() => make("td"));
  const [namespace, name] = topic.split(":");
  const title = make("th", { scope: "row" }, light, `${namespace}:`, make("wbr"), name, spoken);
  const row = make("tr", {}, title, ...cells);
  byId("streams").append(row);
  return { row, light, spoken, cells };
}
