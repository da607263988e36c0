// The flow picture: views on the left, regions on the right, a ribbon for what each view sends to each region.
//
// One scale for everything: a ribbon is as wide as its requests per second, a region's box as high as its capacity when
// all of it is well, and what fills the box is its load, so the room that is left is to be seen. Colour is the verdict,
// and never alone: a mark and a word say the same. Ribbons glide to where they belong, so that the eye sees what moved.
//
// For the keyboard the picture is one stop; the arrows go from ribbon to ribbon and to the boxes. What the pointer is on
// or the focus is at is said below the picture, not beside the pointer, where it would hide what it is about.

import { h, svg } from "./dom.js";
import { HEALTH, percent, rps, span } from "./words.js";
import { contributions, failing, measured, measuredPicture, now, picture, sum, weightReason, world } from "./world.js";

const BAR = 12;
const GAP = 10;
const LABEL = 40; // the least room for a label's lines
const LETTER = 7.9; // about as wide as a letter of a name
const NARROW = 480;
const SMALL_LETTER = 6.8;
const GLIDE_MS = 500;
const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Flow {
  constructor(root, readout) {
    this.root = root;
    this.readout = readout;
    this.shapes = new Map(); // key → {element, at: numbers now, to: numbers wanted}
    this.picked = null;
    this.focused = null;
    this.svg = svg("svg", { role: "group", "aria-label": "Traffic from views to regions. Use the arrow keys." });
    this.ribbons = this.svg.appendChild(svg("g"));
    this.boxes = this.svg.appendChild(svg("g"));
    this.labels = this.svg.appendChild(svg("g"));
    root.append(this.svg);
    new ResizeObserver(() => this.draw()).observe(root);
    this.svg.addEventListener("pointermove", (e) => this.pick(e.target.dataset.key ?? null));
    this.svg.addEventListener("pointerleave", () => this.pick(null));
    // Not on the picture itself: a browser makes an SVG element that listens for focus a stop of its own.
    root.addEventListener("focusin", (e) => this.focus(e.target.dataset.key));
    root.addEventListener("focusout", () => { this.focused = null; this.say(); });
    this.svg.addEventListener("keydown", (e) => this.key(e));
  }

  pick(key) {
    if (key === this.picked) return;
    this.picked = key;
    this.say();
  }

  focus(key) {
    this.focused = key ?? null;
    this.rove(key);
    this.say();
  }

  /** Of all shapes one can be reached by Tab: the one that was visited last. */
  rove(key) {
    for (const [name, shape] of this.shapes) shape.element.setAttribute("tabindex", name === key ? "0" : "-1");
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step || !this.order.length) return;
    event.preventDefault();
    const at = this.order.indexOf(this.focused);
    const next = this.order[(at + step + this.order.length) % this.order.length];
    this.shapes.get(next).element.focus();
  }

  /** Draw the state; called at every change and when the width changes. */
  draw() {
    const width = this.root.clientWidth;
    const p = world.measured ? measuredPicture() : picture();
    if (!width || !p.names.length) return;
    p.cells = measured(p.names);
    p.failing = failing(p.names);
    const layout = arrange(p, width);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${layout.height}`);
    this.svg.setAttribute("height", layout.height);
    this.words = new Map();
    this.order = [];
    const kept = new Set();
    for (const ribbon of layout.ribbons) this.put(this.ribbons, ribbon, kept);
    for (const box of layout.boxes) this.put(this.boxes, box, kept);
    for (const [key, shape] of this.shapes) {
      if (kept.has(key)) continue;
      shape.element.remove();
      this.shapes.delete(key);
    }
    this.labels.replaceChildren(...layout.labels.flatMap(label));
    this.rove(this.order.includes(this.focused) ? this.focused : this.order[0]);
    this.glide();
    this.say();
  }

  put(layer, { key, kind, numbers, health, words }, kept) {
    kept.add(key);
    this.words.set(key, words);
    if (kind !== "load") this.order.push(key); // it says what its room says
    let shape = this.shapes.get(key);
    if (!shape) {
      const element = layer.appendChild(svg("path", { "data-key": key, role: "img", tabindex: "-1" }));
      shape = { element, kind, from: numbers, at: numbers, to: numbers };
      this.shapes.set(key, shape);
    }
    shape.element.setAttribute("class", `${kind} ${health}`);
    shape.element.setAttribute("aria-label", words.join(". "));
    shape.element.setAttribute("aria-hidden", kind === "load");
    if (shape.to.join() !== numbers.join()) {
      shape.from = shape.at;
      shape.to = numbers;
      this.started = performance.now();
    }
  }

  glide() {
    const part = still.matches || document.hidden ? 1 : Math.min(1, (performance.now() - (this.started ?? 0)) / GLIDE_MS);
    const eased = 1 - (1 - part) ** 3;
    for (const shape of this.shapes.values()) {
      shape.at = shape.from.map((n, i) => n + (shape.to[i] - n) * eased);
      shape.element.setAttribute("d", (shape.kind === "ribbon" ? ribbonPath : boxPath)(shape.at));
      if (part === 1) shape.from = shape.to;
    }
    if (part < 1 && !this.frame) {
      this.frame = requestAnimationFrame(() => {
        this.frame = null;
        this.glide();
      });
    }
  }

  say() {
    const key = this.picked ?? this.focused;
    for (const [name, shape] of this.shapes) shape.element.classList.toggle("picked", name === key);
    this.svg.classList.toggle("picking", this.shapes.get(key)?.kind === "ribbon");
    const [head, ...rest] = this.words?.get(key) ?? [];
    this.readout.replaceChildren(...(head ? [h("strong", {}, head), ` ${rest.join(" · ")}`] : [summary()]));
  }
}

function summary() {
  const p = picture();
  const total = sum(p.views, (v) => v.rps);
  const capacity = sum(p.regions, (r) => r.capacity);
  const cells = measured(p.names)?.flat();
  const seen = cells ? ` Measured: ${rps(sum(cells, (c) => c.tried))} attempts/s, ${rps(sum(cells, (c) => c.failed))} failing.` : "";
  return `${rps(total)} req/s planned, ${percent(capacity ? total / capacity : 0)} of the capacity.${seen} ` +
    "Point at a ribbon or a box, or use the arrow keys in the picture, for numbers and reasons.";
}

/** Where everything goes. */
function arrange(p, width) {
  const small = width < NARROW;
  const most = (texts, letter) => Math.max(...texts.map((text) => text.length)) * letter * (small ? 0.86 : 1);
  const least = Math.min(190, width * 0.19);
  const left = Math.min(0.38 * width, Math.max(most(p.names, LETTER) + BAR + 10, least));
  const words = p.regions.map((r) => load(r, small, false));
  const right = width - Math.min(0.42 * width, Math.max(most(p.names, LETTER) + BAR + 24, most(words, SMALL_LETTER) + BAR + 10, least));
  const tallest = Math.max(p.names.length * (LABEL + GAP), Math.min(460, Math.max(300, width * 0.36)));
  const views = p.views.map((v) => v.rps);
  const regions = p.regions.map((r) => Math.max(r.room, r.load));
  const scale = Math.min(fitting(views, tallest), fitting(regions, tallest));
  const height = Math.max(stack(views, scale).height, stack(regions, scale).height) + 2;
  const y1 = spread(views, scale, height);
  const y2 = spread(regions, scale, height);
  const boxes = [
    ...p.views.map((v, i) => viewBox(v, [left - BAR, y1[i], BAR, Math.max(2, v.rps * scale)])),
    ...p.regions.flatMap((r, i) => regionBoxes(r, p.failing[i], right, y2[i], scale)),
  ];
  const labels = [
    ...p.views.map((v, i) => ({ x: left - BAR - 8, y: y1[i], end: true, name: v.name, more: `${rps(v.rps)} req/s` })),
    ...p.regions.map((r, i) => ({ x: right + BAR + 8, y: y2[i], name: r.name, health: r.deployed ? r.health : "", more: load(r, small, width > 700), bad: alarming(p.failing[i]) })),
  ];
  return { height, boxes, labels, ribbons: ribbons(p, left, right, y1, y2, scale) };
}

/** The largest scale at which a column fits, labels included. */
function fitting(values, height) {
  let [low, high] = [0, height / Math.max(1e-9, ...values)];
  for (let i = 0; i < 40; i++) {
    const middle = (low + high) / 2;
    if (stack(values, middle).height <= height) low = middle;
    else high = middle;
  }
  return low;
}

function stack(values, scale) {
  let y = 1;
  const tops = values.map((value) => {
    const top = y;
    y += Math.max(LABEL, value * scale) + GAP;
    return top;
  });
  return { tops, height: y - GAP };
}

/** The tops of a column that takes the whole height: what is left over goes between. */
function spread(values, scale, height) {
  const { tops, height: used } = stack(values, scale);
  const more = values.length > 1 ? (height - 2 - used) / (values.length - 1) : 0;
  return tops.map((y, i) => y + i * more);
}

function ribbons(p, left, right, y1, y2, scale) {
  const used = p.names.map(() => 0);
  const found = [];
  p.names.forEach((_, v) => {
    let out = 0;
    p.names.forEach((_, r) => {
      if (p.flows[v][r] <= 0) return;
      const wide = Math.max(0.8, p.flows[v][r] * scale); // little is not nothing
      const numbers = [left, y1[v] + out, right, y2[r] + used[r], wide];
      found.push({ key: `${p.names[v]}>${p.names[r]}`, kind: "ribbon", numbers, health: p.regions[r].health, words: flowWords(p, v, r) });
      out += wide;
      used[r] += wide;
    });
  });
  return found;
}

function flowWords(p, v, r) {
  const region = p.regions[r];
  const head = `${p.names[v]} → ${p.names[r]}: ${rps(p.flows[v][r])} req/s`;
  const words = [head, `${percent(p.shares[v][r])} of ${p.names[v]}'s`, `${p.names[r]} is ${region.health}`];
  const parts = contributions(v, r);
  const why = weightReason(p.names[v], p.names[r]);
  if (parts.length > 1) words.push(parts.slice(0, 4).map(([name, n]) => `${name} ${rps(n)}`).join(", ") + (parts.length > 4 ? ", …" : ""));
  const cell = p.cells?.[v][r];
  if (cell) words.push(`measured: ${rps(cell.tried)} attempts/s${cell.failed ? `, ${rps(cell.failed)} failing` : ""}${cell.reflex ? `, ${rps(cell.reflex)} by reflex` : ""}`);
  return why ? [...words, why] : words;
}

function viewBox(view, numbers) {
  return { key: `from ${view.name}`, kind: "view", numbers, health: "", words: [`from ${view.name}: ${rps(view.rps)} req/s`, "the demand of this view"] };
}

function regionBoxes(region, fails, x, y, scale) {
  const words = [...regionWords(region), ...(fails ? [`measured: ${percent(fails.share)} of ${rps(fails.tried)} attempts/s fail`] : [])];
  const room = Math.max(region.room ? 2 : 16, region.room * scale); // where nothing is deployed there is none
  const health = region.deployed ? region.health : "absent";
  const boxes = [{ key: `room of ${region.name}`, kind: "room", numbers: [x, y, BAR, room], health, words }];
  const full = Math.max(0, region.load * scale);
  return [...boxes, { key: `load of ${region.name}`, kind: "load", numbers: [x, y, BAR, full], health, words }].slice(0, full ? 2 : 1);
}

function regionWords(region) {
  const words = [`${region.name} is ${region.health}`];
  if (region.since) words[0] += ` since ${span(now() - region.since)}`;
  if (region.capacity) words.push(`serves ${rps(region.load)} of ${rps(region.capacity)} req/s`);
  if (region.room > region.capacity) words.push(`carries ${rps(region.room)} when all of it is well`);
  return [...words, region.reason];
}

const alarming = (fails) => (fails && fails.share >= 0.01 && fails.failed >= 0.5 ? `${percent(fails.share)} failing` : "");

function load(r, small, unit) {
  if (!r.deployed) return "not here";
  const numbers = r.capacity ? `${rps(r.load)} of ${rps(r.capacity)}` : `${rps(r.load)} req/s`;
  if (r.health !== "healthy" && !small) return `${r.health} · ${numbers}`;
  return unit ? `${numbers} req/s` : numbers;
}

function label({ x, y, end, name, more, health, bad }) {
  const anchor = end ? "end" : "start";
  const mark = health ? [svg("tspan", { class: `mark ${health}` }, HEALTH[health].mark), " "] : [];
  return [
    svg("text", { x, y: y + 12, "text-anchor": anchor, class: "name" }, ...mark, name),
    svg("text", { x, y: y + 28, "text-anchor": anchor, class: "more" }, more),
    ...(bad ? [svg("text", { x, y: y + 43, "text-anchor": anchor, class: "more bad" }, bad)] : []),
  ];
}

function ribbonPath([x1, y1, x2, y2, wide]) {
  const middle = (x1 + x2) / 2;
  return `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}v${wide}C${middle} ${y2 + wide} ${middle} ${y1 + wide} ${x1} ${y1 + wide}Z`;
}

function boxPath([x, y, width, height]) {
  return `M${x} ${y}h${width}v${height}h${-width}Z`;
}
