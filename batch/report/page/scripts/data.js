/* The run, as its report knows it. */

import { $ } from "./dom.js";
import { folded } from "./texts.js";
import { named } from "./words.js";
export const data = JSON.parse(document.getElementById("data").textContent);

/** What lies in the folder of each image (receipt or failure), by id: read when first asked for, since it is long. */
export function record(image) {
  records ??= {...JSON.parse($("records").textContent), ...newer};
  return records[image.id];
}
let records = null;
const newer = {};  // of a run that goes on: what came since the page was opened
export function learnRecords(some) {
  Object.assign(newer, some);
  if (records) Object.assign(records, some);
}

/** Whether more is to come; a page learns the end of its run in `live.js`. */
export const goesOn = () => Boolean(data.live) && !data.over;

/** The images in the manifest's order; `data.images` are in the order of the plan, which renders them so. */
export const asInManifest = () => data.order.map(index => data.images[index]);

export const failed = image => image.status === "failed" || image.status === "invalid";

/** Settings in which images differ, as a card says them. */
export let SHOWN = [];

export function describe() {
  SHOWN = data.varying.filter(key => key !== "size" && key !== "device");
  data.images.forEach(wording);
  asInManifest().forEach((image, place) => { image.place = place; });
}
function wording(image, index) {
  image.index = index;
  image.pixels = image.width + "×" + image.height;
  image.words = folded([image.prompt, image.negative_prompt, image.name, image.id, image.status, image.stage, image.error,
    "seed " + image.seed, image.pixels, image.width + "x" + image.height, ...SHOWN.map(key => named(key, image[key])),
    image.degraded_from ? "degraded" : "", image.repaired ? "repaired" : "", image.cut ? "prompt cut" : "", image.touched || "", image.lost || "", image.allowed || ""].join("\n"));
}
