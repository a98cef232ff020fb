import assert from "node:assert/strict";
import { createServer } from "node:http";
import { mock, test } from "node:test";

import {
  ConnectionEnded,
  ConnectionLost,
  MessageTooBig,
  QueueFull,
  ReplyTimeout,
  RequestRefused,
  RetriesExhausted,
  StreamClosed,
  UnknownOutcome,
  connect,
  writeNpy,
} from "../../../clients/js/src/realtime.js";
import {
  LIMITS,
  URL_OF_TOPIC,
  comeBack,
  makeSocketClass,
  open,
  pass,
  readVectors,
  require,
  settle,
  stopTime,
  until,
} from "./support.mjs";

// Connecting

test("the address has the parameters, the subprotocol has the token", async (t) => {
  const { sockets } = await open(t, {
    token: "abc.def",
    history: 5,
    window: "60s",
    fields: ["median", "p95"],
    interval: 0.5,
  });
  assert.equal(sockets.last.url.href, `${URL_OF_TOPIC}?history=5&window=60s&fields=median%2Cp95&interval=0.5`);
  assert.deepEqual(sockets.last.protocols, ["realtime.v1", "realtime.bearer.abc.def"]);
});

test("an anonymous stream offers the protocol alone", async (t) => {
  const { sockets } = await open(t);
  assert.deepEqual(sockets.last.protocols, ["realtime.v1"]);
});

test("http addresses become those of WebSockets", async (t) => {
  const sockets = makeSocketClass();
  const stream = connect("https://example.org/ws/broadcast/t/", { WebSocket: sockets });
  t.after(() => stream.close());
  await settle();
  assert.equal(sockets.last.url.protocol, "wss:");
});

test("a given position is resumed from, and the history is not asked for then", async (t) => {
  const { sockets } = await open(t, { position: { epoch: "e", offset: 0 }, history: 5 });
  assert.equal(sockets.last.url.search, "?epoch=e&offset=0");
});

test("a stream is live with its subscription, and tells who it is", async (t) => {
  const { stream, sockets, states } = await open(t);
  assert.equal(stream.state, "connecting");
  sockets.last.greet();
  assert.equal(stream.state, "connecting");
  sockets.last.subscribe({ next: 7 });
  assert.deepEqual(states, [{ state: "live", previous: "connecting" }]);
  assert.deepEqual([stream.user, stream.session, stream.limits], ["anna", "s", LIMITS]);
  assert.deepEqual(stream.position, { epoch: "e", offset: 6 });
});

test("a publish-only stream is live with the session, and resumes nothing", async (t) => {
  const { stream, sockets } = await open(t, { subscribe: false, position: { epoch: "e", offset: 3 } });
  sockets.last.greet();
  assert.equal(stream.state, "live");
  assert.equal(sockets.last.url.search, "?subscribe=0");
});

test("an address that is none throws at once", () => {
  assert.throws(() => connect("/ws/broadcast/t/", { WebSocket: makeSocketClass() }), TypeError);
});

test("without a WebSocket class it says so", (context) => {
  const own = Object.getOwnPropertyDescriptor(globalThis, "WebSocket");
  Object.defineProperty(globalThis, "WebSocket", { value: undefined, configurable: true });
  context.after(() => own && Object.defineProperty(globalThis, "WebSocket", own));
  assert.throws(() => connect(URL_OF_TOPIC), /WebSocket/);
});

// Messages

for (const { name, message } of readVectors("server_messages.json")) {
  test(`taken: ${name}`, async (t) => {
    const start = Number.isInteger(message.offset) ? message.offset - (message.skipped ?? 0) : 1;
    const { stream, sockets, events } = await open(t);
    const { type } = message;
    sockets.last.greet();
    if (type !== "subscribed" && type !== "hello") {
      sockets.last.subscribe(message.offset === null && message.ref === null ? { epoch: null, next: null } : { next: start });
      events.length = 0;
    }
    const resumes = type === "subscribed" && message.recovered && message.epoch !== null;
    if (resumes) return; // tracker.test.mjs has those
    sockets.last.say(message);
    if (type === "binary") {
      const whole =
        message.format === "npy"
          ? writeNpy({ shape: message.shape, dtype: message.dtype, data: Array(message.shape.reduce((a, b) => a * b, 1)).fill(0) })
          : new ArrayBuffer(message.bytes);
      const size = Math.ceil(message.bytes / message.chunks);
      for (let i = 0; i < message.chunks; i += 1) sockets.last.say(whole.slice(i * size, (i + 1) * size));
      if (message.ref !== null) return assert.deepEqual(events, []);
      const [{ array, data, header }] = events;
      assert.deepEqual(header, message);
      assert.deepEqual(Buffer.from(data), Buffer.from(whole));
      assert.deepEqual([array?.shape, array?.dtype], [message.shape, message.dtype]);
    } else if (["hello", "ack", "presence", "history", "pong"].includes(type) || (type === "error" && message.ref !== null)) {
      assert.deepEqual(events, []);
    } else {
      assert.deepEqual(events, [message]);
    }
    assert.equal(stream.state, type === "hello" ? "connecting" : "live");
  });
}

test("a message that breaks the protocol makes the stream come back from where it was", async (t) => {
  const { stream, sockets, states, events } = await open(t);
  sockets.last.accept();
  sockets.last.publish(1);
  sockets.last.publish(3);
  assert.ok(sockets.last.isClosed);
  assert.equal(events.at(-1).code, "protocol_fault");
  assert.equal(states.at(-1).state, "waiting");
  await comeBack();
  assert.equal(sockets.last.url.search, "?epoch=e&offset=1");
  sockets.last.accept({ next: 2, recovered: true });
  sockets.last.publish(2);
  assert.deepEqual(stream.position, { epoch: "e", offset: 2 });
});

test("an abandoned socket is not listened to", async (t) => {
  const { stream, sockets, events } = await open(t);
  const [first] = sockets.sockets;
  first.accept();
  stream.reconnect();
  await settle();
  first.publish(1);
  first.end(4505);
  assert.equal(events.length, 1);
  assert.equal(stream.state, "connecting");
});

test("a .npy file of a kind unknown here is handed on as bytes, with an error", async (t) => {
  const { sockets, events } = await open(t);
  sockets.last.accept();
  const header = { type: "binary", topic: "t", offset: 1, format: "npy", bytes: 12, chunks: 1, user: null, ref: null };
  sockets.last.say(header);
  sockets.last.say(new ArrayBuffer(12));
  const [, { code }, { data, array }] = events;
  assert.deepEqual([code, data.byteLength, array], ["invalid_array", 12, undefined]);
});

test("a listener to an error may close the stream", async (t) => {
  const { stream, sockets } = await open(t);
  stream.addEventListener("error", () => stream.close());
  sockets.last.accept();
  sockets.last.publish(7);
  await comeBack();
  assert.equal(stream.state, "closed");
  assert.equal(sockets.sockets.length, 1);
});

// Coming back

test("what was missed is asked for after a loss, and waiting says until when", async (t) => {
  stopTime(t);
  const { sockets, states } = await open(t, { random: () => 0.01 });
  sockets.last.accept();
  sockets.last.publish(1);
  sockets.last.end(1006, "");
  const { state, code, retryAt } = states.at(-1);
  assert.deepEqual([state, code, retryAt - Date.now()], ["waiting", 1006, 10]);
  await pass(9);
  assert.equal(sockets.sockets.length, 1);
  await pass(1);
  assert.equal(sockets.last.url.search, "?epoch=e&offset=1");
});

test("each delay is jittered, grows while nothing is stable, and starts afresh afterwards", async (t) => {
  stopTime(t);
  const { sockets, states } = await open(t, { random: () => 0.5, stableAfter: 3000 });
  const loseAndMeasure = async () => {
    sockets.last.end(1006);
    const delay = states.at(-1).retryAt - Date.now();
    await pass(delay);
    return delay;
  };
  assert.equal(await loseAndMeasure(), 500);
  assert.equal(await loseAndMeasure(), 750);
  sockets.last.accept();
  await pass(2000); // live, but not for long
  assert.equal(await loseAndMeasure(), 1125);
  sockets.last.accept();
  await pass(3001);
  assert.equal(await loseAndMeasure(), 500);
});

test("the server's retry_after is kept to, without jitter", async (t) => {
  stopTime(t);
  const { sockets, states } = await open(t);
  sockets.last.accept();
  sockets.last.end(3012, "retry_after=30");
  assert.equal(states.at(-1).code, 1012);
  assert.equal(states.at(-1).retryAt - Date.now(), 30_000);
});

test("a final code closes the stream", async (t) => {
  const { stream, sockets, states } = await open(t);
  sockets.last.accept();
  sockets.last.end(4505, "signed out");
  assert.deepEqual(states.at(-1), { state: "closed", previous: "live", code: 4505, reason: "signed out" });
  await assert.rejects(stream.publish(1), ConnectionEnded);
  assert.throws(() => stream.reconnect(), ConnectionEnded);
});

test("after maxRetries failures in a row the stream closes", async (t) => {
  const { stream, sockets } = await open(t, { maxRetries: 2 });
  for (let i = 0; i < 2; i += 1) {
    sockets.last.end(1006);
    await comeBack();
  }
  const waiting = stream.publish(1);
  sockets.last.end(1006);
  await assert.rejects(waiting, RetriesExhausted);
  assert.equal(sockets.sockets.length, 3);
});

test("a server that opens but says nothing is given up", async (t) => {
  const { sockets, states } = await open(t, { connectTimeout: 10, random: () => 0.9 });
  await until(() => sockets.sockets[0].isClosed);
  assert.match(states.at(-1).reason, /too long/);
});

test("a listener that closes the stream ends it for good", async (t) => {
  const { stream, sockets } = await open(t);
  stream.addEventListener("state", ({ detail }) => detail.state === "live" && stream.close());
  sockets.last.accept();
  await comeBack();
  assert.equal(stream.state, "closed");
  assert.equal(sockets.sockets.length, 1);
});

test("what no socket can be opened with ends the stream", async (t) => {
  class Picky {
    constructor() {
      throw new SyntaxError("a subprotocol has no spaces");
    }
  }
  const { stream, states } = await open(t, { WebSocket: Picky, token: "a b" });
  assert.match(states.at(-1).reason, /no spaces/);
  await assert.rejects(stream.publish(1), ConnectionEnded);
});

test("an option that is undefined is as good as none", async (t) => {
  const { sockets, states } = await open(t, { maxRetries: undefined, random: undefined, connectTimeout: undefined });
  sockets.last.end(1006);
  assert.equal(states.at(-1).state, "waiting");
});

// Tokens

for (const token of [undefined, "fixed"]) {
  test(`without a function, 4001 is tried once more, since a cookie may be good: ${token}`, async (t) => {
    const { stream, sockets, states } = await open(t, { token });
    sockets.last.accept();
    for (let i = 0; i < 2; i += 1) {
      sockets.last.end(4001, "expired");
      assert.equal(states.at(-1).state, "waiting");
      await comeBack();
      sockets.last.accept({ recovered: true });
    }
    assert.deepEqual([stream.state, sockets.sockets.length], ["live", 3]);
    assert.equal(sockets.last.protocols[1], token && "realtime.bearer.fixed");
  });

  for (const code of [4001, 4501, 4502]) {
    test(`refused again with ${code}, an expired credential is final: ${token}`, async (t) => {
      const { stream, sockets, states } = await open(t, { token });
      sockets.last.end(4001, "expired");
      await comeBack();
      sockets.last.end(1006); // the network says nothing about it
      await comeBack();
      sockets.last.end(code, "no good");
      assert.deepEqual([stream.state, states.at(-1).code, sockets.sockets.length], ["closed", code, 3]);
      await assert.rejects(stream.publish(1), ConnectionEnded);
    });
  }
}

test("an expired token is asked for anew where it is a function", async (t) => {
  const asked = [];
  const token = async (request) => `token-${asked.push(request)}`;
  const { sockets } = await open(t, { token });
  sockets.last.end(4001);
  await comeBack();
  sockets.last.end(1006);
  await comeBack();
  sockets.last.accept();
  sockets.last.end(1006);
  await comeBack();
  assert.deepEqual(asked, [{ renew: false }, { renew: true }, { renew: true }, { renew: false }]);
  assert.equal(sockets.last.protocols[1], "realtime.bearer.token-4");
});

test("a function without a token to give is asked again later", async (t) => {
  let calls = 0;
  const token = () => {
    calls += 1;
    if (calls === 1) throw new Error("offline");
    return "abc";
  };
  const { sockets, states } = await open(t, { token });
  assert.match(states[0].reason, /no token: Error: offline/);
  await comeBack();
  assert.equal(sockets.last.protocols[1], "realtime.bearer.abc");
});

test("a token that comes after close() opens nothing", async (t) => {
  const sockets = makeSocketClass();
  let give;
  const stream = connect(URL_OF_TOPIC, { WebSocket: sockets, token: () => new Promise((resolve) => (give = resolve)) });
  await settle();
  stream.close();
  give("late");
  await settle();
  assert.equal(sockets.sockets.length, 0);
});

test("a token is renewed in band before it expires", async (t) => {
  stopTime(t);
  const { sockets, events } = await open(t, { token: ({ renew }) => (renew ? "new" : "old") });
  sockets.last.accept({ lifetime: 100_000 });
  await pass(79_000);
  const isRefresh = ({ type }) => type === "refresh";
  assert.ok(!sockets.last.messages.some(isRefresh));
  await pass(1100);
  const { token, ref } = sockets.last.messages.find(isRefresh);
  assert.equal(token, "new");
  sockets.last.say({ type: "refreshed", ref, expires_at: new Date(Date.now() + 1e9).toISOString() });
  await settle();
  assert.equal(events.at(-1).type, "refreshed");
  await pass(100_000);
  assert.equal(sockets.last.messages.filter(isRefresh).length, 1);
});

test("a refused renewal is told, and tried again", async (t) => {
  stopTime(t);
  const { sockets, events } = await open(t, { token: () => "t" });
  sockets.last.accept({ lifetime: 10_000 });
  const refreshes = () => sockets.last.messages.filter(({ type }) => type === "refresh");
  await pass(8000);
  sockets.last.say({ type: "error", ref: refreshes()[0].ref, code: "invalid_token", detail: "no" });
  await settle();
  assert.equal(events.at(-1).code, "invalid_token");
  await pass(8000);
  assert.equal(refreshes().length, 2);
});

test("a renewal that ends after its connection does is neither sent nor complained of", async (t) => {
  stopTime(t);
  for (const finish of ["resolve", "reject"]) {
    const asked = [];
    const token = ({ renew }) =>
      renew ? new Promise((resolve, reject) => asked.push({ resolve, reject })) : "first";
    const { sockets, events } = await open(t, { token });
    sockets.last.accept({ lifetime: 10_000 });
    await pass(8000);
    sockets.last.end(1006);
    await pass(1);
    sockets.last.accept({ recovered: true });
    asked[0][finish]("late");
    await settle();
    assert.deepEqual(sockets.last.sent, []);
    assert.ok(events.every(({ type }) => type === "subscribed"));
  }
});

// Publishing

test("a publish is confirmed by its ack", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.accept();
  const answer = stream.publish({ a: 1 });
  const [{ type, ref, id, data }] = sockets.last.messages;
  assert.deepEqual([type, data], ["publish", { a: 1 }]);
  assert.match(id, /^[0-9a-f]{32}$/);
  sockets.last.say({ type: "ack", ref, topic: "t", offset: 1, epoch: "e", duplicate: false });
  assert.deepEqual(await answer, { offset: 1, epoch: "e", duplicate: false });
});

test("what is published offline is sent in order, once live", async (t) => {
  const { stream, sockets } = await open(t);
  const answers = [stream.publish(1), stream.publish(2)];
  sockets.last.greet();
  assert.equal(sockets.last.sent.length, 0);
  sockets.last.subscribe();
  assert.deepEqual(sockets.last.messages.map(({ data }) => data), [1, 2]);
  for (const { ref } of sockets.last.messages) sockets.last.say({ type: "ack", ref, topic: "t", offset: ref, epoch: "e", duplicate: false });
  await Promise.all(answers);
});

test("an unconfirmed publish is repeated under its id on the next connection", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.accept();
  const answer = stream.publish("x", { id: "mine" });
  const [first] = sockets.last.messages;
  sockets.last.end(1006);
  await comeBack();
  sockets.last.accept({ next: 1, recovered: true });
  const [second] = sockets.last.messages;
  assert.deepEqual(second, first);
  assert.equal(second.id, "mine");
  sockets.last.say({ type: "ack", ref: second.ref, topic: "t", offset: 1, epoch: "e", duplicate: true });
  assert.equal((await answer).duplicate, true);
});

test("an anonymous publish has no id, and an unknown outcome once the connection is lost", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.accept({ user: null });
  const sent = stream.publish("x");
  assert.ok(!("id" in sockets.last.messages[0]));
  sockets.last.end(1006);
  await assert.rejects(sent, UnknownOutcome);
  const unsent = stream.publish("y");
  await comeBack();
  sockets.last.accept({ user: null, recovered: true });
  assert.deepEqual(sockets.last.messages.map(({ data }) => data), ["y"]);
  unsent.catch(() => {});
});

test("on a topic without history an id has no effect, so nothing is repeated", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.greet();
  sockets.last.subscribe({ epoch: null, next: null });
  const sent = stream.publish("x");
  sockets.last.end(1006);
  await assert.rejects(sent, UnknownOutcome);
});

test("without a subscription what has no answer is repeated until told otherwise", async (t) => {
  const { stream, sockets } = await open(t, { subscribe: false });
  sockets.last.greet();
  const sent = stream.publish("x", { id: "mine" });
  const [first] = sockets.last.messages;
  sockets.last.end(1006);
  await comeBack();
  sockets.last.greet();
  assert.deepEqual(sockets.last.messages, [first]);
  sockets.last.say({ type: "ack", ref: first.ref, topic: "t", offset: 1, epoch: "e", duplicate: true });
  assert.equal((await sent).duplicate, true);
});

test("without a subscription an ack tells whether what has no answer yet may be repeated", async (t) => {
  for (const epoch of ["e", null]) {
    const { stream, sockets } = await open(t, { subscribe: false });
    sockets.last.greet();
    const answers = [stream.publish("x"), stream.publish("y")];
    const [{ ref }, second] = sockets.last.messages;
    const ack = { type: "ack", topic: "t", offset: epoch && 1, epoch, duplicate: false };
    sockets.last.say({ ...ack, ref });
    assert.equal((await answers[0]).epoch, epoch);
    sockets.last.end(1006);
    if (epoch === null) {
      await assert.rejects(answers[1], UnknownOutcome);
      continue;
    }
    await comeBack();
    sockets.last.greet();
    assert.deepEqual(sockets.last.messages, [second]);
    sockets.last.say({ ...ack, ref: second.ref });
    await answers[1];
  }
});

test("offline, a bounded number of messages waits", async (t) => {
  const { stream } = await open(t, { maxQueued: 2 });
  const waiting = [stream.publish(1), stream.publish(2)];
  await assert.rejects(stream.publish(3), QueueFull);
  stream.close();
  for (const each of waiting) await assert.rejects(each, StreamClosed);
});

test("closing leaves what was sent with an unknown outcome", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.accept();
  const sent = stream.publish(1, { id: "i" });
  stream.close();
  await assert.rejects(sent, (error) => error instanceof UnknownOutcome && error.id === "i");
});

test("four minutes without an answer are an unknown outcome", async (t) => {
  stopTime(t);
  const { stream, sockets } = await open(t, { pongTimeout: 1e9 });
  sockets.last.accept();
  const outcome = stream.publish(1).then(String, (error) => error);
  mock.timers.tick(239_000);
  sockets.last.end(1006); // it is counted from the first time it was sent
  await pass(1);
  sockets.last.accept({ recovered: true });
  mock.timers.tick(1000);
  assert.ok((await outcome) instanceof UnknownOutcome);
});

test("unavailable is repeated under the same id", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.accept();
  const answer = stream.publish(1);
  const [{ ref, id }] = sockets.last.messages;
  sockets.last.say({ type: "error", ref, code: "unavailable", detail: "not confirmed" });
  await comeBack();
  assert.equal(sockets.last.messages[1].id, id);
  sockets.last.say({ type: "ack", ref, topic: "t", offset: 1, epoch: "e", duplicate: true });
  assert.equal((await answer).offset, 1);
});

test("what is about to be repeated when the connection breaks is sent once on the next", async (t) => {
  stopTime(t);
  const { stream, sockets } = await open(t, { backoff: { base: 20 }, random: () => 0.9 });
  sockets.last.accept();
  stream.publish(1).catch(() => {});
  sockets.last.say({ type: "error", ref: sockets.last.messages[0].ref, code: "unavailable", detail: "" });
  stream.reconnect();
  await settle();
  sockets.last.accept({ recovered: true });
  await pass(40);
  assert.equal(sockets.last.sent.length, 1);
});

test("offline, a bounded number of bytes waits", async (t) => {
  const { stream, sockets } = await open(t);
  const big = new Uint8Array(40 * 2 ** 20);
  const first = stream.publishBytes(big);
  await assert.rejects(stream.publishBytes(big), QueueFull);
  sockets.last.accept({ limits: { ...LIMITS, max_binary_bytes: big.length } });
  sockets.last.say({ type: "ack", ref: sockets.last.messages[0].ref, topic: "t", offset: 1, epoch: "e", duplicate: false });
  await first;
  sockets.last.end(1006);
  const outcomes = [30, 30, 30].map((size) =>
    stream.publishBytes(big.subarray(0, size * 2 ** 20)).catch((error) => error.name),
  );
  await settle();
  stream.close();
  assert.deepEqual(await Promise.all(outcomes), ["StreamClosed", "StreamClosed", "QueueFull"]);
});

test("without an id, unavailable is an unknown outcome", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.accept({ user: null });
  const answer = stream.publish(1);
  sockets.last.say({ type: "error", ref: sockets.last.messages[0].ref, code: "unavailable", detail: "not confirmed" });
  await assert.rejects(answer, UnknownOutcome);
});

test("an id of the caller's own is sent by anybody", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.accept({ user: null });
  stream.publish(1, { id: "mine" }).catch(() => {});
  assert.equal(sockets.last.messages[0].id, "mine");
});

test("a refusal has the server's code", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.accept();
  const answer = stream.publish(1);
  sockets.last.say({ type: "error", ref: sockets.last.messages[0].ref, code: "rejected", detail: "be kind" });
  await assert.rejects(answer, (error) => error instanceof RequestRefused && error.code === "rejected");
});

test("what is longer than the limits is refused here", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.greet({ limits: { max_text_bytes: 100, max_binary_bytes: 200, max_frame_bytes: 50 } });
  sockets.last.subscribe();
  await assert.rejects(stream.publish("é".repeat(40)), MessageTooBig);
  await assert.rejects(stream.publishBytes(new Uint8Array(201)), MessageTooBig);
  assert.equal(sockets.last.sent.length, 0);
});

test("bytes go in chunks that fit, behind their header", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.greet({ limits: { max_text_bytes: 1000, max_binary_bytes: 200, max_frame_bytes: 50 } });
  sockets.last.subscribe();
  const bytes = Uint8Array.from({ length: 120 }, (_, i) => i);
  stream.publishBytes(bytes, { format: "image/png" }).catch(() => {});
  const [header, ...chunks] = sockets.last.sent;
  assert.equal(JSON.parse(header).chunks, 3);
  assert.equal(JSON.parse(header).format, "image/png");
  assert.deepEqual(Buffer.concat(chunks), Buffer.from(bytes));
});

test("infinite samples and what has no JSON are refused", async (t) => {
  const { stream } = await open(t);
  await assert.rejects(stream.publishSamples([1, -Infinity]), RangeError);
  await assert.rejects(stream.publish(undefined), TypeError);
});

test("samples may be typed arrays, with times; NaN goes as null", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.accept();
  stream.publishSamples(new Float32Array([0.5, NaN]), [1, 2]).catch(() => {});
  assert.deepEqual(sockets.last.messages[0].data, { values: [0.5, null], timestamps: [1, 2] });
});

// Asking

test("questions are asked again on the next connection, a ping is not", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.accept();
  const roster = stream.presence();
  const trip = stream.ping();
  sockets.last.end(1006);
  await assert.rejects(trip, ConnectionLost);
  await assert.rejects(stream.ping(), ConnectionLost);
  await comeBack();
  sockets.last.accept({ recovered: true });
  assert.deepEqual(sockets.last.messages.map(({ type }) => type), ["presence"]);
  sockets.last.say({ type: "presence", ref: sockets.last.messages[0].ref, topic: "t", sessions: [], count: 0 });
  assert.equal((await roster).count, 0);
});

test("one array is requested at a time", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.accept();
  const answers = [stream.request({ shape: [3] }), stream.request({ shape: [3], source: "zeros" })];
  for (const source of ["random", "zeros"]) {
    await settle();
    const { type, ref, ...rest } = sockets.last.messages.at(-1);
    assert.deepEqual([type, rest], ["request", { shape: [3], dtype: "float64", source }]);
    sockets.last.say({ type: "binary", topic: "t", offset: null, format: "npy", bytes: 152, chunks: 1, user: null, ref });
    sockets.last.say(writeNpy({ data: new Float64Array(3) }));
  }
  for (const answer of answers) assert.deepEqual((await answer).data, new Float64Array(3));
});

test("a refused request leaves the next one its turn", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.accept();
  const [first, second] = [stream.request({ shape: [1] }), stream.request({ shape: [2] })];
  second.catch(() => {});
  await settle();
  sockets.last.say({ type: "error", ref: sockets.last.messages[0].ref, code: "rate_limited", detail: "later" });
  await assert.rejects(first, RequestRefused);
  await settle();
  assert.deepEqual(sockets.last.messages[1].shape, [2]);
});

test("a question without an answer fails in time", async (t) => {
  const { stream } = await open(t, { replyTimeout: 5 });
  await assert.rejects(stream.history({ after: 3 }), ReplyTimeout);
});

// A socket that is closing, and has not said so yet

test("what is published on a closing socket is sent once, on the next", async (t) => {
  for (const user of ["anna", null]) {
    const { stream, sockets } = await open(t);
    sockets.last.accept({ user });
    sockets.last.beginEnd();
    const answers = [stream.publish("x"), stream.publish("y", { id: "mine" })];
    sockets.last.end(1006);
    await comeBack();
    sockets.last.accept({ user, recovered: true });
    assert.deepEqual(sockets.last.messages.map(({ data }) => data), ["x", "y"]);
    sockets.last.messages.forEach(({ ref }, i) => {
      sockets.last.say({ type: "ack", ref, topic: "t", offset: i + 1, epoch: "e", duplicate: false });
    });
    assert.deepEqual((await Promise.all(answers)).map(({ offset }) => offset), [1, 2]);
  }
});

test("only what was written before the socket began to close has an unknown outcome", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.accept({ user: null });
  const written = stream.publish("written");
  sockets.last.beginEnd();
  const waiting = stream.publish("waiting");
  sockets.last.end(4505, "revoked");
  await assert.rejects(written, UnknownOutcome);
  await assert.rejects(waiting, { name: "ConnectionEnded", code: 4505 });
});

test("an upload that is cut between its chunks is sent whole on the next connection", async (t) => {
  const { stream, sockets } = await open(t);
  const options = { user: null, limits: { ...LIMITS, max_frame_bytes: 50 } };
  sockets.last.accept(options);
  const [socket] = sockets.sockets;
  socket.send = (frame) => {
    sockets.prototype.send.call(socket, frame);
    if (socket.sent.length === 2) socket.beginEnd();
  };
  const outcome = stream.publishBytes(new Uint8Array(120));
  outcome.catch(() => {});
  socket.end(1006);
  await comeBack();
  sockets.last.accept({ ...options, recovered: true });
  assert.deepEqual([socket.sent.length, sockets.last.sent.length], [2, 4]);
});

test("a closing socket fails a ping at once, and leaves other questions to the next", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.accept();
  sockets.last.beginEnd();
  const roster = stream.presence();
  await assert.rejects(stream.ping(), ConnectionLost);
  sockets.last.end(1006);
  await comeBack();
  sockets.last.accept({ recovered: true });
  assert.deepEqual(sockets.last.messages.map(({ type }) => type), ["presence"]);
  sockets.last.say({ type: "presence", ref: sockets.last.messages[0].ref, topic: "t", sessions: [], count: 0 });
  await roster;
});

test("what waits for a closing socket to be gone is bounded as offline", async (t) => {
  const { stream, sockets } = await open(t, { maxQueued: 2 });
  sockets.last.accept();
  sockets.last.beginEnd();
  const waiting = [stream.publish(1), stream.publish(2)];
  await assert.rejects(stream.publish(3), QueueFull);
  await assert.rejects(stream.ping(), ConnectionLost);
  stream.close();
  for (const each of waiting) await assert.rejects(each, StreamClosed);
});

test("the four minutes begin when a publish is written", async (t) => {
  stopTime(t);
  const { stream, sockets } = await open(t, { pongTimeout: 1e9 });
  sockets.last.accept();
  sockets.last.beginEnd();
  const answer = stream.publish(1);
  mock.timers.tick(241_000);
  sockets.last.end(1006);
  await pass(1);
  sockets.last.accept({ recovered: true });
  sockets.last.say({ type: "ack", ref: sockets.last.messages[0].ref, topic: "t", offset: 1, epoch: "e", duplicate: false });
  assert.equal((await answer).offset, 1);
});

test("what waits to be repeated is not sent on a closing socket", async (t) => {
  const { stream, sockets } = await open(t);
  sockets.last.accept();
  stream.publish(1).catch(() => {});
  sockets.last.say({ type: "error", ref: sockets.last.messages[0].ref, code: "unavailable", detail: "" });
  sockets.last.beginEnd();
  await comeBack();
  sockets.last.end(1006);
  await comeBack();
  sockets.last.accept({ recovered: true });
  assert.deepEqual(sockets.sockets.map(({ sent }) => sent.length), [1, 1]);
});

test("a token is not renewed on a closing socket, without a complaint", async (t) => {
  stopTime(t);
  const asked = [];
  const { sockets, events } = await open(t, { token: ({ renew }) => `token${asked.push(renew)}` });
  sockets.last.accept({ lifetime: 10_000 });
  sockets.last.beginEnd();
  await pass(8000);
  sockets.last.end(1006);
  await pass(1);
  sockets.last.accept({ recovered: true });
  assert.deepEqual(asked, [false, true, false]);
  assert.deepEqual(sockets.sockets.map(({ sent }) => sent), [[], []]);
  assert.ok(events.every(({ type }) => type === "subscribed"));
});

test("a renewal that was due before the stream was live is not sent on the next connection", async (t) => {
  stopTime(t);
  const asked = [];
  const { sockets } = await open(t, { token: ({ renew }) => `token${asked.push(renew)}` });
  sockets.last.greet({ lifetime: 10_000 });
  await pass(8000);
  assert.deepEqual(asked, [false, true]);
  sockets.last.end(1006);
  await pass(1);
  sockets.last.accept();
  assert.deepEqual(sockets.last.sent, []);
});

test("a closing socket whose end is never heard of is not pinged, and left in time", async (t) => {
  const { sockets, states } = await open(t, { pongTimeout: 20 });
  sockets.last.greet({ pingInterval: 0.02 });
  sockets.last.subscribe();
  sockets.last.beginEnd();
  await until(() => sockets.sockets.length === 2);
  assert.match(states.find(({ state }) => state === "waiting").reason, /ping/);
  assert.deepEqual(sockets.sockets[0].sent, []);
});

// Silence

test("a silent server is pinged, and left where it does not answer", async (t) => {
  const { sockets, states } = await open(t, { pongTimeout: 20 });
  sockets.last.greet({ pingInterval: 0.02 });
  sockets.last.subscribe();
  const [socket] = sockets.sockets;
  await until(() => socket.sent.length === 1);
  const [{ type, ref }] = socket.messages;
  assert.equal(type, "ping");
  socket.say({ type: "pong", ref, server_time: "" });
  await until(() => socket.isClosed);
  assert.equal(socket.sent.length, 2);
  assert.match(states.find(({ state }) => state === "waiting").reason, /ping/);
});

// The loop

test("a loop gets the messages in order, and the position of the last it got", async (t) => {
  const { stream, sockets } = await open(t);
  const got = [];
  const loop = (async () => {
    for await (const message of stream) {
      got.push([message.type, stream.position]);
      if (message.data === 2) break;
    }
  })();
  sockets.last.accept();
  sockets.last.publish(1);
  sockets.last.publish(2);
  sockets.last.publish(3);
  await loop;
  assert.deepEqual(got, [
    ["subscribed", { epoch: "e", offset: 0 }],
    ["publication", { epoch: "e", offset: 1 }],
    ["publication", { epoch: "e", offset: 2 }],
  ]);
  assert.deepEqual(stream.position, { epoch: "e", offset: 3 });
  assert.equal(stream.state, "live");
});

test("a loop ends with close(), behind what waits, and throws at a final code", async (t) => {
  for (const [end, expected] of [
    [({ stream }) => stream.close(), null],
    [({ sockets }) => sockets.last.end(4503, "no"), 4503],
  ]) {
    const opened = await open(t);
    const got = [];
    const loop = (async () => {
      for await (const { type } of opened.stream) got.push(type);
    })();
    opened.sockets.last.accept();
    end(opened);
    const outcome = await loop.then(() => null, ({ code }) => code);
    assert.equal(outcome, expected);
    assert.deepEqual(got, ["subscribed"]);
  }
});

test("there is one loop at a time", async (t) => {
  const { stream } = await open(t);
  const first = stream[Symbol.asyncIterator]();
  first.next();
  await assert.rejects(stream[Symbol.asyncIterator]().next(), /loop/);
});

test("a loop that falls behind loses nothing: the stream hangs up and resumes", async (t) => {
  const { stream, sockets, states } = await open(t, { maxQueued: 4 });
  sockets.last.accept();
  const loop = stream[Symbol.asyncIterator]();
  const got = [loop.next()];
  await settle();
  for (let offset = 1; offset <= 6; offset += 1) sockets.last.publish(offset);
  assert.equal(states.at(-1).state, "waiting");
  await settle();
  assert.equal(sockets.sockets.length, 1, "three still wait to be read");
  for (let i = 0; i < 4; i += 1) got.push(loop.next()); // the fourth publication, then "subscribed"
  await settle();
  assert.equal(sockets.sockets.length, 2);
  const after = Number(sockets.last.url.searchParams.get("offset"));
  sockets.last.accept({ next: after + 1, recovered: true });
  for (let offset = after + 1; offset <= 6; offset += 1) sockets.last.publish(offset);
  for (let i = 0; i < 2; i += 1) got.push(loop.next());
  const messages = (await Promise.all(got)).map(({ value }) => value);
  const offsets = messages.filter(({ type }) => type === "publication").map(({ offset }) => offset);
  assert.deepEqual(offsets, [1, 2, 3, 4, 5, 6]);
});

// A real HTTP answer, which the package "ws" shows

for (const [status, headers, state] of [
  [403, {}, "closed"],
  [503, { "Retry-After": "30" }, "waiting"],
]) {
  test(`the handshake answered with ${status} leaves the stream ${state}`, async (t) => {
    const server = createServer();
    server.on("upgrade", (request, socket) => {
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.end(`HTTP/1.1 ${status} No\r\n${lines.join("")}Content-Length: 0\r\n\r\n`);
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { WebSocket } = require("ws");
    const began = Date.now();
    const stream = connect(`ws://127.0.0.1:${server.address().port}/ws/broadcast/t/`, { WebSocket });
    t.after(() => {
      stream.close();
      server.close();
    });
    const detail = await new Promise((resolve) => stream.addEventListener("state", ({ detail }) => resolve(detail)));
    assert.equal(detail.state, state);
    assert.match(detail.reason, new RegExp(status));
    if (headers["Retry-After"]) {
      assert.ok(detail.retryAt >= began + 30_000);
      assert.ok(detail.retryAt <= Date.now() + 30_000);
    }
  });
}
