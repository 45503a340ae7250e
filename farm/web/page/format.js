// How figures and times are written.

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

/** A duration in its two largest units: 4000 gives "1 h 6 min". */
export function duration(seconds) {
  let rest = Math.max(0, Math.round(seconds));
  const parts = [];
  for (const [size, name] of UNITS) {
    const count = Math.floor(rest / size);
    if (count > 0 && parts.length < 2) parts.push(`${count} ${name}`);
    else if (parts.length > 0) break;
    rest -= count * size;
  }
  return parts.join(" ") || "0 s";
}

/** A duration in its largest unit: 4000 gives "1 h". */
export function span(seconds) {
  const whole = Math.max(0, seconds);
  const [size, name] = UNITS.find(([unit]) => whole >= unit) ?? [1, "s"];
  return `${Math.floor(whole / size)} ${name}`;
}

/** How long ago something was. */
export const ago = (then, now) => (now - then < 5 ? "now" : `${span(now - then)} ago`);

const clockFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const dateFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export const clock = (seconds) => clockFormat.format(seconds * 1000);
/** A time of day, with its day if that is not today. */
export const moment = (seconds, now) => (new Date(seconds * 1000).toDateString() === new Date(now * 1000).toDateString() ? clock(seconds) : dayFormat.format(seconds * 1000));
export const dateTime = (seconds) => dateFormat.format(seconds * 1000);
export const count = (number) => number.toLocaleString();
export const part = (fraction) => `${Math.round(100 * fraction)} %`;
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
export const gigabytes = (bytes) => (bytes ? `${Math.round(bytes / 2 ** 30)} GB` : "");

/** Images an hour, or a minute where they are many. */
export function rate(perHour) {
  if (!perHour) return "–";
  return perHour >= 600 ? `${(perHour / 60).toFixed(perHour >= 6000 ? 0 : 1)} / min` : `${perHour.toFixed(perHour >= 10 ? 0 : 1)} / h`;
}

/** When a job will end: the likely time, and between which it lies. */
export function eta(interval, now) {
  if (!interval) return "";
  const [earliest, likely, latest] = interval.map((time) => time - now);
  if (latest < 5) return "any moment";
  return `in ${duration(likely)} (${duration(earliest)} to ${duration(latest)})`;
}
