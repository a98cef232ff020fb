// What all panels have: the state of their connection, and a line for what went wrong.

const LABELS = { connecting: "connecting…", live: "live", reconnecting: "reconnecting…", closed: "closed" };
const TEXTS = {
  rate_limited: "That was too fast. Please wait a moment and try again.",
  permission_denied: "You do not have the right to do that.",
  message_too_big: "That message is too long.",
  unavailable: "The server could not confirm that. Please try again in a moment.",
};

export class Panel {
  constructor(id) {
    this.element = document.getElementById(id);
    this.find = (selector) => this.element.querySelector(selector);
    this.say("");
  }

  /** Show the state; sending is possible only while live. */
  showState(state, reason) {
    this.element.dataset.state = state;
    this.find(".state").textContent = LABELS[state];
    if (reason || state === "live") this.say(reason);
    for (const button of this.element.querySelectorAll("button")) button.disabled = state !== "live";
  }

  showError({ code, detail }) {
    this.say(TEXTS[code] ?? detail);
  }

  say(text) {
    const notice = this.find(".notice");
    notice.textContent = text;
    notice.hidden = !text;
  }
}
