// The sign-in of this browser. The access token is in this module's memory alone; what renews it
// is in a cookie that no script can read. Event: "ended" (detail: why, for people).

const RENEW_BEFORE = 30_000; // ms before its end that a token is no longer given out
const PATIENCE = 15_000; // ms that an answer may take
const YOUNG = 5000; // ms; several streams ask at once, and share what the first one got

export class Session extends EventTarget {
  username = null;
  #access = null;
  #lifetime = 0; // ms
  #obtained = 0; // as Date.now(), which goes on while a computer sleeps
  #renewal = null;

  /** Whether this browser is still signed in from an earlier visit. */
  async restore() {
    const answer = await read(await post("refresh"));
    if (answer) this.#take(answer);
    return answer !== null;
  }

  async signIn(username, password) {
    const response = await post("sign-in", { username, password });
    if (response.status === 401) throw new Error("That user name and password do not match.");
    this.#take(await read(response));
  }

  /** Forget the sign-in here at once, and have the server end it everywhere. */
  async signOut() {
    this.#forget();
    await read(await post("sign-out"));
  }

  /** Forget a sign-in that the server has ended. The cookie stays: it may be another tab's by now. */
  end(reason) {
    if (!this.#access) return;
    this.#forget();
    this.dispatchEvent(new CustomEvent("ended", { detail: reason }));
  }

  /** An access token; `renew` asks for one that is newer than the caller's. */
  async token({ renew = false } = {}) {
    if (!this.#access) throw new Error("Nobody is signed in.");
    const age = Date.now() - this.#obtained;
    const due = Math.max(this.#lifetime - RENEW_BEFORE, this.#lifetime / 2);
    if (age >= due || (renew && age >= Math.min(YOUNG, this.#lifetime / 4))) {
      this.#renewal ??= this.#renew().finally(() => (this.#renewal = null));
      await this.#renewal;
    }
    return this.#access;
  }

  async #renew() {
    const access = this.#access;
    const answer = await read(await post("refresh"));
    if (this.#access !== access) throw new Error("The sign-in has ended."); // while this was under way
    if (answer?.username === this.username) return this.#take(answer);
    this.end(answer ? `${answer.username} has signed in in another tab.` : "Your sign-in has ended. Please sign in again.");
    throw new Error("The sign-in has ended.");
  }

  #take({ access, expires_in: seconds, username }) {
    this.username = username;
    this.#access = access;
    this.#lifetime = seconds * 1000;
    this.#obtained = Date.now();
  }

  #forget() {
    this.username = this.#access = null;
  }
}

async function post(path, body) {
  try {
    return await fetch(`/api/browser/${path}/`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE),
    });
  } catch {
    throw new Error("The server cannot be reached. Please try again in a moment.");
  }
}

/** The body of an answer that is as it should be; an Error with a text for people else. */
async function read(response) {
  if (response.ok) return response.status === 204 ? null : response.json();
  if (response.status === 429) {
    const seconds = response.headers.get("Retry-After");
    throw new Error(`Too many attempts. Please try again ${seconds ? `in ${seconds} seconds` : "later"}.`);
  }
  throw new Error(`Something went wrong at the server (${response.status}). Please try again in a moment.`);
}
