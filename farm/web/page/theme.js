// Light, dark, or as the system has it.

import { h, setText } from "./dom.js";

const THEMES = { auto: ["◐", "as the system has it"], light: ["☀", "light"], dark: ["☾", "dark"] };

const current = () => document.documentElement.dataset.theme ?? "auto";

function apply(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

/** Whether the page is dark now, for what is drawn rather than styled. */
export function isDarkNow() {
  return current() === "auto" ? matchMedia("(prefers-color-scheme: dark)").matches : current() === "dark";
}

export function restoreTheme() {
  const theme = localStorage.getItem("theme");
  apply(theme in THEMES ? theme : "auto");
}

export function themeButton() {
  const button = h("button", { class: "quiet icon" });
  const label = () => {
    const [sign, name] = THEMES[current()];
    setText(button, sign);
    button.title = `Colours: ${name}`;
    button.setAttribute("aria-label", `Colours: ${name}. Change`);
  };
  button.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    const next = names[(names.indexOf(current()) + 1) % names.length];
    apply(next);
    localStorage.setItem("theme", next);
    label();
  });
  label();
  return button;
}
