// Echo: text there and back, and how long that took.
import { Connection } from "../connection.js";
import { Panel } from "./panel.js";

export function startEcho({ signIn }) {
  const panel = new Panel("echo-panel");
  const form = panel.find("form");
  let sentAt = []; // one time for each text under way; they come back in order

  const connection = new Connection({
    path: "/ws/echo/",
    signIn,
    envelope: false,
    onState(state, reason) {
      sentAt = [];
      panel.showState(state, reason);
    },
    onMessage(text) {
      const milliseconds = performance.now() - sentAt.shift();
      show(`${milliseconds.toFixed(1)} ms`, text || "(empty text)");
    },
  });

  form.onsubmit = (event) => {
    event.preventDefault();
    const now = performance.now();
    if (connection.send(form.text.value)) sentAt.push(now);
    form.text.select();
  };

  function show(time, text) {
    panel.find(".time").textContent = time;
    panel.find(".text").textContent = text;
  }

  show("–", "Nothing sent yet");
  return connection;
}
