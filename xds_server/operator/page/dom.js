// Elements from values, and live elements made like fresh ones. A section is rendered whole from the state at every
// change and then `show`n: what is equal stays, so that focus, selection, scrolling and the screen reader's place
// survive. Text is always text: nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";

/** Return an element; properties are attributes, false and null leave one out; children are elements or text. */
export function h(tag, attributes = {}, ...children) {
  return made(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return made(document.createElementNS(SVG, tag), attributes, children);
}

function made(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Make what `live` holds like `children`. Elements with a `data-key` are found again wherever they are. */
export function show(live, ...children) {
  const fresh = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  alignChildren(live, fresh.map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
}

function alignChildren(live, fresh) {
  const keyed = new Map();
  for (const child of live.children) if (child.dataset?.key) keyed.set(child.dataset.key, child);
  let at = live.firstChild;
  for (const child of fresh) {
    const known = child.dataset?.key ? keyed.get(child.dataset.key) : at;
    keyed.delete(child.dataset?.key);
    if (known && alike(known, child)) {
      if (known === at) at = at.nextSibling;
      else live.insertBefore(known, at);
      align(known, child);
    } else {
      live.insertBefore(child, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function alike(live, fresh) {
  return live.nodeType === fresh.nodeType && live.nodeName === fresh.nodeName && live.dataset?.key === fresh.dataset?.key;
}

function align(live, fresh) {
  if (live.nodeType === Node.TEXT_NODE) {
    if (live.data !== fresh.data) live.data = fresh.data;
    return;
  }
  for (const { name } of [...live.attributes]) if (!fresh.hasAttribute(name) && name !== "open") live.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes]) {
    if (live.getAttribute(name) !== value) live.setAttribute(name, value);
  }
  alignChildren(live, [...fresh.childNodes]);
}

export const byId = (id) => document.getElementById(id);

/** A table with a head; rows are arrays of cells, a cell is text or an element. The first cell of a row heads it. */
export function table(caption, heads, rows) {
  const head = heads.map((text) => h("th", { scope: "col", class: text.cls }, text.text ?? text));
  return h("table", {},
    h("caption", { class: "unseen" }, caption),
    h("thead", {}, h("tr", {}, head)),
    h("tbody", {}, rows.map(({ key, cls, cells }) => h("tr", { "data-key": key, class: cls },
      cells.map((cell, i) => (i ? h("td", { class: heads[i].cls }, cell) : h("th", { scope: "row" }, cell)))))));
}
