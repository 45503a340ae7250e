// One Mac of the fleet: what it is, what it does, its latest image.

import { slowness } from "./attention.js";
import { h, setAttribute, setText } from "./dom.js";
import { rate, span } from "./format.js";
import { thumbnailUrl } from "./server.js";

const STAGES = { compile: "compiling the model", load: "loading the model", encode: "reading the prompt", denoise: "denoising", decode: "decoding", save: "saving" };

/** What a worker is doing, in words, and how far its image has come, 0 to 1. */
export function doing(picture, id) {
  const card = picture.workers.get(id);
  const work = picture.work.get(id);
  const isAway = card.state === "OFFLINE" || card.state === "SUSPENDED";
  if (isAway || !work) return { words: card.state === "ACTIVE" ? "waiting for work" : card.reason, part: 0, job: "" };
  const [job, index, stage, step, steps] = work;
  const image = index === null ? "" : `image ${index}`;
  const how = stage === "denoise" && steps ? `step ${step} of ${steps}` : STAGES[stage] ?? stage;
  const part = stage === "denoise" && steps ? step / steps : { decode: 1, save: 1 }[stage] ?? 0;
  return { words: [image, how].filter(Boolean).join(", "), part, job };
}

export function workerCard(store, id, open) {
  const { picture } = store;
  const image = h("img", { alt: "", loading: "lazy", hidden: true });
  const state = h("span", { class: "state" });
  const chip = h("span", { class: "chip" });
  const kind = h("span", { class: "badge" });
  const words = h("p", { class: "doing" });
  const bar = h("span");
  const pace = h("span");
  const since = h("span");
  const reason = h("p", { class: "reason" });
  const element = h(
    "button",
    { class: "mac", onclick: open },
    h("span", { class: "picture" }, image),
    h("span", { class: "text" }, h("strong", {}, id, kind), h("span", { class: "line" }, state, chip), words, reason, h("span", { class: "line muted" }, pace, since)),
    h("span", { class: "progress" }, bar),
  );

  function update() {
    const card = picture.workers.get(id);
    if (!card) return;
    const now = doing(picture, id);
    setAttribute(element, "data-state", card.state);
    setText(state, card.state.toLowerCase());
    setText(chip, card.chip);
    setText(kind, card.class);
    setAttribute(kind, "data-class", card.class);
    setText(words, now.words);
    setText(reason, [now.words === card.reason ? "" : card.reason, slowness(card)].filter(Boolean).join("; "));
    setText(pace, card.rate ? rate(card.rate) : "");
    setText(since, card.since ? `for ${span(store.now() - card.since)}` : "");
    bar.style.transform = `scaleX(${now.part})`;
    const shot = picture.shots.get(id);
    if (shot) setAttribute(image, "src", thumbnailUrl(...shot));
    image.hidden = !shot;
  }
  return { element, update };
}
