/** Is the server still there? Browsers show no pings, so silence is looked into with one of ours. */

import { Alarm } from "./alarm.js";

/** ms to see whether what was there before a pause is there still. */
export const WAKING_PATIENCE = 5000;

/**
 * @typedef {object} HeartbeatHooks
 * @property {() => void} ping sends one; its answer need not be reported but by `hear()`
 * @property {() => void} wake timers have stood still; calls `probe()` among other things
 * @property {(woken: boolean) => void} die nothing came back; `woken`: after the page was away
 */

export class Heartbeat {
  #hooks;
  #patience;
  #interval = 0;
  #heard = 0; // when the server last said anything, on the clock of performance.now()
  #heardAt = 0; // the same by Date.now(), which goes on in sleep
  #asked = 0; // when it was last asked, by performance.now()
  #isWoken = false; // the last question was asked by `probe()`
  #alarm = new Alarm();

  /** @param {HeartbeatHooks} hooks @param {number} patience ms */
  constructor(hooks, patience) {
    this.#hooks = hooks;
    this.#patience = patience;
  }

  /** @param {number} interval ms of silence after which to ask */
  start(interval) {
    this.#interval = interval;
    this.hear();
    this.#watch();
  }

  stop() {
    this.#alarm.clear();
  }

  hear() {
    this.#heard = performance.now();
    this.#heardAt = Date.now();
  }

  /** Timers have stood still, so that the connection may have died in the meantime. */
  get hasStoodStill() {
    return this.#alarm.isOverdue;
  }

  /** It was asked by `probe()` whether the connection has survived, and has not answered yet. */
  get isInDoubt() {
    return this.#isWoken && this.#heard < this.#asked;
  }

  /** Ask now: the page was away, or the network. */
  probe() {
    this.#ask(Math.min(this.#patience, WAKING_PATIENCE), true);
  }

  /** @param {number} patience ms @param {boolean} woken @param {boolean} [again] the last deadline was no good */
  #ask(patience, woken, again = false) {
    const isAsked = this.#heard < this.#asked && !again && !this.#alarm.isOverdue;
    // A question that is open already keeps its deadline, however often the page is looked at.
    const left = isAsked ? Math.min(patience, this.#alarm.left) : patience;
    if (!isAsked) this.#asked = performance.now();
    this.#isWoken = woken;
    this.#alarm.set(left, (late) => {
      if (this.#heard >= this.#asked) this.#watch();
      else if (late && !again) this.#ask(Math.min(patience, WAKING_PATIENCE), true, true); // the answer may be about to be read
      else this.#hooks.die(woken);
    });
    this.#hooks.ping();
  }

  #watch() {
    const silent = Math.max(performance.now() - this.#heard, Date.now() - this.#heardAt);
    if (silent >= this.#interval) this.#ask(this.#patience, false);
    else {
      this.#alarm.set(this.#interval - silent, (late) => {
        if (late) this.#hooks.wake();
        else this.#watch();
      });
    }
  }
}
