import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { RetriesExhausted, UnknownOutcome } from "../../../clients/js/src/realtime.js";
import { comeBack, open, pass, settle, stopTime } from "./support.mjs";

/** Stands in for what a page has and Node has not, for as long as the test lasts. */
function makePage(t) {
  const page = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  const navigator = { onLine: true };
  const signals = [];
  for (const target of [page, document]) {
    const listen = target.addEventListener.bind(target);
    target.addEventListener = (type, listener, options) => {
      signals.push(options.signal);
      listen(type, listener, options);
    };
  }
  const given = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  globalThis.addEventListener = page.addEventListener;
  globalThis.document = document;
  Object.defineProperty(globalThis, "navigator", { value: navigator, configurable: true });
  t.after(() => {
    delete globalThis.addEventListener;
    delete globalThis.document;
    Object.defineProperty(globalThis, "navigator", given ?? { value: undefined, configurable: true });
  });
  const say = async (target, type, more = {}) => {
    target.dispatchEvent(Object.assign(new Event(type), more));
    await settle();
  };
  return {
    signals,
    /** What makes a stream come back at once. */
    returns: {
      pageshow: () => say(page, "pageshow", { persisted: true }),
      visibilitychange: () => say(document, "visibilitychange"),
      resume: () => say(document, "resume"),
      online: () => say(page, "online"),
    },
    load: () => say(page, "pageshow", { persisted: false }),
    hide: () => say(page, "pagehide", { persisted: true }),
    freeze: () => say(document, "freeze"),
    look: (visibilityState) => {
      document.visibilityState = visibilityState;
      return say(document, "visibilitychange");
    },
    setOnline: (onLine) => {
      navigator.onLine = onLine;
      return say(page, onLine ? "online" : "offline");
    },
    navigator,
  };
}

const RETURNS = ["pageshow", "visibilitychange", "resume", "online"];
const MINUTE = 60_000;

const countPings = (socket) => socket.messages.filter(({ type }) => type === "ping").length;

/** The server answers the last ping. */
function answer(socket) {
  const { ref } = socket.messages.findLast(({ type }) => type === "ping");
  socket.say({ type: "pong", ref, server_time: "" });
}

/** Time goes by, and no timer runs: the computer sleeps. */
const sleep = (milliseconds) => mock.timers.setTime(Date.now() + milliseconds);

// Coming back

for (const name of RETURNS) {
  test(`${name} ends the wait at once, and the delays start afresh`, async (t) => {
    stopTime(t);
    const { returns } = makePage(t);
    const { sockets, states } = await open(t, { random: () => 0.9 });
    await returns[name === "pageshow" ? "online" : name]();
    assert.equal(sockets.sockets.length, 1, "it is connecting already");
    for (let i = 0; i < 5; i += 1) {
      sockets.last.end(1006);
      await pass(states.at(-1).retryAt - Date.now());
    }
    sockets.last.end(1006);
    await returns[name]();
    assert.equal(sockets.sockets.length, 7);
    sockets.last.end(1006);
    assert.equal(states.at(-1).retryAt - Date.now(), 900);
  });

  test(`${name} costs no attempt, however often`, async (t) => {
    const { returns } = makePage(t);
    const { stream, sockets } = await open(t, { maxRetries: 1, random: () => 0.9 });
    sockets.last.end(1006);
    for (let i = 0; i < 20; i += 1) {
      await returns[name]();
      sockets.last.end(1006);
    }
    assert.deepEqual([stream.state, sockets.sockets.length], ["waiting", 21]);
  });

  test(`${name} does not overrule the server's retry_after, as far as it has not passed in sleep`, async (t) => {
    stopTime(t);
    const { returns } = makePage(t);
    const { stream, sockets } = await open(t);
    sockets.last.accept();
    sockets.last.end(1012, "retry_after=30");
    await returns[name]();
    assert.equal(stream.state, "waiting");
    sleep(29_000);
    await returns[name]();
    assert.equal(stream.state, "waiting");
    sleep(1000);
    await returns[name]();
    assert.equal(sockets.sockets.length, 2);
  });

  test(`${name} does not open what hung up because its loop is behind`, async (t) => {
    const { returns } = makePage(t);
    const { stream, sockets } = await open(t, { maxQueued: 4 });
    sockets.last.accept();
    stream[Symbol.asyncIterator]().next();
    await settle();
    for (let offset = 1; offset <= 6; offset += 1) sockets.last.publish(offset);
    await returns[name]();
    assert.equal(stream.state, "waiting");
    assert.equal(sockets.sockets.length, 1);
  });
}

test("after maxRetries failures in a row the stream ends, whatever the page did before", async (t) => {
  const { returns } = makePage(t);
  const { stream, sockets } = await open(t, { maxRetries: 1 });
  sockets.last.end(1006);
  await returns.visibilitychange();
  sockets.last.end(1006); // of the page
  await comeBack();
  sockets.last.end(1006);
  await comeBack();
  const waiting = stream.publish(1);
  sockets.last.end(1006);
  await assert.rejects(waiting, RetriesExhausted);
});

// The back/forward cache, and pages that are frozen

test("out of the back/forward cache a stream comes back at once, before its close event", async (t) => {
  const { returns, hide } = makePage(t);
  const { stream, sockets, states } = await open(t, { maxRetries: 0, random: () => 0.9 });
  sockets.last.accept();
  sockets.last.publish(1);
  for (let i = 1; i <= 10; i += 1) {
    const cut = sockets.last;
    await hide();
    await returns.resume();
    await returns.pageshow();
    assert.equal(sockets.sockets.length, i + 1);
    assert.equal(sockets.last.url.searchParams.get("offset"), "1");
    cut.end(1006);
    sockets.last.accept({ next: 2, recovered: true });
    assert.equal(stream.state, "live");
  }
  assert.ok(states.every(({ state }) => state === "connecting" || state === "live"));
});

test("a page that is loaded is no reason to connect again", async (t) => {
  const { load } = makePage(t);
  const { sockets } = await open(t);
  sockets.last.accept();
  await load();
  assert.deepEqual([sockets.sockets.length, sockets.last.sent], [1, []]);
});

test("a stream that was connecting when its page was put away begins anew", async (t) => {
  const { returns, hide } = makePage(t);
  const { sockets } = await open(t, { maxRetries: 0 });
  await hide();
  await returns.pageshow();
  assert.equal(sockets.sockets.length, 2);
  assert.ok(sockets.sockets[0].isClosed);
});

for (const [put, back] of [["hide", "pageshow"], ["freeze", "resume"]]) {
  test(`what is lost between ${put} and ${back} is not the server's failure`, async (t) => {
    stopTime(t);
    const page = makePage(t);
    const { stream, sockets, states } = await open(t, { maxRetries: 0 });
    sockets.last.accept();
    await page[put]();
    sockets.last.end(1006);
    assert.deepEqual([states.at(-1).state, "retryAt" in states.at(-1)], ["waiting", false]);
    await pass(MINUTE);
    assert.equal(sockets.sockets.length, 1);
    await page.returns[back]();
    sockets.last.accept({ recovered: true });
    assert.deepEqual([stream.state, sockets.sockets.length], ["live", 2]);
  });
}

// Is it there still?

test("a live connection is questioned, by a page that is looked at", async (t) => {
  const { returns, look, setOnline } = makePage(t);
  const { sockets } = await open(t);
  sockets.last.accept();
  await look("hidden");
  assert.equal(countPings(sockets.last), 0);
  await look("visible");
  await returns.resume();
  await returns.online();
  await setOnline(false);
  assert.equal(countPings(sockets.last), 4);
});

test("what does not answer a page that is looked at is left within 5 s, at no cost", async (t) => {
  stopTime(t);
  const { look } = makePage(t);
  const { sockets, states } = await open(t, { maxRetries: 0, random: () => 0.9 });
  sockets.last.accept();
  await look("visible");
  await pass(4000);
  await look("visible"); // to look again does not put it off
  await pass(1000);
  await pass(0);
  assert.match(states.find(({ state }) => state === "waiting").reason, /ping/);
  assert.equal(sockets.sockets.length, 2);
  sockets.last.end(1006); // the network is not quite back
  assert.equal(states.at(-1).state, "waiting");
});

test("what breaks before it has answered a page that runs again costs no attempt", async (t) => {
  const { returns, freeze } = makePage(t);
  const { stream, sockets } = await open(t, { maxRetries: 0, random: () => 0.9 });
  for (let i = 1; i <= 5; i += 1) {
    sockets.last.accept({ recovered: i > 1 || null });
    await freeze();
    await returns.resume();
    sockets.last.end(1006); // a browser says so a moment later
    await comeBack();
    assert.equal(sockets.sockets.length, i + 1);
  }
  sockets.last.accept({ recovered: true });
  await returns.resume();
  answer(sockets.last);
  await new Promise((resolve) => setTimeout(resolve, 5));
  sockets.last.end(1006);
  assert.equal(stream.state, "closed");
});

test("what answers a page that is looked at stays", async (t) => {
  stopTime(t);
  const { look } = makePage(t);
  const { stream, sockets } = await open(t);
  sockets.last.accept();
  await look("visible");
  answer(sockets.last);
  await pass(5000);
  assert.deepEqual([stream.state, sockets.sockets.length], ["live", 1]);
});

test("a page that goes offline while its socket is closing sends nothing on it", async (t) => {
  const { setOnline } = makePage(t);
  const { sockets } = await open(t);
  sockets.last.accept();
  sockets.last.beginEnd();
  await setOnline(false);
  assert.deepEqual([sockets.last.sent, sockets.last.discarded], [[], []]);
});

// Without a network

test("without a network nothing is tried and nothing counted, until it is back", async (t) => {
  stopTime(t);
  const { setOnline } = makePage(t);
  let asked = 0;
  const { stream, sockets, states } = await open(t, { maxRetries: 1, token: () => `token${(asked += 1)}` });
  sockets.last.accept();
  await setOnline(false);
  sockets.last.end(1006);
  assert.deepEqual([states.at(-1).state, "retryAt" in states.at(-1)], ["waiting", false]);
  for (let i = 0; i < 60; i += 1) await pass(MINUTE);
  assert.deepEqual([stream.state, sockets.sockets.length, asked], ["waiting", 1, 1]);
  await setOnline(true);
  assert.equal(sockets.sockets.length, 2);
  for (let i = 0; i < 2; i += 1) {
    sockets.last.end(1006); // the first costs nothing
    assert.equal(states.at(-1).state, "waiting");
    await pass(1);
  }
});

test("that the network is back is noticed without an event as well", async (t) => {
  stopTime(t);
  const { setOnline, navigator } = makePage(t);
  const { sockets } = await open(t);
  await setOnline(false);
  sockets.last.end(1006);
  await pass(MINUTE);
  navigator.onLine = true;
  await pass(5000);
  assert.equal(sockets.sockets.length, 2);
});

test("a page out of the back/forward cache waits for the network", async (t) => {
  const { returns, navigator, setOnline } = makePage(t);
  const { stream, sockets } = await open(t, { maxRetries: 0 });
  sockets.last.accept();
  navigator.onLine = false;
  await returns.pageshow();
  assert.deepEqual([stream.state, sockets.sockets.length], ["waiting", 1]);
  await setOnline(true);
  assert.equal(sockets.sockets.length, 2);
});

test("a server that was reached without a network, on this computer, is tried again without one", async (t) => {
  const { navigator } = makePage(t);
  navigator.onLine = false;
  const { sockets } = await open(t, { maxRetries: 1 });
  for (let i = 1; i <= 5; i += 1) {
    sockets.last.accept({ recovered: i > 1 || null });
    sockets.last.end(1006);
    await comeBack();
    assert.equal(sockets.sockets.length, i + 1);
  }
});

// Timers that stood still

test("a sleep is noticed within 5 s of waking, and a dead connection within 5 more", async (t) => {
  stopTime(t);
  const { sockets, states } = await open(t, { maxRetries: 0 });
  sockets.last.accept();
  sleep(60 * MINUTE);
  await pass(5000);
  assert.equal(countPings(sockets.last), 1);
  await pass(5000);
  await pass(0);
  assert.match(states.find(({ state }) => state === "waiting").reason, /ping/);
  assert.equal(sockets.sockets.length, 2);
});

test("a sleep does not end a wait later", async (t) => {
  stopTime(t);
  const { sockets } = await open(t, { random: () => 0.99, backoff: { base: MINUTE } });
  sockets.last.end(1006);
  sleep(MINUTE);
  await pass(5000);
  assert.equal(sockets.sockets.length, 2);
});

test("a deadline that passed in sleep is not believed, but a second one is", async (t) => {
  for (const isAlive of [true, false]) {
    await t.test(String(isAlive), async (t) => {
      stopTime(t);
      const { stream, sockets } = await open(t);
      sockets.last.accept();
      await pass(20_000);
      assert.equal(countPings(sockets.last), 1);
      sleep(60 * MINUTE);
      await pass(5000);
      assert.deepEqual([stream.state, countPings(sockets.last)], ["live", 2]);
      if (isAlive) answer(sockets.last);
      await pass(5000);
      await pass(0);
      assert.equal(sockets.sockets.length, isAlive ? 1 : 2);
      mock.timers.reset();
    });
  }
});

test("a socket that was opening in sleep has 5 s more, and then costs no attempt", async (t) => {
  stopTime(t);
  const { stream, sockets, states } = await open(t, { maxRetries: 0 });
  sleep(60 * MINUTE);
  await pass(5000);
  assert.equal(stream.state, "connecting");
  await pass(4000);
  sockets.last.accept();
  assert.equal(stream.state, "live");
  sockets.last.end(4000);
  assert.equal(states.at(-1).state, "closed", "that one is counted");
});

test("a connection that broke in sleep costs no attempt, and has jitter", async (t) => {
  stopTime(t);
  const { sockets, states } = await open(t, { maxRetries: 0, random: () => 0.5 });
  sockets.last.accept();
  sleep(60 * MINUTE);
  sockets.last.end(1006);
  assert.equal(states.at(-1).retryAt - Date.now(), 500);
  await pass(500);
  assert.equal(sockets.sockets.length, 2);
});

test("where timers are always late, maxRetries holds all the same", async (t) => {
  stopTime(t);
  const { stream, sockets } = await open(t, { maxRetries: 3 });
  for (let i = 0; i < 20 && stream.state !== "closed"; i += 1) {
    sleep(MINUTE);
    sockets.last.end(1006);
    await pass(MINUTE);
  }
  assert.equal(stream.state, "closed");
});

test("what the server may have forgotten in the meantime is not sent again", async (t) => {
  stopTime(t);
  const { returns } = makePage(t);
  const { stream, sockets } = await open(t);
  sockets.last.accept();
  const early = assert.rejects(stream.publish("early"), UnknownOutcome);
  sleep(3 * MINUTE);
  const late = stream.publish("late");
  sleep(2 * MINUTE);
  await returns.pageshow();
  sockets.last.accept({ recovered: true });
  await early;
  assert.deepEqual(sockets.last.messages.map(({ data }) => data), ["late"]);
  sockets.last.say({ type: "ack", ref: sockets.last.messages[0].ref, topic: "t", offset: 1, epoch: "e", duplicate: false });
  assert.equal((await late).offset, 1);
});

test("a token that ended in sleep is replaced within 5 s of waking", async (t) => {
  stopTime(t);
  const { sockets } = await open(t, { token: ({ renew }) => (renew ? "new" : "old") });
  sockets.last.accept({ lifetime: 10 * MINUTE });
  sleep(9.5 * MINUTE);
  await pass(5000);
  assert.equal(sockets.last.messages.find(({ type }) => type === "refresh").token, "new");
});

// The end

test("a closed stream no longer listens to its page", async (t) => {
  const { signals } = makePage(t);
  const { stream } = await open(t);
  stream.close();
  assert.ok(signals.length > 0);
  assert.ok(signals.every(({ aborted }) => aborted));
});
