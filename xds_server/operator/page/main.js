// Joins the parts: what the stream says goes into `world`, and what changed is drawn, at most once a frame.

import { WANTED, askAgain, get, onTokenNeeded } from "./api.js";
import { drawAlarms } from "./alarms.js";
import { byId, h, show } from "./dom.js";
import { Flow } from "./flow.js";
import { askToken, drawOrders, end, evacuate, refreshPlan, retry } from "./orders.js";
import { Past, fromSeries } from "./past.js";
import { drawPlots, reach } from "./plots.js";
import { follow } from "./stream.js";
import { drawFleet, drawHistory, drawMeters, drawPlan, drawPolicy, drawRegions } from "./tables.js";
import { HEALTH, clock, several, span } from "./words.js";
import { addEvents, now, ofAll, picture, world } from "./world.js";

const CLIENTS_EVERY_MS = 5000;
const PLAN_PAUSE = 10; // times as long as the last answer took
const SHORTEST_PAUSE_MS = 2000;
const CLOCK_MS = 1000;

const past = new Past();
const flow = new Flow(byId("flow"), byId("readout"));
let back = 0;
let historyShown = 60;
let announced = "";

const draw = {
  decision() {
    byId("service").hidden = false;
    drawServices();
    flow.draw();
    drawRegions(byId("regions"));
    plots();
    drawPolicy(byId("policy"));
    drawPlan(byId("plan"), byId("plan-note"));
    draw.alarms();
  },
  event: () => drawHistory(byId("history"), byId("severity").value, byId("find").value.trim(), historyShown),
  fleet() {
    drawFleet(byId("fleet"), byId("fleet-note"));
    draw.alarms();
  },
  traffic() {
    byId("by").hidden = !world.traffic.flows.length;
    flow.draw();
    draw.alarms();
  },
  plan() {
    drawPlan(byId("plan"), byId("plan-note"));
    drawMeters();
    draw.alarms();
  },
  orders() {
    drawOrders(byId("orders"));
    drawRegions(byId("regions"));
    drawMeters();
    draw.alarms();
  },
  alarms() {
    const found = drawAlarms(byId("alarms").firstElementChild);
    state(found);
    drawMeters();
  },
  link: drawLink,
};

const due = new Set();

/** Draw a part soon, also in a tab that is not looked at. */
function changed(part) {
  if (!due.size) setTimeout(() => {
    const parts = [...due];
    due.clear();
    for (const one of parts) drawn(one);
  }, 30);
  due.add(part);
}

/** What is wrong in one part must not keep the others from being drawn. */
function drawn(part) {
  try {
    draw[part]();
  } catch (error) {
    reportError(error);
  }
}

/** One sentence for the whole system, in the head and in the tab's title. */
function state(found) {
  if (!world.decision) return;
  const regions = ofAll(() => picture().regions).filter((r) => r.deployed);
  const text = sentence(regions);
  const alarms = found.filter((a) => a.level === "alarm").length;
  const warnings = found.filter((a) => a.level === "warning").length;
  const counts = [alarms && several(alarms, "alarm"), warnings && several(warnings, "warning")].filter(Boolean).join(", ");
  const level = alarms ? "alarm" : warnings ? "warning" : "well";
  const root = byId("state");
  root.className = `state ${level}`;
  show(root, h("strong", {}, text), counts ? ` · ${counts}` : " · no alarms");
  document.title = `${{ alarm: "✕ ", warning: "! ", well: "" }[level]}${text} · xds-server`;
}

function sentence(regions) {
  const unwell = regions.filter((r) => r.health !== "healthy").sort((a, b) => HEALTH[b.health].rank - HEALTH[a.health].rank);
  if (!regions.length) return "no region serves anything";
  if (!unwell.length) return `${several(regions.length, "region")}, all well`;
  const well = regions.length - unwell.length;
  if (unwell.length > 3) return `${several(unwell.length, "region")} not well, the worst ${unwell[0].health}; ${well || "none"} of ${regions.length} well`;
  return `${unwell.map((r) => `${r.name} ${r.health}`).join(", ")}; ${well ? `${well} of ${regions.length} well` : "none well"}`;
}

function drawLink() {
  const { up, ever, since, why } = world.link;
  const link = byId("link");
  document.body.classList.toggle("cut-off", !up && ever);
  link.className = `link ${up ? "up" : "down"}`;
  const text = up ? "live" : ever ? "cut off" : "connecting";
  if (link.textContent !== text) link.textContent = text;
  const cut = byId("cut");
  cut.hidden = up || !why;
  const words = ever ? `Cut off since ${clock(since)}, showing the last known state. Trying again by itself (${why}).` : `No answer yet: ${why}. Trying again by itself.`;
  const told = cut.hidden ? "" : words;
  if (told !== announced) byId("cut-text").textContent = announced = told;
  byId("give-token").hidden = why !== WANTED;
}

function drawServices() {
  const names = world.decision.services.map((s) => s.service);
  const select = byId("service");
  const wanted = ["", ...(names.length > 1 ? names : [])].join("\n");
  if (select.dataset.names !== wanted) {
    select.dataset.names = wanted;
    const all = h("option", { value: "" }, names.length > 1 ? `all ${names.length} added up` : names[0] ?? "none");
    select.replaceChildren(all, ...(names.length > 1 ? names.map((name) => h("option", { value: name }, name)) : []));
    if (!names.includes(world.service)) world.service = "";
    select.value = world.service;
  }
}

function plots() {
  if (!world.decision?.names.length) return;
  const long = Math.round(reach(past, now()));
  byId("hour").min = -long;
  back = Math.min(back, long);
  drawPlots(byId("weights"), past, now(), back);
  byId("hour-at").textContent = back ? `${clock(now() - back)} (${span(back)} ago)` : "now";
  byId("hour-note").textContent = `the last ${span(long)}`;
}

/** The reasons of the one service that is shown, and its past. */
async function loadDetail() {
  const services = world.decision?.services ?? [];
  const name = world.service || (services.length === 1 ? services[0].service : "");
  if (!name) {
    world.detail = null;
    return;
  }
  world.detail = await get(`/api/v1/decision?service=${encodeURIComponent(name)}`).catch(() => null);
  flow.draw();
}

/** What the server's history knows of the hour before this page was opened. */
async function loadPast() {
  const services = world.decision?.services ?? [];
  const service = world.service || (services.length === 1 ? services[0].service : "");
  if (!service || past.asked === service) return;
  past.asked = service;
  const names = world.decision.names;
  const until = now();
  const query = (view) => new URLSearchParams({ service, view, from: iso(until - 3600), to: iso(until) });
  const series = await Promise.all(names.map((view) => get(`/api/v1/history/series?${query(view)}`)));
  past.before(fromSeries(names, series));
  plots();
}

const iso = (seconds) => new Date(seconds * 1000).toISOString();

/** Run an asynchronous task whenever it is wanted, one at a time, with a rest in between that follows its length. */
function paced(task, least) {
  let running = false;
  let wanted = false;
  return async function again() {
    wanted = true;
    if (running) return;
    running = true;
    while (wanted) {
      wanted = false;
      const started = performance.now();
      await task().catch(() => {});
      await new Promise((resolve) => { setTimeout(resolve, Math.max(least, (performance.now() - started) * PLAN_PAUSE)); });
    }
    running = false;
  };
}

const wantDetail = paced(loadDetail, 100);
const wantPlan = paced(async () => {
  world.plan = await get("/api/v1/plan");
  changed("plan");
}, SHORTEST_PAUSE_MS);
const loadClients = paced(async () => {
  world.clients = await get("/api/v1/fleet");
  changed("fleet");
}, CLIENTS_EVERY_MS);

/** Each client is asked for only while somebody looks: a fleet may be large. */
function wantClients() {
  if (byId("fleet").querySelector("details[open]")) loadClients();
}


async function takeEvents({ last, events }) {
  const known = world.events.at(-1)?.seq ?? 0;
  if (last < known) world.events = []; // another process
  const first = events[0]?.seq ?? last + 1;
  if (first > (last < known ? 0 : known) + 1) addEvents((await get(`/api/v1/events?limit=1000`).catch(() => ({ events: [] }))).events);
  addEvents(events);
  if (!world.earlier.length && world.events.length < historyShown && !world.noEarlier) await loadEarlier().catch(() => {});
  changed("event");
}

/** Events of before: of earlier processes, and those that this one no longer has at hand. */
async function loadEarlier() {
  const oldest = (world.earlier[0] ?? world.events[0])?.time ?? now();
  const { entries } = await get(`/api/v1/history?${new URLSearchParams({ to: iso(oldest), limit: 200 })}`);
  const fresh = entries.filter((e) => e.time < oldest).reverse();
  world.earlier = [...fresh, ...world.earlier];
  world.noEarlier = !fresh.length;
}

const on = {
  hello(data) {
    world.ahead = data.now - Date.now() / 1000;
  },
  decision(data) {
    world.decision = data;
    past.add(now());
    changed("decision");
    wantDetail();
    wantPlan();
    loadPast().catch(() => {});
    refreshPlan();
  },
  event: takeEvents,
  fleet(data) {
    world.fleet = data;
    changed("fleet");
    wantClients();
  },
  alarms(data) {
    world.alarms = data;
    changed("alarms");
  },
  traffic(data) {
    world.traffic = data;
    changed("traffic");
  },
  orders(data) {
    world.orders = data;
    changed("orders");
    refreshPlan();
  },
};

function onLink(up, why) {
  const was = world.link;
  world.link = { up, why, ever: was.ever || up, since: up ? 0 : was.up ? now() : was.since || now() };
  changed("link");
}

const does = {
  evacuate: (button) => evacuate(button.dataset.region),
  end: (button) => end(button.dataset.id),
  retry,
  token: () => {
    askAgain();
    get("/api/v1/policy").catch(() => {}); // which asks; the stream comes back by itself
  },
  close: () => byId("dialog").close(),
  "more-history": async () => {
    historyShown += 200;
    if (historyShown > world.events.length) await loadEarlier().catch(() => {});
    draw.event();
  },
};

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-do]");
  if (button) does[button.dataset.do](button);
});
byId("service").addEventListener("change", (event) => {
  world.service = event.target.value;
  world.detail = null;
  past.add(now());
  draw.decision();
  wantDetail();
  loadPast().catch(() => {});
});
byId("by").addEventListener("change", (event) => {
  world.measured = event.target.value === "measured";
  flow.draw();
});
byId("hour").addEventListener("input", (event) => {
  back = -Number(event.target.value);
  plots();
});
byId("severity").addEventListener("change", draw.event);
byId("find").addEventListener("input", draw.event);
byId("fleet").addEventListener("toggle", wantClients, true);

setInterval(() => {
  if (document.hidden) return;
  if (world.decision) draw.alarms();
  plots();
  drawRegions(byId("regions"));
  drawOrders(byId("orders"));
  drawMeters();
}, CLOCK_MS * 5);

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
byId("zone").textContent = `Times are those of this browser: ${zone}. Point at one in the history for UTC.`;
onTokenNeeded(askToken);
follow("/api/v1/stream", (name, data) => on[name]?.(data), onLink);
