// Makes elements. Text is only ever set as text, so nothing that a prompt or a name holds can become markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An HTML element: h("a", { href: "#/", class: "quiet", onclick }, "text", child). */
export const h = (tag, properties = {}, ...children) => fill(document.createElement(tag), properties, children);

/** An SVG element. */
export const s = (tag, properties = {}, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

/** Sets an element's text if it differs: an untouched node costs the browser nothing. */
export function setText(element, text) {
  const wanted = String(text ?? "");
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Sets or removes an attribute if it differs. */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) {
    element.setAttribute(name, value);
  }
}

/** Children of `parent` by key: `make(key)` gives { element, update(...) }; kept as long as their key is there. */
export class Keyed {
  #parent;
  #make;
  #known = new Map();

  constructor(parent, make) {
    this.#parent = parent;
    this.#make = make;
  }

  get(key) {
    return this.#known.get(key);
  }

  /** Brings the children into the order of `keys`; gives the keys that are new. */
  arrange(keys) {
    const wanted = new Set(keys);
    for (const [key, child] of this.#known) {
      if (!wanted.has(key)) {
        child.element.remove();
        this.#known.delete(key);
      }
    }
    const fresh = [];
    let place = this.#parent.firstChild;
    for (const key of keys) {
      let child = this.#known.get(key);
      if (!child) {
        child = this.#make(key);
        this.#known.set(key, child);
        fresh.push(key);
      }
      if (child.element === place) place = place.nextSibling;
      else this.#parent.insertBefore(child.element, place);
    }
    return fresh;
  }
}
