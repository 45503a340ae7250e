// Jobs: a card for each, and the list of all.

import { h, Keyed, setAttribute, setText } from "./dom.js";
import { ago, count, dateTime, duration, eta } from "./format.js";
import { attempt } from "./notices.js";
import { call } from "./server.js";

const ORDER = ["RUNNING", "CANCELLING", "PENDING", "PAUSED", "FAILED", "SUCCEEDED", "CANCELLED"];

/** Running ones first, then the newest. */
export function jobOrder([, left], [, right]) {
  return ORDER.indexOf(left.state) - ORDER.indexOf(right.state) || right.created - left.created;
}

/** How far a job has come and when it will end, in words. */
export function progressWords(job, now) {
  const done = `${count(job.done)} of ${count(job.images)}`;
  const failed = job.failed ? `, ${count(job.failed)} failed` : "";
  if (job.ended) return `${done}${failed}, took ${duration(job.ended - (job.started ?? job.created))}`;
  return `${done}${failed}${job.eta ? ` · done ${eta(job.eta, now)}` : ""}`;
}

export function jobCard(store, id) {
  const name = h("strong");
  const state = h("span", { class: "state" });
  const words = h("span", { class: "muted" });
  const reason = h("span", { class: "reason" });
  const when = h("span", { class: "muted" });
  const bar = h("progress", { max: 1, value: 0 });
  const element = h("a", { class: "job", href: `#/jobs/${id}` }, h("span", { class: "line" }, name, state), bar, h("span", { class: "line" }, words, when), reason);
  function update() {
    const job = store.picture.jobs.get(id);
    if (job) showJob(job);
  }
  function showJob(job) {
    setText(name, job.name || id);
    setText(state, job.state.toLowerCase());
    setAttribute(element, "data-state", job.state);
    setAttribute(bar, "value", (job.done + job.failed) / job.images);
    setAttribute(bar, "aria-label", `${job.name || id}: ${job.done} of ${job.images}`);
    setText(words, progressWords(job, store.now()));
    setText(when, `${job.submitter}, ${ago(job.created, store.now())}`);
    setAttribute(when, "title", dateTime(job.created));
    setText(reason, job.reason);
  }
  return { element, update, showJob };
}

/** A job as the API tells it, in the form of the live picture. */
export function fromApi(job) {
  const seconds = (stamp) => (stamp ? Date.parse(stamp) / 1000 : null);
  return {
    name: job.display_name,
    model: job.spec.model.replace("models/", ""),
    state: job.state.replace("JOB_STATE_", ""),
    reason: job.reason,
    submitter: job.submitter,
    priority: job.priority,
    images: job.image_count,
    done: job.succeeded_count,
    failed: job.failed_count,
    created: seconds(job.create_time),
    started: seconds(job.start_time),
    ended: seconds(job.end_time),
    eta: job.eta ? [job.eta.earliest, job.eta.likely, job.eta.latest].map(seconds) : null,
  };
}

export function jobsView({ store, may }) {
  const list = h("div", { class: "joblist panel" });
  const older = h("div", { class: "joblist panel", hidden: true });
  const cards = new Keyed(list, (id) => jobCard(store, id));
  const empty = h("div", { class: "empty panel" }, h("p", {}, "No job yet."), may("SubmitJob") && h("a", { class: "button", href: "#/new" }, "Submit the first batch"));
  const more = h("button", { onclick: () => attempt(showMore) }, "Older jobs");
  let token = "";
  async function showMore() {
    const page = await call("JobService/ListJobs", { page_size: 50, page_token: token });
    for (const job of page.jobs) {
      const id = job.name.replace("jobs/", "");
      if (store.picture.jobs.has(id)) continue;
      const card = jobCard(store, id);
      card.showJob(fromApi(job));
      older.append(card.element);
    }
    older.hidden = older.childElementCount === 0;
    token = page.next_page_token;
    more.hidden = !token;
  }
  function update(changed) {
    if (changed !== null && !changed.jobs.size) return;
    const ids = [...store.picture.jobs].sort(jobOrder).map(([id]) => id);
    const fresh = cards.arrange(ids);
    for (const id of changed === null ? ids : [...fresh, ...changed.jobs]) cards.get(id)?.update();
    empty.hidden = ids.length > 0;
    list.hidden = ids.length === 0;
  }
  const tick = () => update(null);
  const element = h("div", { class: "view narrow" }, h("header", {}, h("h1", {}, "Jobs"), may("SubmitJob") && h("a", { class: "button primary", href: "#/new" }, "New batch")), empty, list, older, h("p", {}, more));
  return { element, update, tick, title: "Jobs" };
}
