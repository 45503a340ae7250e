// Who rendered what and when: a row for each Mac, a bar for each run of images, a colour for each job.

import { h, setText } from "./dom.js";
import { isDarkNow } from "./theme.js";
import { clock, duration, plural } from "./format.js";

const RANGES = [["15 min", 900], ["1 h", 3600], ["6 h", 21600]];
const ROW = 22;
const HEAD = 22;
const LABEL = 70;
const HUES = [225, 160, 30, 280, 340, 190, 95, 55, 255, 10];
const OTHERS = "others";

export function timelineView({ store }) {
  const { picture } = store;
  let seconds = RANGES[1][1];
  let shown = [];
  const canvas = h("canvas", { role: "img" });
  const names = h("ol", { class: "names", "aria-label": "Macs" });
  const tip = h("p", { class: "tip", hidden: true });
  const legend = h("ul", { class: "legend" });
  const empty = h("div", { class: "empty panel" }, h("p", {}, "Nothing was rendered in this time."), h("p", { class: "muted" }, "Each run of images becomes a bar in the row of the Mac that rendered it."));
  const buttons = RANGES.map(([name, size]) => h("button", { class: "quiet", "aria-pressed": String(size === seconds), onclick: (event) => choose(size, event.target) }, name));

  function choose(size, chosen) {
    seconds = size;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button === chosen));
    draw();
  }

  function draw() {
    const end = store.now();
    const start = end - seconds;
    const bars = [...picture.bars.values()].filter(([, , , , to]) => to > start);
    const rows = [...new Set([...picture.workers.keys(), ...bars.map(([worker]) => worker)])].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
    const jobs = [...new Set(bars.map(([, job]) => job || OTHERS))];
    empty.hidden = bars.length > 0;
    frame.hidden = bars.length === 0;
    if (names.dataset.rows !== rows.join()) {
      names.dataset.rows = rows.join();
      names.replaceChildren(...rows.map((name) => h("li", { title: name }, name)));
    }
    legend.replaceChildren(...jobs.slice(-12).reverse().map((job) => keyOf(job)));
    const width = canvas.parentElement?.clientWidth ?? 0;
    if (!width || !bars.length) return;
    const height = HEAD + rows.length * ROW;
    const scale = devicePixelRatio || 1;
    canvas.width = width * scale;
    canvas.height = height * scale;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const isDark = isDarkNow();
    const ink = getComputedStyle(names).color;
    pen.font = "11px system-ui, sans-serif";
    const columns = width < LABEL * 5 ? 2 : 5;
    for (let part = 0; part < columns; part += 1) {
      const x = (width * part) / columns;
      pen.fillStyle = "#8883";
      pen.fillRect(x, HEAD - 4, 1, height);
      pen.fillStyle = ink;
      pen.fillText(clock(start + (seconds * part) / columns), x + 4, 13);
    }
    const place = new Map(rows.map((name, row) => [name, row]));
    shown = [];
    for (const [worker, job, kind, from, to, images] of bars) {
      const x = Math.max(0, ((from - start) / seconds) * width);
      const wide = Math.max(2, ((to - start) / seconds) * width - x);
      const y = HEAD + place.get(worker) * ROW + 3;
      pen.fillStyle = colourOf(job || OTHERS, isDark);
      pen.beginPath();
      pen.roundRect(x, y, wide, ROW - 6, 3);
      pen.fill();
      shown.push({ x, y, wide, worker, job, kind, from, to, images });
    }
    canvas.setAttribute("aria-label", `${plural(bars.length, "run")} of images on ${plural(place.size, "Mac")} in the last ${duration(seconds)}`);
  }

  const jobName = (job) => (job ? picture.jobs.get(job)?.name || job : "somebody else's job");

  function keyOf(job) {
    const mark = h("i");
    mark.style.background = colourOf(job, isDarkNow());
    const name = job === OTHERS ? "others' jobs" : jobName(job);
    return h("li", {}, mark, job === OTHERS ? name : h("a", { href: `#/jobs/${job}` }, name));
  }

  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const bar = shown.findLast((one) => x >= one.x && x <= one.x + one.wide && y >= one.y && y <= one.y + ROW);
    tip.hidden = !bar;
    if (!bar) return;
    setText(tip, `${bar.worker}: ${plural(bar.images, "image")} of ${jobName(bar.job)}, ${clock(bar.from)} to ${clock(bar.to)}`);
    tip.style.transform = `translate(${Math.min(x + 12, box.width - 260)}px, ${y + 16}px)`;
  });
  canvas.addEventListener("pointerleave", () => {
    tip.hidden = true;
  });

  const plot = h("div", { class: "plot" }, canvas, tip);
  const frame = h("div", { class: "gantt panel" }, names, plot);
  const onresize = () => draw();
  addEventListener("resize", onresize);
  const element = h(
    "div",
    { class: "view" },
    h("header", {}, h("h1", {}, "Timeline"), h("span", { class: "ranges", role: "group", "aria-label": "Time shown" }, ...buttons)),
    empty,
    frame,
    legend,
  );
  return {
    element,
    update: (changed) => (changed === null || changed.bars.size || changed.workers.size) && draw(),
    tick: draw,
    close: () => removeEventListener("resize", onresize),
    title: "Timeline",
  };
}

const hues = new Map();

/** A colour that a job keeps as long as the page is open; jobs that follow each other differ. */
function colourOf(job, isDark) {
  if (job === OTHERS) return isDark ? "#475067" : "#c3c9d4";
  if (!hues.has(job)) hues.set(job, HUES[hues.size % HUES.length]);
  return `hsl(${hues.get(job)} ${isDark ? "45% 58%" : "52% 54%"})`;
}
