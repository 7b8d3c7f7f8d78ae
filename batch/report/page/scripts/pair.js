/* The two pictures that are chosen to be compared, A and B. */

import { $, make } from "./dom.js";
import { called, differing } from "./about.js";
import { sayAloud } from "./aloud.js";
import { typing } from "./keyboard.js";
import { addKeys } from "./keys.js";
import { focusedImage, reveal } from "./selection.js";

/** Chosen to be compared, two at most: A, and then B. */
export let picked = [];

/** Choose an image as A or B, or take that back; of three the first is left out. */
export function pick(image) {
  const before = picked;
  choosePair(picked.includes(image) ? picked.filter(other => other !== image) : [...picked, image].slice(-2));
  if (picked.length === 2) sayAloud("B chosen. Compare A and B.");
  else if (picked.length > before.length) sayAloud("A chosen. Choose B.");
  else sayAloud("Taken back. " + (picked.length ? "The other one is A: choose B." : "Nothing is chosen to be compared."));
}

function choosePair(images) {
  picked = images;
  for (const badge of document.querySelectorAll("[data-letter-of]")) badge.textContent = letterOf(badge.dataset.letterOf);
  for (const tick of document.querySelectorAll(".card input[type=checkbox]")) tick.checked = Boolean(letterOf(tick.dataset.id));
  const [first, second] = picked;
  $("pair").hidden = !first;
  $("compare").hidden = !second;
  $("pair-says").replaceChildren(...first ? [make("bdi", {}, "A: " + called(first)), second ? make("bdi", {}, "B: " + differing(second, first)) : "Choose B"] : []);
}

const letterOf = id => ["A", "B"][picked.findIndex(image => image.id === id)] || "";

/** The letter that an image has been given, on its picture; empty as long as there is none. */
export const letterBadge = image => make("span", {class: "letter", "data-letter-of": image.id}, letterOf(image.id));

/** `compare(images)` shows them. */
export function startPair(compare) {
  $("compare").addEventListener("click", () => compare(picked));
  $("unpair").addEventListener("click", () => {
    const last = picked.at(-1);
    forgetPair();
    reveal(last);
  });
  document.addEventListener("keydown", event => {
    if (typing(event) || document.querySelector("dialog[open]")) return;
    const image = event.key === "c" && focusedImage();
    if (image && image.file) pick(image);
    if (event.key === "Escape" && picked.length) forgetPair();
  });
  addKeys("Pictures", [["c", "choose A, then B, to compare them; Esc takes that back"]]);
}

function forgetPair() {
  choosePair([]);
  sayAloud("Nothing is chosen to be compared.");
}
