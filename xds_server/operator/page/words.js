// How numbers, times and verdicts are written. Pure functions.

export const HEALTH = {
  healthy: { mark: "●", rank: 0 },
  recovering: { mark: "↗", rank: 1 },
  draining: { mark: "⇣", rank: 2 },
  unknown: { mark: "?", rank: 3 },
  degraded: { mark: "◐", rank: 4 },
  down: { mark: "✕", rank: 5 },
};

export const worst = (healths) =>
  healths.reduce((a, b) => (HEALTH[b].rank > HEALTH[a].rank ? b : a), "healthy");

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });

/** Requests per second: three figures are enough to act on. */
export function rps(value) {
  if (value >= 100_000) return `${whole.format(value / 1000)}k`;
  return value >= 10 || value === 0 ? whole.format(value) : tenth.format(value);
}

/** A share 0..1 in percent; what is not nothing never reads as 0 %. */
export function percent(share) {
  const value = share * 100;
  if (value > 0 && value < 0.1) return "<0.1 %";
  if (value > 99.9 && value < 100) return ">99.9 %";
  return `${value >= 10 || value === 0 ? whole.format(value) : tenth.format(value)} %`;
}

/** Time of day of seconds since 1970, the reader's own time zone. */
export function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB");
}

/** The same with the day, if that is not today. */
export function moment(seconds, now) {
  const day = (s) => new Date(s * 1000).toLocaleDateString("sv-SE");
  return day(seconds) === day(now) ? clock(seconds) : `${day(seconds)} ${clock(seconds)}`;
}

/** A time span in its two largest units. */
export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min${s < 600 && s % 60 ? ` ${s % 60} s` : ""}`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export const several = (n, one, many = `${one}s`) => `${whole.format(n)} ${n === 1 ? one : many}`;

export const ms = (value) => `${value > 0 ? "+" : value < 0 ? "−" : ""}${tenth.format(Math.abs(value))} ms`;
