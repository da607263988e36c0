// What is known of the system, and what follows from it. No DOM here.
//
// `picture()` turns a decision, for one service or for all of them added up, into what the flow picture, the table of
// regions and the plots show: the same numbers everywhere.

import { HEALTH, worst } from "./words.js";

export const world = {
  decision: null, // the stream's
  detail: null, // /api/v1/decision of the service shown: the reason of each weight
  alarms: null,
  events: [], // of this process, numbered
  earlier: [], // older ones, from the history
  noEarlier: false,
  fleet: null,
  clients: null, // /api/v1/fleet, if it was asked for
  traffic: null, // what load reports say is flowing
  measured: false, // show that in place of what the weights say
  plan: null,
  orders: null,
  link: { up: false, ever: false, since: 0, why: "" },
  service: "", // all of them
  ahead: 0, // the server's clock less ours, in seconds
};

export const now = () => Date.now() / 1000 + world.ahead;

const TOTAL = 10_000;

/** The services to be shown. */
export function shown(decision = world.decision) {
  return decision ? decision.services.filter((s) => !world.service || s.service === world.service) : [];
}

/** What `of` returns about all services, whichever one is shown. */
export function ofAll(of) {
  const kept = world.service;
  world.service = "";
  try {
    return of();
  } finally {
    world.service = kept;
  }
}

/** What load reports say of the services shown: requests per second tried, failed and come by a reflex, per pair. */
export function measured(names = world.decision?.names ?? []) {
  const rows = (world.traffic?.flows ?? []).filter(([service]) => !world.service || service === world.service);
  if (!rows.length) return null;
  const found = names.map(() => names.map(() => ({ tried: 0, failed: 0, reflex: 0 })));
  for (const [, view, region, tried, failed, reflex] of rows) {
    const cell = found[names.indexOf(view)]?.[names.indexOf(region)];
    if (!cell) continue;
    cell.tried += tried;
    cell.failed += failed;
    cell.reflex += reflex;
  }
  return found;
}

/** The picture with what is measured in the place of what the weights say. */
export function measuredPicture() {
  const p = picture();
  const cells = measured(p.names);
  if (!cells) return p;
  const flows = cells.map((row) => row.map((cell) => cell.tried));
  const of = (v) => sum(flows[v], (n) => n);
  return {
    ...p,
    flows,
    views: p.views.map((view, v) => ({ ...view, rps: of(v) })),
    shares: flows.map((row, v) => row.map((n) => (of(v) ? n / of(v) : 0))),
    regions: p.regions.map((region, r) => ({ ...region, load: sum(flows, (row) => row[r]) })),
  };
}

/** Of what is tried in each region, how much fails; null where too little is tried to say. */
export function failing(names = world.decision?.names ?? []) {
  const cells = measured(names);
  return names.map((_, r) => {
    const tried = cells ? sum(cells, (row) => row[r].tried) : 0;
    const failed = cells ? sum(cells, (row) => row[r].failed) : 0;
    return tried >= 1 || failed >= 1 ? { tried, failed, share: Math.min(1, failed / Math.max(tried, failed)) } : null;
  });
}

/** Sum services up: per view its demand, per region its load, capacity and verdict, per pair the requests per second. */
export function picture(decision = world.decision) {
  const services = shown(decision);
  const names = decision?.names ?? [];
  const flows = names.map((_, v) => names.map((_, r) => sum(services, (s) => (s.demand_rps[v] * s.weights[v][r]) / TOTAL)));
  const demand = names.map((_, v) => sum(services, (s) => s.demand_rps[v]));
  return {
    names,
    flows,
    views: names.map((name, v) => ({ name, rps: demand[v] })),
    shares: names.map((_, v) => names.map((_, r) => share(services, flows, demand, v, r))),
    regions: names.map((name, r) => place(name, services, decision, r)),
    overload: Math.max(1, ...services.map((s) => s.overload)),
  };
}

/** The share of a view that a region serves; of one service its weight, also where there is no demand. */
function share(services, flows, demand, v, r) {
  if (services.length === 1) return services[0].weights[v][r] / TOTAL;
  return demand[v] ? flows[v][r] / demand[v] : 0;
}

function place(name, services, decision, r) {
  const places = services.map((s) => s.places[r] && { ...s.places[r], service: s.service }).filter(Boolean);
  const health = places.length ? together(places.map((p) => p.health)) : "unknown";
  const found = places.length ? worst(places.map((p) => p.health)) : "unknown";
  const bad = places.filter((p) => p.health === found);
  return {
    name,
    health,
    deployed: places.length,
    reason: reason(places, bad, decision?.services.length ?? 0),
    since: bad.length ? Math.max(...bad.map((p) => p.since)) : 0,
    load: sum(places, (p) => p.load_rps),
    capacity: sum(places, (p) => p.capacity_rps),
    room: sum(places, (p) => Math.max(p.capacity_rps, p.whole_rps)), // of one that is down or degraded, too
    up: sum(places, (p) => p.up),
    total: sum(places, (p) => p.total),
    score: places.length === 1 ? places[0].score : null,
    ramp: places.length === 1 ? places[0].ramp : null,
  };
}

/** Several services as one: the worst of them if most are like that, else a region that is down for some is degraded. */
function together(healths) {
  const bad = worst(healths);
  const most = healths.filter((h) => h === bad).length * 2 > healths.length;
  return most || HEALTH[bad].rank < HEALTH.degraded.rank ? bad : "degraded";
}

function reason(places, bad, all) {
  if (!places.length) return "not deployed here";
  if (all === 1) return bad[0].reason;
  if (bad[0].health === "healthy" && places.length > 1) return `all ${places.length} services are well`;
  if (bad.length < places.length) return `${bad.length} of ${places.length} services ${bad[0].health}; ${bad[0].service}: ${bad[0].reason}`;
  const more = bad.length > 1 ? ` (${bad.length} of ${places.length} services)` : "";
  return `${bad[0].service}: ${bad[0].reason}${more}`;
}

/** Why a weight of the service shown is what it is; empty if that was not asked for, or several services are shown. */
export function weightReason(view, region) {
  const service = world.detail?.services[0];
  if (!service || shown().length !== 1 || shown()[0].service !== service.service) return "";
  return service.views.find((v) => v.view === view)?.reasons[region] ?? "";
}

/** The services that make most of a flow, as words. */
export function contributions(v, r) {
  const parts = shown().map((s) => [s.service, (s.demand_rps[v] * s.weights[v][r]) / TOTAL]).filter(([, n]) => n > 0);
  return parts.sort((a, b) => b[1] - a[1]);
}

export const sum = (items, of) => items.reduce((total, item) => total + of(item), 0);

/** Take events that may be known already; keep the newest. */
export function addEvents(events) {
  const known = new Set(world.events.map((e) => e.seq));
  const fresh = events.filter((e) => !known.has(e.seq));
  world.events = [...world.events, ...fresh].sort((a, b) => a.seq - b.seq).slice(-2000);
}
