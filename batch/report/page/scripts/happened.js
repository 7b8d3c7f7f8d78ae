/* What came up on the way, the last first. */

import { $, make, renew } from "./dom.js";
import { data } from "./data.js";
import { folding } from "./folding.js";
import { withLink } from "./links.js";
import { after, day, hour } from "./words.js";

const KIND_WORDS = {"seat-left": "device lost", "seat-joined": "device joined", started: "run began", end: "run ended", stopped: "run stopped", "no-embeds": "text not encoded", lora: "LoRA", "vram-limit": "memory limit",
  invalid: "bad picture", recycled: "worker renewed", "left-over": "worker left over", "foreign-process": "other program", slower: "slower", "memory-growth": "memory grows"};
const BAD = new Set(["failed", "worker-died", "stalled", "load-failed", "not-written", "seat-left"]);
const QUIET = new Set(["started", "end", "stopping", "paused", "resumed", "recycled", "devices"]);

/** What an event is called. */
export const kindOf = event => KIND_WORDS[event.kind] || event.kind.replaceAll("-", " ");
/** How much it matters. */
export const weightOf = event => BAD.has(event.kind) ? "bad" : QUIET.has(event.kind) ? "quiet" : "warn";
export const saidOf = event => after(event.kind.replaceAll("-", " "), after(event.kind, event.text));

export function happened() {
  const images = new Map(data.images.map(image => [image.id, image])), days = data.happened.map(event => day(event.time));
  const events = data.happened.map((event, index) => ({...event, index, begins: days[index] !== days[index + 1] ? days[index] : ""})).reverse();
  renew($("older"), ...folding($("events"), events, event => eventLine(event, images), "happened"));
}

function eventLine(event, images) {
  const image = images.get(event.image);
  return make("li", {"data-key": event.index + event.time}, ...(event.begins ? [make("h3", {}, event.begins)] : []),
    make("div", {class: "event " + weightOf(event)},
      make("time", {datetime: event.time}, hour(event.time)), make("b", {}, kindOf(event)),
      make("div", {class: "text"}, make("span", {dir: "auto"}, ...(image ? withLink(saidOf(event), image) : [saidOf(event)])),
        ...(event.log ? [make("details", {}, make("summary", {class: "muted"}, "the end of its log"), make("pre", {tabindex: "0", role: "region", "aria-label": "The end of the log"}, event.log))] : []))));
}
