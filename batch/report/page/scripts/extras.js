/* Extra arguments of the pipeline, one by one: they come as one text, `eta=0.5, sigmas=(1.0, 0.5)`. */

import { data } from "./data.js";

const apart = new Map();  // by text

/** The arguments of an image: a Map of texts by name. */
export function extrasOf(image) {
  const text = image.extra ?? data.common.extra ?? "none";
  if (!apart.has(text)) apart.set(text, new Map(text === "none" ? [] : text.split(/, (?=[A-Za-z_]\w*=)/).map(part => [part.slice(0, part.indexOf("=")), part.slice(part.indexOf("=") + 1)])));
  return apart.get(text);
}

/** The names of all arguments that some image has. */
export function extraNames() {
  const texts = new Map(data.images.map(image => [image.extra, image]));
  return [...new Set([...texts.values()].flatMap(image => [...extrasOf(image).keys()]))];
}
