/**
 * The connection of a stream: opened, watched, given up, and opened again.
 *
 * @import {Verdict} from "./retries.js"
 * @import {Backoff, Options, Position, State, StateChange} from "./types.js"
 */

import { ConnectionEnded, RetriesExhausted } from "./errors.js";
import { Heartbeat } from "./heartbeat.js";
import { LONGEST_WAIT, judgeClose, judgeHandshake, pickDelay, unshiftCode } from "./retries.js";

const OPEN = 1; // the readyState of a socket
const NORMAL = 1000;
const ABNORMAL = 1006;
const SUBPROTOCOL = "realtime.v1";
const TOKEN_SUBPROTOCOL = "realtime.bearer.";

/**
 * @typedef {Options & {backoff: Backoff, random: () => number, maxRetries: number, stableAfter: number,
 *   connectTimeout: number, pongTimeout: number}} LinkOptions
 *
 * @typedef {object} Hooks what the link asks and tells its stream
 * @property {() => Position | null} position to resume from
 * @property {() => void} begin a socket is being opened
 * @property {(data: string | ArrayBuffer) => void} receive
 * @property {() => void} ping send one; whatever comes back is an answer
 * @property {() => void} lose the socket is gone
 * @property {(error: ConnectionEnded) => void} end there will be no other
 * @property {(change: StateChange) => void} change
 */

export class Link {
  /** @type {State} */
  state = "connecting";
  /** Why it is closed. @type {ConnectionEnded | null} */
  ended = null;
  #url;
  #options;
  #hooks;
  #heartbeat;
  /** The present one; what older ones still say is not listened to. @type {any} */
  #socket = null;
  #opening = 0; // counts attempts, so that the late token of an older one is not used
  #retries = 0; // since a connection was stable
  #renew = false; // the server found the last token expired
  #holds = false; // `online` is no reason to come back: the server said when, or the reader is behind
  #behind = false;
  /** @type {Record<string, ReturnType<typeof setTimeout>>} */
  #timers = {};
  #page = new AbortController(); // of the listeners to its events

  /** @param {URL} url @param {LinkOptions} options @param {Hooks} hooks */
  constructor(url, options, hooks) {
    this.#url = url;
    this.#options = options;
    this.#hooks = hooks;
    this.#heartbeat = new Heartbeat(
      hooks.ping,
      () => this.#lost(ABNORMAL, "the server did not answer a ping"),
      options.pongTimeout,
    );
    this.#listenToPage();
    this.#open();
  }

  /**
   * Write, unless the socket is closing already: it would discard the frame. To come back is left
   * to its close event, which may be late but says why, and at the latest to the heartbeat.
   *
   * @param {string | Uint8Array} frame
   * @returns {boolean} whether it was written
   */
  send(frame) {
    if (this.#socket?.readyState !== OPEN) return false;
    this.#socket.send(frame);
    return true;
  }

  /**
   * The session has begun: from now on the server's silence is looked into.
   *
   * @param {number} pingInterval ms
   * @returns {boolean} whether it still is, after all listeners have heard of it
   */
  goLive(pingInterval) {
    const socket = this.#socket;
    clearTimeout(this.#timers.connect);
    this.#renew = false;
    this.#timers.stable = setTimeout(() => (this.#retries = 0), this.#options.stableAfter);
    this.#heartbeat.start(pingInterval);
    this.#become("live");
    return socket === this.#socket;
  }

  /** Drop the connection, if there is one, and come back at once. */
  reconnect() {
    this.#detach();
    this.#retries = 0;
    this.#open();
  }

  /** Drop the connection until `catchUp()`. */
  hangUp() {
    this.#detach();
    this.#holds = this.#behind = true;
    this.#become("waiting", { reason: "the loop over this stream is behind" });
  }

  catchUp() {
    if (this.#behind) this.#open();
  }

  /** Come back later. @param {number | undefined} code @param {string} reason @param {number | null} [told] ms */
  retry(code, reason, told = null) {
    if (this.ended) return; // by a listener, who heard of this first
    const { backoff, random, maxRetries } = this.#options;
    if (this.#retries >= maxRetries) return this.end(new RetriesExhausted(code, reason));
    this.#detach();
    const delay = Math.min(told ?? pickDelay(this.#retries, backoff, random), LONGEST_WAIT);
    this.#retries += 1;
    this.#holds = told !== null;
    this.#timers.retry = setTimeout(() => this.#open(), delay);
    this.#become("waiting", { code, reason, retryAt: Date.now() + delay });
  }

  /** For good. @param {ConnectionEnded} error */
  end(error) {
    if (this.ended) return;
    this.ended = error;
    this.#detach();
    this.#behind = false;
    this.#page.abort();
    this.#hooks.end(error);
    this.#become("closed", { code: error.code, reason: error.reason });
  }

  async #open() {
    this.#holds = this.#behind = false;
    const opening = ++this.#opening;
    this.#become("connecting");
    await undefined; // so that the caller of connect() can add listeners before anything happens
    if (opening !== this.#opening) return;
    const { token: source, WebSocket } = this.#options;
    let token;
    try {
      token = typeof source === "function" ? await source({ renew: this.#renew }) : source;
    } catch (error) {
      if (opening === this.#opening) this.retry(undefined, `no token: ${error}`);
      return;
    }
    if (opening !== this.#opening) return;
    const protocols = token ? [SUBPROTOCOL, TOKEN_SUBPROTOCOL + token] : [SUBPROTOCOL];
    try {
      this.#attach(new WebSocket(this.#buildUrl(), protocols));
    } catch (error) {
      this.end(new ConnectionEnded(undefined, `this cannot be connected to: ${error}`));
    }
  }

  #buildUrl() {
    const url = new URL(this.#url);
    const position = this.#hooks.position();
    if (position) {
      url.searchParams.delete("history");
      url.searchParams.set("epoch", position.epoch);
      url.searchParams.set("offset", String(position.offset));
    }
    return url.href;
  }

  /** @param {any} socket */
  #attach(socket) {
    this.#socket = socket;
    this.#hooks.begin();
    socket.binaryType = "arraybuffer";
    /** @param {(event: any) => void} listener */
    const ifPresent = (listener) => (/** @type {any} */ event) => {
      if (socket === this.#socket) listener(event);
    };
    const receive = ifPresent(({ data }) => {
      this.#heartbeat.hear();
      this.#hooks.receive(data);
    });
    socket.addEventListener("message", receive);
    socket.addEventListener("close", ifPresent(({ code, reason }) => this.#lost(code, reason)));
    socket.addEventListener("error", () => {}); // a close follows, and says more
    // Only the package "ws" shows an HTTP answer to the handshake.
    socket.on?.("unexpected-response", (/** @type {any} */ request, /** @type {any} */ response) => {
      request.destroy();
      const { statusCode: status, headers } = response;
      if (socket !== this.#socket) return;
      this.#follow(judgeHandshake(status, headers["retry-after"]), ABNORMAL, `HTTP status ${status}`);
    });
    this.#timers.connect = setTimeout(
      () => this.#lost(ABNORMAL, "the server took too long"),
      this.#options.connectTimeout,
    );
  }

  /** Let go of the socket, whatever it does from here on. */
  #detach() {
    const socket = this.#socket;
    this.#socket = null;
    this.#opening += 1;
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#heartbeat.stop();
    this.#hooks.lose();
    socket?.close(NORMAL);
  }

  /** @param {number} code @param {string} reason */
  #lost(code, reason) {
    const renewable = typeof this.#options.token === "function";
    this.#follow(judgeClose(code, reason, { renewable }), unshiftCode(code), reason);
  }

  /** @param {Verdict} verdict @param {number} code @param {string} reason */
  #follow({ final, delay, renew }, code, reason) {
    if (final) return this.end(new ConnectionEnded(code, reason));
    this.#renew ||= renew;
    this.retry(code, reason, delay);
  }

  /** @param {State} state @param {{code?: number | undefined, reason?: string, retryAt?: number}} [more] */
  #become(state, more) {
    const previous = this.state;
    this.state = state;
    if (state !== previous) this.#hooks.change({ state, previous, ...more });
  }

  #listenToPage() {
    const { document, addEventListener } = globalThis;
    const { signal } = this.#page;
    const probe = () => {
      if (this.state === "live") this.#heartbeat.probe();
    };
    const returnNow = () => {
      if (this.state === "waiting" && !this.#holds) this.reconnect();
      else probe(); // perhaps it is another network
    };
    const look = () => {
      if (document.visibilityState === "visible") probe();
    };
    addEventListener?.("online", returnNow, { signal });
    addEventListener?.("offline", probe, { signal });
    document?.addEventListener("visibilitychange", look, { signal });
  }
}
