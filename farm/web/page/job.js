// One job: how far it is, when it will end, why it runs where it does, its images.

import { h, Keyed, setAttribute, setText } from "./dom.js";
import { count, dateTime, duration, moment, plural } from "./format.js";
import { openImage } from "./image.js";
import { fromApi, progressWords } from "./jobs.js";
import { attempt, confirm, notice } from "./notices.js";
import { call, gallery, thumbnailUrl } from "./server.js";

const REFRESH_MILLISECONDS = 5000;
const SOON_MILLISECONDS = 700;
const SHOWN_IMAGES = 60;
const LIVE = new Set(["PENDING", "RUNNING", "PAUSED", "CANCELLING"]);

const ACTIONS = [
  ["PauseJob", "Pause", (state) => state === "RUNNING" || state === "PENDING"],
  ["ResumeJob", "Resume", (state) => state === "PAUSED"],
  ["RetryJob", "Retry what failed", (state) => !LIVE.has(state)],
  ["CancelJob", "Cancel", (state) => LIVE.has(state) && state !== "CANCELLING"],
  ["DeleteJob", "Delete", (state) => !LIVE.has(state)],
];

const QUESTIONS = {
  CancelJob: ["Cancel this job?", "Finished images are kept; the rest is not rendered. It can be retried later.", "Cancel the job"],
  DeleteJob: ["Delete this job and its images?", "The files and everything known of them are deleted. This cannot be undone.", "Delete"],
};

export function jobView({ store, may, argument: id }) {
  const name = `jobs/${id}`;
  let job = store.picture.jobs.get(id) ?? null;
  let seen = "";
  let soon = null;
  const title = h("h1", {}, id);
  const state = h("span", { class: "state" });
  const bar = h("progress", { max: 1, value: 0 });
  const words = h("p");
  const reason = h("p", { class: "reason" });
  const interval = h("p", { class: "muted" });
  const facts = h("dl", { class: "facts" });
  const actions = h("p", { class: "actions" });
  const why = h("div");
  const grid = h("div", { class: "gallery small" });
  const images = new Keyed(grid, (key) => thumb(key));
  const all = h("a", { href: `#/gallery?job=${encodeURIComponent(id)}` }, "All its images");
  const head = h("section", { class: "panel", "data-state": "" }, h("header", {}, title, state), bar, words, interval, reason, actions, facts);

  const when = (seconds) => moment(seconds, store.now());

  function show() {
    setText(title, job.name || id);
    setText(state, job.state.toLowerCase());
    setAttribute(head, "data-state", job.state);
    setAttribute(bar, "value", (job.done + job.failed) / job.images);
    setAttribute(bar, "aria-label", `${job.done} of ${job.images} images`);
    setText(words, progressWords(job, store.now()));
    setText(interval, job.eta ? `Likely at ${when(job.eta[1])}, between ${when(job.eta[0])} and ${when(job.eta[2])}` : "");
    setText(reason, job.reason);
    const known = [
      ["Model", job.model],
      ["Submitted", `${dateTime(job.created)} by ${job.submitter}`],
      ["Priority", String(job.priority)],
      ["Name", name],
      ["Took", job.ended ? duration(job.ended - (job.started ?? job.created)) : ""],
    ];
    facts.replaceChildren(...known.filter(([, value]) => value).flatMap(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]));
    const fitting = ACTIONS.filter(([method, , fits]) => may(method) && fits(job.state) && (method !== "RetryJob" || job.done < job.images));
    const wanted = fitting.map(([method]) => method).join();
    if (actions.dataset.wanted !== wanted) {
      actions.dataset.wanted = wanted;
      actions.replaceChildren(...fitting.map(([method, label]) => h("button", { class: method in QUESTIONS ? "danger" : "", onclick: () => act(method) }, label)));
    }
  }

  async function act(method) {
    if (method in QUESTIONS && !(await confirm(...QUESTIONS[method]))) return;
    const done = await attempt(() => call(`JobService/${method}`, { name }));
    if (done && method === "DeleteJob") {
      notice("Deleted.");
      location.hash = "#/jobs";
    } else if (done) {
      await refresh();
    }
  }

  async function refresh() {
    clearTimeout(soon);
    soon = null;
    try {
      const live = store.picture.jobs.get(id);
      job = live ?? fromApi(await call("JobService/GetJob", { name }));
      show();
      const [explained, part] = await Promise.all([call("JobService/ExplainJob", { name }), gallery({ job: id }, -SHOWN_IMAGES, SHOWN_IMAGES)]);
      why.replaceChildren(...explanation(explained, store.picture.jobs));
      const shown = part.images.filter(Boolean).reverse();
      images.arrange(shown.map((image) => `${image.index}/${image.number}/${image.prompt}`));
      setText(all, part.total > SHOWN_IMAGES ? `All ${count(part.total)} images` : part.total ? "In the gallery" : "");
    } catch (refusal) {
      if (refusal.status !== 404 || job) return; // it is asked again
      clearInterval(timer);
      element.replaceChildren(h("div", { class: "empty panel" }, h("p", {}, refusal.message), h("a", { class: "button", href: "#/jobs" }, "All jobs")));
    }
  }

  function thumb(key) {
    const [index, number, ...prompt] = key.split("/");
    const text = prompt.join("/");
    const element = h("button", { class: "cell", title: text, onclick: () => openImage(id, Number(index)) }, h("img", { src: thumbnailUrl(id, index, number), alt: text, loading: "lazy" }));
    return { element };
  }

  function update(changed) {
    const live = store.picture.jobs.get(id);
    if (live && (changed === null || changed.jobs.has(id))) {
      job = live;
      show();
      const how = `${job.state}/${job.done}/${job.failed}`;
      if (how !== seen && !soon) soon = setTimeout(refresh, SOON_MILLISECONDS);
      seen = how;
    }
  }

  const element = h(
    "div",
    { class: "view" },
    h("p", {}, h("a", { href: "#/jobs" }, "← Jobs")),
    h("div", { class: "columns" }, head, h("section", { class: "panel" }, h("h2", {}, "Where it runs, and why"), why)),
    h("section", {}, h("header", {}, h("h2", {}, "Images"), all), grid),
  );
  // Why a job waits can change while nothing of it moves.
  const timer = setInterval(() => (job === null || LIVE.has(job.state)) && refresh(), REFRESH_MILLISECONDS);
  const close = () => {
    clearInterval(timer);
    clearTimeout(soon);
  };
  refresh();
  return { element, update, close, title: "Job" };
}

/** Workers by the reason for which the job runs there or not; those that share one are told together. */
function explanation({ summary, workers, lost_attempts: lost }, jobs) {
  const groups = new Map();
  for (const worker of workers) {
    const key = `${worker.reason}/${worker.detail}`;
    const group = groups.get(key) ?? { ...worker, names: [] };
    group.names.push(worker.worker.replace("workers/", ""));
    groups.set(key, group);
  }
  const sorted = [...groups.values()].sort((left, right) => right.runs_here - left.runs_here);
  return [
    h("p", {}, summary),
    h(
      "ul",
      { class: "reasons" },
      ...sorted.slice(0, 30).map((group) =>
        h("li", { class: group.runs_here ? "here" : "" }, h("strong", { title: group.names.join(", ") }, group.names.length > 3 ? plural(group.names.length, "Mac") : group.names.join(", ")), " ", ...linked(group.detail || group.reason.toLowerCase(), jobs)),
      ),
    ),
    lost.length > 0 &&
      h("details", {}, h("summary", {}, plural(lost.length, "attempt was", "attempts were") + " lost"), h("ul", { class: "reasons" }, ...lost.map((one) => h("li", {}, h("strong", {}, one.worker.replace("workers/", "")), ` ${one.reason}`)))),
  ].filter(Boolean);
}

/** A text in which jobs that the page knows are named and linked. */
export function linked(text, jobs) {
  return text.split(/(?<=\bjob )(\S+?)(?=[\s,;:.]|$)/).map((piece) => (jobs.has(piece) ? h("a", { href: `#/jobs/${piece}` }, jobs.get(piece).name || piece) : piece));
}
