/* An image as a card: its picture, or why there is none, and what it was made with. */

import { make } from "./dom.js";
import { failed, FRAME, SHOWN } from "./data.js";
import { look, pick, picked } from "./looking.js";
import { markButtons } from "./picks.js";
import { duration, known, mib, named, path, short } from "./words.js";
export function card(image) {
  const parts = ["seed " + image.seed, image.pixels];
  if (known(image.total_s)) parts.push(duration(image.total_s));
  if (known(image.memory_mib)) parts.push(mib(image.memory_mib));
  const settings = SHOWN.map(key => named(key, image[key])).join(" · ");
  const words = make("div", {class: "words"}, make("p", {class: "prompt", title: image.prompt}, image.prompt), make("p", {class: "meta"}, parts.join(" · ")));
  if (settings) words.append(make("p", {class: "meta"}, settings));
  if (image.negative_prompt) words.append(make("p", {class: "meta", title: image.negative_prompt}, "not: " + short(image.negative_prompt, 80)));
  const box = make("article", {class: "card " + image.status}, picture(image), words);
  if (!image.file) words.append(make("div", {class: "foot"}, make("span"), markButtons(image)));
  if (image.file) {
    const tick = make("input", {type: "checkbox", onchange: () => pick(image)});
    tick.checked = picked.includes(image);
    tick.dataset.id = image.id;
    const tags = [image.degraded_from && "degraded from " + image.degraded_from, image.repaired && "repaired: " + image.repaired.split(": ")[0], image.cut && "prompt cut", image.touched, image.allowed && "allowed: " + image.allowed, image.warmup && "first after loading"].filter(Boolean).join(" · ");
    words.append(make("div", {class: "foot"}, make("span", {class: "tag", title: image.cut || image.repaired || ""}, tags), markButtons(image), make("label", {title: "Choose two to lay one over the other"}, tick, "A/B")));
  }
  return box;
}

export function picture(image) {
  const style = "aspect-ratio: " + FRAME;
  if (failed(image)) return make("div", {class: "picture", style}, make("div", {class: "reason"}, make("b", {}, image.status + ": " + (image.stage || "")), make("br"), image.error));
  if (!image.file) return make("div", {class: "picture", style}, image.status === "skipped" ? make("div", {class: "reason muted"}, "skipped: " + image.error) : "not rendered yet");
  const thumb = make("img", {src: path("thumbs/" + image.id + ".webp"), alt: image.prompt, loading: "lazy", decoding: "async"});
  thumb.addEventListener("error", () => thumb.replaceWith("no thumbnail"));
  return make("a", {class: "picture", style, href: path(image.file), "data-id": image.id, onclick: event => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    look([image]);
  }}, thumb);
}
