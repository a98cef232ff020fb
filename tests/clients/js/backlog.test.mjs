import assert from "node:assert/strict";
import { test } from "node:test";

import { Backlog } from "../../../clients/js/src/backlog.js";
import { ConnectionEnded, StreamClosed } from "../../../clients/js/src/errors.js";

const binary = (mebibytes) => ({ type: "binary", header: {}, data: new ArrayBuffer(mebibytes * 2 ** 20) });

test("it is full with so many messages, and eased with half of them", async () => {
  const backlog = new Backlog(4, null);
  for (let offset = 1; offset <= 4; offset += 1) backlog.push({ type: "gap" }, { epoch: "e", offset });
  assert.ok(backlog.isFull && !backlog.isEased);
  await backlog.next();
  assert.ok(!backlog.isFull && !backlog.isEased);
  await backlog.next();
  assert.ok(backlog.isEased);
  assert.deepEqual(backlog.position, { epoch: "e", offset: 2 });
});

test("it is full with 64 MiB, and eased with half of them", async () => {
  const backlog = new Backlog(1000, null);
  backlog.push(binary(40), null);
  assert.ok(!backlog.isFull && !backlog.isEased);
  backlog.push(binary(30), null);
  assert.ok(backlog.isFull);
  await backlog.next();
  assert.ok(backlog.isEased);
});

test("whoever waits for the next message is woken by it, and by the end", async () => {
  const backlog = new Backlog(10, null);
  const next = backlog.next();
  backlog.push({ type: "join" }, null);
  assert.deepEqual(await next, { type: "join" });
  const last = backlog.next();
  backlog.end(new StreamClosed());
  assert.equal(await last, null);
});

test("an end that this program did not want is thrown, behind what waits", async () => {
  const backlog = new Backlog(10, null);
  backlog.push({ type: "join" }, null);
  backlog.end(new ConnectionEnded(4505, "revoked"));
  assert.deepEqual(await backlog.next(), { type: "join" });
  await assert.rejects(backlog.next(), { code: 4505 });
});
