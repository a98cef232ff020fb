/**
 * Many streams on one topic, and one that publishes, all through a proxy that cuts them:
 * `node cuts.mjs ORIGIN TOKEN STREAMS PUBLICATIONS SECONDS` prints what each of them got, as JSON.
 */

import { connect } from "../../../clients/js/src/realtime.js";
import { require } from "./support.mjs";

const { WebSocket } = require("ws");
const [origin, token, streams, publications, seconds] = process.argv.slice(2);
const total = Number(publications);
const url = `${origin}/ws/broadcast/cuts/`;
const options = { token, WebSocket, backoff: { base: 50, cap: 500 }, replyTimeout: 120_000 };

/** One stream, read by listeners or by a loop, until the last publication. */
function follow(byLoop) {
  const stream = connect(url, options);
  const got = { numbers: [], gaps: [], faults: [], losses: 0 };
  stream.addEventListener("state", ({ detail }) => (got.losses += detail.state === "waiting"));
  stream.addEventListener("error", ({ detail }) => got.faults.push(detail));
  const finished = new Promise((resolve) => {
    const take = (message) => {
      if (message.type === "gap") got.gaps.push([message.after + 1, message.next - 1]);
      if (message.type !== "publication") return;
      got.numbers.push([message.offset, message.data]);
      if (message.offset >= total) resolve();
    };
    const loop = async () => {
      for await (const message of stream) take(message);
    };
    if (byLoop) loop();
    else for (const type of ["gap", "publication"]) stream.addEventListener(type, ({ detail }) => take(detail));
  });
  return { stream, got, finished };
}

const followers = Array.from({ length: Number(streams) }, (_, i) => follow(i % 2 === 0));
await Promise.all(followers.map(({ stream }) => stream.history({ limit: 1 }))); // all have been live
// However long a busy machine takes to connect, all may wait for it.
const publisher = connect(url, { ...options, subscribe: false, maxQueued: total });
const batch = 25;
const acks = [];
for (let n = 0; n < total; n += batch) {
  for (let i = n; i < Math.min(n + batch, total); i += 1) acks.push(publisher.publish(i));
  await new Promise((resolve) => setTimeout(resolve, (Number(seconds) * 1000 * batch) / total));
}
const confirmed = new Set((await Promise.all(acks)).map(({ offset }) => offset)).size;
await Promise.all(followers.map(({ finished }) => finished));
publisher.close();
for (const { stream } of followers) stream.close();
console.log(JSON.stringify({ confirmed, followers: followers.map(({ got }) => got) }));
