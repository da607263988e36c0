// Orders in force, and the dialogs that give and end them.
//
// Nothing is ordered that was not shown first: the button that orders works only while the plan beside it is the
// server's answer to exactly what the form says. Any change of the form, or of the orders in force, asks anew. What the
// server refuses is shown in its words; a safety rule can be overridden, which is recorded with the author's name.

import { Problem, authorised, post } from "./api.js";
import { byId, h, show, table } from "./dom.js";
import { moment, ms, percent, rps, span } from "./words.js";
import { now, world } from "./world.js";

const AUTHOR = "xds-server-author";
const ASK_AFTER_MS = 250;

const dialog = byId("dialog");

let open = null;

/** Have an open plan asked for anew: something was decided. */
export function refreshPlan() {
  if (dialog.open && open && dialog.contains(open.form)) open.refresh();
}

export function drawOrders(root) {
  const orders = world.orders?.orders ?? [];
  const ended = (world.orders?.ended ?? []).slice(-5).reverse();
  show(root,
    orders.length ? h("ul", { class: "orders" }, orders.map(order)) : h("p", { class: "faint" }, world.orders ? "none: automation decides" : "this server takes no orders"),
    ended.length ? h("details", { "data-key": "ended" }, h("summary", {}, "Ended lately"), h("ul", { class: "orders" }, ended.map(over))) : null);
}

const leaves = (o) => o.kind === "evacuate" || o.kind === "drill";
const seconds = (time) => Date.parse(time) / 1000;

function order(o) {
  const ends = `ends ${moment(seconds(o.ends), now())}, in ${span(seconds(o.ends) - now())}`;
  const progress = leaves(o) ? h("progress", { max: "1", value: String(o.moved), "aria-label": `${percent(o.moved)} moved` }) : null;
  return h("li", { "data-key": o.id, class: o.phase.replace(" ", "-") },
    h("p", { class: "row" }, h("strong", {}, o.what), h("span", { class: "phase" }, leaves(o) ? `${o.phase}, ${percent(o.moved)} moved` : o.phase),
      o.phase === "returning" ? null : h("button", { type: "button", "data-do": "end", "data-id": o.id }, leaves(o) ? "Restore…" : "Clear…")),
    progress,
    h("p", {}, o.reason, h("span", { class: "faint" }, ` — ${o.author}, ${ends}${o.forced ? ", against a safety rule" : ""}`)),
    o.detail ? h("p", { class: "faint" }, o.detail) : null,
    o.told && o.report ? h("p", { class: "faint" }, o.report.words) : null);
}

function over(o) {
  return h("li", { "data-key": `ended ${o.id}` }, h("strong", {}, o.what), ` ${o.why}, ${moment(seconds(o.ended), now())}`,
    h("span", { class: "faint" }, ` — ${o.reason}, ${o.author}`), o.report ? h("p", { class: "faint" }, o.report.words) : null);
}

/** Open the dialog that leaves a region. */
export function evacuate(region) {
  const services = (world.decision?.services ?? []).filter((s) => s.places[world.decision.names.indexOf(region)]).map((s) => s.service);
  const fields = [
    field("service", "service", h("select", { name: "service" }, h("option", { value: "" }, "all"), services.map((s) => h("option", { value: s }, s)))),
    field("pace", "pace", h("select", { name: "over" }, choice("", "by the policy"), choice("0s", "at once"), choice("60s", "over 1 minute"), choice("5m", "over 5 minutes"), choice("15m", "over 15 minutes"))),
    field("expires", "ends by itself after", h("select", { name: "expires" }, choice("", "by the policy"), choice("30m", "30 minutes"), choice("1h", "1 hour"), choice("2h", "2 hours"), choice("8h", "8 hours"))),
  ];
  new Ordering({
    title: `Evacuate ${region}`,
    lead: `All traffic leaves ${region}, in steps; each waits until the clients have taken it and the receiving regions are well.`,
    go: `Evacuate ${region}`,
    fields,
    canForce: true,
    ask: (form) => post("/api/v1/orders", { ...wanted(form, region), dry_run: true }),
    give: (form, version) => post("/api/v1/orders", { ...wanted(form, region), if_version: version }),
  });
}

function wanted(form, region) {
  const of = (name) => form.elements[name].value;
  return {
    ...said(form), kind: "evacuate", region, service: of("service"), force: form.elements.force.checked,
    ...(of("expires") && { expires: of("expires") }), ...(of("over") && { over: of("over") }),
  };
}

/** Who says why. A plan is asked for before either is filled in; what it is asked with is kept nowhere. */
function said(form) {
  const of = (name) => form.elements[name].value.trim() || "not said yet";
  return { reason: of("reason"), author: of("author") };
}

/** Open the dialog that ends an order. */
export function end(id) {
  const o = world.orders?.orders.find((one) => one.id === id);
  if (!o) return;
  const path = `/api/v1/orders/${encodeURIComponent(id)}/end`;
  const given = `Ordered ${moment(seconds(o.since), now())} by ${o.author}: ${o.reason}`;
  new Ordering({
    title: leaves(o) ? `Restore ${o.region}` : `Clear: ${o.what}`,
    lead: leaves(o) ? `${o.region} may serve again and gets its share back in steps. ${given}` : `Automation decides again. ${given}`,
    go: leaves(o) ? `Restore ${o.region}` : "Clear the order",
    fields: [],
    canForce: false,
    ask: (form) => post(path, { ...said(form), dry_run: true }),
    give: (form, version) => post(path, { ...said(form), if_version: version }),
  });
}

/** Whether the server knows who gives orders, whatever they say. */
const known = () => "authorization" in authorised();

const choice = (value, text) => h("option", { value }, text);

const field = (name, text, control) => h("label", { class: `field ${name}` }, h("span", {}, text), control);

/** One open dialog. */
class Ordering {
  constructor(what) {
    this.what = what;
    this.answer = null; // to the form as it is now
    this.asked = 0;
    this.plan = h("div", { class: "plan", "aria-live": "polite" });
    this.error = h("p", { class: "error", role: "alert", hidden: true });
    this.hint = h("span", { class: "faint" });
    this.go = h("button", { type: "submit", class: "go", disabled: true }, what.go);
    this.force = h("label", { class: "force", hidden: true }, h("input", { type: "checkbox", name: "force" }), " override the safety rules; this is recorded");
    const author = h("input", { name: "author", required: true, autocomplete: "username", maxlength: "100" });
    author.value = known() ? "the holder of the token" : sessionStorage.getItem(AUTHOR) ?? "";
    author.readOnly = known();
    const reason = h("input", { name: "reason", required: true, autocomplete: "off", maxlength: "300" });
    this.form = h("form", { method: "dialog" },
      h("h2", { id: "dialog-h" }, what.title), h("p", { class: "faint" }, what.lead),
      h("div", { class: "fields" }, field("reason", "reason", reason), field("author", "your name", author), what.fields),
      h("h3", {}, "The plan"), this.plan, this.force, this.error,
      h("p", { class: "buttons" }, this.hint, h("button", { type: "button", "data-do": "close" }, "Cancel"), this.go));
    this.form.addEventListener("change", (e) => { if (!["reason", "author"].includes(e.target.name)) this.askSoon(); });
    this.form.addEventListener("input", () => this.ready());
    this.form.addEventListener("submit", (e) => { e.preventDefault(); this.give(); });
    dialog.replaceChildren(this.form);
    dialog.showModal();
    reason.focus();
    open = this;
    this.ask();
  }

  /** Ask again because the world moved; what is shown holds until the answer is there. */
  refresh() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { if (!this.giving) this.ask(true); }, ASK_AFTER_MS);
  }

  askSoon() {
    this.answer = null;
    this.ready();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), ASK_AFTER_MS);
  }

  async ask(quietly = false) {
    const mine = ++this.asked;
    if (!quietly) {
      this.answer = null;
      this.ready();
      show(this.plan, h("p", { class: "faint" }, "working out the plan …"));
    }
    try {
      const answer = await this.what.ask(this.form);
      if (mine !== this.asked) return;
      this.answer = answer;
      if (!quietly) this.fail("");
      show(this.plan, planTable(answer));
      this.force.hidden = !(this.what.canForce && (answer.refusals?.length || this.form.elements.force.checked));
    } catch (error) {
      if (mine !== this.asked) return;
      this.answer = null;
      show(this.plan);
      this.fail(words(error));
    }
    this.ready();
  }

  /** The button works only for what is shown. */
  ready() {
    const { reason, author, force } = this.form.elements;
    const refused = this.answer?.refusals?.length && !force?.checked;
    const missing = [!reason.value.trim() && "a reason", !author.value.trim() && "your name"].filter(Boolean);
    this.hint.textContent = missing.length ? `Say ${missing.join(" and ")} first.` : "";
    this.go.disabled = !this.answer || Boolean(refused) || missing.length > 0 || this.giving === true;
  }

  async give() {
    if (this.go.disabled) return;
    this.giving = true;
    this.ready();
    if (!known()) sessionStorage.setItem(AUTHOR, this.form.elements.author.value.trim());
    try {
      await this.what.give(this.form, this.answer.version);
      dialog.close(); // the stream tells what came of it
    } catch (error) {
      await this.refused(error);
    } finally {
      this.giving = false;
      this.ready();
    }
  }

  async refused(error) {
    if (error instanceof Problem && error.status === 409) await this.ask();
    this.fail(words(error));
  }

  fail(text) {
    this.error.hidden = !text;
    this.error.textContent = text;
  }
}

function words(error) {
  if (!(error instanceof Problem)) return `Nothing was ordered: no answer (${error.message}).`;
  const more = error.refusals.length ? ` ${error.refusals.join("; ")}` : "";
  if (error.status === 409) return `Nothing was ordered: somebody gave another order meanwhile. The plan is new; look again. (${error.message})`;
  return `Nothing was ordered: ${error.message}${more}`;
}

function planTable(answer) {
  const refusals = answer.refusals?.length ? h("div", { class: "refused" }, h("p", {}, h("strong", {}, "The safety rules refuse this:")), h("ul", {}, answer.refusals.map((r) => h("li", {}, r)))) : null;
  const services = answer.plan ?? [];
  if (!services.length) return [refusals, h("p", {}, "No traffic moves.")];
  return [refusals, services.slice(0, 20).map(one), services.length > 20 ? h("p", {}, `and ${services.length - 20} services more`) : null];
}

function one(s) {
  const heads = ["region", { text: "now", cls: "num" }, { text: "then", cls: "num" }, { text: "capacity", cls: "num" }, { text: "used", cls: "num" }];
  const rows = s.regions.map((region, r) => {
    const [before, after, capacity] = [s.load_rps_before[r], s.load_rps_after[r], s.capacity_rps[r]];
    return { key: region, cls: capacity && after > capacity * 1.0001 ? "bad" : "", cells: [region, rps(before), h(after === before ? "span" : "b", {}, rps(after)), rps(capacity), capacity ? percent(after / capacity) : ""] };
  });
  const fit = h("span", { class: `mark ${s.fits ? "healthy" : "down"}` }, s.fits ? "it fits" : `it does not fit: ${percent(s.overload - 1)} too much${s.shed_rps ? `, ${rps(s.shed_rps)} refused` : ""}`);
  return h("div", { class: "one" }, h("p", {}, h("strong", {}, s.service), ": ", fit, `, ${ms(s.added_latency_ms)} a request on average`), table(`Plan for ${s.service}, requests per second`, heads, rows));
}

/** Ask whether to have rejected resources tried again. */
export function retry() {
  confirm("Try again what clients rejected", "Everything that was rejected is sent once more. What is rejected again is kept back again.", "Try again", () => post("/api/v1/retry", {}));
}

function confirm(title, text, go, act) {
  const error = h("p", { class: "error", role: "alert", hidden: true });
  const form = h("form", { method: "dialog" }, h("h2", { id: "dialog-h" }, title), h("p", {}, text), error,
    h("p", { class: "buttons" }, h("button", { type: "button", "data-do": "close" }, "Cancel"), h("button", { type: "submit", class: "go" }, go)));
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    try {
      await act();
      dialog.close();
    } catch (problem) {
      error.hidden = false;
      error.textContent = words(problem);
    }
  });
  dialog.replaceChildren(form);
  dialog.showModal();
}

/** Ask for a token; resolves to null if the person will not give one. It stays in this tab. */
export function askToken(wrong) {
  return new Promise((resolve) => {
    const mine = h("dialog", { "aria-labelledby": "token-h" });
    const token = h("input", { name: "token", type: "password", required: true, autocomplete: "off" });
    const form = h("form", { method: "dialog" }, h("h2", { id: "token-h" }, "A token is wanted"),
      h("p", {}, wrong ? "The server did not take the last one. " : "", "It is kept in this tab until you close it."), field("token", "token", token),
      h("p", { class: "buttons" }, h("button", { type: "button", class: "cancel" }, "Cancel"), h("button", { type: "submit", class: "go" }, "Use it")));
    form.addEventListener("submit", () => { mine.returnValue = token.value.trim(); });
    form.querySelector(".cancel").addEventListener("click", () => mine.close());
    mine.addEventListener("close", () => {
      resolve(mine.returnValue || null);
      mine.remove();
    });
    mine.append(form);
    document.body.append(mine);
    mine.showModal();
  });
}

