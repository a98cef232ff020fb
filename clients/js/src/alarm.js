/** Timers, and clocks, that know that they may have stood still: asleep, frozen, throttled. */

const SLICE = 5000; // ms; so soon after a sleep it is noticed
const LATE = 2000; // ms; a busy page may be late by less

/** How many ms have passed since now; sleep counts, and a clock that is set back does not. */
export function startClock() {
  const [wall, steady] = [Date.now(), performance.now()];
  // The steady clock stands still while some computers sleep.
  return () => Math.max(Date.now() - wall, performance.now() - steady);
}

export class Alarm {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #delay = Infinity;
  #elapsed = () => 0;

  /** @param {number} delay ms @param {(late: boolean) => void} ring `late`: timers have stood still */
  set(delay, ring) {
    this.clear();
    this.#delay = delay;
    this.#elapsed = startClock();
    this.#wait(ring);
  }

  clear() {
    clearTimeout(this.#timer);
    this.#delay = Infinity;
  }

  /** ms until it rings; infinite where it is not set. */
  get left() {
    return this.#delay - this.#elapsed();
  }

  /** It should have rung long ago: timers have stood still. */
  get isOverdue() {
    return this.left < -LATE;
  }

  /** @param {(late: boolean) => void} ring */
  #wait(ring) {
    this.#timer = setTimeout(
      () => {
        if (this.left > 0) return this.#wait(ring);
        const late = this.isOverdue;
        this.clear();
        ring(late);
      },
      Math.min(this.left, SLICE),
    );
  }
}
