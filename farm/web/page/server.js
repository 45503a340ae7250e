// Speaks with the farm: who is logged in, the calls of the API, images.

const OWN = { "X-Farm-Page": "1", "Content-Type": "application/json" };

/** What the farm answered instead of what was asked for. */
export class Refusal extends Error {
  constructor(status, { reason, message, violations = {} }) {
    super(message);
    this.status = status;
    this.reason = reason;
    this.violations = violations;
  }
}

async function ask(path, method = "GET", body = undefined) {
  let answer;
  try {
    answer = await fetch(path, { method, headers: OWN, body: body && JSON.stringify(body) });
  } catch {
    throw new Refusal(0, { reason: "UNREACHABLE", message: "The farm does not answer. This page continues when it does." });
  }
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  if (answer.status === 401 && path !== "/session") window.dispatchEvent(new Event("logged-out"));
  throw new Refusal(answer.status, content.error ?? { reason: "UNKNOWN", message: `The farm answered ${answer.status}.` });
}

export const session = () => ask("/session");
export const logIn = (token) => ask("/session", "POST", { token });
export const logOut = () => ask("/session", "DELETE");

/** A call of the API, with its names: call("JobService/CancelJob", { name: "jobs/..." }). */
export const call = (method, request) => ask(`/api/${method}`, "POST", request);

export const image = (job, index) => ask(`/images/${encodeURIComponent(job)}/${index}`);
export const workerTime = (worker) => ask(`/workers/${encodeURIComponent(worker)}/time`);
export const gallery = (filters, first, count) => ask(`/gallery?${new URLSearchParams({ ...filters, first, count })}`);

export const imageUrl = (job, index, number) => `/images/${encodeURIComponent(job)}/${index}/${number}.png`;
export const thumbnailUrl = (job, index, number) => `/thumbnails/${encodeURIComponent(job)}/${index}/${number}`;
