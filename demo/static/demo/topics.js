// A choice of topics: those that are known, and any other by its name.
import { make } from "./elements.js";

const OTHER = "";

export class Topics extends EventTarget {
  #select;
  #form;

  /** `root`: the element; `groups`: { heading: [[name, label], …] }. Event: "change" (detail: name). */
  constructor(root, groups, other) {
    super();
    this.#select = root.querySelector("select");
    this.#form = root.querySelector("form");
    this.offer(groups, other);
    this.#select.addEventListener("change", () => {
      this.#form.hidden = this.#select.value !== OTHER;
      if (this.#form.hidden) this.#tell(this.#select.value);
      else this.#form.topic.focus();
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#tell(this.#form.topic.value);
    });
  }

  /** Other topics to choose from; the choice stays where it can. */
  offer(groups, other = "Another topic…") {
    const { value } = this.#select;
    const option = ([value, text]) => make("option", { value, textContent: text });
    this.#select.replaceChildren(
      ...Object.entries(groups).map(([label, topics]) => make("optgroup", { label }, ...topics.map(option))),
      option([OTHER, other]),
    );
    this.#select.value = value;
    if (this.#select.selectedIndex < 0) this.#select.selectedIndex = 0;
  }

  /** Show which one is open, however that was chosen. */
  show(name) {
    this.#select.value = name;
    if (this.#select.selectedIndex < 0) this.#select.value = OTHER;
    this.#form.hidden = this.#select.value !== OTHER;
    if (!this.#form.hidden) this.#form.topic.value = name;
  }

  #tell(name) {
    this.dispatchEvent(new CustomEvent("change", { detail: name }));
  }
}
