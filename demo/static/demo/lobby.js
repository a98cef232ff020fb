// The lobby: a conversation that misses nothing, and who is there.
import { RealtimeError } from "../realtime/realtime.js";
import { byId, tell } from "./elements.js";
import { plural } from "./format.js";
import { Messages } from "./messages.js";
import { People, callThem } from "./people.js";
import { Topics } from "./topics.js";

const MAIN = "main";
const RETURNING = 3000; // ms
const REFUSALS = {
  rate_limited: "that was too fast.",
  permission_denied: "you may not write here.",
  message_too_big: "it is too long.",
  rejected: "the server refused it.",
};
const GAPS = {
  history_lost: "The server started afresh: messages may be missing here",
  history_trimmed: "Too much was said meanwhile: the oldest of it is missing here",
  slow_consumer: "This page was too slow: messages are missing here",
};

export class Lobby {
  #connections;
  #session;
  #link = null;
  #topics;
  #people = new People(byId("people"));
  #messages = new Messages(byId("messages"), byId("lobby-empty"));

  constructor(connections, session) {
    this.#connections = connections;
    this.#session = session;
    this.#topics = new Topics(byId("lobby-topic"), { Rooms: [[MAIN, "Main room"]] }, "Another room…");
    this.#topics.addEventListener("change", ({ detail }) => this.#enter(detail));
    this.#people.addEventListener("came", ({ detail }) => this.#messages.note(`${callThem(detail)} came in`));
    this.#people.addEventListener("went", ({ detail }) => this.#messages.note(`${callThem(detail)} left`));
    byId("say").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = event.target.text.value.trim();
      if (text) this.#say(text);
      event.target.reset();
    });
  }

  open() {
    this.#topics.show(MAIN);
    this.#enter(MAIN);
  }

  close() {
    this.#connections.close(this.#link);
    this.#link = null;
  }

  /** Whose round trips are measured: the stream that people notice most. */
  get stream() {
    return this.#link?.stream ?? null;
  }

  #enter(room) {
    this.close();
    tell(byId("lobby-notice"), "");
    this.#messages.clear();
    this.#people.replace([], { silently: true });
    this.#link = this.#connections.open("lobby", room, { history: 50 });
    const { stream } = this.#link;
    let been = false; // in this room before, so that coming back is coming back
    stream.addEventListener("subscribed", async ({ detail: { recovered, offset, next } }) => {
      const missed = recovered ? offset - next + 1 : 0;
      if (missed > 0) this.#messages.note(`${plural(missed, "message", "messages")} while you were away`, { missed: true });
      await this.#meet(stream, been);
      been = true;
    });
    stream.addEventListener("gap", ({ detail: { reason } }) => this.#messages.note(GAPS[reason], { missed: true }));
    stream.addEventListener("publication", ({ detail }) => this.#messages.add(detail, this.#session.username));
    stream.addEventListener("join", ({ detail }) => this.#people.join(detail));
    stream.addEventListener("leave", ({ detail }) => this.#people.leave(detail));
    stream.addEventListener("ending", ({ detail }) => tell(byId("lobby-notice"), detail));
  }

  async #meet(stream, been) {
    const me = this.#session.username;
    // Where the server was away, the others are on their way back too.
    if (been) await new Promise((resolve) => setTimeout(resolve, RETURNING));
    if (stream !== this.stream) return;
    try {
      const { sessions } = await stream.presence();
      if (stream !== this.stream) return;
      this.#people.show(me);
      this.#people.replace(sessions, { silently: !been });
    } catch (error) {
      if (!(error instanceof RealtimeError)) throw error;
      this.#messages.note("Who is here cannot be told at the moment");
    }
  }

  async #say(text) {
    const { stream } = this;
    const key = makeKey();
    this.#messages.addUnsent(key, text);
    try {
      await stream.publish({ text, key });
      this.#messages.settle(key);
    } catch (error) {
      if (!(error instanceof RealtimeError)) throw error;
      if (stream !== this.stream) return;
      this.#messages.fail(key, REFUSALS[error.code] ?? "the server did not confirm it.", () => this.#say(text));
    }
  }
}

/** Tells our own message when it comes back. Not `crypto.randomUUID`, which plain HTTP lacks. */
const makeKey = () => Array.from(crypto.getRandomValues(new Uint32Array(3)), (part) => part.toString(36)).join("");
