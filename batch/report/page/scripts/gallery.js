/* All images one after the other, drawn in chunks as they are scrolled to. */

import { $ } from "./dom.js";
import { card } from "./cards.js";
import { standsThere, visible } from "./selection.js";
const CHUNK = 60;
const drawnCards = new Map();  // the elements of what is drawn, by image
let drawn = 0, tabStop = null;  // `tabStop` is the card that the Tab key stops at: it and its buttons

/** The pictures as a gallery, for pictures.js. */
export const gallery = {cards: drawnCards, show: showGallery, redraw: redrawCards, neighbour: besides, reveal: revealCard, count: () => visible.length};

function showGallery() {
  $("gallery").replaceChildren();
  drawnCards.clear();
  drawn = 0;
  drawMore();
}

function drawMore(count = CHUNK) {
  const more = visible.slice(drawn, drawn + count);
  for (const image of more) drawnCards.set(image, cardWithoutStops(image));
  $("gallery").append(...more.map(image => drawnCards.get(image)));
  drawn = Math.min(visible.length, drawn + count);
  stopSomewhere();
  lookAhead();
}

// What has changed is drawn anew, and nothing else is touched: the rest keeps its focus and its place.
function redrawCards(changed, least) {
  const focused = document.activeElement.dataset.id;
  const wanted = visible.slice(0, Math.max(Math.min(drawn, visible.length), CHUNK, least(visible)));
  const kept = new Set(wanted.filter(image => drawnCards.has(image) && (!changed.has(image) || saysTheSame(image))));
  for (const [image, element] of drawnCards) {
    if (kept.has(image)) continue;
    element.remove();
    drawnCards.delete(image);
  }
  let next = $("gallery").firstElementChild;
  for (const image of wanted) {
    if (!drawnCards.has(image)) drawnCards.set(image, cardWithoutStops(image));
    const element = drawnCards.get(image);
    if (element === next) next = next.nextElementSibling;
    else $("gallery").insertBefore(element, next);
  }
  drawn = wanted.length;
  stopSomewhere();
  if (focused && document.activeElement === document.body) document.querySelector(`.card [data-id="${focused}"]`)?.focus({preventScroll: true});
  lookAhead();
}

function cardWithoutStops(image) {
  const fresh = card(image);
  makeStops(fresh, false);
  return fresh;
}
function saysTheSame(image) {
  const fresh = card(image), old = drawnCards.get(image);
  makeStops(fresh, old === tabStop);
  return fresh.isEqualNode(old);
}

// One card is in the order of the Tab key, with its buttons: thousands would be four stops each.
function makeStops(element, stop) {
  for (const one of element.querySelectorAll("a, button, input")) one.tabIndex = stop ? 0 : -1;
}
function stopAt(element) {
  if (tabStop === element) return;
  if (tabStop) makeStops(tabStop, false);
  tabStop = element;
  if (tabStop) makeStops(tabStop, true);
}
function stopSomewhere() {
  if (!tabStop?.isConnected) stopAt($("gallery").firstElementChild);
}

function lookAhead() {
  // Observed anew, or it stays silent where a chunk is too short to push the sentinel out of reach.
  ahead.unobserve($("sentinel"));
  if (drawn < visible.length) ahead.observe($("sentinel"));
}
const ahead = new IntersectionObserver(entries => { if (entries.some(entry => entry.isIntersecting)) drawMore(); }, {rootMargin: "1500px"});

const across = () => getComputedStyle($("gallery")).gridTemplateColumns.split(" ").length;

function besides(image, dx, dy) {
  const step = dx + dy * across();
  for (let at = visible.indexOf(image) + step; visible[at]; at += step) if (standsThere(visible[at])) return visible[at];
  return undefined;
}

function endOfLine(image, last) {
  const count = across(), from = visible.indexOf(image), start = from - from % count;
  const line = visible.slice(start, start + count).filter(standsThere);
  return last ? line.at(-1) : line[0];
}

function revealCard(image) {
  const at = visible.indexOf(image);
  if (at >= drawn) drawMore(at + CHUNK - drawn);
  const link = drawnCards.get(image).querySelector("a, button");
  link.scrollIntoView({block: "nearest"});
  link.focus({preventScroll: true});
}

/** Arrow keys go from picture to picture, as they are laid out, Home and End to the ends of a line. */
export function startGallery() {
  const moves = {ArrowLeft: image => besides(image, -1, 0), ArrowRight: image => besides(image, 1, 0), ArrowUp: image => besides(image, 0, -1),
    ArrowDown: image => besides(image, 0, 1), Home: image => endOfLine(image, false), End: image => endOfLine(image, true)};
  $("gallery").addEventListener("focusin", event => stopAt(event.target.closest(".card")));
  $("gallery").addEventListener("keydown", event => {
    const image = visible.find(one => one.id === event.target.dataset?.id), move = moves[event.key];
    if (!image || !move || event.shiftKey || event.ctrlKey || event.metaKey || event.altKey || !event.target.classList.contains("picture")) return;
    event.preventDefault();
    const next = move(image);
    if (next) revealCard(next);
  });
  addEventListener("beforeprint", () => { if (!$("gallery").hidden) drawMore(visible.length); });
}
