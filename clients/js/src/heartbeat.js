/** Is the server still there? Browsers show no pings, so silence is looked into with one of ours. */

export class Heartbeat {
  #ping;
  #die;
  #patience;
  #interval = 0;
  #heard = 0; // when the server last said anything, on the clock of performance.now()
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {() => void} ping sends one; its answer need not be reported but by `hear()`
   * @param {() => void} die is called where nothing came back
   * @param {number} patience ms
   */
  constructor(ping, die, patience) {
    this.#ping = ping;
    this.#die = die;
    this.#patience = patience;
  }

  /** @param {number} interval ms of silence after which to ask */
  start(interval) {
    this.#interval = interval;
    this.hear();
    this.#watch();
  }

  stop() {
    clearTimeout(this.#timer);
  }

  hear() {
    this.#heard = performance.now();
  }

  /** Ask now. */
  probe() {
    const asked = performance.now();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#heard < asked) this.#die();
      else this.#watch();
    }, this.#patience);
    this.#ping();
  }

  #watch() {
    const silent = performance.now() - this.#heard;
    if (silent >= this.#interval) this.probe();
    else this.#timer = setTimeout(() => this.#watch(), this.#interval - silent);
  }
}
