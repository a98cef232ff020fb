/**
 * What a loop over a stream has not read yet.
 *
 * @import {ConnectionEnded} from "./errors.js"
 * @import {Message, Position} from "./types.js"
 */

import { StreamClosed } from "./errors.js";

const MOST_BYTES = 64 * 2 ** 20; // of arrays and other bytes

/** A bounded queue: who fills it looks at `isFull` first, and goes on once `isEased`. */
export class Backlog {
  /** The position of the message that was read last. @type {Position | null} */
  position;
  #most;
  /** @type {{message: Message, position: Position | null}[]} */
  #waiting = [];
  #bytes = 0;
  /** @type {ConnectionEnded | null} */
  #ended = null;
  #wake = () => {};

  /** @param {number} most messages @param {Position | null} position before the first of them */
  constructor(most, position) {
    this.#most = most;
    this.position = position;
  }

  get isFull() {
    return this.#waiting.length >= this.#most || this.#bytes >= MOST_BYTES;
  }

  get isEased() {
    return this.#waiting.length <= this.#most / 2 && this.#bytes <= MOST_BYTES / 2;
  }

  /** @param {Message} message @param {Position | null} position with it */
  push(message, position) {
    this.#waiting.push({ message, position });
    this.#bytes += countBytes(message);
    this.#wake();
  }

  /** Nothing more will come. @param {ConnectionEnded} error is thrown behind what waits, but for a StreamClosed */
  end(error) {
    this.#ended = error;
    this.#wake();
  }

  /** The next message, as soon as there is one; null at the end. @returns {Promise<Message | null>} */
  async next() {
    while (this.#waiting.length === 0 && !this.#ended) {
      await new Promise((resolve) => (this.#wake = () => resolve(undefined)));
    }
    const next = this.#waiting.shift();
    if (!next) {
      if (this.#ended instanceof StreamClosed) return null;
      throw this.#ended;
    }
    this.#bytes -= countBytes(next.message);
    this.position = next.position;
    return next.message;
  }
}

/** @param {Message} message */
function countBytes(message) {
  return message.type === "binary" ? message.data.byteLength : 0;
}
