/* A picture of the run at any nearness, with what is known of it; or two, to see what a setting does. */

import { $, make } from "./dom.js";
import { sayAloud } from "./aloud.js";
import { differing, factsOf, lacking, wordsOf } from "./about.js";
import { data } from "./data.js";
import { details } from "./details.js";
import { addKeys } from "./keys.js";
import { picked, startPair } from "./pair.js";
import { countOfMark, mark, markButtons, onMarks, toggleMark } from "./picks.js";
import { neighbour, reveal, visible } from "./selection.js";
import { alike } from "./sight.js";
import { define, get, set, watch } from "./state.js";
import { Viewer, VIEWER_KEYS } from "./viewer.js";
import { path, short } from "./words.js";

/** The images that are looked at: none, one, or A and B. */
export let shown = [];

let pushed = false;  // whether the browser's way back leads out of the viewer
let preferred = "slider";  // how the reader compares

/** Look at an image, or at two. */
export function look([first, second]) {
  const open = $("viewer").open;
  if (!open) pushed = true;
  set({image: first.id, with: second ? second.id : "", how: second ? preferred : "slider"}, {step: !open});
}

function beside(x, y) {
  const [first, second] = shown, next = neighbour(second || first, x, y);
  return second && next === first ? neighbour(next, x, y) : next;  // A is not compared with itself
}

function goOn(x, y) {
  const next = beside(x, y);
  if (next) look(shown.length > 1 ? [shown[0], next] : [next]);
}

/** Compare what is looked at, or end comparing. */
function compareWith() {
  const [first, second] = shown;
  if (second) return look([first]);
  const other = picked.find(image => image !== first) || underAnotherSetting(first) || nextTo(first);
  if (other) look([first, other]);
}

// The next one or the one before; rather one that can be laid over it.
function nextTo(first) {
  const near = [beside(1, 0), beside(-1, 0)].filter(Boolean);
  return near.find(image => image.file && alike(image, first)) || near[0];
}

// Of the same prompt and seed the next one that differs in the fewest settings: what a setting does is what one wants to see.
// One that cannot be laid over it comes after all that can.
function underAnotherSetting(first) {
  const same = visible.filter(image => image !== first && image.file && ["prompt", "seed", "negative_prompt"].every(key => image[key] === first[key]));
  const apart = image => data.varying.filter(key => image[key] !== first[key]).length, after = image => image.index > first.index ? 0 : 1;
  const beyond = image => alike(image, first) ? 0 : 1;
  return same.sort((a, b) => beyond(a) - beyond(b) || apart(a) - apart(b) || after(a) - after(b) || a.index - b.index)[0];
}

// The address says what is shown

/** Show what the address names; call it when the pictures are listed. */
export function lookAtAddress() {
  const images = [get("image"), get("with")].map(id => data.images.find(image => image.id === id));
  const [first, second] = images;
  $("astray").textContent = get("image") && !first ? `This run has no picture of the id that the address names (${short(get("image"), 40)}), or has it no longer.` : "";
  if (!first) return shut();
  shown = second && second !== first ? [first, second] : [first];
  if (!$("viewer").open) openViewer();
  drawViewer();
}

function openViewer() {
  $("viewer").showModal();
  document.documentElement.classList.add("looking");
  viewer.stage.focus();
}

function drawViewer() {
  describeShown();
  hadPictures = withPictures();
  viewer.how = get("how");
  viewer.show(shown.map(itemOf), [beside(1, 0), beside(-1, 0)].filter(image => image && image.file).map(image => path(image.file)));
}

function itemOf(image) {
  const other = shown.find(one => one !== image);
  const found = {width: image.width, height: image.height, alt: image.prompt, title: other ? short(differing(image, other), 200) : ""};
  return image.file ? {...found, src: path(image.file), thumb: path("thumbs/" + image.id + ".webp")} : {...found, reason: lacking(image)};
}

function shut() {
  $("viewer").close();
  leave();
}

// The dialog is closed: by the reader here, or by the browser's way back.
function leave() {
  const last = shown.at(-1);
  if (!last) return;
  shown = [];
  lastSaid = "";
  viewer.clear();
  document.documentElement.classList.remove("looking");
  reveal(last);
  if (!get("image")) return;  // by the way back
  if (pushed) history.back();
  else set({image: "", with: "", how: "slider"});
  pushed = false;
}

const withPictures = () => shown.map(image => Boolean(image.file)).join();
let hadPictures = "";

/** News of what is shown: say it; a picture that was not there is shown. One that is there is not touched. */
export function caption() {
  if (withPictures() === hadPictures) describeShown();
  else drawViewer();
}

// What is said of it

function describeShown() {
  const [first, second] = shown;
  const same = !second || second.prompt === first.prompt;
  parts.title.textContent = same ? first.prompt || "(no prompt)" : `A: ${first.prompt}\nB: ${second.prompt}`;
  parts.facts.replaceChildren(...shown.map((image, index) => make("div", {}, second ? "AB"[index] + ": " : "", factsOf(image, Boolean(second)))));
  const at = visible.indexOf(second || first), place = (second ? "B: " : "") + (at < 0 ? "not in the list" : `${at + 1} of ${visible.length}`);
  parts.place.textContent = place;
  sayPlace(place + ": " + wordsOf(second || first) + (second ? "; A: " + wordsOf(first) : ""));
  tellMarksOfShown();
  tellButtonsOfViewer();
  if (!parts.details.hidden) parts.details.replaceChildren(...shown.map(details));
  parts.title.tabIndex = parts.title.scrollHeight > parts.title.clientHeight ? 0 : -1;  // a long one scrolls
}

// What was said last is not said again.
let lastSaid = "";
function sayPlace(text) {
  if (text !== lastSaid) sayAloud(lastSaid = text);
}

function tellMarksOfShown() {
  parts.marks.replaceChildren(...shown.map((image, index) => make("span", {class: "group"}, shown.length > 1 ? "AB"[index] : "", markButtons(image))));
}

function tellButtonsOfViewer() {
  const [first, second] = shown;
  parts.previous.disabled = !beside(-1, 0);
  parts.next.disabled = !beside(1, 0);
  parts.compare.textContent = second ? "End A/B" : "Compare with…";
  parts.swap.hidden = !second;
  const file = (second || first).file;
  parts.file.hidden = !file;
  parts.file.textContent = second ? "Open B" : "Open file";
  if (file) parts.file.href = path(file);
  parts.inside.setAttribute("aria-expanded", String(!parts.details.hidden));
}

function toggleDetails() {
  parts.details.hidden = !parts.details.hidden;
  describeShown();
}

function fillScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else parts.root.requestFullscreen?.();
}

const swapThem = () => shown.length > 1 && look([shown[1], shown[0]]);

// Keys of the report; those of the viewer are its own. Marks are set on B, which is what the arrow keys change.
function keyOfViewer(event) {
  const image = shown.at(-1);
  const keys = {i: toggleDetails, c: compareWith, w: swapThem, F: fillScreen, p: () => toggleMark(image, "picked"), x: () => toggleMark(image, "rejected"), u: () => mark(image, "")};
  if (!Object.hasOwn(keys, event.key)) return false;
  keys[event.key]();
  return true;
}

// Building

const parts = {};
let viewer = null;

function buildViewer() {
  const button = (text, label, onclick) => make("button", {type: "button", "aria-label": label, title: label, onclick}, text);
  Object.assign(parts, {
    root: make("div", {class: "looking-root"}),
    place: make("span", {class: "place muted"}),
    title: make("h2", {id: "title", dir: "auto"}),
    facts: make("div", {class: "muted"}),
    details: make("aside", {class: "inside", tabindex: "0", "aria-label": "Details", hidden: ""}),
    marks: make("span", {class: "group looking-marks"}),
    picked: make("span", {class: "muted"}),
    previous: button("←", "Previous (left arrow)", () => goOn(-1, 0)),
    next: button("→", "Next (right arrow)", () => goOn(1, 0)),
    compare: make("button", {type: "button", title: "Compare two pictures (c)", onclick: compareWith}),
    swap: button("A ⇄ B", "Swap A and B (w)", swapThem),
    inside: make("button", {type: "button", title: "All that is known of it (i)", onclick: toggleDetails}, "Details"),
    file: make("a", {target: "_blank", rel: "noopener", class: "button"}),
  });
  parts.caption = make("div", {class: "caption", role: "group", "aria-label": "What it is"}, parts.title, parts.facts);
  const close = button("✕", "Close (Esc)", shut);
  const turning = make("div", {class: "turning"}, parts.previous, parts.place, parts.next);
  parts.root.append(make("div", {class: "looking-head"}, turning, parts.caption, close));
  viewer = new Viewer(parts.root, {go: goOn, key: keyOfViewer, how: mode => { preferred = mode; set({how: mode}); }});
  viewer.tools.firstElementChild.after(make("span", {class: "group"}, parts.compare, parts.swap));
  viewer.tools.append(parts.marks, make("span", {class: "group"}, parts.inside, parts.file), parts.picked);
  parts.root.append(parts.details);
  $("viewer").append(parts.root);
  onMarks(tellPicked);
  tellPicked();
}
const tellPicked = () => { parts.picked.textContent = countOfMark("picked") ? countOfMark("picked") + " picked" : ""; };

/** Make the viewer, which follows the address from now on. */
export function startLooking() {
  buildViewer();
  define("image");
  define("with");
  define("how", "slider");
  watch(["image", "with"], lookAtAddress);
  watch(["how"], () => { viewer.how = get("how"); });
  $("viewer").addEventListener("cancel", event => { event.preventDefault(); shut(); });
  $("viewer").addEventListener("close", leave);
  startPair(look);
  addKeys("Looking at a picture", [["← →", "previous, next; comparing, another B"], ["c", "compare with another one, or end it"], ["w", "swap A and B"],
    ["i", "details"], ["F", "the picture alone on the whole screen"], ["Esc", "close"], ...VIEWER_KEYS]);
}
