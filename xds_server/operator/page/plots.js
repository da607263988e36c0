// Weights and verdicts over the last hour, as a table whose cells are plots: a row for each view, a column for each
// region, so every number has one place and colours are left to verdicts. The slider looks back: all cells then show the
// numbers of that time.

import { h, show, svg } from "./dom.js";
import { HEALTH, clock, percent } from "./words.js";

const LONGEST_S = 3600;
const SHORTEST_S = 120;
const WIDE = 240;
const HIGH = 34;

/** How far back the plots go: an hour, or as long as anything is known. */
export const reach = (past, now) => Math.min(LONGEST_S, Math.max(SHORTEST_S, now - (past.start ?? now)));

/** Draw `past` into `root`; `back` is how many seconds ago to read (0: now). */
export function drawPlots(root, past, now, back) {
  const at = past.at(now - back);
  if (!at) return;
  const time = axis(now, reach(past, now), back);
  const heads = at.names.map((name, r) => h("th", { scope: "col" }, name, verdicts(past, r, time, at.health[r])));
  const rows = at.names.map((view, v) =>
    h("tr", { "data-key": view }, h("th", { scope: "row" }, "from ", h("b", {}, view)),
      at.names.map((_, r) => h("td", {}, cell(past, v, r, time, at)))));
  show(root, h("table", { class: "plots" },
    h("caption", { class: "unseen" }, `Share of each view's requests that each region serves, ${back ? `at ${clock(now - back)}` : "now"}`),
    h("thead", {}, h("tr", {}, h("td", {}, h("span", { class: "faint" }, `${clock(time.begin)} to ${clock(now)}`)), heads)), h("tbody", {}, rows)));
}

/** From time to place, and the line that marks the time that is read. */
function axis(now, long, back) {
  const begin = now - long;
  const x = (t) => (Math.max(0, t - begin) / long) * WIDE;
  const cursor = () => (back ? svg("line", { class: "cursor", x1: x(now - back), x2: x(now - back), y1: 0, y2: HIGH }) : null);
  return { now, begin, x, cursor };
}

function cell(past, v, r, { x, cursor }, at) {
  const value = at.shares[v]?.[r] ?? 0;
  const known = past.points.filter((p) => p.shares[v]?.[r] !== undefined);
  const all = known.map((p) => p.shares[v][r]);
  const text = `${percent(value)}; in this hour between ${percent(Math.min(...all))} and ${percent(Math.max(...all))}`;
  const y = (share) => HIGH - 1 - share * (HIGH - 3);
  const steps = known.map((p, i) => `${i ? "H" : "M"}${x(p.t).toFixed(1)}${i ? "V" : " "}${y(p.shares[v][r]).toFixed(1)}`).join("");
  const line = `${steps}H${WIDE}`;
  const first = known[0] ? x(known[0].t).toFixed(1) : 0;
  const idle = Math.max(...all) === 0;
  return h("div", { class: "cell" },
    h("span", { class: value ? "share" : "share none" }, value ? percent(value) : "–"),
    idle ? null : svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": text },
      svg("path", { class: "area", d: `${line}V${HIGH}H${first}Z` }), svg("path", { class: "line", d: line }), cursor()));
}

/** A band in the colours of the verdicts a region had. */
function verdicts(past, r, { now, begin, x, cursor }, health) {
  const bands = [];
  past.points.forEach((point, i) => {
    const from = Math.max(begin, point.t);
    const to = past.points[i + 1]?.t ?? now;
    const kind = point.health[r];
    if (!kind || to <= begin) return;
    const last = bands.at(-1);
    if (last?.kind === kind) last.to = to;
    else bands.push({ kind, from, to });
  });
  const said = bands.map((b) => `${b.kind} from ${clock(b.from)}`).join(", ");
  return [
    svg("svg", { viewBox: `0 0 ${WIDE} 8`, preserveAspectRatio: "none", role: "img", "aria-label": said || "nothing known", class: "band" },
      bands.map((b) => svg("rect", { class: b.kind, x: x(b.from).toFixed(1), y: 0, width: Math.max(1, x(b.to) - x(b.from)).toFixed(1), height: 8 })),
      cursor()),
    h("span", { class: `mark ${health ?? ""}` }, health ? `${HEALTH[health].mark} ${health}` : "not here"),
  ];
}
