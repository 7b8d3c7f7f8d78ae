/* The part of the page with the pictures: as a gallery or as a grid, of the size chosen. */

import { $ } from "./dom.js";
import { forgetAxes } from "./axes.js";
import { filters, sayChoice, startFilter } from "./filter.js";
import { gallery, startGallery } from "./gallery.js";
import { fillLine, grid, gridNow } from "./grid.js";
import { sayAxes, startGridBar } from "./gridbar.js";
import { typing } from "./keyboard.js";
import { addKeys } from "./keys.js";
import { startRoaming } from "./roaming.js";
import { choose, focusedImage, laidOutBy, onChange, reveal } from "./selection.js";
import { define, get, set, watch } from "./state.js";
const SMALLEST = 40, LARGEST = 512, BARE_BELOW = 140;  // CSS pixels across; below the last a card is its picture alone
const LAYOUTS = new Map(Object.entries({gallery, grid}));  // by a word of the address
let now = gallery;

define("show", "gallery");
define("size");
define("say");
for (const part of ["rows", "rows2", "columns", "columns2", "tabs"]) define(part);
addKeys("Pictures", [["g", "gallery or grid"]]);

/** What is drawn, image by image, with its element. */
export const cards = {
  [Symbol.iterator]: () => now.cards[Symbol.iterator](),
  get: image => now.cards.get(image),
};

/** Listen to the reader; call it once, before the address is read. */
export function startPictures() {
  startFilter();
  startGallery();
  startGridBar();
  startRoaming($("grid"), fillLine);
  for (const name of LAYOUTS.keys()) $("as-" + name).addEventListener("click", () => showAs(name));
  $("size").addEventListener("input", () => set({size: $("size").value}));
  $("fit-width").addEventListener("click", () => set({size: get("size") === "fit" ? "" : "fit"}));
  $("say").addEventListener("change", () => set({say: $("say").value}));
  document.addEventListener("keydown", event => {
    if (event.key === "g" && !typing(event) && !document.querySelector("dialog[open]") && get("part") === "pictures") showAs(get("show") === "grid" ? "gallery" : "grid");
  });
  onChange(() => redraw(new Set(), () => 0));
  watch(["find", "sort", "down"], toTheBeginning);
  watch(["rows", "rows2", "columns", "columns2", "tabs", "say"], show);
  watch(["show"], showTheSame);  // the last: it may choose tabs
  watch(["size"], measure);
  watch(["part"], () => { widen(); measure(); });
  addEventListener("beforeprint", () => { if (now === grid) document.querySelectorAll(".grid-line").forEach(fillLine); });
  new ResizeObserver(measure).observe(document.documentElement);
}

const showAs = name => set({show: name}, {step: true});

/** Draw the pictures from the beginning. */
export function show() {
  now = LAYOUTS.get(get("show")) || gallery;
  laidOutBy(now);
  for (const [name, layout] of LAYOUTS) {
    $(name).hidden = now !== layout;
    $("as-" + name).setAttribute("aria-pressed", String(now === layout));
  }
  for (const element of document.querySelectorAll("[data-only]")) element.hidden = LAYOUTS.get(element.dataset.only) !== now;
  widen();
  choose();
  now.show();
  sayAll();
  measure();
}

// The picture that had the focus has it in the other layout, too.
function showTheSame() {
  const image = focusedImage();
  show();
  if (image) reveal(image);
}

/** Draw anew what has changed, and nothing else. */
export function redraw(changed, least) {
  if (changed.size) {
    forgetAxes();
    filters();
  }
  choose();
  now.redraw(changed, least);
  sayAll();
}
// What one has asked for is seen, wherever one was.
function toTheBeginning() {
  if ($("bar").getBoundingClientRect().top < $("pictures").getBoundingClientRect().top + 1) return;
  scrollBy({top: $("pictures").getBoundingClientRect().top, behavior: "instant"});
}

function sayAll() {
  sayChoice(now.count(), now === grid ? tooWide() : "");
  $("say").value = get("say");
  if (now === grid) sayAxes();
}

function tooWide() {
  const {columns, wider} = gridNow().table;
  return wider > columns.length ? `The first ${columns.length} of ${wider} columns are drawn: choose rows for them, or filter.` : "";
}

// A grid is as wide as it needs: then the page scrolls both ways, and what is no grid stays where it is.
function widen() {
  document.documentElement.classList.toggle("wide", now === grid && !$("pictures").hidden);
}

function measure() {
  const root = document.documentElement, page = root.clientWidth;
  root.style.setProperty("--page", page + "px");
  root.style.setProperty("--edge", edge() + "px");
  const size = sizeIn(page);
  root.style.setProperty("--thumb", size + "px");
  root.style.setProperty("--bar", (getComputedStyle($("bar")).position === "sticky" ? $("bar").offsetHeight : 0) + "px");
  root.style.setProperty("--head", ($("grid").firstElementChild?.offsetHeight || 0) + "px");
  $("gallery").classList.toggle("bare", size < BARE_BELOW);
  $("size").value = size;
  $("size").setAttribute("aria-valuetext", size + " pixels");
  $("fit-width").setAttribute("aria-pressed", String(get("size") === "fit"));
}
function sizeIn(page) {
  const chosen = get("size"), phone = page <= 700, within = (least, most, size) => Math.min(most, Math.max(least, Math.floor(size)));
  if (Number(chosen)) return within(SMALLEST, LARGEST, Number(chosen));
  if (now === gallery) return phone ? 150 : 250;
  return chosen === "fit" ? within(SMALLEST, LARGEST, fitting(page)) : within(leastIn(phone), 280, fitting(page));
}
// On a phone up to six columns are there at once; of more, each is to be seen as one scrolls.
const leastIn = phone => phone ? (gridNow().table.columns.length <= 6 ? SMALLEST : 60) : 120;
const edge = () => parseFloat(getComputedStyle($("pictures").parentElement).paddingLeft);
function fitting(page) {
  const {table} = gridNow(), style = getComputedStyle($("grid"));
  return (page - 2 * edge() - parseFloat(style.getPropertyValue("--label"))) / Math.max(1, table.columns.length) - parseFloat(style.getPropertyValue("--gap"));
}
