// One image, whole, with all that is known of how it came to be.

import { h } from "./dom.js";
import { dateTime } from "./format.js";
import { copy } from "./notices.js";
import * as server from "./server.js";

/** Opens an image. `step(by)` gives the neighbour { job, index } in the list that it was opened from, if there is one. */
export async function openImage(job, index, step = null) {
  const content = h("div", { class: "content" });
  const dialog = h("dialog", { class: "image", "aria-label": "Image" }, content);
  let place = { job, index };

  async function go(by) {
    const next = await step?.(by);
    if (next) {
      place = next;
      await show();
    }
  }
  async function show() {
    const { job, index } = place;
    try {
      const known = await server.image(job, index);
      content.replaceChildren(...described(known, job, () => dialog.close(), step && go));
    } catch (refusal) {
      content.replaceChildren(h("p", { class: "error" }, refusal.message), closeButton(() => dialog.close()));
    }
  }
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") go(-1);
    if (event.key === "ArrowRight") go(1);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  await show();
}

const closeButton = (close) => h("button", { class: "quiet icon close", "aria-label": "Close", onclick: close }, "✕");

function described(known, job, close, go) {
  const { spec } = known;
  const seconds = parseFloat(known.render_duration ?? "0");
  const short = (digest = "") => digest.replace("sha256:", "").slice(0, 12);
  const facts = [
    ["Negative prompt", spec.negative_prompt],
    ["Seed", known.seed],
    ["Size", `${spec.width} × ${spec.height}`],
    ["Steps", spec.steps],
    ["Guidance", spec.guidance_scale],
    ["Sampler", spec.sampler],
    ["Strength", spec.strength],
    ["Model", known.model && `${known.model} (${short(known.model_digest)})`],
    ["Rendered by", known.chip && `${known.worker.replace("workers/", "")}, ${known.chip}`],
    ["On", known.compute_unit && `${known.compute_unit.replace("COMPUTE_UNIT_", "")}, ${known.runtime} runtime, ${known.attention.replace("ATTENTION_", "").toLowerCase()} attention`],
    ["In", seconds ? `${seconds.toFixed(seconds < 10 ? 2 : 0)} s` : ""],
    ["At", known.finish_time && dateTime(Date.parse(known.finish_time) / 1000)],
    ["Versions", Object.entries(known.versions ?? {}).map(([name, version]) => `${name} ${version}`).join(", ")],
    ["SHA-256", known.sha256 && short(known.sha256)],
    ["Notes", (known.notes ?? []).join(" ")],
  ];
  const url = known.sha256 ? server.imageUrl(job, known.index, known.attempt_number) : null;
  return [
    h(
      "figure",
      {},
      url ? h("img", { src: url, alt: spec.prompt, width: spec.width, height: spec.height }) : h("p", { class: "empty" }, known.error?.message ?? "Not rendered yet."),
      go && h("button", { class: "step back", "aria-label": "Previous image", onclick: () => go(-1) }, "‹"),
      go && h("button", { class: "step on", "aria-label": "Next image", onclick: () => go(1) }, "›"),
    ),
    h(
      "div",
      { class: "about" },
      closeButton(close),
      h("h2", {}, spec.prompt),
      h("p", { class: "muted" }, h("a", { href: `#/jobs/${job}`, onclick: close }, `job ${job}`), `, image ${known.index}`),
      h("dl", { class: "facts" }, ...facts.filter(([, value]) => value !== undefined && value !== "" && value !== null).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))])),
      known.command && h("h3", {}, "Render it again"),
      known.command && h("pre", { class: "command", tabindex: 0 }, known.command),
      h("p", { class: "actions" }, known.command && h("button", { onclick: () => copy(known.command) }, "Copy the command"), url && h("a", { class: "button", href: url, download: "" }, "Download")),
    ),
  ];
}
