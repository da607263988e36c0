// What needs somebody now: an alarm is there for as long as what it says is true, and nobody has to clear it. Those of the
// server come over the stream; the page adds what follows from values that it has anyway. Worst first.

import { h, show } from "./dom.js";
import { percent, rps, several, span } from "./words.js";
import { failing, now, ofAll, picture, world } from "./world.js";

const RANK = { alarm: 0, warning: 1, info: 2 };
const MARK = { alarm: "✕", warning: "!", info: "i" };
const MOST = 4; // at once: the picture comes first
const FAILING = 0.05;

export function alarms() {
  const found = [...told(), ...waiting(), ...failures(), ...losses(), ...unheard(), ...returning()];
  return found.sort((a, b) => RANK[a.level] - RANK[b.level]);
}

const alarm = (level, head, text, link) => ({ level, head, text, link });

const LINKS = { policy: "#policy", client: "#fleet", resource: "#fleet", order: "#orders" };

/** Those that the server tells of, worst and oldest first. */
function told() {
  return (world.alarms?.alarms ?? []).map((a) => {
    const [head, ...rest] = a.message.split(": ");
    return { ...alarm(a.severity, head, rest.join(": "), LINKS[a.kind.split(".")[0]] ?? "#traffic"), since: a.since, kind: a.kind };
  });
}

function waiting() {
  const reason = world.decision?.waiting_for;
  return reason ? [alarm("warning", "Not ready", reason)] : [];
}

function unheard() {
  return world.fleet && !world.fleet.clients ? [alarm("warning", "No client is connected", "nothing that is decided here reaches traffic", "#fleet")] : [];
}

function returning() {
  return ofAll(() => picture().regions).filter((r) => ["recovering", "draining"].includes(r.health))
    .map((r) => alarm("info", `${r.name} is ${r.health}`, r.reason, "#traffic"));
}

/** What load reports say fails, where the verdict does not say so already. */
function failures() {
  const found = ofAll(() => failing());
  return found.flatMap((fails, r) => {
    const { region, health } = world.decision.regions[r];
    if (!fails || fails.share < FAILING || fails.failed < 1 || health === "down") return [];
    return [alarm("alarm", `${region} fails requests`, `${percent(fails.share)} of ${rps(fails.tried)} attempts per second, by load reports`, "#traffic")];
  });
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
  const more = found.slice(MOST);
  show(root, found.length ? h("ul", { class: "alarms" }, found.slice(0, MOST).map(item)) : null,
    more.length ? h("details", { "data-key": "more" }, h("summary", {}, `${several(more.length, "more", "more")}: ${counted(more)}`), h("ul", { class: "alarms" }, more.map(item))) : null);
  return found;
}

function item({ level, head, text, link, since, kind = "" }) {
  return h("li", { "data-key": `${kind} ${head}`, class: level }, h("span", { class: "badge", "aria-hidden": "true" }, MARK[level]),
    h("span", { class: "unseen" }, `${level}: `), h("strong", {}, link ? h("a", { href: link }, head) : head), " ", h("span", {}, text),
    since ? h("span", { class: "faint", "aria-hidden": "true" }, ` for ${span(now() - since)}`) : null); // not read out at every change
}

/** How many there are of each level. */
function counted(found) {
  return Object.keys(RANK).map((level) => [found.filter((a) => a.level === level).length, level === "info" ? "note" : level])
    .filter(([n]) => n).map(([n, word]) => several(n, word)).join(", ");
}
