// Lobby: a conversation on a broadcast topic. It misses nothing across a reconnect.
import { Connection } from "../connection.js";
import { Panel } from "./panel.js";

const KEPT = 200; // messages in the list
const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export function startLobby({ signIn, onHello }) {
  const panel = new Panel("lobby-panel");
  const list = panel.find("ol");
  const form = panel.find("form");
  const pending = new Map(); // ref → message without its ack
  let me = null;

  const connection = new Connection({
    path: "/ws/broadcast/lobby/",
    params: { history: 20 },
    signIn,
    resume: true,
    onState: (state, reason) => panel.showState(state, reason),
    onMessage(message) {
      switch (message.type) {
        case "hello":
          me = message.user;
          onHello(message);
          break;
        case "subscribed":
          // Under the same ids: what had arrived before the connection broke is not said twice.
          for (const unsure of pending.values()) connection.send(unsure);
          break;
        case "publication":
          add(message);
          break;
        case "gap":
          append(element("li", "gap", "Some messages are missing here."));
          break;
        case "ack":
          pending.delete(message.ref);
          break;
        case "error":
          refuse(message);
      }
    },
  });

  form.onsubmit = (event) => {
    event.preventDefault();
    const text = form.text.value.trim();
    if (!text) return;
    const ref = newId();
    const message = { type: "publish", ref, id: ref, data: { text } };
    if (!connection.send(message)) return;
    pending.set(ref, message);
    panel.say("");
    form.reset();
  };

  function refuse(error) {
    const refused = pending.get(error.ref);
    pending.delete(error.ref);
    if (refused && !form.text.value) form.text.value = refused.data.text;
    panel.showError(error);
  }

  function add({ data, user, server_time }) {
    const item = element("li", user !== null && user === me ? "mine" : "");
    const time = element("time", "", TIME.format(new Date(server_time)));
    time.dateTime = server_time;
    const text = typeof data?.text === "string" ? data.text : JSON.stringify(data);
    item.append(element("strong", "", user ?? "anonymous"), " ", time, element("p", "", text));
    append(item);
  }

  function append(item) {
    const following = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    list.append(item);
    while (list.children.length > KEPT) list.firstElementChild.remove();
    if (following) list.scrollTop = list.scrollHeight;
  }

  list.replaceChildren();
  return connection;
}

function element(name, className, text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function newId() {
  // Not crypto.randomUUID(), which browsers keep from pages that come over plain HTTP.
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("-");
}
