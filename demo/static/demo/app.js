// The page: signed out or signed in, and everything that follows from it.
import { ArrayViewer } from "./array-viewer.js";
import { ConnectionPanel } from "./connection-panel.js";
import { Connections } from "./connections.js";
import { byId, tell } from "./elements.js";
import { Lobby } from "./lobby.js";
import { Machine } from "./machine.js";
import { News } from "./news.js";
import { RoundTrips } from "./round-trips.js";
import { Session } from "./session.js";
import { Status } from "./status.js";

const session = new Session();
const connections = new Connections((request) => session.token(request));
const status = new Status(connections);
const panel = new ConnectionPanel(connections);
const machine = new Machine(connections);
const lobby = new Lobby(connections, session);
const news = new News(connections, (cores) => machine.offerCores(cores));
const parts = [status, panel, machine, new ArrayViewer(connections), lobby, news, new RoundTrips(() => lobby.stream)];

connections.addEventListener("restored", ({ detail }) => panel.tell(status.describe(detail)));
connections.addEventListener("revoked", () =>
  session.end("Your sign-in was ended: you signed out elsewhere, your password changed, or an administrator ended it."),
);
connections.addEventListener("rejected", () => session.end("The server no longer accepts your sign-in. Please sign in again."));

session.addEventListener("ended", ({ detail }) => showSignIn(detail));

byId("sign-out").addEventListener("click", async () => {
  closeParts(); // first, so that the server's "revoked" does not look like a surprise
  const ending = session.signOut();
  showSignIn("");
  try {
    await ending;
  } catch (error) {
    tell(byId("signin-notice"), `You are signed out on this page, but the server was not told. ${error.message}`);
  }
});

byId("signin-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const missing = [form.username, form.password].find(({ value }) => !value);
  if (missing) return complain(`Please enter your ${missing === form.username ? "user name" : "password"}.`, missing);
  const button = form.querySelector("button");
  button.disabled = true;
  button.textContent = "Signing in…";
  try {
    await session.signIn(form.username.value, form.password.value);
    form.reset();
    complain("");
    showDashboard();
  } catch (error) {
    complain(error.message, form.password);
  } finally {
    button.disabled = false;
    button.textContent = "Sign in";
  }
});

byId("splash-button").addEventListener("click", start);
start();

async function start() {
  const splash = byId("splash");
  splash.toggleAttribute("data-waiting", true);
  splash.hidden = false;
  byId("splash-button").hidden = true;
  byId("splash-text").textContent = "One moment…";
  try {
    const restored = await session.restore();
    splash.hidden = true;
    if (restored) showDashboard({ focus: false });
    else showSignIn("");
  } catch (error) {
    splash.toggleAttribute("data-waiting", false);
    byId("splash-text").textContent = error.message;
    byId("splash-button").hidden = false;
  }
}

function showDashboard({ focus = true } = {}) {
  byId("signin").hidden = true;
  byId("dashboard").hidden = byId("account").hidden = false;
  byId("user-name").textContent = session.username;
  for (const part of parts) part.open();
  if (focus) byId("main").focus({ preventScroll: true }); // what had it is hidden now
}

function showSignIn(reason) {
  closeParts();
  byId("dashboard").hidden = byId("account").hidden = true;
  byId("signin").hidden = false;
  complain(reason);
  byId("username").focus();
}

function closeParts() {
  if (byId("dashboard").hidden) return;
  for (const part of parts) part.close();
  connections.closeAll();
}

function complain(text, field = null) {
  tell(byId("signin-notice"), text);
  for (const each of byId("signin-form").querySelectorAll("input")) each.ariaInvalid = String(each === field);
  field?.focus();
  field?.select();
}
