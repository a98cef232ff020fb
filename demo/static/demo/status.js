// The state of everything in one place: the pill on top, the strip below it, and what is spoken.
import { byId, tell } from "./elements.js";
import { duration, plural } from "./format.js";

export const STATES = {
  connecting: "Connecting",
  live: "Live",
  waiting: "Reconnecting",
  offline: "Offline",
  closed: "Closed",
};
const GOOD_NEWS = 8000; // ms that it stays
const PATIENCE = 300; // ms of trouble that is not worth a word

export class Status {
  #connections;
  #timer = 0;
  #goodNews = 0;

  constructor(connections) {
    this.#connections = connections;
    connections.addEventListener("change", () => this.#showPill());
    connections.addEventListener("lost", () => this.#lose());
    connections.addEventListener("restored", ({ detail }) => this.#restore(detail));
    byId("strip-button").addEventListener("click", () => connections.retry({ insist: true }));
  }

  open() {
    byId("overall").hidden = false;
    this.#showPill();
  }

  close() {
    clearInterval(this.#timer);
    clearTimeout(this.#goodNews);
    byId("overall").hidden = byId("strip").hidden = true;
    byId("announcement").textContent = "";
  }

  /** What the last interruption came to, as a sentence. */
  describe({ seconds, caughtUp, gaps, fleeting }) {
    const back = `Back after ${duration(seconds)}.`;
    if (gaps) return `${back} The server no longer has all of what came meanwhile, so something is missing.`;
    const caught = caughtUp ? ` Caught up on ${plural(caughtUp, "update", "updates")}.` : "";
    return `${back}${caught} ${fleeting ? "Only old pictures were left out." : "Nothing is missing."}`;
  }

  #showPill() {
    const { state } = this.#connections;
    byId("overall").dataset.state = state;
    byId("overall").textContent = STATES[state];
  }

  #lose() {
    clearTimeout(this.#goodNews);
    clearInterval(this.#timer);
    const since = Date.now();
    let spoken = false;
    const show = () => {
      if (Date.now() - since < PATIENCE) return;
      if (!spoken) byId("announcement").textContent = "The connection to the server was lost. The page tries to get it back.";
      spoken = true;
      this.#showTrouble();
    };
    this.#timer = setInterval(show, 250);
  }

  #showTrouble() {
    const { state, retryAt } = this.#connections;
    const offline = state === "offline";
    const seconds = retryAt ? Math.max(0, Math.ceil((retryAt - Date.now()) / 1000)) : 0;
    const text = offline
      ? "You are offline. The page goes on by itself when the network is back; what you write until then is sent."
      : `The connection to the server was lost. ${seconds ? `Next try in ${seconds} s.` : "Trying to get it back…"}`;
    this.#showStrip(text, offline ? "bad" : "warn");
    byId("strip-button").hidden = offline || !seconds;
  }

  #restore(outcome) {
    clearInterval(this.#timer);
    const text = this.describe(outcome);
    byId("announcement").textContent = text;
    byId("strip-button").hidden = true;
    this.#showStrip(text, outcome.gaps ? "warn" : "good");
    this.#goodNews = setTimeout(() => (byId("strip").hidden = true), GOOD_NEWS);
  }

  #showStrip(text, tone) {
    byId("strip").dataset.tone = tone;
    byId("strip").hidden = false;
    tell(byId("strip-text"), text);
  }
}
