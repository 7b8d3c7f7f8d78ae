/* Elements out of text: nothing here reads a string as markup, so no prompt can become any. */

export const $ = id => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for what is drawn. The name of that language is an address, of which none is to stand here: the page has an svg. */
export function shape(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(document.querySelector("svg").namespaceURI, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** Put these in the place of an element's children; one that says the same as before stays, with focus and all. */
export function renew(element, ...fresh) {
  const before = new Map([...element.children].map(child => [child.dataset.key, child]));
  const wanted = fresh.map(child => kept(before.get(child.dataset.key), child));
  for (const child of [...element.children]) if (!wanted.includes(child)) child.remove();
  let next = element.firstElementChild;
  for (const child of wanted) {
    if (child === next) next = next.nextElementSibling;
    else element.insertBefore(child, next);
  }
}

function kept(before, child) {
  if (!before || !child.dataset.key) return child;
  const open = folds(before).map(part => part.open);
  folds(child).forEach((part, index) => { part.open = open[index] ?? part.open; });
  return child.isEqualNode(before) ? before : child;
}
const folds = element => [element, ...element.querySelectorAll("details")].filter(part => part.tagName === "DETAILS");
