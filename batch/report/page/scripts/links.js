/* From what is said of an image to the image. */

import { make } from "./dom.js";
import { look } from "./looking.js";

/** Opens the picture, or why there is none; in a tab of its own the gallery with its card alone. */
export function imageLink(image, text = image.name) {
  const href = "#" + new URLSearchParams({part: "pictures", find: image.id});
  return make("a", {href, "data-id": image.id, onclick: event => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    look([image]);
  }}, make("bdi", {}, text));
}

/** What was said of an image, with its name leading to it; where it is not named, the link comes behind. */
export function withLink(text, image) {
  const [before, ...rest] = text.split(image.name), behind = rest.join(image.name);
  return rest.length ? [before, imageLink(image), behind] : [text + " ", imageLink(image)];
}
