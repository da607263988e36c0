// The sections that are tables and lists: regions, what if a region is lost, history, policy, fleet.

import { h, show, table } from "./dom.js";
import { HEALTH, moment, ms, percent, rps, several, span } from "./words.js";
import { now, picture, world } from "./world.js";

const MOST_LOSSES = 40;
const MOST_CLIENTS = 500;
const MOST_HEADS = 3; // of weights that changed together
const STEP_S = 30; // weights that change again within this time are moving
const num = (text) => ({ text, cls: "num" });

export function drawRegions(root) {
  const p = picture();
  const heads = ["region", "verdict", num("req/s"), num("of capacity"), num("endpoints"), "why", ""];
  show(root, table("Regions", heads, p.regions.map((r) => ({ key: r.name, cells: [r.name, ...(r.deployed ? place(r) : ["–", "", "", "", r.reason, ""])] }))));
}

function place(r) {
  const ramp = r.health === "recovering" && r.ramp !== null ? `, ${percent(r.ramp)} of its share back` : "";
  return [
    h("span", { class: "whole" }, h("span", { class: `mark ${r.health}` }, `${HEALTH[r.health].mark} ${r.health}`), r.since ? h("span", { class: "faint" }, ` ${span(now() - r.since)}`) : null),
    rps(r.load),
    r.capacity ? meter(r.load / r.capacity, `${percent(r.load / r.capacity)} of ${rps(r.capacity)}`) : "none left",
    r.total ? `${r.up}/${r.total}` : "",
    `${r.reason}${ramp}`,
    h("button", { type: "button", "data-do": "evacuate", "data-region": r.name, disabled: !ordersKnown() }, "Evacuate…"),
  ];
}

export const ordersKnown = () => world.orders !== null;

/** A number with a bar behind it; more than full is marked. */
function meter(share, text) {
  const bar = h("span", { class: `meter${share > 1.0001 ? " over" : ""}` }, h("span", {}, text));
  bar.dataset.share = Math.min(1, share).toFixed(3);
  return bar;
}

/** Widths of bars, set here because the policy of the page forbids style attributes. */
export function drawMeters(root = document) {
  for (const bar of root.querySelectorAll("[data-share]")) bar.style.setProperty("--share", bar.dataset.share);
}

export function drawPlan(root, note) {
  const losses = (world.plan?.losses ?? []).filter((l) => !world.service || l.service === world.service);
  const services = new Set(losses.map((l) => l.service)).size;
  const sorted = [...losses].sort((a, b) => a.fits - b.fits || b.n_minus_1.utilisation - a.n_minus_1.utilisation);
  const rows = sorted.slice(0, MOST_LOSSES).map((l) => ({ key: `${l.without} ${l.service}`, cls: l.fits ? "" : "bad", cells: loss(l, services > 1) }));
  note.textContent = world.plan ? verdictOf(losses) : "";
  show(root, table("What the loss of each region would do", ["without", num("moves"), num("hottest"), num("added"), "who takes it", ""], rows),
    losses.length > MOST_LOSSES ? h("p", { class: "faint" }, `and ${losses.length - MOST_LOSSES} more, which fit as well or better`) : null);
}

function verdictOf(losses) {
  const bad = losses.filter((l) => !l.fits).length;
  if (!losses.length) return "no other region to go to";
  return bad ? `${bad} of ${losses.length} do not fit` : "any one of them: it fits";
}

function loss(l, several) {
  const best = l.n_minus_1;
  const takes = Object.entries(best.load_rps).filter(([r]) => r !== l.without)
    .map(([r, n]) => [r, n - l.before_rps[r]]).filter(([, n]) => Math.abs(n) >= 0.05).sort((a, b) => b[1] - a[1]);
  return [
    h("span", {}, l.without, several ? h("span", { class: "faint" }, ` ${l.service}`) : null),
    rps(l.before_rps[l.without]),
    meter(best.utilisation, percent(best.utilisation)),
    ms(best.added_latency_ms),
    takes.length ? takes.map(([r, n], i) => [i ? ", " : "", h("span", { class: "whole" }, `${r} ${n > 0 ? "+" : "−"}${rps(Math.abs(n))}`)]).flat() : "it serves nothing",
    h("span", { class: `mark ${l.fits ? "healthy" : "down"}` }, l.fits ? "fits" : unfit(l)),
  ];
}

function unfit(l) {
  const nobody = Math.max(l.n_minus_1.unserved_rps, l.reflex.unserved_rps);
  if (nobody) return `nobody serves ${rps(nobody)}`;
  if (l.n_minus_1.fits) return `reflex: ${rps(l.reflex.excess_rps)} too many`;
  return `${rps(l.n_minus_1.excess_rps)} too many${l.shed_rps ? `, ${rps(l.shed_rps)} refused` : ""}`;
}

export function drawHistory(root, severity, words, most) {
  const wanted = { "": ["info", "warning", "alarm"], warning: ["warning", "alarm"], alarm: ["alarm"] }[severity];
  const find = words.toLowerCase();
  const known = [...world.earlier, ...world.events];
  const found = known.filter((e) => wanted.includes(e.severity) && (!find || `${e.message} ${e.kind}`.toLowerCase().includes(find)));
  const items = folded(found.slice(-most).reverse());
  show(root, items.length ? h("ol", { class: "events" }, items) : h("p", { class: "faint" }, "nothing like that"),
    found.length > most || !world.noEarlier ? h("button", { type: "button", "data-do": "more-history" }, "Show earlier") : null);
}

/** Newest first. Weights that move in steps are a line for each service, the newest; what came before opens below. */
function folded(events) {
  const items = [];
  for (let i = 0; i < events.length;) {
    let end = i + 1;
    while (end < events.length && sameMove(events[end - 1], events[end])) end++;
    const run = events.slice(i, end);
    const heads = run.filter((e, n) => run.findIndex((other) => other.fields?.service === e.fields?.service) === n).slice(0, MOST_HEADS);
    const steps = run.filter((e) => !heads.includes(e));
    if (steps.length < 2) items.push(...run.map((e) => happened(e)));
    else items.push(...heads.slice(0, -1).map((e) => happened(e)), happened(heads.at(-1), steps));
    i = end;
  }
  return items;
}

const sameMove = (one, other) => [one, other].every((e) => e.kind === "weights.changed") && one.time - other.time < STEP_S;

function happened(e, steps = []) {
  const utc = new Date(e.time * 1000).toISOString();
  return h("li", { "data-key": keyOf(e), class: e.severity }, h("time", { datetime: utc, title: utc }, moment(e.time, now())),
    " ", h("span", { class: "unseen" }, e.severity === "info" ? "" : `${e.severity}: `), h("span", { class: "said" }, e.message), " ", h("span", { class: "faint" }, e.kind),
    steps.length ? h("details", {}, h("summary", {}, `${several(steps.length, "change")} before it, since ${moment(steps.at(-1).time, now())}`), h("ol", {}, steps.map((s) => happened(s)))) : null);
}

const keyOf = (e) => (e.seq ? `${e.seq}` : `earlier ${e.id}`);

export function drawPolicy(root) {
  const policy = world.decision?.policy;
  if (!policy) return;
  const rejected = policy.rejected?.errors ?? [];
  show(root,
    h("p", {}, "In force: ", h("code", {}, policy.digest ?? "none yet"), " from ", h("code", {}, policy.source)),
    policy.trial
      ? h("p", {}, "On trial: ", h("code", {}, policy.trial), ", by a part of the clients that it concerns. The above stays in force for everybody else until they have accepted it.")
      : null,
    rejected.length
      ? h("div", { class: "refused" }, h("p", {}, h("strong", {}, "What is in the file now was refused"), ", the above stays in force:"),
        h("ul", {}, rejected.slice(0, 30).map((error) => h("li", {}, h("code", {}, error)))),
        rejected.length > 30 ? h("p", {}, `and ${rejected.length - 30} more`) : null)
      : policy.trial ? null : h("p", { class: "faint" }, "The file holds what is in force; nothing was refused."));
}

export function drawFleet(root, note) {
  const fleet = world.fleet;
  if (!fleet) return;
  const sum = (of) => fleet.sorts.reduce((n, s) => n + s[of], 0);
  note.textContent = `${several(fleet.clients, "client")}, ${fleet.clients - sum("behind")} up to date, ${sum("rejecting")} rejecting`;
  const heads = ["fleet", "region", "kind", "runs on", num("clients"), num("up to date"), num("on trial"), num("rejecting")];
  const rows = fleet.sorts.map((s) => ({
    key: [s.fleet, s.region, s.kind, s.agent, s.version].join(" "),
    cls: s.rejecting ? "bad" : "",
    cells: [s.fleet, s.region, s.kind, `${s.agent} ${s.version}`, `${s.clients}`, `${s.clients - s.behind}`, s.on_trial ? `${s.on_trial}` : "", s.rejecting ? `${s.rejecting}` : ""],
  }));
  if (!fleet.clients) {
    show(root, h("p", { class: "faint" }, "no client is connected"));
    return;
  }
  show(root, h("div", { class: "scroll" }, table("Clients by sort", heads, rows)),
    ...rejections(fleet), h("details", { "data-key": "each" }, h("summary", {}, "Each client, and what it runs"), clients()));
}

function rejections(fleet) {
  const said = fleet.troubled.flatMap((c) => Object.entries(c.types).flatMap(([type, t]) =>
    t.rejected.map((r) => h("li", {}, h("strong", {}, c.id), ` (${c.region}) rejected ${type} `, h("code", {}, r.name), `: ${r.error}`))));
  const held = fleet.quarantine.map((q) => h("li", {}, `kept back from ${q.fleet}/${q.region}/${q.kind}: ${q.type} `, h("code", {}, q.name), `, which ${q.client} rejected: ${q.error}`));
  if (!said.length && !held.length) return [];
  return [h("div", { class: "refused" }, h("ul", {}, said, held),
    h("button", { type: "button", "data-do": "retry" }, "Try all of it again…"))];
}

function clients() {
  const all = world.clients?.clients;
  if (!all) return h("p", { class: "faint" }, "asking …");
  const types = [...new Set(all.flatMap((c) => Object.keys(c.types)))].sort((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b));
  const heads = ["client", "region", "fleet", "kind", "runs on", "connected", ...types];
  const rows = all.slice(0, MOST_CLIENTS).map((c) => ({
    key: `${c.id} ${c.peer}`,
    cells: [`${c.id}${c.on_trial ? " (on trial)" : ""}`, c.region, c.fleet, `${c.kind}, ${c.variant}`, `${c.agent} ${c.version}`, span(c.connected_s), ...types.map((t) => version(c.types[t]))],
  }));
  return h("div", { class: "scroll" }, table("Each client", heads, rows),
    all.length > MOST_CLIENTS ? h("p", { class: "faint" }, `and ${all.length - MOST_CLIENTS} more: see /api/v1/fleet`) : null);
}

const ORDER = ["LDS", "RDS", "CDS", "EDS", "SDS", "RTDS", "ECDS", "SRDS", "VHDS", "other"];

function version(type) {
  if (!type) return "";
  const [cls, word] = type.rejected_count ? ["down", " rejected some"] : type.synced ? ["healthy", ""] : ["degraded", " behind"];
  return h("span", { class: `mark ${cls}`, title: type.acked }, `${type.acked.slice(0, 6) || "–"}${word}`);
}
