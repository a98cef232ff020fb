// A WebSocket that comes back: the protocol `realtime.v1`, as much as this page needs.

const FINAL = {
  1002: "The server and this page did not understand each other.",
  1003: "The server and this page did not understand each other.",
  1007: "The server and this page did not understand each other.",
  1009: "That message was too big.",
  1010: "The server and this page did not understand each other.",
  4500: "The server did not accept the request.",
  4501: "Please sign in first.",
  4502: "The server did not accept the sign-in.",
  4503: "You do not have the right to see this.",
  4504: "This topic does not exist.",
  4505: "Your sign-in has ended. Please sign in again.",
};
const BACKOFF = { base: 1, factor: 1.5, cap: 30 }; // seconds
const STABLE = 5000; // ms of being live after which the backoff starts afresh

export class Connection {
  #options;
  #socket = null;
  #state = "";
  #attempt = 0;
  #liveSince = Infinity;
  #timer = 0;
  #expired = false;
  #position = null; // {epoch, offset}: what a new connection resumes after
  #header = null; // of the binary publication whose chunks are arriving
  #chunks = [];

  /**
   * path, params: where to connect. signIn: where tokens come from.
   * envelope: false for the echo endpoint, whose messages are bare text.
   * resume: ask for what was missed after a reconnect.
   * onState(state, reason): connecting, live, reconnecting or closed.
   * onMessage(message, buffer): parsed JSON, with the joined bytes after a `binary` header.
   */
  constructor({ path, params = {}, signIn, envelope = true, resume = false, onState, onMessage }) {
    this.#options = { path, params, signIn, envelope, resume, onState, onMessage };
    this.#become("connecting");
    this.#open();
  }

  get live() {
    return this.#state === "live";
  }

  /** Send text as it is, anything else as JSON; false where there is no live socket. */
  send(message) {
    if (!this.live || this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(typeof message === "string" ? message : JSON.stringify(message));
    return true;
  }

  refresh(token) {
    if (this.#options.envelope) this.send({ type: "refresh", token });
  }

  close(reason = "") {
    if (this.#state === "closed") return;
    this.#become("closed", reason);
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
  }

  async #open() {
    let token;
    try {
      token = await this.#options.signIn.token({ renew: this.#expired });
    } catch {
      this.#retry(); // where the sign-in has ended, the page has closed this connection by now
      return;
    }
    if (this.#state === "closed") return;
    this.#expired = false;
    const socket = new WebSocket(this.#url(), ["realtime.v1", `realtime.bearer.${token}`]);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#header = null;
    if (!this.#options.envelope) socket.onopen = () => this.#become("live");
    socket.onmessage = ({ data }) => this.#state !== "closed" && this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#state !== "closed" && this.#lost(code, reason);
  }

  #url() {
    const { path, params, resume } = this.#options;
    const { history, ...others } = params;
    const query = resume && this.#position ? { ...others, ...this.#position } : params;
    const url = new URL(path, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = new URLSearchParams(query);
    return url;
  }

  #receive(data) {
    const { envelope, onMessage } = this.#options;
    if (!envelope) return onMessage(data);
    if (typeof data !== "string") {
      this.#chunks.push(data);
      if (this.#chunks.length < this.#header.chunks) return;
      return this.#deliver(this.#header, join(this.#chunks));
    }
    const message = JSON.parse(data);
    if (message.type === "binary") {
      this.#header = message;
      this.#chunks = [];
      return;
    }
    this.#deliver(message);
  }

  #deliver(message, buffer) {
    const { type, epoch, next, offset } = message;
    if (type === "subscribed" || type === "gap") {
      this.#position = epoch === null ? null : { epoch, offset: next - 1 };
    } else if (this.#position && Number.isInteger(offset) && type !== "ack") {
      this.#position.offset = offset;
    }
    if (type === "subscribed") this.#become("live");
    this.#options.onMessage(message, buffer);
  }

  #lost(code, reason) {
    if (code >= 3000 && code < 3100) code -= 2000; // by a server that may not send those below
    if (code in FINAL) {
      this.#become("closed", FINAL[code]);
      if (code === 4505) this.#options.signIn.end(FINAL[code]);
      return;
    }
    this.#expired = code === 4001;
    if (performance.now() - this.#liveSince > STABLE) this.#attempt = 0;
    const told = code === 1012 || code === 1013 ? /^retry_after=(\d+(?:\.\d+)?)$/.exec(reason) : null;
    this.#retry(told ? Number(told[1]) : undefined);
  }

  #retry(seconds = Math.random() * Math.min(BACKOFF.cap, BACKOFF.base * BACKOFF.factor ** this.#attempt)) {
    if (this.#state === "closed") return;
    this.#attempt += 1;
    this.#become("reconnecting");
    this.#timer = setTimeout(() => this.#open(), seconds * 1000);
  }

  #become(state, reason = "") {
    this.#liveSince = state === "live" ? performance.now() : Infinity;
    this.#state = state;
    this.#options.onState(state, reason);
  }
}

function join(chunks) {
  const whole = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.byteLength, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(new Uint8Array(chunk), at);
    at += chunk.byteLength;
  }
  return whole.buffer;
}
