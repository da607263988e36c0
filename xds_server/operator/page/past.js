// The last hour of the service that is shown: what the stream has said since the page was opened, and before that what
// the server's history knows. Bounded: an hour, and a point only where something changed.

import { picture, world } from "./world.js";

const HOUR_S = 3600;
const MOST = 2000;
const TOTAL = 10_000;

export class Past {
  constructor() {
    this.points = []; // {t, shares[v][r], health[r]}, oldest first
    this.service = null;
    this.names = "";
  }

  /** Take the decision in force, if it differs from the last point. */
  add(t) {
    const p = picture();
    const health = p.regions.map((r) => (r.deployed ? r.health : null));
    const names = p.names.join();
    if (world.service !== this.service || names !== this.names) {
      this.points = [];
      this.asked = null; // what the server was asked for
      this.service = world.service;
      this.names = names;
    }
    const last = this.points.at(-1);
    const point = { t, shares: p.shares, health, names: p.names };
    if (!last || JSON.stringify([last.shares, last.health]) !== JSON.stringify([point.shares, health])) this.points.push(point);
    this.points = this.points.filter((x, i) => i === this.points.length - 1 || this.points[i + 1].t > t - HOUR_S).slice(-MOST);
  }

  /** Put what the server knows before what was seen here. */
  before(points) {
    const first = this.points[0]?.t ?? Infinity;
    this.points = [...points.filter((p) => p.t < first), ...this.points];
  }

  /** What was in force at a time; the first point if it is from before anything is known. */
  at(t) {
    let found = this.points[0];
    for (const point of this.points) {
      if (point.t > t) break;
      found = point;
    }
    return found;
  }

  get start() {
    return this.points[0]?.t;
  }
}

/** Points from what the server answers for each view (`/api/v1/history/series`): all have the same times. */
export function fromSeries(names, series) {
  const points = series[0]?.points ?? [];
  return points.flatMap((point, i) => {
    const rows = series.map((one) => one.points[i]?.weights ?? {});
    if (!Object.keys(point.verdicts).length) return [];
    const shares = rows.map((row) => names.map((name) => (row[name] ?? 0) / TOTAL));
    return [{ t: point.time, names, shares, health: names.map((name) => point.verdicts[name] ?? null) }];
  });
}
