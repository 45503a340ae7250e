// All about one Mac, and what may be done with it.

import { slowness } from "./attention.js";
import { h } from "./dom.js";
import { dateTime, duration, gigabytes, rate, span } from "./format.js";
import { attempt } from "./notices.js";
import { call, workerTime } from "./server.js";
import { doing } from "./workercard.js";

const STAGES = ["compile", "load", "encode", "denoise", "decode", "save", "idle"];
const REFRESH_MILLISECONDS = 2000;

export function openWorker(store, id, may) {
  const body = h("div");
  const time = h("div");
  const dialog = h(
    "dialog",
    { class: "sheet", "aria-label": `Worker ${id}` },
    h("header", {}, h("h2", {}, id), h("button", { class: "quiet icon", "aria-label": "Close", onclick: () => dialog.close() }, "✕")),
    body,
    time,
  );

  function show() {
    const card = store.picture.workers.get(id);
    if (!card) return;
    const facts = [
      ["Chip", [card.chip, card.gpu_cores ? `${card.gpu_cores} GPU cores` : "", gigabytes(card.memory)].filter(Boolean).join(", ")],
      ["Class", card.class],
      ["State", [card.state.toLowerCase(), card.reason, card.since ? `since ${dateTime(card.since)} (${span(store.now() - card.since)})` : ""].filter(Boolean).join(", ")],
      ["Now", doing(store.picture, id).words],
      ["Rate", [rate(card.rate), slowness(card)].filter(Boolean).join(", ")],
      ["Loaded", card.models.join(", ") || "nothing"],
      ["System", `${card.os}, ${card.runtime} runtime, farm ${card.version}`],
      ["Labels", Object.entries(card.labels).map(([key, value]) => `${key}=${value}`).join(", ")],
    ];
    body.replaceChildren(
      h("dl", { class: "facts" }, ...facts.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      steering(card),
    );
  }

  function steering(card) {
    const name = { name: `workers/${id}` };
    const drain = (now) => attempt(() => call("WorkerService/DrainWorker", { ...name, now }), now ? `${id} gives back what it has.` : `${id} finishes what it has and takes nothing new.`);
    const resume = () => attempt(() => call("WorkerService/ResumeWorker", name), `${id} takes work again.`);
    const actions = [];
    if (may("DrainWorker") && card.state === "DRAINING") actions.push(h("button", { class: "primary", onclick: resume }, "Resume"));
    else if (may("DrainWorker")) {
      actions.push(h("button", { onclick: () => drain(false) }, "Drain"), h("button", { onclick: () => drain(true) }, "Drain now"));
    }
    if (may("ListImages")) actions.push(h("a", { class: "button", href: `#/gallery?worker=${encodeURIComponent(id)}`, onclick: () => dialog.close() }, "Its images"));
    return h("p", { class: "actions" }, ...actions);
  }

  async function showTime() {
    let seconds;
    try {
      seconds = await workerTime(id);
    } catch {
      return; // the dialog shows what it has
    }
    const total = Object.values(seconds).reduce((sum, one) => sum + one, 0);
    if (!total) return;
    const stages = STAGES.filter((stage) => (seconds[stage] ?? 0) / total >= 0.001);
    const bar = h("div", { class: "stages", role: "img", "aria-label": stages.map((stage) => `${stage} ${Math.round((100 * seconds[stage]) / total)} %`).join(", ") });
    for (const stage of stages) {
      const part = h("span", { "data-stage": stage });
      part.style.flexGrow = seconds[stage] / total;
      bar.append(part);
    }
    time.replaceChildren(
      h("h3", {}, "Where the time went"),
      bar,
      h("ul", { class: "legend" }, ...stages.map((stage) => h("li", { "data-stage": stage }, `${stage} ${duration(seconds[stage])}, ${Math.round((100 * seconds[stage]) / total)} %`))),
    );
  }

  const stop = store.listen((changed) => {
    if (changed.workers.has(id) || changed.work.has(id)) show();
  });
  const timer = setInterval(showTime, REFRESH_MILLISECONDS);
  dialog.addEventListener("close", () => {
    stop();
    clearInterval(timer);
    dialog.remove();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  show();
  showTime();
  document.body.append(dialog);
  dialog.showModal();
}
