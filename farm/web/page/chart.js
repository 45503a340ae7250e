// Images over time, stacked by class of chip.

import { h, s, setText } from "./dom.js";
import { clock, count } from "./format.js";

const RANGES = [["1 h", 60, 1], ["6 h", 360, 5], ["24 h", 1440, 15]];
const CLASSES = ["ANE", "GPU", "CPU"];
const HEIGHT = 170;
const FOOT = 20;
const SIDE = 34;

export function throughputChart(store) {
  let chosen = 0;
  const plot = h("div", { class: "plot" });
  const unit = h("small");
  const buttons = RANGES.map(([name], place) =>
    h("button", { class: "quiet", "aria-pressed": String(place === 0), onclick: () => choose(place) }, name),
  );
  const element = h(
    "div",
    {},
    h("header", {}, h("h2", {}, "Throughput", unit), h("span", { class: "ranges", role: "group", "aria-label": "Time shown" }, ...buttons)),
    plot,
    h("ul", { class: "legend" }, ...CLASSES.map((name) => h("li", { "data-class": name }, name))),
  );

  function choose(place) {
    chosen = place;
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === place)));
    update();
  }

  function update() {
    const [name, minutes, size] = RANGES[chosen];
    const end = Math.floor(store.now() / 60 / size) + 1;
    const columns = minutes / size;
    setText(unit, size === 1 ? " images a minute" : ` images in ${size} min`);
    const sums = Array.from({ length: columns }, () => ({ ANE: 0, GPU: 0, CPU: 0 }));
    for (const [minute, counts] of store.picture.minutes) {
      const column = Math.floor(Number(minute) / size) - (end - columns);
      if (column >= 0 && column < columns) for (const kind of CLASSES) sums[column][kind] += counts[kind] ?? 0;
    }
    const totals = sums.map((sum) => CLASSES.reduce((all, kind) => all + sum[kind], 0));
    const top = niceTop(Math.max(1, ...totals));
    const width = Math.max(240, plot.clientWidth || 600);
    plot.replaceChildren(draw(width, sums, top, end * size, size, `Images in the last ${name}: ${count(totals.reduce((a, b) => a + b, 0))}`));
  }
  return { element, update };
}

function draw(whole, sums, top, endMinute, size, label) {
  const width = whole - SIDE;
  const step = width / sums.length;
  const scale = (HEIGHT - FOOT - 10) / top;
  const bars = [];
  sums.forEach((sum, column) => {
    let y = HEIGHT - FOOT;
    for (const kind of CLASSES) {
      if (!sum[kind]) continue;
      const height = sum[kind] * scale;
      y -= height;
      const bar = s("rect", { x: column * step + step * 0.1, y, width: step * 0.8, height, rx: Math.min(2, step / 5), "data-class": kind });
      bar.append(s("title", {}, `${clock((endMinute - (sums.length - column) * size) * 60)}: ${count(sum[kind])} ${kind}`));
      bars.push(bar);
    }
  });
  const lines = [0.5, 1].flatMap((part) => {
    const y = HEIGHT - FOOT - top * part * scale;
    return [s("line", { x1: 0, x2: width, y1: y, y2: y }), s("text", { x: whole, y: y + 4, "text-anchor": "end" }, count(top * part))];
  });
  const times = (width < 400 ? [0, 0.5] : [0, 0.25, 0.5, 0.75]).map((part) =>
    s("text", { x: width * part, y: HEIGHT - 4 }, clock((endMinute - (1 - part) * sums.length * size) * 60)),
  );
  return s(
    "svg",
    { viewBox: `0 0 ${whole} ${HEIGHT}`, role: "img", "aria-label": label },
    ...lines,
    s("line", { class: "ground", x1: 0, x2: width, y1: HEIGHT - FOOT, y2: HEIGHT - FOOT }),
    ...bars,
    ...times,
  );
}

/** The next of 2, 4, 10, 20, 40, 100, … that is not below. */
function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 10].map((factor) => factor * power).find((top) => top >= value && top >= 2) ?? 2;
}
