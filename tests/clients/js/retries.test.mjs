import assert from "node:assert/strict";
import { test } from "node:test";

import {
  LONGEST_WAIT,
  boundDelay,
  judgeClose,
  judgeHandshake,
  pickDelay,
  pickRefreshDelay,
} from "../../../clients/js/src/retries.js";
import { readVectors } from "./support.mjs";

const { bounds, delays } = readVectors("backoff.json");
const { closes, handshakes } = readVectors("closes.json");

test("the bound of each attempt is that of the vectors", () => {
  for (const { bounds: expected, far, ...backoff } of bounds) {
    expected.forEach((bound, attempt) => assert.equal(boundDelay(attempt, backoff), bound));
    assert.equal(boundDelay(far.attempt, backoff), far.bound);
  }
});

test("a delay is the random share of its bound", () => {
  for (const { attempt, random, delay, ...backoff } of delays) {
    assert.ok(Math.abs(pickDelay(attempt, backoff, () => random) - delay) < 1e-9);
  }
});

/** Numbers in [0, 1) that are the same in each run: the minimal standard generator. */
function makeChance(seed) {
  let state = seed;
  return () => (state = (state * 48271) % 2147483647) / 2147483647;
}

test("a thousand clients come back spread out, at every attempt", () => {
  const chance = makeChance(5);
  const backoff = { base: 1000, factor: 1.5, cap: 60_000 };
  for (const attempt of [0, 1, 5, 20]) {
    const counts = Array(10).fill(0);
    for (let i = 0; i < 1000; i += 1) {
      const share = pickDelay(attempt, backoff, chance) / boundDelay(attempt, backoff);
      counts[Math.floor(share * 10)] += 1;
    }
    assert.ok(Math.max(...counts) <= 150, String(counts));
  }
});

test("every close code means what the vectors say", () => {
  for (const { code, reason, began_by_client, token, expired_before, action, delay, needs_new_token } of closes) {
    assert.deepEqual(
      judgeClose(code, reason, { begunHere: began_by_client, renewable: token === "callable", expiredBefore: expired_before }),
      { final: action === "final", delay: delay === null ? null : delay * 1000, renew: needs_new_token },
      `${code} ${reason} ${token} ${expired_before}`,
    );
  }
});

test("every HTTP status of a handshake means what the vectors say", () => {
  for (const { status, retry_after, action, delay } of handshakes) {
    assert.deepEqual(
      judgeHandshake(status, retry_after),
      { final: action === "final", delay: delay === null ? null : delay * 1000, renew: false },
      `${status} ${retry_after}`,
    );
  }
});

test("a token is renewed a minute before its end, a short one after four fifths of its life", () => {
  assert.equal(pickRefreshDelay(600_000), 540_000);
  assert.equal(pickRefreshDelay(100_000), 80_000);
  assert.equal(pickRefreshDelay(100), 1000);
  assert.equal(pickRefreshDelay(1e12), LONGEST_WAIT);
});
