/**
 * The connection of a stream: opened, watched, given up, and opened again.
 *
 * @import {Verdict} from "./retries.js"
 * @import {Backoff, Options, Position, State, StateChange} from "./types.js"
 */

import { Alarm } from "./alarm.js";
import { ConnectionEnded, RetriesExhausted } from "./errors.js";
import { Heartbeat, WAKING_PATIENCE } from "./heartbeat.js";
import { isOffline, watchPage } from "./page.js";
import { LONGEST_WAIT, TOKEN_EXPIRED, judgeClose, judgeHandshake, pickDelay, saysNothing, unshiftCode } from "./retries.js";

const OPEN = 1; // the readyState of a socket
const OFFLINE_LOOK = 5000; // ms; should the event "online" never come
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
  #isFree = false; // what ends this attempt is not counted: it began with what the browser did
  #isExcused = false; // a loss was not counted since timers had stood still; the next one is
  #isAway = false; // the page is about to be frozen, or is
  #worksOffline = false; // a session began although the browser says that there is no network
  #expired = false; // the last token was, or the session's cookie, and nobody has let us in since
  #holds = false; // the server said when to come back
  #behind = false; // the reader is
  #due = new Alarm(); // the next attempt, or the end of the present one
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #stable;
  #page = new AbortController(); // of the listeners to its events

  /** @param {URL} url @param {LinkOptions} options @param {Hooks} hooks */
  constructor(url, options, hooks) {
    this.#url = url;
    this.#options = options;
    this.#hooks = hooks;
    this.#heartbeat = new Heartbeat(
      { ping: hooks.ping, wake: () => this.#wake(), die: (woken) => this.#die(woken) },
      options.pongTimeout,
    );
    watchPage(
      {
        leave: () => (this.#isAway = true),
        restore: () => this.#wake(true),
        wake: () => this.#wake(),
        doubt: () => this.state === "live" && this.#heartbeat.probe(),
      },
      this.#page.signal,
    );
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
    this.#due.clear();
    this.#renew = this.#expired = this.#isFree = this.#isExcused = false;
    this.#worksOffline = isOffline();
    this.#stable = setTimeout(() => (this.#retries = 0), this.#options.stableAfter);
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
    this.#behind = true;
    this.#become("waiting", { reason: "the loop over this stream is behind" });
  }

  catchUp() {
    if (this.#behind) this.#open();
  }

  /**
   * Come back later.
   *
   * @param {number | undefined} code
   * @param {string} reason
   * @param {{told?: number | null, isFree?: boolean}} [how] `told`: in so many ms, says the server;
   *   `isFree`: at once, since the page did this, and should that fail, it is not counted
   */
  retry(code, reason, { told = null, isFree = false } = {}) {
    if (this.ended) return; // by a listener, who heard of this first
    const { backoff, random, maxRetries } = this.#options;
    const isCounted = !isFree && !this.#isFree && !this.#isAway && !isOffline();
    if (isCounted && this.#retries >= maxRetries) return this.end(new RetriesExhausted(code, reason));
    this.#detach();
    const delay = isFree ? 0 : Math.min(told ?? pickDelay(this.#retries, backoff, random), LONGEST_WAIT);
    if (isCounted) {
      this.#retries += 1;
      this.#isExcused = false;
    }
    this.#holds = told !== null;
    this.#due.set(delay, () => this.#comeBack(isFree));
    this.#become("waiting", { code, reason, ...(this.#isCutOff ? {} : { retryAt: Date.now() + delay }) });
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

  /** There is no use in trying, until an event of the page says otherwise. */
  get #isCutOff() {
    return this.#isAway || (isOffline() && !this.#worksOffline);
  }

  /** The wait is over. @param {boolean} isFree */
  #comeBack(isFree) {
    this.#holds = false;
    if (this.#isCutOff) this.#due.set(OFFLINE_LOOK, () => this.#comeBack(isFree));
    else this.#open(isFree);
  }

  /**
   * The page runs again, or is looked at, or the network is back. What happened meanwhile is no
   * failure of the server, so to come back costs no attempt, and the delays start afresh.
   *
   * @param {boolean} [isCut] it comes out of the back/forward cache: whatever was open is gone
   */
  #wake(isCut = false) {
    this.#isAway = false;
    if (this.state === "live" && !isCut) return this.#heartbeat.probe();
    if (this.state === "connecting" && !isCut && !this.#due.isOverdue) return;
    if (this.#behind || (this.#holds && this.#due.left > 0)) return;
    if (this.#isCutOff) {
      if (this.state !== "waiting") this.retry(ABNORMAL, "there is no network");
      return;
    }
    this.#detach();
    this.#retries = 0;
    this.#open(true);
  }

  /** @param {boolean} [isFree] should it fail, it is not counted */
  async #open(isFree = false) {
    this.#holds = this.#behind = false;
    this.#isFree = isFree;
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
    this.#await(this.#options.connectTimeout);
  }

  /** The session has to begin in time. @param {number} patience ms @param {boolean} [again] the last time was no good */
  #await(patience, again = false) {
    this.#due.set(patience, (late) => {
      if (late && !again) this.#await(Math.min(patience, WAKING_PATIENCE), true);
      else this.#lost(ABNORMAL, "the server took too long", late);
    });
  }

  /** No pong came. @param {boolean} woken */
  #die(woken) {
    const reason = "the server did not answer a ping";
    if (woken) this.retry(ABNORMAL, reason, { isFree: true });
    else this.#lost(ABNORMAL, reason);
  }

  /** Let go of the socket, whatever it does from here on. */
  #detach() {
    const socket = this.#socket;
    this.#socket = null;
    this.#opening += 1;
    clearTimeout(this.#stable);
    this.#due.clear();
    this.#heartbeat.stop();
    this.#hooks.lose();
    socket?.close(NORMAL);
  }

  /** @param {number} code @param {string} reason @param {boolean} [late] timers have stood still meanwhile */
  #lost(code, reason, late = this.#heartbeat.hasStoodStill || this.#due.isOverdue) {
    const renewable = typeof this.#options.token === "function";
    const verdict = judgeClose(code, reason, { renewable, expiredBefore: this.#expired });
    this.#expired ||= unshiftCode(code) === TOKEN_EXPIRED;
    if (this.#heartbeat.isInDoubt && saysNothing(code)) return this.retry(code, reason, { isFree: true });
    // With jitter: the timers of a hidden page are late most of the time, also when a server dies.
    if (late && !this.#isExcused && saysNothing(code)) this.#isFree = this.#isExcused = true;
    this.#follow(verdict, unshiftCode(code), reason);
  }

  /** @param {Verdict} verdict @param {number} code @param {string} reason */
  #follow({ final, delay, renew }, code, reason) {
    if (final) return this.end(new ConnectionEnded(code, reason));
    this.#renew ||= renew;
    this.retry(code, reason, { told: delay });
  }

  /** @param {State} state @param {{code?: number | undefined, reason?: string, retryAt?: number}} [more] */
  #become(state, more) {
    const previous = this.state;
    this.state = state;
    if (state !== previous) this.#hooks.change({ state, previous, ...more });
  }
}
