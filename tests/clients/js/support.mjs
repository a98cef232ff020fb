/** What the tests of the JavaScript client share: vectors, packages, and a socket that obeys. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { mock } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { connect } from "../../../clients/js/src/realtime.js";

const VECTORS = new URL("../../vectors/", import.meta.url);

/** A package that the client's development depends on. */
export const require = createRequire(new URL("../../../clients/js/package.json", import.meta.url));

export const readVectors = (name) => JSON.parse(readFileSync(new URL(name, VECTORS), "utf8"));

/** A file as an ArrayBuffer of its own, as a WebSocket delivers one. */
export function readBuffer(name) {
  const { buffer, byteOffset, byteLength } = readFileSync(new URL(name, VECTORS));
  return buffer.slice(byteOffset, byteOffset + byteLength);
}

/** Until a condition holds, with a time that only a failure takes. */
export async function until(condition) {
  for (const deadline = performance.now() + 30_000; !condition(); await sleep(2)) {
    if (performance.now() > deadline) throw new Error(`in vain: ${condition}`);
  }
}

/** Let everything that waits for a promise go on. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));

export const LIMITS = { max_text_bytes: 65536, max_binary_bytes: 16777216, max_frame_bytes: 1048576 };

/** A WebSocket class whose sockets do what the test says; `sockets` are all that were opened. */
export function makeSocketClass() {
  return class FakeSocket extends EventTarget {
    static sockets = [];
    sent = [];
    discarded = []; // what was sent too late; a browser complains of it on its console
    readyState = 1;
    isClosed = false;

    constructor(url, protocols) {
      super();
      this.url = new URL(url);
      this.protocols = protocols;
      FakeSocket.sockets.push(this);
    }

    static get last() {
      return FakeSocket.sockets.at(-1);
    }

    get messages() {
      return this.sent.filter((frame) => typeof frame === "string").map((text) => JSON.parse(text));
    }

    send(frame) {
      (this.readyState === 1 ? this.sent : this.discarded).push(frame);
    }

    close() {
      this.isClosed = true;
      this.beginEnd();
    }

    /** It is closing, and the event that says so is still to come. */
    beginEnd() {
      this.readyState = Math.max(this.readyState, 2);
    }

    /** The server says something. */
    say(data) {
      const isBytes = data instanceof ArrayBuffer;
      this.dispatchEvent(Object.assign(new Event("message"), { data: isBytes ? data : JSON.stringify(data) }));
    }

    /** The server closes. */
    end(code = 1006, reason = "") {
      this.readyState = 3;
      this.dispatchEvent(Object.assign(new Event("close"), { code, reason }));
    }

    greet({ user = "anna", lifetime = null, limits = LIMITS, pingInterval = 20 } = {}) {
      const now = Date.now();
      this.say({
        type: "hello",
        session: "s",
        instance: "i",
        user,
        expires_at: lifetime === null ? null : new Date(now + lifetime).toISOString(),
        protocol: "realtime.v1",
        server_time: new Date(now).toISOString(),
        ping_interval: pingInterval,
        limits,
      });
    }

    subscribe({ epoch = "e", next = 1, recovered = null } = {}) {
      this.say({ type: "subscribed", topic: "t", epoch, offset: next === null ? null : next - 1, next, recovered });
    }

    publish(offset, data = offset) {
      this.say({ type: "publication", topic: "t", offset, data, user: "ben", server_time: "2026-11-24T07:45:27.643254Z" });
    }

    /** Hello and subscribed at once. */
    accept(options = {}) {
      this.greet(options);
      this.subscribe(options);
    }
  };
}

const EVENTS = ["subscribed", "publication", "stats", "binary", "gap", "join", "leave", "error", "refreshed"];
export const URL_OF_TOPIC = "ws://127.0.0.1:9/ws/broadcast/t/";

/** A stream on fake sockets, what it dispatched, and its present socket by `sockets.last`. */
export async function open(t, options = {}) {
  const sockets = makeSocketClass();
  const states = [];
  const events = [];
  const stream = connect(URL_OF_TOPIC, { WebSocket: sockets, random: () => 0, ...options });
  t.after(() => {
    stream.close();
    assert.deepEqual(sockets.sockets.flatMap(({ discarded }) => discarded), []);
  });
  stream.addEventListener("state", ({ detail }) => states.push(detail));
  for (const type of EVENTS) stream.addEventListener(type, ({ detail }) => events.push(detail));
  await settle();
  return { stream, sockets, states, events };
}

/** With random = 0 the next attempt follows at once. */
export const comeBack = async () => {
  await new Promise((resolve) => setTimeout(resolve, 5));
  await settle();
};

/** From here on time goes by with `pass` alone: that of the timers and of the clock. */
export function stopTime(t) {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  t.after(() => mock.timers.reset());
}

export const pass = async (milliseconds) => {
  mock.timers.tick(milliseconds);
  await settle();
};
