// A sign-in: its two tokens, kept in memory only, and renewed before they expire.
// Events: "renewed" (there is a new access token), "ended" (detail: why, for people).

const RENEW_BEFORE = 30; // seconds

export class SignIn extends EventTarget {
  access = null;
  #refresh = null;
  #renewAt = 0; // on the clock of performance.now(), in ms
  #timer = 0;
  #renewal = null;

  async begin(username, password) {
    const response = await post("/api/token/", { username, password });
    if (response.status === 401) throw new Error("That user name and password do not match.");
    if (!response.ok) throw new Error(await explain(response));
    this.#take(await response.json());
  }

  /** A valid access token; rejects when there is none to be had right now. */
  async token({ renew = false } = {}) {
    // A timer sleeps with its computer, so the time is looked at here as well.
    if (renew || performance.now() > this.#renewAt) await this.renew();
    return this.access;
  }

  /** Trade the refresh token for a new pair; many callers at once share one request. */
  renew() {
    this.#renewal ??= this.#renew().finally(() => (this.#renewal = null));
    return this.#renewal;
  }

  /** Forget the sign-in at once, whatever the server says, and have the server end it too. */
  signOut() {
    const refresh = this.#refresh;
    this.end();
    post("/api/token/revoke/", { refresh }).catch((error) => console.warn(error.message));
  }

  /** Forget a sign-in that the server has ended. */
  end(reason = "") {
    clearTimeout(this.#timer);
    this.access = this.#refresh = null;
    this.dispatchEvent(new CustomEvent("ended", { detail: reason }));
  }

  async #renew() {
    const before = this.#refresh;
    if (!before) throw new Error("Nobody is signed in.");
    const response = await post("/api/token/refresh/", { refresh: before });
    if (this.#refresh !== before) throw new Error("The sign-in has ended.");
    if (response.status === 401) this.end("Your sign-in has ended. Please sign in again.");
    if (!response.ok) throw new Error(await explain(response));
    this.#take(await response.json());
    this.dispatchEvent(new Event("renewed"));
  }

  #take({ access, refresh }) {
    this.access = access;
    this.#refresh = refresh;
    // Lifetimes, not times of day: the clock of this computer may be wrong.
    const { iat, exp } = readClaims(access);
    const lifetime = exp - iat;
    const wait = Math.max(lifetime - RENEW_BEFORE, lifetime / 2) * 1000;
    this.#renewAt = performance.now() + wait;
    this.#schedule(wait);
  }

  #schedule(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => this.renew().catch(() => this.#refresh && this.#schedule(5000)),
      Math.min(wait, 2 ** 31 - 1),
    );
  }
}

async function post(path, body) {
  try {
    return await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      credentials: "omit",
    });
  } catch {
    throw new Error("The server cannot be reached. Please try again in a moment.");
  }
}

async function explain(response) {
  if (response.status === 429) {
    const seconds = response.headers.get("Retry-After");
    return `Too many attempts. Please try again ${seconds ? `in ${seconds} seconds` : "later"}.`;
  }
  const text = await response.text();
  const about = `The server answered ${response.status}.`;
  if (!response.headers.get("Content-Type")?.includes("json")) return about;
  return JSON.parse(text).detail ?? about;
}

function readClaims(token) {
  const payload = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
  return JSON.parse(atob(payload));
}
