/**
 * Where a stream is.
 *
 * @import {Binary, BinaryHeader, Position, Subscribed} from "./types.js"
 */

import { ProtocolFault } from "./errors.js";

const PUSHED = new Set(["publication", "stats", "binary"]);

/**
 * Follows what a server sends, connection after connection: where the stream is, and which
 * chunks belong together. What breaks the protocol's promises (section 8) is a ProtocolFault,
 * and leaves the position where it was, so that a new connection heals it.
 */
export class Tracker {
  /** @type {Position | null} */
  position;
  #gapIsDue = false; // after `recovered: false`
  #first = true; // on this connection, or after a gap: the first stats may repeat the position
  /** @type {BinaryHeader | null} */
  #header = null;
  /** @type {ArrayBuffer[]} */
  #chunks = [];
  #bytes = 0;

  /** @param {Position | null} [position] */
  constructor(position = null) {
    this.position = position;
  }

  /** A new connection: what was half received is void. */
  begin() {
    this.#header = null;
    this.#gapIsDue = false;
    this.#first = true;
  }

  /**
   * Take one text message.
   *
   * @param {string} text
   * @returns {any} the message, or null for the header of chunks to come
   */
  readText(text) {
    if (this.#header) throw new ProtocolFault("a text message between the chunks of a publication");
    let message;
    try {
      message = JSON.parse(text);
    } catch (error) {
      throw new ProtocolFault(`not JSON: ${error}`);
    }
    if (typeof message?.type !== "string") throw new ProtocolFault("a message without a type");
    if (message.type === "subscribed") this.#subscribe(message);
    else if (message.type === "gap") {
      this.#gapIsDue = false;
      this.#first = true;
      this.#move(message);
    } else if (PUSHED.has(message.type) && this.#isPushed(message)) {
      this.#check(message);
      if (message.type !== "binary") this.#advance(message.offset);
    }
    if (message.type !== "binary") return message;
    if (!(message.chunks >= 1)) throw new ProtocolFault("a header without chunks");
    this.#header = message;
    this.#chunks = [];
    this.#bytes = 0;
    return null;
  }

  /**
   * Take one binary message.
   *
   * @param {ArrayBuffer} chunk
   * @returns {Binary | null} the publication or reply that it completes
   */
  readChunk(chunk) {
    const header = this.#header;
    if (!header) throw new ProtocolFault("a binary message without a header");
    this.#chunks.push(chunk);
    this.#bytes += chunk.byteLength;
    const complete = this.#chunks.length >= header.chunks;
    if (complete ? this.#bytes !== header.bytes : this.#bytes > header.bytes) {
      throw new ProtocolFault(`${this.#bytes} bytes arrived of the ${header.bytes} announced`);
    }
    if (!complete) return null;
    const data = joinChunks(this.#chunks, this.#bytes);
    this.#header = null;
    this.#chunks = [];
    if (this.#isPushed(header)) this.#advance(header.offset);
    return { type: "binary", header, data };
  }

  /** @param {Subscribed} message */
  #subscribe(message) {
    const { epoch, next, recovered } = message;
    if (recovered === false && epoch !== null) {
      this.#gapIsDue = true; // which moves the position; until it is here, it would be missed
      return;
    }
    const before = this.position;
    if (recovered && (before?.epoch !== epoch || before?.offset !== Number(next) - 1)) {
      throw new ProtocolFault(`asked to resume after ${JSON.stringify(before)}, resumed at ${epoch}, ${next}`);
    }
    this.#move(message);
  }

  /** @param {{epoch: string | null, next: number | null}} message */
  #move({ epoch, next }) {
    this.position = epoch === null || next === null ? null : { epoch, offset: next - 1 };
  }

  /** Whether it has a place in the topic; replies and topics without history have none. @param {any} message */
  #isPushed(message) {
    return Number.isInteger(message.offset) && this.position !== null;
  }

  /** @param {{type: string, offset: number, skipped?: number}} message */
  #check({ type, offset, skipped = 0 }) {
    if (this.#gapIsDue) throw new ProtocolFault("not recovered, and no gap says so");
    const expected = /** @type {Position} */ (this.position).offset + skipped + 1;
    const repeats = type === "stats" && this.#first && offset === expected - 1;
    if (offset !== expected && !repeats) {
      throw new ProtocolFault(`offset ${offset} came where ${expected} was due`);
    }
    this.#first = false;
  }

  /** @param {number | null} offset */
  #advance(offset) {
    const { epoch } = /** @type {Position} */ (this.position);
    this.position = { epoch, offset: /** @type {number} */ (offset) };
  }
}

/** @param {ArrayBuffer[]} chunks @param {number} bytes */
function joinChunks(chunks, bytes) {
  if (chunks.length === 1) return /** @type {ArrayBuffer} */ (chunks[0]);
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(new Uint8Array(chunk), at);
    at += chunk.byteLength;
  }
  return whole.buffer;
}
