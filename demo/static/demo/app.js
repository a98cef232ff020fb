// The page: signing in opens the panels, signing out closes them.
import { SignIn } from "./auth.js";
import { startArray } from "./panels/array.js";
import { startChart } from "./panels/chart.js";
import { startEcho } from "./panels/echo.js";
import { startLobby } from "./panels/lobby.js";

const byId = (id) => document.getElementById(id);
const form = byId("signin-form");
const signIn = new SignIn();
let connections = [];

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  say("");
  try {
    await signIn.begin(form.username.value, form.password.value);
    form.reset();
    show(true);
  } catch (error) {
    say(error.message);
    form.password.select();
  } finally {
    button.disabled = false;
  }
});

byId("sign-out").addEventListener("click", () => {
  disconnect(); // first, so that the server's "revoked" does not look like a surprise
  signIn.signOut();
});

signIn.addEventListener("renewed", () => {
  for (const connection of connections) connection.refresh(signIn.access);
});

signIn.addEventListener("ended", (event) => {
  disconnect();
  show(false);
  say(event.detail);
});

function show(signedIn) {
  byId("signin").hidden = signedIn;
  byId("panels").hidden = byId("account").hidden = !signedIn;
  byId("user-name").textContent = "…";
  if (signedIn) {
    const onHello = (hello) => (byId("user-name").textContent = hello.user ?? "nobody");
    const starts = [startChart, startArray, startLobby, startEcho];
    connections = starts.map((start) => start({ signIn, onHello }));
    byId("panels").focus({ preventScroll: true }); // what had the focus is hidden now
  } else {
    byId("username").focus();
  }
}

function disconnect() {
  for (const connection of connections) connection.close();
  connections = [];
}

function say(text) {
  byId("signin-notice").textContent = text;
  byId("signin-notice").hidden = !text;
}
