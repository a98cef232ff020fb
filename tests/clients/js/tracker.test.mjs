import assert from "node:assert/strict";
import { test } from "node:test";

import { ProtocolFault } from "../../../clients/js/src/errors.js";
import { Tracker } from "../../../clients/js/src/tracker.js";
import { readVectors } from "./support.mjs";

// What reaches the listeners, of the types that do not on every message (see realtime.js).
const SURFACED = new Set(["publication", "stats", "gap", "join", "leave"]);

const surfaces = (message) =>
  message !== null &&
  (SURFACED.has(message.type) ||
    (message.type === "error" && message.ref === null) ||
    (message.type === "binary" && message.header.ref === null));

function decode(base64) {
  const { buffer, byteOffset, byteLength } = Buffer.from(base64, "base64");
  return buffer.slice(byteOffset, byteOffset + byteLength);
}

for (const { name, start, steps } of readVectors("positions.json")) {
  test(`vector: ${name}`, () => {
    const tracker = new Tracker(start);
    tracker.begin();
    for (const step of steps) {
      const read = () =>
        "binary" in step ? tracker.readChunk(decode(step.binary)) : tracker.readText(JSON.stringify(step.message));
      if ("closed" in step) tracker.begin();
      else if (step.fault) assert.throws(read, ProtocolFault);
      else {
        const message = read();
        assert.deepEqual(surfaces(message) ? [message.type] : [], step.surfaces);
      }
      assert.deepEqual(tracker.position, step.position);
    }
  });
}

const header = (fields) => JSON.stringify({ type: "binary", offset: null, ref: 1, format: "any", ...fields });

test("one chunk is handed on without copying it", () => {
  const tracker = new Tracker();
  tracker.readText(header({ bytes: 3, chunks: 1 }));
  const chunk = new ArrayBuffer(3);
  assert.equal(tracker.readChunk(chunk).data, chunk);
});

test("chunks are joined in order", () => {
  const tracker = new Tracker();
  tracker.readText(header({ bytes: 5, chunks: 3 }));
  assert.equal(tracker.readChunk(new Uint8Array([1, 2]).buffer), null);
  assert.equal(tracker.readChunk(new ArrayBuffer(0)), null);
  assert.deepEqual([...new Uint8Array(tracker.readChunk(new Uint8Array([3, 4, 5]).buffer).data)], [1, 2, 3, 4, 5]);
});

test("more bytes than announced are a fault before the last chunk", () => {
  const tracker = new Tracker();
  tracker.readText(header({ bytes: 1, chunks: 3 }));
  assert.throws(() => tracker.readChunk(new ArrayBuffer(2)), ProtocolFault);
});

for (const text of ["", "{", "null", "[]", '"hello"', "{}", '{"type": 1}', header({ bytes: 0, chunks: 0 })]) {
  test(`a fault: ${text || "an empty text"}`, () => {
    assert.throws(() => new Tracker().readText(text), ProtocolFault);
  });
}
