// Every image of the farm, newest first: only what is in sight is there, so that 100,000 are no more work than 100.

import { h, setText } from "./dom.js";
import { plural } from "./format.js";
import { openImage } from "./image.js";
import { gallery, thumbnailUrl } from "./server.js";

const PAGE = 120;
const KEPT_PAGES = 40;
const GAP = 8;
const MARGIN_ROWS = 2;
const TYPING_MILLISECONDS = 300;
const COUNT_MILLISECONDS = 2000;

export function galleryView({ store, query }) {
  const { picture } = store;
  const filters = Object.fromEntries(["text", "job", "worker", "model", "class"].map((name) => [name, query.get(name) ?? ""]));
  const field = h("input", { type: "search", placeholder: "Words of the prompt", "aria-label": "Words of the prompt", value: filters.text });
  const kinds = h("select", { "aria-label": "Chip class" }, ...[["", "All chips"], ["ANE", "Neural Engine"], ["GPU", "GPU"], ["CPU", "CPU"]].map(([value, name]) => h("option", { value, selected: value === filters.class }, name)));
  const workers = choices("Worker", "All Macs", [...picture.workers.keys()].sort(), filters.worker);
  const models = choices("Model", "All models", [...new Set([...picture.jobs.values()].map((job) => job.model))].sort(), filters.model);
  const jobs = choices("Job", "All jobs", [...picture.jobs.keys()].sort().reverse(), filters.job, (id) => picture.jobs.get(id)?.name || id);
  const total = h("span", { class: "muted", role: "status" });
  const sheet = h("div", { class: "gallery tall" });
  const empty = h("div", { class: "empty panel", hidden: true });
  const cells = new Map();
  let pages = new Map();
  let size = 0;
  let timer = null;
  let typing = null;
  let isClosed = false;

  function active() {
    return Object.fromEntries(Object.entries(filters).filter(([, value]) => value));
  }

  async function recount() {
    const now = JSON.stringify(filters);
    let answer;
    try {
      answer = await gallery(active(), 0, 0);
    } catch (refusal) {
      setText(total, refusal.message);
      return;
    }
    if (isClosed || now !== JSON.stringify(filters)) return;
    size = answer.total;
    setText(total, plural(size, "image"));
    empty.hidden = size > 0;
    empty.replaceChildren(h("p", {}, Object.keys(active()).length ? "No image fits these filters." : "No image yet."), h("a", { class: "button", href: "#/new" }, "Submit a batch"));
    layout();
  }

  /** The page of images that holds a place, counted from the oldest; asked for once. */
  function page(number) {
    if (!pages.has(number)) {
      if (pages.size >= KEPT_PAGES) pages.delete(pages.keys().next().value);
      const asked = { images: null };
      const mine = pages;
      asked.done = gallery(active(), number * PAGE, PAGE).then(
        (answer) => {
          asked.images = answer.images;
          if (answer.images.length < PAGE) mine.delete(number); // it may grow
          if (mine === pages && !isClosed) paint(asked, number);
        },
        () => mine.delete(number),
      );
      pages.set(number, asked);
    }
    return pages.get(number);
  }

  const columns = () => Math.max(2, Math.floor((sheet.clientWidth + GAP) / (sheet.clientWidth < 560 ? 130 : 190)));

  function layout() {
    const across = columns();
    const side = (sheet.clientWidth + GAP) / across;
    sheet.style.height = `${Math.ceil(size / across) * side}px`;
    const top = Math.max(0, -sheet.getBoundingClientRect().top);
    const first = Math.max(0, Math.floor(top / side) - MARGIN_ROWS) * across;
    const last = Math.min(size, (Math.ceil((top + innerHeight) / side) + MARGIN_ROWS) * across);
    const wanted = new Set();
    for (let nth = first; nth < last; nth += 1) wanted.add(size - 1 - nth);
    for (const [place, cell] of cells) {
      if (!wanted.has(place)) {
        cell.remove();
        cells.delete(place);
      }
    }
    const numbers = new Set();
    for (const place of wanted) {
      const nth = size - 1 - place;
      const cell = cells.get(place) ?? newCell(place);
      cell.style.width = cell.style.height = `${side - GAP}px`;
      cell.style.transform = `translate(${(nth % across) * side}px, ${Math.floor(nth / across) * side}px)`;
      if (!cell.firstChild) numbers.add(Math.floor(place / PAGE));
    }
    for (const number of numbers) {
      const known = page(number);
      if (known.images) paint(known, number);
    }
  }

  function newCell(place) {
    const cell = h("button", { class: "cell", onclick: () => open(place) });
    cells.set(place, cell);
    // In the order of the list, for those who go through it by keyboard.
    const after = [...cells.keys()].filter((other) => other > place).sort((a, b) => a - b)[0];
    if (after === undefined) sheet.prepend(cell);
    else cells.get(after).after(cell);
    return cell;
  }

  function paint({ images }, number) {
    images.forEach((image, at) => {
      const cell = cells.get(number * PAGE + at);
      if (!cell || cell.firstChild) return;
      if (!image) cell.append(h("span", { class: "muted" }, "deleted"));
      else {
        cell.title = image.prompt;
        cell.append(h("img", { src: thumbnailUrl(image.job, image.index, image.number), alt: image.prompt, decoding: "async" }));
      }
    });
  }

  async function at(place) {
    if (place < 0 || place >= size) return null;
    const known = page(Math.floor(place / PAGE));
    await known.done;
    return known.images?.[place % PAGE] ?? null;
  }

  async function open(place) {
    const image = await at(place);
    if (!image) return;
    let current = place;
    openImage(image.job, image.index, async (by) => {
      const next = await at(current - by);
      if (next) current -= by;
      return next;
    });
  }

  function refilter() {
    Object.assign(filters, { text: field.value.trim(), class: kinds.value, worker: workers.value, model: models.value, job: jobs.value });
    history.replaceState(null, "", `#/gallery?${new URLSearchParams(active())}`);
    pages = new Map();
    for (const cell of cells.values()) cell.remove();
    cells.clear();
    recount();
  }

  field.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(refilter, TYPING_MILLISECONDS);
  });
  for (const one of [kinds, workers, models, jobs]) one.addEventListener("change", refilter);
  let pending = 0;
  const onscroll = () => {
    if (!pending) {
      pending = requestAnimationFrame(() => {
        pending = 0;
        layout();
      });
    }
  };
  const onkey = (event) => {
    if (event.key === "/" && !(event.target instanceof HTMLInputElement) && !(event.target instanceof HTMLTextAreaElement)) {
      event.preventDefault();
      field.focus();
    }
  };
  addEventListener("scroll", onscroll, { passive: true });
  addEventListener("resize", onscroll);
  addEventListener("keydown", onkey);

  function update(changed) {
    if (changed === null) recount();
    else if (changed.recent.size && !timer) {
      timer = setTimeout(() => {
        timer = null;
        recount();
      }, COUNT_MILLISECONDS);
    }
  }
  function close() {
    isClosed = true;
    clearTimeout(timer);
    clearTimeout(typing);
    removeEventListener("scroll", onscroll);
    removeEventListener("resize", onscroll);
    removeEventListener("keydown", onkey);
  }
  const element = h("div", { class: "view" }, h("header", {}, h("h1", {}, "Gallery"), total), h("div", { class: "filters" }, field, jobs, workers, models, kinds), empty, sheet);
  return { element, update, close, title: "Gallery" };
}

/** A choice among names; one that is chosen already is offered even if nothing is known of it. */
function choices(label, all, names, chosen, nameOf = (name) => name) {
  const offered = chosen && !names.includes(chosen) ? [chosen, ...names] : names;
  return h("select", { "aria-label": label }, h("option", { value: "" }, all), ...offered.map((name) => h("option", { value: name, selected: name === chosen }, nameOf(name))));
}

