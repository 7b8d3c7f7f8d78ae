/* What the images differ in: axes with their values, and which of them go down and across. */

import { data, asInManifest } from "./data.js";
import { extraNames, extrasOf } from "./extras.js";
import { styledPrompts } from "./prompts.js";
import { wholeOrNot } from "./quantities.js";
import { known } from "./words.js";

const ORDER = ["model", "prompt", "negative_prompt", "style", "seed", "size", "steps", "guidance", "scheduler", "memory", "dtype", "vae", "lora", "format", "repeat"];
const OUTCOMES = ["batch", "compiled", "device"];  // what came of an image, and was not asked for
const BARE = ["model", "prompt", "size", "format"];  // their values say what they are of

/** Seeds by their number within the prompt, where prompts have seeds of their own. */
const OWN = "nth";

const EXTRA = "extra.";
const ASKED = {
  memory: image => image.degraded_from || image.memory,  // a picture has its place in spite of what memory did to it
  [OWN]: image => places.get(image),
};
let places = new Map();

let found = null;
/** The images are not what they were: look at them anew. */
export function forgetAxes() {
  found = null;
}

/** Axes with several values, in the order of the manifest's: name, title, `of(image)` a key, and `labels` by key. */
export function axes() {
  if (found) return found;
  const others = data.varying.filter(key => !ORDER.includes(key) && !OUTCOMES.includes(key) && key !== "extra");
  const names = [...ORDER, ...extraNames().map(name => EXTRA + name), ...others];
  found = names.map(axis).filter(one => one.labels.size > 1);
  numberSeeds();
  return found;
}
export const axisNamed = name => axes().find(one => one.name === name);

function axis(name) {
  const {of, label} = valuesOf(name);
  const keys = [...new Set(asInManifest().map(of))], numbers = new Map(keys.map(key => [key, wholeOrNot(key)]));
  if (![...numbers.values()].some(Number.isNaN)) keys.sort((a, b) => numbers.get(a) < numbers.get(b) ? -1 : 1);
  return {name, of, title: titleOf(name), labels: new Map(keys.map(key => [key, label(key)]))};
}
// Long texts go by their number: a key may stand in the address.
function valuesOf(name) {
  if (name === "prompt") return styledPrompts(asInManifest());
  const read = name.startsWith(EXTRA) ? image => extrasOf(image).get(name.slice(EXTRA.length)) : ASKED[name] || (image => image[name]);
  const of = image => String(read(image) ?? "");
  if (name !== "negative_prompt") return {of, label: key => key};
  const texts = [...new Set(asInManifest().map(of))], numbers = new Map(texts.map((text, number) => [text, String(number)]));
  return {of: image => numbers.get(of(image)), label: key => texts[key]};
}
const titleOf = name => name === OWN ? "number of the seed" : name.replace(/^extra\./, "").replaceAll("_", " ");

/** A value where no heading says of what it is. */
export function said({name, title, labels}, key) {
  const label = labels.get(key);
  if (name === OWN) return label + ". seed";
  return BARE.includes(name) ? label || "(empty)" : title + " " + (label || "none");
}

/** Whether some axes leave one value of another. */
export function decide(some, other) {
  const values = new Map();
  return some.length > 0 && data.images.every(image => {
    const key = keyOf(some, image), value = other.of(image);
    if (!values.has(key)) values.set(key, value);
    return values.get(key) === value;
  });
}
const keyOf = (some, image) => some.map(one => one.of(image)).join("\u0000");

// Seeds that hardly two prompts share would make a table with a picture here and there: they are counted.
function numberSeeds() {
  const prompt = axisNamed("prompt"), seed = axisNamed("seed");
  if (!prompt || !seed) return;
  const pairs = new Map(), rest = found.filter(one => one !== seed);
  for (const image of data.images) pairs.set(keyOf([prompt, seed], image), image);
  if (2 * pairs.size >= prompt.labels.size * seed.labels.size) return;
  const before = new Map();
  places = new Map(asInManifest().map(image => {
    const key = keyOf(rest, image), number = (before.get(key) || 0) + 1;
    before.set(key, number);
    return [image, number];
  }));
  found.splice(found.indexOf(seed), 0, axis(OWN));
}

/**
 * The axes chosen: rows, rows2 within them, columns, columns2 within these; null where there is none.
 *
 * Of what is not chosen the axis with the most values goes down and the one with the next most across; of two with
 * as many the first in the order above goes before. An axis whose value others decide is passed over, and prompts
 * go down where they are one of the two. The contact sheet has the same rule.
 */
export function chosenAxes(get) {
  const chosen = {rows: null, rows2: null, columns: null, columns2: null};
  for (const part of Object.keys(chosen)) {
    const one = axisNamed(get(part));
    if (one && !Object.values(chosen).includes(one)) chosen[part] = one;
  }
  const open = ["rows", "columns"].filter(part => !get(part) || (!chosen[part] && get(part) !== NONE));
  const free = open.length === 2;
  for (const part of open) chosen[part] = next(Object.values(chosen).filter(Boolean));
  if (free && chosen.columns?.name === "prompt") [chosen.rows, chosen.columns] = [chosen.columns, chosen.rows];
  if (free && !chosen.columns && chosen.rows?.labels.size <= FEW) [chosen.rows, chosen.columns] = [null, chosen.rows];
  return chosen;
}
export const NONE = "-";
const FEW = 12;  // of a single axis: so many pictures stand beside one another

function next(taken) {
  const counted = axisNamed(OWN), all = axes().filter(one => !(counted && one.name === "seed"));
  const largest = all.sort((a, b) => b.labels.size - a.labels.size);
  return largest.find(one => !taken.includes(one) && !decide(taken, one)) || null;
}

/**
 * Of what is left over, the axes that pictures of one cell differ in, each with the value chosen and those that
 * `images` have: one of these has all values chosen. `wanted` are keys by name; those named first are heeded first.
 */
export function tabsOf(chosen, wanted, images) {
  const taken = Object.values(chosen).filter(Boolean), tabs = [];
  for (const one of axes()) {
    const before = [...taken, ...tabs.map(tab => tab.axis)];
    if (!taken.includes(one) && !decide(before, one)) tabs.push({axis: one, there: new Set(images.map(one.of))});
  }
  const order = [...Object.keys(wanted), ...tabs.map(tab => tab.axis.name)];
  let left = images;
  for (const tab of [...tabs].sort((a, b) => order.indexOf(a.axis.name) - order.indexOf(b.axis.name))) {
    const keys = new Set(left.map(tab.axis.of)), asked = wanted[tab.axis.name];
    tab.key = known(asked) && keys.has(asked) ? asked : [...tab.axis.labels.keys()].find(key => keys.has(key));
    left = left.filter(image => tab.axis.of(image) === tab.key);
  }
  return tabs;
}
