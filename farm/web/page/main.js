// Puts the page together: who is logged in, which view is shown, and what is live.

import { h, setAttribute, setText } from "./dom.js";
import { farmView } from "./farm.js";
import { galleryView } from "./gallery.js";
import { jobView } from "./job.js";
import { jobsView } from "./jobs.js";
import { loginView } from "./login.js";
import { newView } from "./new.js";
import { attempt } from "./notices.js";
import * as server from "./server.js";
import { Store } from "./store.js";
import { restoreTheme, themeButton } from "./theme.js";
import { timelineView } from "./timeline.js";

const TABS = [
  ["#/", "Farm", "ListWorkers"],
  ["#/jobs", "Jobs", "ListJobs"],
  ["#/gallery", "Gallery", "ListImages"],
  ["#/timeline", "Timeline", "ListWorkers"],
  ["#/new", "New batch", "SubmitJob"],
];

const VIEWS = [
  [/^#\/jobs\/(.+)$/, jobView],
  [/^#\/jobs$/, jobsView],
  [/^#\/gallery$/, galleryView],
  [/^#\/timeline$/, timelineView],
  [/^#\/new$/, newView],
  [/^/, farmView],
];

const TICK_MILLISECONDS = 10000;

const store = new Store();
let me = null;
let view = null;

function may(method) {
  return me !== null && me.allowed.includes(method);
}

function show() {
  const [path, query = ""] = (location.hash || "#/").split("?");
  if (path === "#main" && view) return; // the link that skips to the content
  view?.close?.();
  const [pattern, make] = VIEWS.find(([candidate]) => candidate.test(path));
  const [, argument = ""] = path.match(pattern);
  view = make({ store, may, me, argument, query: new URLSearchParams(query) });
  document.getElementById("main").replaceChildren(view.element);
  view.update?.(null);
  for (const link of document.querySelectorAll("#header nav a")) {
    const tab = link.getAttribute("href");
    setAttribute(link, "aria-current", tab === path || (tab !== "#/" && path.startsWith(`${tab}/`)) ? "page" : null);
  }
  document.title = `${view.title ?? "Farm"} · Render farm`;
  window.scrollTo(0, 0);
}

function header() {
  const live = h("span", { class: "live", role: "status" });
  const showLive = () => {
    live.classList.toggle("on", store.isLive);
    setText(live, store.isLive ? "live" : "reconnecting …");
  };
  window.addEventListener("live-changed", showLive);
  showLive();
  const leave = async () => {
    if (await attempt(server.logOut)) start();
  };
  return [
    h("a", { class: "brand", href: "#/" }, h("img", { src: "icon.svg", alt: "", width: 24, height: 24 }), "Render farm"),
    h("nav", { "aria-label": "Views" }, ...TABS.filter(([, , method]) => may(method)).map(([href, name]) => h("a", { href }, name))),
    h(
      "div",
      { class: "me" },
      live,
      h("span", { class: "who", title: `Logged in with a token of the role ${me.role}` }, me.name, h("small", {}, me.role)),
      themeButton(),
      h("button", { class: "quiet", onclick: leave }, "Log out"),
    ),
  ];
}

/** Shows the farm to who is logged in, or else the login. */
async function start() {
  store.disconnect();
  try {
    me = await server.session();
  } catch (refusal) {
    me = null;
    document.getElementById("header").hidden = true;
    view?.close?.();
    view = loginView(refusal.status === 401 ? "" : refusal.message, start);
    document.getElementById("main").replaceChildren(view.element);
    if (refusal.status !== 401) setTimeout(start, 2000);
    return;
  }
  const element = document.getElementById("header");
  element.replaceChildren(...header());
  element.hidden = false;
  store.connect();
  show();
}

/** A token in the address, as `farm up` prints it, logs in and is taken out of the address at once. */
async function takeToken() {
  const token = location.hash.match(/^#token=(.+)$/)?.[1];
  if (!token) return;
  history.replaceState(null, "", "#/");
  await attempt(() => server.logIn(decodeURIComponent(token)));
}

restoreTheme();
store.listen((changed) => view?.update?.(changed));
setInterval(() => view?.tick?.(), TICK_MILLISECONDS);
window.addEventListener("hashchange", async () => {
  await takeToken();
  if (me) show();
  else start();
});
window.addEventListener("logged-out", start);
window.addEventListener("connection-refused", start);
await takeToken();
await start();
