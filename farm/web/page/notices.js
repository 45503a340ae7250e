// Short notices, read aloud by screen readers, and questions before what cannot be undone.

import { h } from "./dom.js";

const SHOWN_MILLISECONDS = 6000;

export function notice(text, kind = "info") {
  const element = h("p", { class: `notice ${kind}` }, text);
  document.getElementById("notices").append(element);
  setTimeout(() => element.remove(), SHOWN_MILLISECONDS);
}

/** Does something that the farm may refuse, and says so if it does; gives whether it was done. */
export async function attempt(action, done = "") {
  try {
    await action();
  } catch (refusal) {
    notice(refusal.message, "error");
    return false;
  }
  if (done) notice(done);
  return true;
}

/** Asks before something that cannot be undone. */
export function confirm(question, consequence, label) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { class: "question", "aria-label": question },
      h("h2", {}, question),
      h("p", { class: "muted" }, consequence),
      h(
        "form",
        { method: "dialog", class: "actions" },
        h("button", { value: "no", class: "quiet" }, "Go back"),
        h("button", { value: "yes", class: "danger" }, label),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Copies text, and says so. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    notice("Copied.");
  } catch {
    notice("The browser does not let this page copy; select the text instead.", "error");
  }
}
