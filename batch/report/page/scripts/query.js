/* The language of the filter: terms that all must hold, such as `fox -night seed:1..4 steps>20 is:picked`. */

import { data } from "./data.js";
import { extraNames, extrasOf } from "./extras.js";
import { bytesIn, rangeOf, secondsIn, wholeOrNot } from "./quantities.js";
import { folded } from "./texts.js";
import { known } from "./words.js";

const TERM = /\s*(-?)(?:([\p{L}_][\p{L}\p{N}_.]*)(?:(:|!=|=)|\s*(>=|<=|>|<))\s*)?("(?:[^"\\]|\\[^])*"?|\S*)/uy;

const TEXTS = ["prompt", "negative_prompt", "name", "id", "status", "stage", "error", "repaired", "cut", "touched", "allowed", "degraded_from"];
const NUMBERS = ["seed", "width", "height", "steps", "guidance", "batch", "repeat", "attempts"];
// Maps: of an object one could ask for `constructor`, too.
const SECONDS = new Map(Object.entries({time: "total_s", load: "load_s", encode: "encode_s", denoise: "denoise_s", decode: "decode_s", save: "save_s", between: "between_s"}));
const GIB = new Map(Object.entries({peak: "memory_mib", allocated: "peak_allocated_mib", reserved: "peak_reserved_mib", device_peak: "peak_device_mib", host: "peak_rss_mib"}));
const ALIASES = new Map(Object.entries({negative: "negative_prompt", vram: "peak", seconds: "time", filesize: "file_bytes", loras: "lora", degraded: "degraded_from"}));

const WORDS = new Map();  // by what one writes: is:failed

/** A term that needs no value: `is:picked`, say. */
export function addWord(name, test) {
  WORDS.set(name, test);
}
for (const status of ["done", "missing", "skipped"]) addWord("is:" + status, image => image.status === status);
addWord("is:failed", image => image.status === "failed" || image.status === "invalid");
addWord("is:degraded", image => Boolean(image.degraded_from));
for (const key of ["repaired", "cut", "touched", "allowed", "warmup"]) addWord("is:" + key, image => Boolean(image[key]));
addWord("has:error", image => Boolean(image.error));
addWord("has:picture", image => Boolean(image.file));
addWord("has:negative", image => Boolean(image.negative_prompt));

/** Whether an image has what the text asks for. */
export const matches = text => understood(text).test;

/** What a text asks for: `test` of an image, and `problems`, sentences about terms that are left out of it. */
export function understood(text) {
  const tests = [], problems = [];
  for (const term of terms(text)) {
    try {
      const test = testOf(term);
      tests.push(term.not ? image => !test(image) : test);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      problems.push(problem.message);
    }
  }
  return {test: image => tests.every(test => test(image)), problems};
}

/** The terms of a text: where each lies in it, and its parts. */
export const terms = text => [...termsIn(text)];
function* termsIn(text) {
  TERM.lastIndex = 0;
  for (let at = 0; at < text.length; at = TERM.lastIndex) {
    const [whole, not, key, plain, order, value] = TERM.exec(text);
    if (!whole) return;
    const start = at + whole.length - whole.trimStart().length;
    const term = {start, end: TERM.lastIndex, not: Boolean(not), key, sign: plain || order, quoted: value.startsWith('"'), value: unquoted(value)};
    if (key || term.value) yield term;
  }
}
function unquoted(value) {
  if (!value.startsWith('"')) return value;
  return value.slice(1, value.length > 1 && value.endsWith('"') ? -1 : undefined).replace(/\\([^])/g, "$1");
}

/** A term that finds images with just this value of a setting. */
export const termFor = (key, value) => key + "=" + (/^[^\s"|\\]+$/.test(value) ? value : '"' + value.replace(/["\\]/g, "\\$&") + '"');

class Problem extends Error {}

function testOf(term) {
  if (!term.key) {
    const words = folded(term.value);
    return image => image.words.includes(words);
  }
  const written = term.key.toLowerCase(), key = ALIASES.get(written) || settings().find(name => name.toLowerCase() === written) || written;
  if (key === "is" || key === "has") return wordOf(key, term);
  if (!term.value) throw new Problem(`${written}${term.sign} lacks a value.`);
  const alternatives = term.quoted || !":=!=".includes(term.sign) ? [term.value] : term.value.split("|").filter(Boolean);
  const tests = alternatives.map(value => oneOf(key, term.sign, value, written));
  return term.sign === "!=" ? image => tests.every(test => test(image)) : image => tests.some(test => test(image));
}

function wordOf(key, {value}) {
  const test = WORDS.get(key + ":" + value.toLowerCase());
  if (test) return test;
  throw new Problem(`${value ? `There is no ${key}:${value}.` : `${key}: lacks a value.`} Known are ${[...WORDS.keys()].filter(word => word.startsWith(key + ":")).sort().join(", ")}.`);
}

// `written` is what stands before the sign: what is said of a term names it as it is written.
function oneOf(key, sign, value, written) {
  const figures = (of, read, what) => measured(of, sign, value, read, what, written);
  if (SECONDS.has(key)) return figures(SECONDS.get(key), secondsIn, "number of seconds, such as 30, 1.5 or 1m30s");
  if ([...SECONDS.values()].includes(key)) return figures(key, secondsIn, "number of seconds");
  if (GIB.has(key)) return figures(GIB.get(key), text => bytesIn(text, "gib") / 2 ** 20, "number of GiB, such as 7, 7.5GiB or 900MiB");
  if (key.endsWith("_mib")) return figures(key, Number, "number of MiB");
  if (key === "file_bytes") return figures(key, text => bytesIn(text, "mib"), "number of MiB, such as 20 or 1.5GiB");
  if (NUMBERS.includes(key)) return figures(key, wholeOrNot, "number, such as 3 or 1..4");
  if (key === "size") return sized(sign, value);
  if (TEXTS.includes(key)) return text(key, sign, value);
  if (settings().includes(key)) return setting(key, sign, value);
  throw new Problem(`There is no "${key}" to ask for. Known are ${mainKeys().join(", ")} and others, see Terms. To look for the words, write "${key}${sign}${value}" in quotes.`);
}

const settings = () => [...data.varying, ...Object.keys(data.common), ...extraNames().map(name => "extra." + name)];
const mainKeys = () => [...new Set(["prompt", "seed", "size", ...data.varying.filter(key => key !== "device"), "time", "peak", "status", "is"])];
/** All that may stand before a colon. */
export const keys = () => [...new Set([...TEXTS, ...NUMBERS, "size", ...SECONDS.keys(), ...GIB.keys(), "file_bytes", ...settings(), "is", "has"])].sort();

const askedOf = (image, key) => key.startsWith("extra.") ? extrasOf(image).get(key.slice(6)) : image[key] ?? data.common[key];

// A figure that was measured is never just 4: it is what rounds to it.
function measured(key, sign, value, read, what, written = key) {
  const range = rangeOf(value, sign === ":" || sign === "=" || sign === "!=", read);
  if (!range) throw new Problem(`${written}${sign}${value}: "${value}" is no ${what}.`);
  if (range.from > range.to) throw new Problem(`${written}${sign}${value} holds nothing: write the smaller one first.`);
  const figure = image => {
    const found = askedOf(image, key);
    return typeof found === "string" ? wholeOrNot(found.replace(/ .*/, "")) : found;
  };
  const orders = {">": found => found > range.low, ">=": found => found >= range.low, "<": found => found < range.low, "<=": found => found <= range.low,
    "!=": found => !(found >= range.from && found <= range.to)};
  const test = orders[sign] || (found => found >= range.from && found <= range.to);
  return image => {
    const found = figure(image);
    return known(found) && test(found);
  };
}

function text(key, sign, value) {
  const wanted = folded(value);
  if (sign === ":") return image => folded(String(askedOf(image, key) ?? "")).includes(wanted);
  if (sign === "=") return image => folded(String(askedOf(image, key) ?? "")) === wanted;
  if (sign === "!=") return image => folded(String(askedOf(image, key) ?? "")) !== wanted;
  throw new Problem(`${key} is no number: ask for ${key}:${value}.`);
}

function setting(key, sign, value) {
  if (":=!=".includes(sign)) return text(key, sign, value);
  if (key === "memory") throw new Problem(`memory is a setting. For what was used ask peak${sign}${value}, in GiB.`);
  if (!key.startsWith("extra.")) throw new Problem(`${key} is no number: ask for ${key}:${value}.`);
  return measured(key, sign, value, wholeOrNot, "number");
}

function sized(sign, value) {
  if (!":=!=".includes(sign)) throw new Problem(`A size has two numbers: ask for width${sign}${value} or height${sign}${value}.`);
  const wanted = value.toLowerCase().replace(/[×*]/g, "x");
  if (!/^\d+x\d+$/.test(wanted)) throw new Problem(`size${sign}${value}: a size is written 5376x3072.`);
  return image => (image.width + "x" + image.height === wanted) === (sign !== "!=");
}
