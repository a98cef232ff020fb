// Who is in a room. One person may be there several times, in several tabs.
import { make } from "./elements.js";

const COLOURS = 8;

/** Events: "came" and "went" (detail: a name), once for each person however many tabs. */
export class People extends EventTarget {
  #list;
  #sessions = new Map(); // id → name

  constructor(list) {
    super();
    this.#list = list;
  }

  /** Everybody, as the server lists them: who came or went while this page was away is told too. */
  replace(sessions, { silently = false } = {}) {
    const before = new Set(this.#sessions.values());
    this.#sessions = new Map(sessions.map(({ session, user }) => [session, user]));
    const after = new Set(this.#sessions.values());
    if (!silently) {
      for (const name of after) if (!before.has(name)) this.#tell("came", name);
      for (const name of before) if (!after.has(name)) this.#tell("went", name);
    }
    this.show();
  }

  join({ session, user }) {
    const known = this.#has(user);
    this.#sessions.set(session, user);
    if (!known) this.#tell("came", user);
    this.show();
  }

  leave({ session, user }) {
    if (!this.#sessions.delete(session)) return;
    if (!this.#has(user)) this.#tell("went", user);
    this.show();
  }

  /** `me`: the name of whoever looks at it. */
  show(me = this.me) {
    this.me = me;
    const tabs = new Map();
    for (const name of this.#sessions.values()) tabs.set(name, (tabs.get(name) ?? 0) + 1);
    const names = [...tabs.keys()].sort((one, other) => (other === me) - (one === me) || callThem(one).localeCompare(callThem(other)));
    this.#list.replaceChildren(
      ...names.map((name) => {
        const notes = [name === me && "you", tabs.get(name) > 1 && `${tabs.get(name)} tabs`].filter(Boolean);
        const note = notes.length ? make("small", {}, notes.join(", ")) : "";
        return make("li", { className: "person" }, makeFace(name), make("span", {}, callThem(name)), note);
      }),
    );
  }

  #has(user) {
    return [...this.#sessions.values()].includes(user);
  }

  #tell(type, name) {
    this.dispatchEvent(new CustomEvent(type, { detail: name }));
  }
}

export const callThem = (user) => user ?? "Somebody";

/** A disc with the first letter of a name, in a colour that is the name's own. */
export function makeFace(user) {
  const name = callThem(user);
  const face = make("span", { className: "face", ariaHidden: "true" }, [...name][0]);
  const sum = [...name].reduce((total, letter) => (total * 31 + letter.codePointAt(0)) % 9973, 7);
  face.style.setProperty("--nth", sum % COLOURS);
  return face;
}
