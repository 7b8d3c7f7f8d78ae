/* All images one after the other, drawn in chunks as they are scrolled to. */

import { $ } from "./dom.js";
import { card } from "./cards.js";
import { choose, visible } from "./selection.js";
const CHUNK = 60;
export const cards = new Map();  // the elements of what is drawn, by image
let drawn = 0;

export function show() {
  choose();
  $("gallery").replaceChildren();
  cards.clear();
  drawn = 0;
  draw();
}

function draw(count = CHUNK) {
  const more = visible.slice(drawn, drawn + count);
  for (const image of more) cards.set(image, card(image));
  $("gallery").append(...more.map(image => cards.get(image)));
  drawn = Math.min(visible.length, drawn + count);
  lookAhead();
}

// What has changed is drawn anew, and nothing else is touched: the rest keeps its focus and its place.
export function redraw(changed, least) {
  choose();
  const focused = document.activeElement.dataset.id;
  const wanted = visible.slice(0, Math.max(Math.min(drawn, visible.length), CHUNK, least(visible)));
  const kept = new Set(wanted.filter(image => cards.has(image) && (!changed.has(image) || card(image).isEqualNode(cards.get(image)))));
  for (const [image, element] of cards) {
    if (kept.has(image)) continue;
    element.remove();
    cards.delete(image);
  }
  let next = $("gallery").firstElementChild;
  for (const image of wanted) {
    if (!cards.has(image)) cards.set(image, card(image));
    const element = cards.get(image);
    if (element === next) next = next.nextElementSibling;
    else $("gallery").insertBefore(element, next);
  }
  drawn = wanted.length;
  if (focused && document.activeElement === document.body) document.querySelector(`.card [data-id="${focused}"]`)?.focus({preventScroll: true});
  lookAhead();
}

function lookAhead() {
  // Observed anew, or it stays silent where a chunk is too short to push the sentinel out of reach.
  observer.unobserve($("sentinel"));
  if (drawn < visible.length) observer.observe($("sentinel"));
}
const observer = new IntersectionObserver(entries => { if (entries.some(entry => entry.isIntersecting)) draw(); }, {rootMargin: "1500px"});

addEventListener("beforeprint", () => draw(visible.length));
