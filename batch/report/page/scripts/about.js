/* What is said of an image beside its picture. */

import { make } from "./dom.js";
import { command } from "./copying.js";
import { data, failed, goesOn, SHOWN } from "./data.js";
import { duration, known, mib, named, short } from "./words.js";

const STAGE_TIMES = ["encode_s", "denoise_s", "decode_s", "save_s"];

/** What tells an image from the others of its run, to be heard. */
export const called = image => [short(image.prompt, 80) || "empty prompt", "seed " + image.seed,
  ...(data.varying.includes("size") ? [image.pixels] : []), ...SHOWN.map(key => named(key, image[key]))].join(", ");

/** Seed, size, settings that vary, seconds (`brief`: not by stage), memory: in one line. */
export function factsOf(image, brief) {
  const parts = ["seed " + image.seed, image.pixels, ...SHOWN.map(key => named(key, image[key]))];
  for (const stage of brief ? ["total_s"] : STAGE_TIMES) if (known(image[stage])) parts.push((brief ? "" : stage.slice(0, -2) + " ") + duration(image[stage]));
  if (known(image.memory_mib)) parts.push(mib(image.memory_mib));
  if (image.degraded_from) parts.push("degraded from " + image.degraded_from);
  return parts.join(" · ");
}

/** What tells an image from the others of its run. */
export const wordsOf = image => [short(image.prompt, 160), "seed " + image.seed, image.pixels, ...SHOWN.map(key => named(key, image[key]))].join(" · ");

/** In what two images differ, as the label of the first. */
export function differing(image, other) {
  const parts = image.prompt === other.prompt ? [] : [short(image.prompt, 60)];
  if (image.seed !== other.seed) parts.push("seed " + image.seed);
  if (image.pixels !== other.pixels) parts.push(image.pixels);
  for (const key of SHOWN) if (image[key] !== other[key]) parts.push(named(key, image[key]));
  return parts.join(" · ") || "the same settings";
}

/** What the last run ended by, whole; empty where it came to its end, or goes on. */
export function whyStopped() {
  const said = goesOn() ? "" : data.stopped?.said || "";
  return said.slice(0, 1).toUpperCase() + said.slice(1);
}

/** What renders an image that is missing. */
export function renewal(image) {
  if (goesOn()) return "It comes while the run goes on.";
  const first = data.stopped?.for_good ? "Once what stopped the last run is mended, the" : "The";
  return `${first} same command renders it${image.lost ? " again" : ""}.`;
}

/** Why an image has no picture, and how it gets one. */
export function lacking(image) {
  if (failed(image)) {
    return make("div", {class: "lacking bad"}, make("b", {}, `${image.status}: ${image.stage || "before the first stage"}`), make("pre", {}, image.error || ""),
      make("p", {}, data.again?.failed ? "To try it again:" : "To try it again, run the same command with --retry-failed."), data.again?.failed ? command(data.again.failed) : "");
  }
  if (image.status === "skipped") return make("div", {class: "lacking"}, make("b", {}, "skipped"), make("p", {}, image.error || ""));
  return make("div", {class: "lacking"}, make("b", {}, image.lost || "not rendered yet"), whyStopped() ? make("p", {dir: "auto"}, whyStopped()) : "",
    make("p", {}, renewal(image)), image.lost && data.again?.go_on ? command(data.again.go_on) : "");
}
