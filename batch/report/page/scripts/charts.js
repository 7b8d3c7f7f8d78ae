/* What charts are made of. Their colours stand in charts.css, by class, so that they follow the theme. */

import { make, shape } from "./dom.js";
import { lasting } from "./words.js";

/** The stages of an image from the bottom of a bar to its top: column, word, class of its colour. */
export const BAR_STAGES = [
  ["denoise_s", "denoising", "denoise"], ["whole_s", "the pipeline", "denoise"], ["decode_s", "decoding", "decode"], ["encode_s", "texts", "encode"],
  ["load_s", "loading", "load"], ["between_s", "between images", "between"], ["save_s", "saving", "save"],
];

/** Round values for an axis from 0 to `most`, about `count` of them. */
export function ticks(most, count = 4) {
  if (!(most > 0)) return [];
  const rough = most / count, ten = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(factor => factor * ten).find(step => step >= rough);
  return Array.from({length: Math.floor(most / step + 1e-9)}, (_, index) => (index + 1) * step);
}

/** The same of seconds, which are read by sixties. */
export function timeTicks(most, count = 4) {
  const steps = [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
  const step = most < 60 ? 0 : steps.find(step => step >= most / count) || 86400 * Math.ceil(most / count / 86400);
  return step ? Array.from({length: Math.floor(most / step)}, (_, index) => (index + 1) * step) : ticks(most, count);
}

/** Colours in words. Entries are `[class, words]`. */
export function legend(entries) {
  const swatch = kind => shape("svg", {width: 12, height: 12, "aria-hidden": "true"}, shape("rect", {class: "c-" + kind, width: 12, height: 12, rx: 2}));
  return make("ul", {class: "legend"}, ...entries.map(([kind, words]) => make("li", {}, swatch(kind), words)));
}

/** A drawing that is one picture to a screen reader, which reads `label` in its place; `width` in pixels, or "100%". */
export function drawing(label, width, height, ...parts) {
  return shape("svg", {class: "chart", role: "img", "aria-label": label, width, height}, ...parts);
}

export const span = (from, to) => lasting(Math.max(0, to - from));
export const percent = part => Math.round(100 * part) + "\u00a0%";

/** What a chart shows as a table, made when it is opened. */
export function asTable(key, tabled) {
  const details = make("details", {"data-key": key, class: "as-table"}, make("summary", {}, "As a table"));
  details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) details.append(tabled()); });
  return details;
}
