/**
 * When to come back, and when not: section 7 of the protocol.
 *
 * @import {Backoff} from "./types.js"
 *
 * @typedef {{final: boolean, delay: number | null, renew: boolean}} Verdict `delay` is in ms where
 *   the server said when to come back, else null = jitter; `renew`: with a new token
 */

export const TOKEN_EXPIRED = 4001;
const LOST_CODES = new Set([1001, 1005, 1006]);
const RETRY_AFTER_CODES = new Set([1012, 1013]);
const FINAL_CODES = new Set([
  1002, 1003, 1007, 1009, 1010, 4500, 4501, 4502, 4503, 4504, 4505,
]);
const RETRIED_STATUSES = new Set([408, 425, 429]);

/** The longest time that attempt `attempt` (from 0) may wait. @param {number} attempt @param {Backoff} backoff */
export function boundDelay(attempt, { base, factor, cap }) {
  return Math.min(cap, base * factor ** attempt);
}

/** Full jitter: uniform in [0, bound). @param {number} attempt @param {Backoff} backoff @param {() => number} random */
export function pickDelay(attempt, backoff, random) {
  return random() * boundDelay(attempt, backoff);
}

/** A server that may not send codes below 3000 adds 2000 to them. @param {number} code */
export function unshiftCode(code) {
  return code >= 3000 && code < 3100 ? code - 2000 : code;
}

/** The connection broke, and the server did not say why. @param {number} code */
export function saysNothing(code) {
  return LOST_CODES.has(unshiftCode(code));
}

/**
 * What to do after a close.
 *
 * @param {number} code
 * @param {string} reason
 * @param {{begunHere?: boolean, renewable?: boolean, expiredBefore?: boolean}} [how] `begunHere`:
 *   this side began the close; `renewable`: a fresh token can be had; `expiredBefore`: there was a
 *   4001 already, and no session since
 * @returns {Verdict}
 */
export function judgeClose(code, reason, { begunHere = false, renewable = false, expiredBefore = false } = {}) {
  const known = unshiftCode(code);
  const expired = known === TOKEN_EXPIRED;
  // Without a new token there may be a session's cookie that is good still, or again.
  if (begunHere || FINAL_CODES.has(known) || (expired && expiredBefore && !renewable)) {
    return { final: true, delay: null, renew: false };
  }
  const told = RETRY_AFTER_CODES.has(known) ? /^retry_after=([0-9]+(?:\.[0-9]+)?)$/.exec(reason) : null;
  return { final: false, delay: told ? Number(told[1]) * 1000 : null, renew: expired && renewable };
}

/**
 * The same for an HTTP answer to the handshake, which browsers do not show.
 *
 * @param {number} status
 * @param {string | null} [retryAfter] the header `Retry-After`
 * @returns {Verdict}
 */
export function judgeHandshake(status, retryAfter) {
  const final = !(RETRIED_STATUSES.has(status) || status >= 500);
  const told = !final && /^[0-9]+$/.test(retryAfter ?? "");
  return { final, delay: told ? Number(retryAfter) * 1000 : null, renew: false };
}

/** In ms: nobody is told to wait longer by mistake, and a timer cannot be much longer. */
export const LONGEST_WAIT = 24 * 3600 * 1000;
const REFRESH_MARGIN = 60_000; // ms; a fifth of short lifetimes

/** When to ask for a new token, for one with so many ms to live. @param {number} remaining */
export function pickRefreshDelay(remaining) {
  return Math.min(Math.max(remaining - Math.min(REFRESH_MARGIN, remaining / 5), 1000), LONGEST_WAIT);
}
