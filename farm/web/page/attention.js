// What somebody should look at: Macs that are slow, silent or set aside, and jobs that fail or that no Mac takes.

import { h, Keyed, setText } from "./dom.js";
import { count, part, span } from "./format.js";

const SHOWN = 6;
const LIVE = new Set(["PENDING", "RUNNING"]);

/** The part of its chip's usual speed below which a Mac is slow; the alert FarmWorkerSlow has the same. */
const SLOW = 0.7;

/** A job is planned within ten seconds, if anything that is here can render it. */
const PLANNED_SECONDS = 30;

/** A Mac that was silent for longer is taken for one that was put away; the alert FarmWorkerSilent has the same. */
const PUT_AWAY_SECONDS = 86400;

/** Signs of trouble: a title, and for a card what to say of it; null if all is well. */
const JOB_SIGNS = [
  ["No Mac here can render", (job, now) => (LIVE.has(job.state) && !job.eta && now - job.created > PLANNED_SECONDS ? span(now - job.created) : null)],
  ["Images failed", (job) => (LIVE.has(job.state) && job.failed > 0 ? count(job.failed) : null)],
];
const WORKER_SIGNS = [
  ["Slow", (card) => (isSlow(card) ? part(card.speed) : null)],
  ["Silent", (card, now) => (card.state === "OFFLINE" && now - card.since < PUT_AWAY_SECONDS ? span(now - card.since) : null)],
  ["Set aside", (card) => (card.state === "ACTIVE" && card.reason ? "" : null)],
];

function isSlow(card) {
  return card.state !== "OFFLINE" && card.speed < SLOW;
}

/** How slow a Mac is, in words; empty if it is not. */
export const slowness = (card) => (isSlow(card) ? `${part(card.speed)} of its chip's usual speed` : "");

/** A panel that is there only if something is. */
export function attention(store, open) {
  const { picture } = store;
  const jobs = (id) => ({ name: picture.jobs.get(id)?.name || id, to: { href: `#/jobs/${id}`, class: "button" } });
  const workers = (id) => ({ name: id, to: { onclick: () => open(id) } });
  const signs = [
    ...JOB_SIGNS.map(([title, sign]) => line(title, picture.jobs, sign, jobs)),
    ...WORKER_SIGNS.map(([title, sign]) => line(title, picture.workers, sign, workers)),
  ];
  const element = h("section", { class: "panel attention", hidden: true }, h("h2", {}, "Needs attention"), h("ul", {}, ...signs.map((one) => one.element)));
  function update() {
    const found = signs.map((one) => one.update(store.now()));
    element.hidden = !found.includes(true);
  }
  return { element, update };
}

/** All that show one sign: the first of them by name, and how many more. */
function line(title, cards, sign, entry) {
  const names = h("span", { class: "names" });
  const rest = h("span", { class: "muted" });
  const element = h("li", { hidden: true }, h("strong", {}, title), names, rest);
  const entries = new Keyed(names, (id) => {
    const { name, to } = entry(id);
    const detail = h("small");
    return { element: h(to.href ? "a" : "button", to, name, " ", detail), update: (text) => setText(detail, text) };
  });
  function update(now) {
    const found = [...cards].map(([id, card]) => [id, sign(card, now)]).filter(([, detail]) => detail !== null);
    entries.arrange(found.slice(0, SHOWN).map(([id]) => id));
    for (const [id, detail] of found.slice(0, SHOWN)) entries.get(id).update(detail);
    setText(rest, found.length > SHOWN ? `and ${count(found.length - SHOWN)} more` : "");
    element.hidden = found.length === 0;
    return found.length > 0;
  }
  return { element, update };
}
