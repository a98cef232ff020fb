/**
 * The token of a session, renewed in band before it expires.
 *
 * @import {Token, TokenRequest} from "./types.js"
 */

import { Alarm, startClock } from "./alarm.js";
import { ConnectionLost, RequestRefused } from "./errors.js";
import { pickRefreshDelay } from "./retries.js";

export class Renewal {
  #source;
  #refresh;
  #complain;
  #began = 0; // the server's time at the start of the session, in ms; our own clock may be wrong
  #elapsed = startClock(); // since then
  #round = 0; // counts starts and stops, so that a late token of an older session is not used
  #due = new Alarm();

  /**
   * @param {(request: TokenRequest) => Token | Promise<Token>} source
   * @param {(token: string) => Promise<unknown>} refresh asks the server
   * @param {(code: string, detail: string) => void} complain
   */
  constructor(source, refresh, complain) {
    this.#source = source;
    this.#refresh = refresh;
    this.#complain = complain;
  }

  /** A session has begun. @param {string | null} expiresAt @param {string} serverTime */
  start(expiresAt, serverTime) {
    this.#began = Date.parse(serverTime);
    this.#elapsed = startClock();
    this.schedule(expiresAt);
  }

  stop() {
    this.#round += 1;
    this.#due.clear();
  }

  /** @param {string | null} expiresAt */
  schedule(expiresAt) {
    this.stop();
    if (expiresAt === null) return;
    const remaining = Date.parse(expiresAt) - this.#began - this.#elapsed();
    if (remaining <= 0) return; // the server closes with 4001; the next connection brings a new token
    this.#due.set(pickRefreshDelay(remaining), () => this.#renew(expiresAt));
  }

  /** @param {string} expiresAt */
  async #renew(expiresAt) {
    const round = this.#round;
    try {
      const token = await this.#source({ renew: true });
      if (!token) throw new Error("the function gave none");
      if (round === this.#round) await this.#refresh(token);
    } catch (error) {
      if (round !== this.#round || error instanceof ConnectionLost) return; // a new connection brings a token itself
      this.#complain(error instanceof RequestRefused ? error.code : "no_token", String(error));
      this.schedule(expiresAt);
    }
  }
}
