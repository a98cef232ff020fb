/**
 * A client for the protocol `realtime.v1` that comes back: in browsers, and in Node 20 or newer.
 *
 * @import {Ack, ArrayInput, Binary, HistoryPage, Limits, Message, NumpyArray, Options, Roster} from "./types.js"
 * @import {State, StreamEvents, StreamTarget} from "./types.js"
 * @import {Encode} from "./outbox.js"
 */

import { Backlog } from "./backlog.js";
import { ArrayError, ConnectionLost, ProtocolFault, RealtimeError, StreamClosed } from "./errors.js";
import { Link } from "./link.js";
import { parseNpy, writeNpy } from "./npy.js";
import { Outbox, encodeBytes, encodeMessage, encodePublish } from "./outbox.js";
import { Renewal } from "./renewal.js";
import { Tracker } from "./tracker.js";

export * from "./errors.js";
export { parseNpy, writeNpy } from "./npy.js";

const SURFACED = new Set(["publication", "stats", "gap", "join", "leave"]);
const REPLIES = new Set(["ack", "presence", "history", "pong", "refreshed"]);
const DEFAULTS = {
  subscribe: true,
  random: Math.random,
  maxRetries: Infinity,
  stableAfter: 10_000,
  connectTimeout: 20_000,
  pongTimeout: 10_000,
  replyTimeout: 30_000,
  maxQueued: 1000,
};
const BACKOFF = { base: 1000, factor: 1.5, cap: 60_000 };

const Target = /** @type {StreamTarget} */ (/** @type {unknown} */ (EventTarget));

/**
 * Open a stream on a topic; it connects by itself, now and whenever it has to.
 *
 * @param {string | URL} url such as "/ws/broadcast/lobby/" (in a page) or "wss://host/ws/arrays/cam/"
 * @param {Options} [options]
 */
export function connect(url, options = {}) {
  return new Stream(url, options);
}

/** See `connect`; README.md lists its events. */
export class Stream extends Target {
  /** @type {string | null} */
  user = null;
  /** @type {string | null} */
  session = null;
  /** @type {Limits | null} */
  limits = null;

  #options;
  #tracker;
  #outbox;
  #link;
  /** Where the token comes from a function. @type {Renewal | null} */
  #renewal = null;
  /** Of the loop over this stream, while there is one. @type {Backlog | null} */
  #backlog = null;
  #requests = Promise.resolve(); // ends with the last one
  #pingInterval = 0; // ms

  /** @param {string | URL} url @param {Options} options */
  constructor(url, options) {
    super();
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    const backoff = { ...BACKOFF, ...options.backoff };
    this.#options = { WebSocket: globalThis.WebSocket, ...DEFAULTS, .../** @type {Options} */ (given), backoff };
    const { token, WebSocket, subscribe } = this.#options;
    if (!WebSocket) throw new TypeError("there is no WebSocket here: give one in the options");
    this.#tracker = new Tracker(options.position);
    this.#outbox = new Outbox(this.#options);
    if (typeof token === "function") {
      const refresh = (/** @type {string} */ token) => this.#ask("once", { type: "refresh", token });
      this.#renewal = new Renewal(token, refresh, (code, detail) => this.#complain(code, detail));
    }
    this.#link = new Link(buildUrl(url, options), this.#options, {
      position: () => (subscribe ? this.#tracker.position : null),
      begin: () => this.#tracker.begin(),
      receive: (data) => this.#receive(data),
      ping: () => this.#ping(),
      change: (change) => this.#dispatch("state", change),
      lose: () => {
        this.#renewal?.stop();
        this.#outbox.lose();
      },
      end: (error) => {
        this.#outbox.end(error);
        this.#backlog?.end(error);
      },
    });
  }

  /** @returns {State} */
  get state() {
    return this.#link.state;
  }

  /**
   * Where the stream is; `connect` with this `position` resumes after it. While a loop reads the
   * stream, that of the message that the loop got last.
   */
  get position() {
    return (this.#backlog ?? this.#tracker).position;
  }

  // What to ask

  /**
   * Publish any JSON value. What is not confirmed when the connection breaks is repeated on the
   * next one under its `id`, and so published once.
   *
   * @param {any} data
   * @param {{id?: string}} [options] an `id` of your own, up to 64 characters
   * @returns {Promise<Ack>}
   */
  async publish(data, { id } = {}) {
    const json = JSON.stringify(data);
    if (json === undefined) throw new TypeError(`there is no JSON for this: ${typeof data}`);
    return this.#publish(encodePublish(json), json.length, id);
  }

  /**
   * Publish bytes on a topic of kind binary. They are not copied: do not write to them until then.
   *
   * @param {ArrayBuffer | ArrayBufferView} data
   * @param {{format?: string, id?: string}} [options] `format`: a media type
   * @returns {Promise<Ack>}
   */
  async publishBytes(data, { format, id } = {}) {
    const bytes = ArrayBuffer.isView(data)
      ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
      : new Uint8Array(data);
    return this.#publish(encodeBytes(bytes, format), bytes.length, id);
  }

  /**
   * Publish an array, as a `.npy` file.
   *
   * @param {ArrayInput} array
   * @param {{id?: string}} [options]
   */
  async publishArray(array, options) {
    return this.publishBytes(writeNpy(array), options);
  }

  /**
   * Publish samples on a topic of kind stats; NaN is a missing one.
   *
   * @param {ArrayLike<number>} values
   * @param {ArrayLike<number>} [timestamps] seconds since the epoch
   * @param {{id?: string}} [options]
   */
  async publishSamples(values, timestamps, options) {
    const samples = Array.from(values);
    // JSON would make null of these, which is NaN.
    if (samples.some((value) => Math.abs(value) === Infinity)) throw new RangeError("a sample is finite, or NaN");
    return this.publish({ values: samples, timestamps: timestamps && Array.from(timestamps) }, options);
  }

  /**
   * Have an array made by a source of the server. One at a time: more wait for their turn.
   *
   * @param {{shape: number[], dtype?: string, source?: string}} request
   * @returns {Promise<NumpyArray>}
   */
  async request({ shape, dtype = "float64", source = "random" }) {
    const answer = this.#requests.then(() => this.#ask("read", { type: "request", shape, dtype, source }));
    this.#requests = answer.then(
      () => undefined,
      () => undefined, // the caller is told; the next one has its turn
    );
    return parseNpy((await answer).data);
  }

  /** Who is on the topic. @returns {Promise<Roster>} */
  async presence() {
    return this.#ask("read", { type: "presence" });
  }

  /**
   * A page of what the server retains, ascending; there is more while the last offset < `top`.
   *
   * @param {{after?: number, limit?: number, epoch?: string}} [range]
   * @returns {Promise<HistoryPage>}
   */
  async history({ after = 0, limit = 100, epoch } = {}) {
    return this.#ask("read", { type: "history", after, limit, epoch });
  }

  /** The round trip to the server, in ms; ConnectionLost where there is none. */
  async ping() {
    if (this.state !== "live") throw new ConnectionLost("there is no connection");
    const began = performance.now();
    await this.#ask("once", { type: "ping" });
    return performance.now() - began;
  }

  /** Drop the connection, if there is one, and come back at once. */
  reconnect() {
    this.#expectOpen();
    this.#link.reconnect();
  }

  /** End the stream. What is not confirmed yet rejects: await it first. */
  close() {
    this.#link.end(new StreamClosed());
  }

  /**
   * The messages of the topic, in order, from now on. The loop ends with `close()`, and throws
   * ConnectionEnded where the server ended the stream for good. Where it falls `maxQueued` messages
   * or 64 MiB behind, the stream hangs up, and resumes when half of them are read.
   *
   * @returns {AsyncGenerator<Message, void, void>}
   */
  async *[Symbol.asyncIterator]() {
    if (this.#backlog) throw new RealtimeError("there is a loop over this stream already");
    const backlog = new Backlog(this.#options.maxQueued, this.#tracker.position);
    if (this.#link.ended) backlog.end(this.#link.ended);
    this.#backlog = backlog;
    try {
      for (let message = await backlog.next(); message; message = await backlog.next()) {
        if (backlog.isEased) this.#link.catchUp();
        yield message;
      }
    } finally {
      this.#backlog = null;
      this.#link.catchUp();
    }
  }

  /** @param {Encode} encode @param {number} bytes @param {string} [id] */
  async #publish(encode, bytes, id) {
    this.#expectOpen();
    const { offset, epoch, duplicate } = await this.#outbox.ask("publish", encode, { bytes, id });
    return { offset, epoch, duplicate };
  }

  /** @param {"read" | "once"} kind @param {Record<string, unknown>} message @returns {Promise<any>} */
  async #ask(kind, message) {
    this.#expectOpen();
    return this.#outbox.ask(kind, encodeMessage(message));
  }

  #expectOpen() {
    if (this.#link.ended) throw this.#link.ended;
  }

  #ping() {
    this.#ask("once", { type: "ping" }).catch((error) => {
      if (!(error instanceof RealtimeError)) throw error; // else the heartbeat finds out
    });
  }

  // What comes

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    if (this.#backlog?.isFull) return this.#link.hangUp();
    try {
      if (typeof data === "string") this.#handle(this.#tracker.readText(data));
      else this.#handleBinary(this.#tracker.readChunk(data));
    } catch (error) {
      if (!(error instanceof ProtocolFault)) throw error;
      this.#complain("protocol_fault", error.message);
      this.#link.retry(undefined, error.message);
    }
  }

  /** @param {any} message */
  #handle(message) {
    const type = message?.type;
    if (type === "hello") this.#greet(message);
    else if (type === "error" && message.ref === null) this.#dispatch("error", message);
    else if (type === "error") this.#outbox.refuse(message);
    else if (REPLIES.has(type)) {
      if (type === "ack") this.#outbox.hasHistory = message.epoch !== null;
      this.#outbox.answer(message.ref, message);
      if (type !== "refreshed") return;
      this.#renewal?.schedule(message.expires_at);
      this.#dispatch("refreshed", message);
    } else if (type === "subscribed") {
      this.#outbox.hasHistory = message.epoch !== null;
      if (this.#goLive()) this.#surface(message);
    } else if (SURFACED.has(type)) this.#surface(message);
  }

  /** @param {Binary | null} binary */
  #handleBinary(binary) {
    if (!binary) return;
    const { header, data } = binary;
    if (header.ref !== null) return this.#outbox.answer(header.ref, binary);
    if (header.format === "npy") {
      try {
        binary.array = parseNpy(data);
      } catch (error) {
        if (!(error instanceof ArrayError)) throw error;
        this.#complain("invalid_array", error.message);
      }
    }
    this.#surface(binary);
  }

  /** @param {Message} message */
  #surface(message) {
    this.#backlog?.push(message, this.#tracker.position);
    this.#dispatch(message.type, message);
  }

  /** @param {string} code @param {string} detail */
  #complain(code, detail) {
    this.#dispatch("error", { type: "error", ref: null, code, detail });
  }

  /** @template {keyof StreamEvents} K @param {K} type @param {StreamEvents[K]} detail */
  #dispatch(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** @param {any} hello */
  #greet({ session, user, limits, expires_at, server_time, ping_interval }) {
    Object.assign(this, { session, user, limits });
    this.#pingInterval = ping_interval * 1000;
    this.#renewal?.start(expires_at, server_time);
    if (!this.#options.subscribe) this.#goLive();
  }

  /** @returns {boolean} whether it is */
  #goLive() {
    if (!this.#link.goLive(this.#pingInterval)) return false; // a listener closed or reconnected
    this.#outbox.open({
      send: (frame) => this.#link.send(frame),
      limits: /** @type {Limits} */ (this.limits),
      user: this.user,
    });
    return true;
  }
}

/** @param {string | URL} url @param {Options} options */
function buildUrl(url, { history, window, fields, interval, subscribe }) {
  const full = new URL(url, globalThis.location?.href);
  full.protocol = full.protocol.replace("http", "ws");
  const parameters = { history, window, fields: fields?.toString(), interval, subscribe: subscribe === false ? 0 : undefined };
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined) full.searchParams.set(name, String(value));
  }
  return full;
}
