/* Which images are shown, in what order, and who lays them out. */

import { data, asInManifest } from "./data.js";
import { understood } from "./query.js";
import { define, get } from "./state.js";
import { known } from "./words.js";
export let visible = [];
export let problems = [];  // what the filter's text asks for and nobody knows

define("find");
define("sort");
define("down");

/** Read the choice anew: afterwards `visible` holds the images in the order chosen. */
export function choose() {
  const asked = understood(get("find"));
  problems = asked.problems;
  order = sorted(asInManifest());
  visible = order.filter(asked.test);
}
let order = [];  // of all images

/** By a figure or a text of theirs, and then as the manifest has them; images without it come last. */
function sorted(images) {
  const turn = get("down") ? -1 : 1, by = SORTS.get(get("sort"));
  if (!by) return turn < 0 ? images.reverse() : images;
  const values = new Map(images.map(image => [image, by.of(image)]));
  return images.sort((a, b) => {
    const first = values.get(a), second = values.get(b);
    if (!known(first) || !known(second)) return known(second) - known(first) || a.place - b.place;
    return turn * compared(first, second) || a.place - b.place;
  });
}
function compared(first, second) {
  if (typeof first === "string") return COLLATOR.compare(first, second);
  return first < second ? -1 : first > second ? 1 : 0;
}
const COLLATOR = new Intl.Collator(undefined, {numeric: true});

const figure = key => image => typeof image[key] === "string" ? Number.parseFloat(image[key]) : image[key];

/** What images are sorted by, as the address has it: a title, and the value of an image. */
export const SORTS = new Map(Object.entries({
  at: {title: "rendered first", of: figure("at")},
  total_s: {title: "time", of: figure("total_s")},
  load_s: {title: "time to load", of: figure("load_s")},
  encode_s: {title: "time to encode", of: figure("encode_s")},
  denoise_s: {title: "time to denoise", of: figure("denoise_s")},
  decode_s: {title: "time to decode", of: figure("decode_s")},
  save_s: {title: "time to save", of: figure("save_s")},
  memory_mib: {title: "peak memory", of: figure("memory_mib")},
  peak_allocated_mib: {title: "peak allocated", of: figure("peak_allocated_mib")},
  peak_reserved_mib: {title: "peak reserved", of: figure("peak_reserved_mib")},
  peak_rss_mib: {title: "peak of host memory", of: figure("peak_rss_mib")},
  pixels: {title: "size in pixels", of: image => image.width * image.height},
  steps: {title: "steps", of: figure("steps")},
  guidance: {title: "guidance", of: figure("guidance")},
  attempts: {title: "attempts", of: figure("attempts")},
  file_bytes: {title: "file size", of: figure("file_bytes")},
  seed: {title: "seed", of: image => BigInt(image.seed)},
  prompt: {title: "prompt", of: image => image.prompt},
  name: {title: "name", of: image => image.name},
}));

/** The image that has the focus, itself or one of its buttons. */
export function focusedImage() {
  const element = document.activeElement.closest("[data-id], .card");
  const id = element && (element.dataset.id || element.querySelector("[data-id]").dataset.id);
  return data.images.find(image => image.id === id);
}

const listeners = [];
/** Call `work` when other images are chosen, or come in another order. */
export function onChange(work) {
  listeners.push(work);
}
/** Something that decides which images are shown is not as it was: a mark that the filter asks for, say. */
export function changed() {
  for (const work of listeners) work();
}

let layout = null;
/** Who lays the pictures out now: it has `neighbour(image, dx, dy)` and `reveal(image)`. */
export function laidOutBy(other) {
  layout = other;
}
/** The image beside another as they are laid out, one to the left is (-1, 0); undefined at the edge. */
export const neighbour = (image, dx, dy) => visible.includes(image) ? layout?.neighbour(image, dx, dy) : nextShown(image, dx || dy);
/** Bring an image into view and give it the focus; of one that is not shown any more, that which has its place. */
export function reveal(image) {
  const there = visible.includes(image) ? image : nextShown(image, 1) || nextShown(image, -1);
  if (there) layout?.reveal(there);
}
// An image may leave what is shown while one looks at it: a mark that the filter asks for is set.
function nextShown(image, step) {
  const shown = new Set(visible);
  let at = order.indexOf(image) + step;
  while (order[at] && !(shown.has(order[at]) && standsThere(order[at]))) at += step;
  return order[at];
}
/** Whether there is something to look at: a picture, or why there is none. */
export const standsThere = image => Boolean(image.file || image.error);
