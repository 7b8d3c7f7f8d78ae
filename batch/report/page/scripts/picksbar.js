/* What has been picked: how many, which of them are shown, and what becomes of them. */

import { $, make } from "./dom.js";
import { sayAloud } from "./aloud.js";
import { command, copyText, download } from "./copying.js";
import { data } from "./data.js";
import { manifestText } from "./entries.js";
import { addKeys } from "./keys.js";
import { namer } from "./naming.js";
import { linesOf } from "./picksfile.js";
import { countOfMark, mark, markOf, MARKS, onMarks, toggleMark, whyNotKept } from "./picks.js";
import { changed, focusedImage, reveal, visible } from "./selection.js";
import { get, set } from "./state.js";

const WORD = /(^|\s)is:(picked|rejected|unmarked)(?=\s|$)/g;
const bar = {};

/** Make the bar, and listen for keys. */
export function startPicks() {
  const button = (text, onclick) => make("button", {type: "button", onclick}, text);
  Object.assign(bar, {
    shows: [...MARKS, "unmarked"].map(word => make("button", {type: "button", "data-shows": word, onclick: () => showMarked(word)})),
    acts: make("span", {class: "group"}, button("Copy manifest", copyManifest), button("Download picks.txt", downloadPicks), button("Clear", clearMarks)),
    load: make("input", {type: "file", accept: ".txt,text/plain", hidden: "", onchange: loadPicks}),
    hint: make("span", {class: "muted"}, "✓ ", byKey("(p) "), "picks, ✕ ", byKey("(x) "), "rejects", byKey(", u takes it back")),
    said: make("span", {role: "status", class: "muted"}),
    then: make("div", {class: "picks-then", hidden: ""}),
    now: button("", () => showMarked("picked")),
  });
  bar.loads = make("span", {class: "group"}, bar.load, button("Load picks.txt", () => bar.load.click()));
  $("picks-bar").append(make("span", {class: "group"}, ...bar.shows), bar.acts, bar.hint, bar.loads, bar.said, bar.then);
  $("picks-now").append(bar.now, button("Copy manifest", copyManifest));
  new IntersectionObserver(([{isIntersecting}]) => { bar.inView = isIntersecting; tellNow(); }).observe($("picks-bar"));
  onMarks(marksChanged);
  document.addEventListener("keydown", markByKey);
  addKeys("Marks", [["p", "pick, or take that back"], ["x", "reject, or take that back"], ["u", "unmark"]]);
  tellCounts();
}

// Said where there are keys, and no fingers.
const byKey = text => make("span", {class: "by-key"}, text);

const withMark = value => data.images.filter(image => markOf(image.id) === value);

function tellCounts() {
  const counts = {picked: countOfMark("picked"), rejected: countOfMark("rejected")};
  counts.unmarked = data.images.length - counts.picked - counts.rejected;
  for (const button of bar.shows) {
    const word = button.dataset.shows, text = `${counts[word]} ${word}`;
    if (button.textContent !== text) button.textContent = text;
    button.setAttribute("aria-pressed", String(isShown(word)));
    button.hidden = counts.unmarked === data.images.length && !isShown(word);
  }
  bar.shows[0].parentElement.hidden = bar.shows.every(button => button.hidden);
  bar.acts.hidden = !counts.picked && !counts.rejected;
  bar.hint.hidden = !bar.acts.hidden;
  tellNow();
  for (const button of [...bar.acts.children].slice(0, 2)) button.disabled = !counts.picked;
  if (whyNotKept()) sayOnce();
}
// In the bar that stays in sight, while this one is not.
function tellNow() {
  const count = countOfMark("picked");
  $("picks-now").hidden = bar.inView !== false || !count;
  bar.now.textContent = `✓ ${count} picked`;
  bar.now.setAttribute("aria-pressed", String(isShown("picked")));
  $("picks-now").lastElementChild.textContent = "Copy manifest";
}
/** Say anew how many there are, of a run that goes on. */
export const recount = () => tellCounts();

let told = false;
function sayOnce() {
  if (!told) say(`${whyNotKept()}: download picks.txt before you close this page.`);
  told = true;
}
function say(text, line = "") {
  bar.said.textContent = text;
  bar.then.replaceChildren(...(line ? [command(line)] : []));
  bar.then.hidden = !line;
}

// Showing

const isShown = word => [...get("find").matchAll(WORD)].some(([, , shown]) => shown === word);

function showMarked(word) {
  const rest = get("find").replace(WORD, "").trim();
  set({find: isShown(word) ? rest : `${rest} is:${word}`.trim()});
  tellCounts();
}

// Where marks decide what is shown, the image that is marked may leave; the focus goes on to the one in its place.
function marksChanged(ids) {
  tellCounts();
  if (ids.size === 1 && !document.hidden) sayMark([...ids][0]);
  if (!isShown("picked") && !isShown("rejected") && !isShown("unmarked")) return;
  const at = document.querySelector("dialog[open]") ? -1 : visible.indexOf(focusedImage());
  changed();
  const next = at < 0 ? null : visible[at] || visible.at(-1);
  if (next) reveal(next);
  else if (at >= 0) $("text").focus();
}
const MARKED_AS = {picked: "Picked", rejected: "Rejected", "": "Unmarked"};
const sayMark = id => sayAloud(`${MARKED_AS[markOf(id)]}. ${MARKS.map(value => countOfMark(value) + " " + value).join(", ")}.`);

// Marking

function markByKey(event) {
  const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName) && !["checkbox", "range"].includes(event.target.type);
  if (event.ctrlKey || event.metaKey || event.altKey || typing || document.querySelector("dialog[open]")) return;
  const value = {p: "picked", x: "rejected", u: ""}[event.key], image = value !== undefined && focusedImage();
  if (!image) return;
  event.preventDefault();
  if (value) toggleMark(image, value);
  else mark(image, "");
}

function clearMarks() {
  const marked = data.images.filter(image => markOf(image.id));
  if (!confirm(`Take away ${marked.length === 1 ? "the mark" : `all ${marked.length} marks`}?`)) return;
  mark(marked, "");
  say("No marks any more.");
}

// Taking along

async function copyManifest() {
  const picked = withMark("picked");
  try {
    const copied = await copyText(manifestText(picked), "Manifest");
    say(copied ? `The manifest of ${picked.length === 1 ? "1 image" : `${picked.length} images`} is copied: save it as final.yaml.` : "");
    if (copied) $("picks-now").lastElementChild.textContent = "Copied";
  } catch (error) {
    say("No manifest: " + error.message);
  }
}

// A line is the file; what a list cannot say so (a line end, a comment's sign in the name) is the id.
const listedAs = image => !image.file || image.file.trim() !== image.file || /[\n\r\t"\\]|\s#/.test(image.file) ? image.id : image.file;

function downloadPicks() {
  const picked = withMark("picked");
  download("picks.txt", picked.map(image => listedAs(image) + "\n").join(""));
  say(`Beside picks.txt, this makes a job of ${picked.length === 1 ? "it" : `these ${picked.length}`}:`, data.again.picks);
}

async function loadPicks() {
  const [file] = bar.load.files;
  if (!file) return;
  try {
    pickNamed(await linesOf(file));
  } catch (error) {
    say(error.message + ".");
  }
  bar.load.value = "";
}
function pickNamed(lines) {
  const imagesOf = namer(), found = lines.map(line => imagesOf(line));
  const picked = new Set(found.filter(images => images.size === 1).flatMap(images => [...images]));
  mark([...picked], "picked");
  const unread = test => lines.filter((line, at) => test(found[at].size));
  say(`${picked.size} picked` + linesThat("no image here", unread(size => !size)) + linesThat("several images", unread(size => size > 1)));
}
const linesThat = (name, lines) => lines.length ? `; ${lines.length === 1 ? "1 line names" : `${lines.length} lines name`} ${name}, such as ${lines[0].slice(0, 80)}` : "";
