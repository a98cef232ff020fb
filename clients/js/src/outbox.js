/**
 * What was asked of the server and has no answer yet, connection after connection.
 *
 * @import {Backoff, ErrorMessage, Limits} from "./types.js"
 */

import { startClock } from "./alarm.js";
import { ConnectionLost, MessageTooBig, QueueFull, ReplyTimeout, RequestRefused, UnknownOutcome } from "./errors.js";
import { pickDelay } from "./retries.js";

const OUTCOME_TIMEOUT = 4 * 60_000; // ms; the server knows an id for five minutes
const NO_ANSWER = "there was no answer for four minutes";
const MOST_BYTES = 64 * 2 ** 20; // that wait for a connection
const UPLOAD_CHUNK = 2 ** 20; // bytes; on a slow line longer ones would be too far apart

/**
 * @typedef {(ref: number, id: string | undefined, limits: Limits) => (string | Uint8Array)[]} Encode
 *   the messages to send; throws where the limits forbid them
 *
 * @typedef {object} Connection
 * @property {(frame: string | Uint8Array) => boolean} send whether it was written; after a false, never again
 * @property {Limits} limits
 * @property {string | null} user null = anonymous: sends no `id` of our making
 *
 * @typedef {object} Pending
 * @property {"publish" | "read" | "once"} kind a `once` belongs to one connection, and ends with it
 * @property {Encode} encode
 * @property {number} bytes about how many
 * @property {string | undefined} id
 * @property {boolean} hasOwnId given by the caller: then it is sent whoever the user is
 * @property {boolean} sent whole, on some connection
 * @property {() => number} [age] ms since that, sleep included
 * @property {number} repeats
 * @property {ReturnType<typeof setTimeout>} [expiry]
 * @property {ReturnType<typeof setTimeout>} [repeat]
 * @property {(answer: any) => void} resolve
 * @property {(error: Error) => void} reject
 */

export class Outbox {
  /** Whether the topic has one: without, an `id` has no effect. Until the server's epoch tells, it is so. */
  hasHistory = true;
  #options;
  /** In the order they were asked. @type {Map<unknown, Pending>} */
  #pending = new Map();
  #bytes = 0;
  #lastRef = 0;
  /** @type {Connection | null} */
  #connection = null;
  #writes = false; // whether it takes what is sent: it stops a little before its loss is heard of

  /** @param {{maxQueued: number, replyTimeout: number, backoff: Backoff, random: () => number}} options */
  constructor(options) {
    this.#options = options;
  }

  /**
   * Ask, now or when there is a connection.
   *
   * @param {Pending["kind"]} kind
   * @param {Encode} encode
   * @param {{bytes?: number, id?: string | undefined}} [more]
   * @returns {Promise<any>} the answer
   */
  async ask(kind, encode, { bytes = 0, id } = {}) {
    const { maxQueued, replyTimeout } = this.#options;
    const waiting = this.#pending.size;
    const waits = !this.#writes && kind !== "once";
    if (waits && (waiting >= maxQueued || (waiting && this.#bytes + bytes > MOST_BYTES))) {
      throw new QueueFull(`${waiting} messages wait for the connection already`);
    }
    const ref = ++this.#lastRef;
    return new Promise((resolve, reject) => {
      /** @type {Pending} */
      const pending = { kind, encode, bytes, id, hasOwnId: id !== undefined, sent: false, repeats: 0, resolve, reject };
      if (kind === "publish") pending.id ??= makeId();
      else pending.expiry = setTimeout(() => this.#reject(ref, new ReplyTimeout("there was no answer")), replyTimeout);
      this.#pending.set(ref, pending);
      this.#bytes += bytes;
      this.#transmit(ref);
    });
  }

  /** There is a connection: send what waits, and what had no answer on the last one. @param {Connection} connection */
  open(connection) {
    this.#connection = connection;
    this.#writes = true;
    for (const ref of this.#pending.keys()) this.#transmit(ref);
  }

  /** The connection is gone. */
  lose() {
    const isLoss = this.#connection !== null;
    const repeatable = this.#isRepeatable;
    this.#connection = null;
    this.#writes = false;
    const why = "the connection was lost before the answer";
    for (const [ref, { kind, sent, id, repeat }] of this.#pending) {
      clearTimeout(repeat);
      if (kind === "once") this.#reject(ref, new ConnectionLost(why));
      else if (kind === "publish" && sent && isLoss && !repeatable) this.#reject(ref, new UnknownOutcome(id, why));
    }
  }

  /** There will be no connection any more. @param {Error} error for what was not sent */
  end(error) {
    this.lose();
    for (const [ref, { kind, sent, id }] of this.#pending) {
      const unknown = kind === "publish" && sent;
      this.#reject(ref, unknown ? new UnknownOutcome(id, "the stream was closed before the answer") : error);
    }
  }

  /** @param {unknown} ref @param {any} message */
  answer(ref, message) {
    this.#take(ref)?.resolve(message);
  }

  /** @param {ErrorMessage} message */
  refuse({ ref, code, detail }) {
    const pending = this.#pending.get(ref);
    if (code !== "unavailable" || pending?.kind !== "publish") {
      this.#reject(ref, new RequestRefused(code, detail));
    } else if (!this.#isRepeatable) {
      this.#reject(ref, new UnknownOutcome(undefined, detail));
    } else {
      // It may have happened all the same; the id makes it safe to repeat.
      const delay = pickDelay(pending.repeats, this.#options.backoff, this.#options.random);
      pending.repeats += 1;
      pending.repeat = setTimeout(() => this.#transmit(ref), delay);
    }
  }

  /** A publish may be sent again under its `id`. */
  get #isRepeatable() {
    return this.hasHistory && this.#connection !== null && this.#connection.user !== null;
  }

  /** @param {any} ref */
  #transmit(ref) {
    const pending = this.#pending.get(ref);
    if (!pending || !this.#connection) return;
    const { kind, encode, id, hasOwnId, sent, age } = pending;
    // The timer that should have said so stood still.
    if (age && age() >= OUTCOME_TIMEOUT) return this.#reject(ref, new UnknownOutcome(id, NO_ANSWER));
    const { send, limits, user } = this.#connection;
    let frames;
    try {
      frames = encode(ref, user !== null || hasOwnId ? id : undefined, limits);
    } catch (error) {
      this.#reject(ref, /** @type {Error} */ (error));
      return;
    }
    if (!frames.every(send)) {
      this.#writes = false;
      if (kind === "once") this.#reject(ref, new ConnectionLost("the connection is closing"));
      return; // the rest waits for the next connection
    }
    if (kind === "publish" && !sent) {
      pending.expiry = setTimeout(
        () => this.#reject(ref, new UnknownOutcome(id, NO_ANSWER)),
        OUTCOME_TIMEOUT,
      );
      pending.age = startClock();
    }
    pending.sent = true;
  }

  /** @param {unknown} ref @param {Error} error */
  #reject(ref, error) {
    this.#take(ref)?.reject(error);
  }

  /** @param {unknown} ref */
  #take(ref) {
    const pending = this.#pending.get(ref);
    if (!pending) return undefined;
    this.#pending.delete(ref);
    this.#bytes -= pending.bytes;
    clearTimeout(pending.expiry);
    clearTimeout(pending.repeat);
    return pending;
  }
}

/** @param {Record<string, unknown>} message @returns {Encode} */
export function encodeMessage(message) {
  return (ref, id, limits) => [checkText(JSON.stringify({ ...message, ref, id }), limits)];
}

/** @param {string} json the data @returns {Encode} */
export function encodePublish(json) {
  return (ref, id, limits) => [
    checkText(`${JSON.stringify({ type: "publish", ref, id }).slice(0, -1)},"data":${json}}`, limits),
  ];
}

/** A header and its chunks. @param {Uint8Array} bytes @param {string | undefined} format @returns {Encode} */
export function encodeBytes(bytes, format) {
  return (ref, id, { max_binary_bytes: most, max_frame_bytes }) => {
    if (bytes.length > most) throw new MessageTooBig(bytes.length, most);
    const size = Math.min(max_frame_bytes, UPLOAD_CHUNK);
    const chunks = Math.max(1, Math.ceil(bytes.length / size));
    return [
      JSON.stringify({ type: "binary", format, ref, id, chunks }),
      ...Array.from({ length: chunks }, (_, i) => bytes.subarray(i * size, (i + 1) * size)),
    ];
  };
}

/** The server would close with 1009, for good. @param {string} text @param {Limits} limits */
function checkText(text, { max_text_bytes: most }) {
  const size = text.length * 3 > most ? new TextEncoder().encode(text).length : 0;
  if (size > most) throw new MessageTooBig(size, most);
  return text;
}

/** 128 random bits; `crypto.randomUUID` is missing on pages without TLS. */
function makeId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
