// Finding and making elements.

export const byId = (id) => document.getElementById(id);

/** make("p", { className: "told" }, "text", otherElement) */
export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** Show a text, or hide its element where there is none. */
export function tell(element, text) {
  element.textContent = text;
  element.hidden = !text;
}

/** Run `listener(value)` with each new choice among radio buttons. */
export function onChoice(fieldset, listener) {
  fieldset.addEventListener("change", ({ target }) => listener(target.value));
}

export const chosen = (fieldset) => fieldset.querySelector("input:checked")?.value;
