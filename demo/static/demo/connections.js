// All streams of this page: opening them, and how they are, each and together.
import { connect } from "../realtime/realtime.js";

const REVOKED = 4505;
const NOT_SIGNED_IN = [4501, 4502];
const BROKEN_ON_PURPOSE = 4900;
const SETTLING = 300; // ms that a gap may come after its stream is live
const TOLD_WHEN = [1012, 1013]; // with a time to come back at
const BACKOFF = { cap: 15_000 }; // ms; somebody is watching
const OUTAGE = 3000; // ms that a connection which was broken on purpose stays away

/** What became of a stream that will not come back. */
const ENDS = {
  4500: "The server did not accept what was asked for.",
  4503: "You do not have the right to see this topic.",
  4504: "There is no such topic.",
};

/** One stream, with what the client itself does not count. */
class Link {
  been = false; // live, at any time
  reconnects = 0;
  gaps = 0;
  caughtUp = 0; // publications that came in late, after the last interruption
  retryAt = null;
  wasTold = false; // by the server, when to come back
  ending = null;

  /** `fleeting`: its old publications are of no use to anybody. */
  constructor(topic, stream, fleeting) {
    this.topic = topic;
    this.stream = stream;
    this.fleeting = fleeting;
  }

  get state() {
    return this.stream.state;
  }
}

/**
 * Events: "change" (anything); "connected", "lost" and "restored" (of all together, `restored` with
 * a detail { seconds, caughtUp, gaps, fleeting }); "revoked", "rejected" (of the sign-in);
 * "complaint" (detail: what a server did not like)
 */
export class Connections extends EventTarget {
  links = new Set();
  reconnects = 0; // of all streams together: one interruption counts once
  gaps = 0;
  #token;
  #sockets = new Set();
  #held = Promise.resolve();
  #begun = false;
  #lostAt = null;
  #missing = { gaps: 0, fleeting: 0 }; // since the connection was lost
  #settling = 0;

  /** `token`: as the client's option. */
  constructor(token) {
    super();
    this.#token = token;
    for (const name of ["online", "offline"]) addEventListener(name, () => this.#change());
  }

  /** Open the stream of `namespace:name`; `options` are the client's. `fleeting`: see Link. */
  open(namespace, name, { fleeting = false, ...options } = {}) {
    const sockets = this.#sockets;
    class Socket extends WebSocket {
      constructor(...args) {
        super(...args);
        sockets.add(this);
        this.addEventListener("close", () => sockets.delete(this));
      }
    }
    const token = async (request) => {
      await this.#held;
      return this.#token(request);
    };
    const stream = connect(`/ws/${namespace}/${encodeURIComponent(name)}/`, {
      ...options,
      token,
      backoff: BACKOFF,
      WebSocket: Socket,
    });
    const link = new Link(`${namespace}:${name}`, stream, fleeting);
    this.links.add(link);
    stream.addEventListener("state", ({ detail }) => this.#follow(link, detail));
    stream.addEventListener("subscribed", ({ detail }) => {
      link.caughtUp = detail.recovered ? detail.offset - detail.next + 1 : 0;
    });
    stream.addEventListener("error", ({ detail }) => {
      this.dispatchEvent(new CustomEvent("complaint", { detail: `${link.topic}: ${detail.detail}` }));
    });
    stream.addEventListener("gap", () => {
      link.gaps += 1;
      this.gaps += 1;
      this.#missing[link.fleeting ? "fleeting" : "gaps"] += 1;
      this.#change();
    });
    this.#change();
    return link;
  }

  close(link) {
    if (!link || !this.links.delete(link)) return;
    link.stream.close();
    this.#change();
  }

  closeAll() {
    const links = [...this.links];
    this.links.clear(); // first: their end is not news
    for (const { stream } of links) stream.close();
    clearTimeout(this.#settling);
    this.#begun = false;
    this.#lostAt = null;
    this.reconnects = this.gaps = 0;
  }

  /** Cut all connections, as a failing network would, and keep them away for a few seconds. */
  break() {
    this.#held = new Promise((resolve) => setTimeout(resolve, OUTAGE));
    for (const socket of this.#sockets) socket.close(BROKEN_ON_PURPOSE);
  }

  /** Try again now; streams that the server gave a time wait for it, unless somebody insists. */
  retry({ insist = false } = {}) {
    for (const { stream, wasTold } of this.links) {
      if (stream.state === "waiting" && (insist || !wasTold)) stream.reconnect();
    }
  }

  /** "connecting", "live", "waiting", "offline" or "closed": the worst of those that matter. */
  get state() {
    const states = new Set([...this.links].filter(({ ending }) => !ending).map(({ state }) => state));
    if (states.size === 1 && states.has("live")) return "live";
    if (!navigator.onLine) return "offline";
    return ["waiting", "connecting", "closed"].find((state) => states.has(state)) ?? "closed";
  }

  /** When the next attempt is, as Date.now(), or null. */
  get retryAt() {
    const times = [...this.links].filter(({ state }) => state === "waiting").map(({ retryAt }) => retryAt);
    return times.length ? Math.min(...times) : null;
  }

  get lost() {
    return this.#lostAt !== null;
  }

  #follow(link, { state, previous, code, retryAt }) {
    if (!this.links.has(link)) return;
    link.retryAt = retryAt ?? null;
    if (state === "closed") return this.#end(link, code);
    if (previous === "live" && !this.lost) {
      this.#lostAt = Date.now();
      this.#missing = { gaps: 0, fleeting: 0 };
      this.dispatchEvent(new CustomEvent("lost", { detail: { code } }));
    }
    link.wasTold = TOLD_WHEN.includes(code);
    if (state === "live") {
      if (link.been) link.reconnects += 1;
      link.been = true;
      if (this.lost) this.retry(); // the server is there again: the others need not wait longer
    }
    this.#change();
    clearTimeout(this.#settling);
    if (this.state !== "live") return;
    if (!this.#begun) {
      this.#begun = true;
      this.dispatchEvent(new Event("connected"));
    }
    if (!this.lost) return;
    const seconds = (Date.now() - this.#lostAt) / 1000;
    this.#settling = setTimeout(() => this.#restore(seconds), SETTLING);
  }

  #restore(seconds) {
    const caughtUp = [...this.links].reduce((sum, link) => sum + link.caughtUp, 0);
    this.#lostAt = null;
    this.reconnects += 1;
    this.dispatchEvent(new CustomEvent("restored", { detail: { seconds, caughtUp, ...this.#missing } }));
    this.#change();
  }

  #end(link, code) {
    if (code === REVOKED) this.dispatchEvent(new Event("revoked"));
    else if (NOT_SIGNED_IN.includes(code)) this.dispatchEvent(new Event("rejected"));
    else {
      link.ending = ENDS[code] ?? "The server and this page did not understand each other.";
      link.stream.dispatchEvent(new CustomEvent("ending", { detail: link.ending }));
    }
    this.#change();
  }

  #change() {
    this.dispatchEvent(new Event("change"));
  }
}
