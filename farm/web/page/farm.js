// The farm at a glance: figures, throughput, live jobs, newest images, and every Mac.

import { attention } from "./attention.js";
import { throughputChart } from "./chart.js";
import { h, Keyed, setAttribute, setText } from "./dom.js";
import { count, rate } from "./format.js";
import { openImage } from "./image.js";
import { jobCard, jobOrder } from "./jobs.js";
import { thumbnailUrl } from "./server.js";
import { openWorker } from "./worker.js";
import { workerCard } from "./workercard.js";

const CLASSES = { ANE: "Neural Engine", GPU: "GPU", CPU: "CPU" };
const STATE_ORDER = ["ACTIVE", "DRAINING", "SUSPENDED", "OFFLINE"];
const LIVE = new Set(["RUNNING", "PENDING", "PAUSED", "CANCELLING"]);
const RECENT_SHOWN = 18;

export function farmView({ store, may }) {
  const { picture } = store;
  const figures = tiles();
  const look = attention(store, (id) => openWorker(store, id, may));
  const chart = throughputChart(store);
  const jobs = h("div", { class: "joblist" });
  const jobCards = new Keyed(jobs, (id) => jobCard(store, id));
  const noJobs = emptyJobs(may);
  const strip = h("div", { class: "strip" });
  const shots = new Keyed(strip, (key) => shot(store, key));
  const newest = h("section", { "aria-label": "Newest images" }, h("h2", {}, "Newest images"), strip);
  const grid = h("div", { class: "fleet" });
  const cards = new Keyed(grid, (id) => workerCard(store, id, () => openWorker(store, id, may)));
  const noWorkers = emptyFleet(may);
  const summary = h("span", { class: "muted" });
  const filter = { state: "", chip: "" };
  const refilter = () => arrangeWorkers();
  const filters = h(
    "div",
    { class: "filters" },
    select("State", [["", "All states"], ...STATE_ORDER.map((state) => [state, state.toLowerCase()])], (value) => {
      filter.state = value;
      refilter();
    }),
    select("Chip class", [["", "All chips"], ...Object.entries(CLASSES)], (value) => {
      filter.chip = value;
      refilter();
    }),
  );

  function arrangeWorkers() {
    const shown = [...picture.workers]
      .filter(([, card]) => (!filter.state || card.state === filter.state) && (!filter.chip || card.class === filter.chip))
      .sort(([a, left], [b, right]) => STATE_ORDER.indexOf(left.state) - STATE_ORDER.indexOf(right.state) || a.localeCompare(b, undefined, { numeric: true }));
    for (const id of cards.arrange(shown.map(([id]) => id))) cards.get(id).update();
    noWorkers.hidden = picture.workers.size > 0;
    filters.hidden = picture.workers.size < 9;
    const present = [...picture.workers.values()].filter((card) => card.state !== "OFFLINE").length;
    setText(summary, picture.workers.size ? `${count(present)} of ${count(picture.workers.size)} here` : "");
  }

  function arrangeJobs() {
    const live = [...picture.jobs].filter(([, job]) => LIVE.has(job.state)).sort(jobOrder).map(([id]) => id);
    for (const id of jobCards.arrange(live)) jobCards.get(id).update();
    noJobs.hidden = live.length > 0;
  }

  function arrangeShots() {
    const keys = [...picture.recent].sort(([, [, left]], [, [, right]]) => right - left).slice(0, RECENT_SHOWN).map(([key]) => key);
    shots.arrange(keys);
    newest.hidden = keys.length === 0;
  }

  function update(changed) {
    const all = changed === null;
    if (all || changed.workers.size) arrangeWorkers();
    if (all || changed.workers.size || changed.jobs.size) look.update();
    for (const id of all ? [] : new Set([...changed.workers, ...changed.work, ...changed.shots])) cards.get(id)?.update();
    if (may("ListJobs") && (all || changed.jobs.size)) {
      arrangeJobs();
      for (const id of all ? [] : changed.jobs) jobCards.get(id)?.update();
    }
    if (all || changed.recent.size) arrangeShots();
    if (all || changed.minutes.size) chart.update();
    figures.update(picture, store.now());
  }

  const element = h(
    "div",
    { class: "view" },
    h("h1", { class: "hidden" }, "The farm"),
    figures.element,
    look.element,
    h(
      "div",
      { class: "columns" },
      h("section", { class: "panel" }, chart.element),
      may("ListJobs") && h("section", { class: "panel" }, h("header", {}, h("h2", {}, "Live jobs"), h("a", { href: "#/jobs" }, "All jobs")), jobs, noJobs),
    ),
    may("ListImages") && newest,
    h("section", {}, h("header", {}, h("h2", {}, "Fleet"), summary, filters), grid, noWorkers),
  );
  const tick = () => {
    for (const id of picture.workers.keys()) cards.get(id)?.update();
    chart.update();
    look.update();
    figures.update(picture, store.now());
  };
  return { element, update, tick, title: "Farm" };
}

function tiles() {
  const names = { workers: "Macs at work", speed: "Images per hour", hour: "In the last hour", jobs: "Live jobs" };
  const values = Object.fromEntries(Object.keys(names).map((key) => [key, h("dd", {}, "–")]));
  const element = h("dl", { class: "tiles" }, ...Object.entries(names).map(([key, name]) => h("div", {}, h("dt", {}, name), values[key])));
  function update(picture, now) {
    const here = [...picture.workers].filter(([, card]) => card.state !== "OFFLINE");
    const busy = here.filter(([id]) => picture.work.has(id));
    const minute = Math.floor(now / 60);
    let hour = 0;
    for (const [key, counts] of picture.minutes) {
      if (Number(key) > minute - 60) hour += (counts.ANE ?? 0) + (counts.GPU ?? 0) + (counts.CPU ?? 0);
    }
    const speed = busy.reduce((sum, [, card]) => sum + card.rate, 0);
    setText(values.workers, `${count(busy.length)} of ${count(here.length)}`);
    setText(values.speed, speed ? count(Math.round(speed)) : "–");
    setText(values.hour, count(hour));
    setText(values.jobs, count(picture.farm.get("live_jobs") ?? 0));
    setAttribute(values.speed, "title", speed ? `${rate(speed)} at the pace of the Macs that render now` : null);
  }
  return { element, update };
}

function select(label, options, chosen) {
  return h(
    "select",
    { "aria-label": label, onchange: (event) => chosen(event.target.value) },
    ...options.map(([value, name]) => h("option", { value }, name)),
  );
}

function shot(store, key) {
  const [number] = store.picture.recent.get(key);
  const [job, index] = key.split("/");
  const element = h(
    "button",
    { class: "shot", "aria-label": `Image ${index} of job ${store.picture.jobs.get(job)?.name || job}`, onclick: () => openImage(job, Number(index)) },
    h("img", { src: thumbnailUrl(job, index, number), alt: "", loading: "lazy" }),
  );
  return { element };
}

function emptyJobs(may) {
  return h(
    "div",
    { class: "empty" },
    h("p", {}, "Nothing is being rendered."),
    may("SubmitJob") && h("p", {}, h("a", { class: "button", href: "#/new" }, "Submit a batch"), " or, in a terminal:"),
    may("SubmitJob") && h("pre", {}, 'farm submit -p "a red circle on a white background"'),
  );
}

function emptyFleet(may) {
  return h(
    "div",
    { class: "empty panel" },
    h("p", {}, "No Mac has joined yet."),
    may("CreateInvite")
      ? h("p", {}, "On the farm's machine, this prints the line that lets a Mac join, for an hour and once:")
      : h("p", {}, "The farm's owner can let one join with"),
    h("pre", {}, "farm workers invite"),
    h("p", { class: "muted" }, "It needs a coordinator that accepts workers: farm coordinator --engine ray."),
  );
}

