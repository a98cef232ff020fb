// Light or dark, before anything is painted: so this is a plain script in the head, no module.
(() => {
  const ORDER = ["auto", "light", "dark"];
  const NAMES = { auto: "as on this device", light: "light", dark: "dark" };
  const read = () => localStorage.getItem("theme") ?? "auto";

  function apply(theme) {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    dispatchEvent(new Event("themechange"));
  }

  apply(read());
  addEventListener("storage", ({ key }) => key === "theme" && apply(read()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(read()));

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const name = () => button.setAttribute("aria-label", `Colours: ${NAMES[read()]}`);
    button.addEventListener("click", () => {
      localStorage.setItem("theme", ORDER[(ORDER.indexOf(read()) + 1) % ORDER.length]);
      apply(read());
      name();
    });
    name();
  });
})();
