// A small batch: prompts, and what holds for all of them.

import { h, setText } from "./dom.js";
import { duration, plural } from "./format.js";
import { attempt } from "./notices.js";
import { call } from "./server.js";

const MOST = 1000;
const NUMBERS = [
  ["steps", "Steps", { min: 1, max: 1000, step: 1 }],
  ["guidance_scale", "Guidance", { min: 0, max: 50, step: "any" }],
  ["seed", "Seed", { min: 0, max: 4294967295, step: 1 }],
  ["width", "Width", { min: 8, step: 8 }],
  ["height", "Height", { min: 8, step: 8 }],
];

export function newView() {
  const prompts = h("textarea", { id: "prompts", rows: 6, required: true, placeholder: "a red circle on a white background\na blue star on a black background" });
  const model = h("select", { id: "model" });
  const sampler = h("select", { id: "sampler" }, h("option", { value: "" }, "as the model has it"));
  const numbers = Object.fromEntries(NUMBERS.map(([name, , limits]) => [name, h("input", { id: name, type: "number", ...limits, placeholder: name === "seed" ? "drawn" : "" })]));
  const negative = h("input", { id: "negative_prompt", type: "text" });
  const title = h("input", { id: "display_name", type: "text", maxlength: 100 });
  const repeats = h("input", { id: "repeats", type: "number", min: 1, max: MOST, value: 1 });
  const said = h("p", { class: "muted", role: "status" });
  const error = h("p", { class: "error", role: "alert" });
  let models = [];

  const labelled = (name, field, hint = "") => h("div", { class: "field" }, h("label", { for: field.id }, name), field, hint && h("small", { class: "muted" }, hint));

  function chooseModel() {
    const chosen = models.find((one) => one.name === model.value);
    if (!chosen) return;
    for (const name of ["steps", "guidance_scale", "width", "height"]) numbers[name].placeholder = chosen.defaults[name] ?? "";
    sampler.replaceChildren(h("option", { value: "" }, chosen.defaults.sampler ?? "as the model has it"), ...chosen.samplers.map((name) => h("option", { value: name }, name)));
  }

  function submission() {
    const lines = prompts.value.split("\n").map((line) => line.trim()).filter(Boolean);
    const times = Math.max(1, Number(repeats.value) || 1);
    const entries = lines.flatMap((prompt) => Array.from({ length: times }, () => ({ prompt })));
    const defaults = {};
    for (const [name] of NUMBERS) if (numbers[name].value !== "") defaults[name] = Number(numbers[name].value);
    if (negative.value) defaults.negative_prompt = negative.value;
    if (sampler.value) defaults.sampler = sampler.value;
    return { spec: { display_name: title.value || lines[0]?.slice(0, 60) || "", model: model.value, defaults, entry_count: entries.length }, entries };
  }

  // The same batch sent again, because its answer never came, is the same job.
  let sent = { content: "", id: "" };
  function requestId(wanted) {
    const content = JSON.stringify(wanted);
    if (content !== sent.content) sent = { content, id: crypto.randomUUID() };
    return sent.id;
  }

  async function send(validateOnly) {
    setText(error, "");
    const wanted = submission();
    if (!wanted.entries.length) return null;
    if (wanted.entries.length > MOST) {
      setText(error, `${plural(wanted.entries.length, "image")} are too many for this form: it takes ${MOST}. For more, use farm submit FILE.`);
      return null;
    }
    try {
      return await call("JobService/SubmitJob", { ...wanted, ...(validateOnly ? { validate_only: true } : { request_id: requestId(wanted) }) });
    } catch (refusal) {
      setText(error, refusal.message);
      return null;
    }
  }

  async function check() {
    const job = await send(true);
    if (!job) return;
    const seconds = job.eta ? (Date.parse(job.eta.likely) - Date.now()) / 1000 : null;
    setText(said, `${plural(job.image_count, "image")}: ${seconds === null ? job.reason || "how long they take is not known yet" : `about ${duration(seconds)} unless other jobs come`}.`);
  }

  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    const job = await send(false);
    button.disabled = false;
    if (job) location.hash = `#/${job.name}`;
  }

  const button = h("button", { class: "primary" }, "Submit");
  const element = h(
    "form",
    { class: "view narrow new", onsubmit: submit },
    h("h1", {}, "New batch"),
    h(
      "section",
      { class: "panel" },
      labelled("Prompts", prompts, "One per line. For templates, grids and large batches: farm submit --help"),
      h("div", { class: "fields" }, labelled("Model", model), labelled("Images per prompt", repeats), labelled("Name", title)),
      h("details", {}, h("summary", {}, "More"), labelled("Negative prompt", negative), h("div", { class: "fields" }, ...NUMBERS.map(([name, label]) => labelled(label, numbers[name])), labelled("Sampler", sampler))),
      error,
      said,
      h("p", { class: "actions" }, button, h("button", { type: "button", onclick: check }, "What would it take?")),
    ),
  );
  model.addEventListener("change", chooseModel);
  async function loadModels() {
    models = (await call("ModelService/ListModels", { page_size: 1000 })).models.map((one) => ({ ...one, name: one.name.replace("models/", "") }));
    model.replaceChildren(...models.map((one) => h("option", { value: one.name }, one.display_name || one.name)));
    chooseModel();
  }
  let loading = null;
  /** Asks for the models, again if the farm did not answer before. */
  function update() {
    if (models.length || loading) return;
    loading = attempt(loadModels).then(() => {
      loading = null;
    });
  }
  setTimeout(() => prompts.focus());
  return { element, update, title: "New batch" };
}
