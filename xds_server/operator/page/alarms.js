// What needs somebody now, worked out from the values themselves: an alarm is there for as long as what it says is true,
// and nobody has to clear it. Worst first.

import { h, show } from "./dom.js";
import { percent, rps, several, span } from "./words.js";
import { failing, now, picture, world } from "./world.js";

const RANK = { alarm: 0, warning: 1, info: 2 };
const MARK = { alarm: "✕", warning: "!", info: "i" };
const MOST = 12;
const FAILING = 0.05;

export function alarms() {
  const found = [...waiting(), ...regions(), ...failures(), ...overloads(), ...policy(), ...fleet(), ...orders(), ...losses()];
  return found.sort((a, b) => RANK[a.level] - RANK[b.level]);
}

const alarm = (level, head, text, link) => ({ level, head, text, link });

function waiting() {
  const reason = world.decision?.waiting_for;
  return reason ? [alarm("warning", "Not ready", reason)] : [];
}

function regions() {
  const levels = { down: "alarm", degraded: "warning", unknown: "warning", recovering: "info", draining: "info" };
  const all = everything(() => picture().regions);
  return all.filter((r) => r.deployed && levels[r.health]).map((r) =>
    alarm(levels[r.health], `${r.name} is ${r.health}`, `${r.reason}${r.since ? ` (for ${span(now() - r.since)})` : ""}`, "#traffic"));
}

/** What load reports say fails, where the verdict does not say so already. */
function failures() {
  const found = everything(() => failing());
  return found.flatMap((fails, r) => {
    const { region, health } = world.decision.regions[r];
    if (!fails || fails.share < FAILING || fails.failed < 1 || health === "down") return [];
    return [alarm("alarm", `${region} fails requests`, `${percent(fails.share)} of ${rps(fails.tried)} attempts per second, by load reports`, "#traffic")];
  });
}

/** Alarms are about all services, whichever one the page shows. */
function everything(of) {
  const kept = world.service;
  world.service = "";
  try {
    return of();
  } finally {
    world.service = kept;
  }
}

function overloads() {
  const over = (world.decision?.services ?? []).filter((s) => s.overload > 1.0001).sort((a, b) => b.overload - a.overload);
  return over.slice(0, 3).map((s) =>
    alarm("alarm", `${s.service} does not fit`, `demand is ${percent(s.overload - 1)} above what may be used; every region is equally hot`));
}

function policy() {
  const rejected = world.decision?.policy.rejected;
  if (!rejected) return [];
  return [alarm("alarm", "The policy was refused", `${several(rejected.errors.length, "error")}; the last good one stays in force`, "#policy")];
}

function fleet() {
  if (!world.fleet) return [];
  const found = [];
  const rejecting = world.fleet.sorts.reduce((n, s) => n + s.rejecting, 0);
  if (rejecting) found.push(alarm("alarm", `${several(rejecting, "client")} rejected something`, world.fleet.troubled.map((c) => c.id).slice(0, 5).join(", "), "#fleet"));
  if (world.fleet.quarantine.length) found.push(alarm("alarm", `${several(world.fleet.quarantine.length, "resource")} kept back`, "a client rejected it, so that the others of its view do not get it", "#fleet"));
  if (!world.fleet.clients) found.push(alarm("warning", "No client is connected", "nothing that is decided here reaches traffic"));
  return found;
}

function orders() {
  const standing = world.orders?.orders ?? [];
  return standing.filter((o) => o.phase === "stopped").map((o) => alarm("alarm", `${o.what} has stopped`, o.detail, "#orders"));
}

function losses() {
  const bad = (world.plan?.losses ?? []).filter((l) => !l.fits && world.decision?.regions.find((r) => r.region === l.without)?.health !== "down");
  if (!bad.length) return [];
  const places = [...new Set(bad.map((l) => l.without))];
  const most = Math.max(...bad.map((l) => Math.max(l.n_minus_1.excess_rps, l.reflex.excess_rps)));
  return [alarm("warning", `Losing ${places.join(" or ")} would not fit`, `${several(bad.length, "case")}; the worst is ${rps(most)} req/s too many`, "#plan")];
}

export function drawAlarms(root) {
  const found = alarms();
  const items = found.slice(0, MOST).map(({ level, head, text, link }) =>
    h("li", { "data-key": head, class: level }, h("span", { class: "badge", "aria-hidden": "true" }, MARK[level]),
      h("span", { class: "unseen" }, `${level}: `), h("strong", {}, link ? h("a", { href: link }, head) : head), " ", h("span", {}, text)));
  const more = found.length > MOST ? [h("li", { class: "info" }, `and ${found.length - MOST} more`)] : [];
  show(root, items.length ? h("ul", { class: "alarms" }, items, more) : null);
  return found;
}
