// Logging in with a token.

import { h, setText } from "./dom.js";
import { logIn } from "./server.js";

export function loginView(problem, done) {
  const field = h("input", { id: "token", type: "password", autocomplete: "current-password", required: true, placeholder: "farm_…" });
  const error = h("p", { class: "error", role: "alert" }, problem);
  const enter = async (event) => {
    event.preventDefault();
    try {
      await logIn(field.value.trim());
      await done();
    } catch (refusal) {
      setText(error, refusal.message);
      field.select();
    }
  };
  const element = h(
    "form",
    { class: "login panel", onsubmit: enter },
    h("img", { src: "icon.svg", alt: "", width: 48, height: 48 }),
    h("h1", {}, "Render farm"),
    h("label", { for: "token" }, "Your token"),
    field,
    error,
    h("button", { class: "primary" }, "Log in"),
    h(
      "details",
      {},
      h("summary", {}, "Where do I get one?"),
      h("p", {}, "On the farm's machine, this makes one:"),
      h("pre", {}, "farm token create --role submit --name YOUR-NAME"),
      h("p", { class: "muted" }, "submit sees and steers its own jobs, admin everything, worker only the fleet. `farm up` prints a link that logs you in."),
    ),
  );
  setTimeout(() => field.focus());
  return { element, title: "Log in" };
}
