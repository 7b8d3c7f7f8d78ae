/* An image as a card: its picture, or why there is none, and what it was made with. */

import { make } from "./dom.js";
import { called, renewal } from "./about.js";
import { data, failed, SHOWN } from "./data.js";
import { readWhole } from "./help.js";
import { look } from "./looking.js";
import { letterBadge, pick, picked } from "./pair.js";
import { markButtons } from "./picks.js";
import { duration, known, mib, named, path, short } from "./words.js";
const LONG = 110;  // letters that a card has room for

export function card(image) {
  const box = make("article", {class: "card " + image.status, "aria-label": called(image)});
  const frame = make("div", {class: "card-frame"}, picture(image), letterBadge(image));
  frame.style.aspectRatio = String(Math.min(3, Math.max(0.5, image.width / image.height)));
  box.append(frame, words(image));
  return box;
}

function words(image) {
  const cost = [known(image.total_s) && duration(image.total_s), known(image.memory_mib) && mib(image.memory_mib)].filter(Boolean);
  const settings = SHOWN.map(key => named(key, image[key])).join(" · ");
  const box = make("div", {class: "words"}, clamped("prompt", "Prompt", image.prompt));
  if (image.negative_prompt) box.append(clamped("meta", "Negative prompt", image.negative_prompt, "not: "));
  box.append(make("p", {class: "meta"}, ["seed " + image.seed, image.pixels, ...cost].join(" · ")));
  if (settings) box.append(make("p", {class: "meta", dir: "auto"}, settings));
  const tags = tagsOf(image);
  if (tags) box.append(make("p", {class: "tag"}, tags));
  if (failed(image) && data.again?.failed) box.append(tryAgain());
  box.append(foot(image));
  return box;
}

/** A text that is cut after some lines: a long one opens whole. */
function clamped(kind, title, text, before = "") {
  if (text.length <= LONG) return make("p", {class: kind, dir: "auto"}, before + text);
  return make("button", {class: "clamped " + kind, dir: "auto", "aria-haspopup": "dialog", onclick: () => readWhole(title, text)}, before + short(text, 400));
}

const tagsOf = image => [
  image.degraded_from && "degraded from " + image.degraded_from, image.repaired && "repaired: " + image.repaired, image.cut && "prompt cut: " + image.cut,
  image.touched, image.allowed && "allowed: " + image.allowed, image.warmup && "first after loading",
].filter(Boolean).join(" · ");

const tryAgain = () => make("p", {class: "meta again"}, "try again: ", make("code", {}, data.again.failed));

function foot(image) {
  const box = make("div", {class: "foot"}, markButtons(image));
  if (!image.file) return box;
  const tick = make("input", {type: "checkbox", "aria-label": "A/B: " + called(image), onchange: () => pick(image)});
  tick.checked = picked.includes(image);
  tick.dataset.id = image.id;
  box.append(make("label", {}, tick, "A/B"));
  return box;
}

/** The picture, small, as a link to it; or why there is none. */
export function picture(image) {
  if (failed(image)) return reason(image, make("b", {}, image.status + (image.stage ? " in " + image.stage : "") + ": "), image.error || "");
  if (!image.file) return reason(image, image.status === "skipped" ? "skipped: " + image.error : image.lost ? `${image.lost}. ${renewal(image)}` : "not rendered yet");
  const thumb = make("img", {src: path("thumbs/" + image.id + ".webp"), alt: called(image), loading: "lazy", decoding: "async", width: image.width, height: image.height});
  thumb.addEventListener("error", () => thumb.replaceWith("no thumbnail: open it"));
  return make("a", {class: "picture", href: path(image.file), "data-id": image.id, onclick: event => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    look([image]);
  }}, thumb);
}
function reason(image, ...parts) {
  const words = make("span", {dir: "auto"}, ...parts);
  // Its name begins with what tells it from the others, and goes on with why there is no picture.
  if (!failed(image)) return make("div", {class: "picture reason", "data-id": image.id}, words);
  return make("button", {type: "button", class: "picture reason", "data-id": image.id, "aria-label": called(image) + ": " + words.textContent, onclick: () => look([image])}, words);
}
