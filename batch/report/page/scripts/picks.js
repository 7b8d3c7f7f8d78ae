/* Marks on images: picked or rejected. The browser keeps them for the run, whatever is rendered anew. */

import { make } from "./dom.js";
import { data } from "./data.js";
import { addWord } from "./query.js";

export const MARKS = ["picked", "rejected"];
const KEPT_AS = "run_batch marks of " + data.id;

let marks = new Map();  // "picked" or "rejected" by id of the image
let unkept = "";  // why marks are not kept: some browsers deny a page from disk its storage
const markListeners = [];

export const markOf = id => marks.get(id) || "";
export const countOfMark = value => data.images.filter(image => markOf(image.id) === value).length;
/** Why marks are gone when the page is closed; "" where they are kept. */
export const whyNotKept = () => unkept;

/** Call `work` with the ids whose marks are others now. */
export function onMarks(work) {
  markListeners.push(work);
}

/** Mark an image, or several; "" takes the mark away. */
export function mark(images, value) {
  const before = new Map(marks);
  for (const {id} of [images].flat()) {
    if (value) marks.set(id, value);
    else marks.delete(id);
  }
  keepMarks();
  tellMarked(before);
}

/** Mark an image, or take that same mark away. */
export const toggleMark = (image, value) => mark(image, markOf(image.id) === value ? "" : value);

function keepMarks() {
  try {
    if (marks.size) localStorage.setItem(KEPT_AS, JSON.stringify([...marks]));
    else localStorage.removeItem(KEPT_AS);
    unkept = "";
  } catch (error) {
    unkept = reasonOf(error);
  }
}

function readMarks() {
  try {
    marks = understoodMarks(localStorage.getItem(KEPT_AS));
  } catch (error) {
    unkept = reasonOf(error);
  }
}
const reasonOf = error => error.name === "QuotaExceededError" ? "This browser’s storage is full, and the marks are not kept" : "This browser keeps no marks of a page from disk";

// Any page from disk may have written there.
function understoodMarks(text) {
  try {
    return new Map(JSON.parse(text || "[]").filter(([id, value]) => typeof id === "string" && MARKS.includes(value)));
  } catch {
    return new Map();
  }
}

function tellMarked(before) {
  const ids = new Set([...before.keys(), ...marks.keys()].filter(id => before.get(id) !== marks.get(id)));
  if (!ids.size) return;
  for (const element of document.querySelectorAll("[data-mark-of]")) if (ids.has(element.dataset.markOf)) showMark(element);
  for (const work of markListeners) work(ids);
}

function showMark(element) {
  const mark = markOf(element.dataset.markOf);
  element.dataset.mark = mark;
  for (const button of element.querySelectorAll("[data-puts]")) button.setAttribute("aria-pressed", String(button.dataset.puts === mark));
}

/** An element that shows the mark of an image, now and when it changes: as `data-mark`, for styles. */
export function showsMark(element, image) {
  element.dataset.markOf = image.id;
  showMark(element);
  return element;
}

/** Buttons that pick and reject an image. */
export function markButtons(image) {
  const button = (value, sign, label, key) => make("button", {type: "button", "data-puts": value, "aria-label": label, title: `${label} (${key})`, onclick: event => {
    event.stopPropagation();
    toggleMark(image, value);
  }}, sign);
  const buttons = [button("picked", "✓", "Pick", "p"), button("rejected", "✕", "Reject", "x")];
  return showsMark(make("span", {class: "marks", role: "group", "aria-label": "Mark"}, ...buttons), image);
}

addWord("is:picked", image => markOf(image.id) === "picked");
addWord("is:rejected", image => markOf(image.id) === "rejected");
addWord("is:unmarked", image => !markOf(image.id));

readMarks();
// Another tab has marked. What it wrote comes with the news: what is read here may be of a moment before.
addEventListener("storage", event => {
  if (event.key !== KEPT_AS && event.key !== null) return;
  const before = marks;
  marks = understoodMarks(event.key && event.newValue);
  tellMarked(before);
});
// A page that the browser had put to sleep was told nothing.
addEventListener("pageshow", () => {
  const before = marks;
  readMarks();
  tellMarked(before);
});
