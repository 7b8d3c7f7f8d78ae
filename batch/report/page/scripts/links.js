/* From what is said of an image to the image. */

import { make } from "./dom.js";
import { SHOWN } from "./data.js";
import { look } from "./looking.js";
import { named, short } from "./words.js";

/** Opens the picture, or why there is none; in a tab of its own the gallery with its card alone. */
export function imageLink(image, text = image.name) {
  const href = "#" + new URLSearchParams({part: "pictures", find: image.id});
  return make("a", {href, "data-id": image.id, onclick: event => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    look([image]);
  }}, make("bdi", {}, text));
}

/** What tells an image from the others of its run. */
export const imageWords = image => [short(image.prompt, 160), "seed " + image.seed, image.pixels, ...SHOWN.map(key => named(key, image[key]))].join(" · ");

/** What was said of an image, with its name leading to it; where it is not named, the link comes behind. */
export function withLink(text, image) {
  const [before, ...rest] = text.split(image.name), behind = rest.join(image.name);
  return rest.length ? [before, imageLink(image), behind] : [text + " ", imageLink(image)];
}
