// The conversation in a room: what was said, what is on its way, and what happened between.
import { make } from "./elements.js";
import { timeOfDay } from "./format.js";
import { callThem, makeFace } from "./people.js";

const KEPT = 300;

export class Messages {
  #list;
  #empty;
  #unsent = new Map(); // key → its element, until it comes back from the server

  constructor(list, empty) {
    this.#list = list;
    this.#empty = empty;
  }

  clear() {
    this.#list.replaceChildren();
    this.#unsent.clear();
    this.#empty.hidden = false;
  }

  /** A publication; `me`: the name of whoever looks at it. */
  add({ data, user, server_time: time }, me) {
    this.settle(data?.key);
    const mine = user !== null && user === me;
    const text = typeof data?.text === "string" ? data.text : JSON.stringify(data);
    const when = make("time", { dateTime: time }, timeOfDay(new Date(time)));
    const who = make("span", { className: "who" }, mine ? "You" : callThem(user), " ", when);
    const said = make("div", { className: mine ? "said mine" : "said" }, makeFace(user), who, make("p", {}, text));
    // What is still on its way stays below.
    this.#append(said, this.#unsent.values().next().value);
  }

  /** What was written here and has not come back yet. */
  addUnsent(key, text) {
    const who = make("span", { className: "who muted" }, "On its way…");
    const said = make("div", { className: "said mine unsent" }, who, make("p", {}, text));
    this.#unsent.set(key, said);
    this.#append(said);
  }

  settle(key) {
    this.#unsent.get(key)?.remove();
    this.#unsent.delete(key);
  }

  /** It did not get through, and why; `again` is called when its writer wants that. */
  fail(key, reason, again) {
    const said = this.#unsent.get(key);
    if (!said) return;
    const button = make("button", { type: "button" }, "Send again");
    button.addEventListener("click", () => {
      this.settle(key);
      again();
    });
    said.querySelector(".who").replaceChildren(`Not sent: ${reason} `, button);
  }

  /** A line between the messages. */
  note(text, { missed = false } = {}) {
    this.#append(make("p", { className: missed ? "told missed" : "told" }, make("span", {}, text)));
  }

  #append(item, before = null) {
    const list = this.#list;
    const following = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
    list.insertBefore(item, before);
    while (list.children.length > KEPT) list.firstElementChild.remove();
    if (following || item.classList.contains("unsent")) list.scrollTop = list.scrollHeight;
    this.#empty.hidden = true;
  }
}
