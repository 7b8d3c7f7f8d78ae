/* What each setting took of memory, against what the card has. */

import { $, make, renew, shape } from "./dom.js";
import { asTable, drawing, legend } from "./charts.js";
import { data, failed } from "./data.js";
import { folding, tableOf } from "./folding.js";
import { known, mib, named } from "./words.js";

const PEAK_WORDS = {
  peak_device_mib: ["Peak memory on the card", "What the process takes of the card, CUDA itself included: what decides whether it fits."],
  peak_reserved_mib: ["Peak memory reserved by torch", "What torch's allocator held of the card. CUDA itself takes some hundred MiB more."],
  peak_rss_mib: ["Peak host memory", "Memory of the process in the machine: no memory of a card was measured."],
};
const ALIKE = 0.99;
const SETTINGS = ["model", "size", "memory", "dtype", "vae", "lora", "guidance", "batch"];  // what memory depends on

export function drawPeaks() {
  const kind = data.summary.peak_kind;
  $("peaks").hidden = !kind;
  if (!kind) return;
  const rows = peakRows(kind), [title, meaning] = PEAK_WORDS[kind], lines = kind === "peak_rss_mib" ? [] : cardLimits();
  const most = Math.max(...rows.map(row => row.largest), ...lines.map(([value]) => value));
  if (!lines.length && allAlike(rows, most)) {
    renew($("peaks"), make("h2", {"data-key": "title"}, title), make("p", {"data-key": "alike"}, alikeSaid(rows, most) + " " + meaning), asTable("peak", () => peakTable(rows)));
    return;
  }
  const list = make("ol", {class: "bars"}), more = folding(list, rows, row => peakBar(row, most, lines), "peaks", 12);
  renew($("peaks"), make("h2", {"data-key": "title"}, title), make("p", {class: "muted", "data-key": "meaning"}, meaning), list, ...more,
    legend([["peak", "largest"], ["median", "median"], ...lines.map(([value, words]) => ["limit", words + " " + mib(value)])]), asTable("peak", () => peakTable(rows)));
}

// Bars that are all as long say no more than a sentence does.
const allAlike = (rows, most) => rows.every(row => row.images && !row.unfit && row.largest >= ALIKE * most);

function alikeSaid(rows, most) {
  const least = mib(Math.min(...rows.map(row => row.largest)));
  return rows.length === 1 ? mib(most) + "." : (least === mib(most) ? least : least + " to " + mib(most)) + ", whatever the setting.";
}

/** By setting, the largest first. */
function peakRows(kind) {
  const keys = SETTINGS.filter(key => data.varying.includes(key)), tried = data.images.filter(image => image.file || failed(image));
  const groups = Map.groupBy(tried, image => keys.map(key => named(key, image[key])).join(" · ") || "all images");
  return [...groups].map(([name, images]) => peaksOf(name, images, kind)).sort((a, b) => b.largest - a.largest || b.unfit - a.unfit);
}

function peaksOf(name, images, kind) {
  const peaks = images.map(image => image[kind]).filter(known).sort((a, b) => a - b);
  return {name, images: peaks.length, largest: peaks.at(-1) || 0, median: peaks[Math.floor((peaks.length - 1) / 2)] || 0, unfit: images.filter(image => image.unfit && failed(image)).length};
}

/** What a card has, and what the process was held to. */
function cardLimits() {
  const found = new Map();
  for (const card of data.cards) {
    found.set(card.memory_mib, card.device + " has");
    if (known(card.limit_mib)) found.set(card.limit_mib, "held to");
  }
  return [...found].sort(([a], [b]) => a - b);
}

function peakBar(row, most, lines) {
  const of = value => 100 * value / most + "%", unfit = row.unfit ? row.unfit + (row.unfit === 1 ? " image" : " images") + " out of memory" : "";
  const said = row.images ? mib(row.largest) : "no image";
  const svg = drawing(row.name + ": " + [said, unfit].filter(Boolean).join(", "), "100%", 18,
    shape("rect", {class: "c-peak", width: of(row.largest), height: 12, y: 3, rx: 2}),
    shape("rect", {class: "c-median", x: of(row.median), width: 3, height: 16, y: 1}),
    ...lines.map(([value]) => shape("rect", {class: "c-limit", x: of(value), width: 2, height: 18, transform: "translate(-2 0)"})));
  return make("li", {"data-key": row.name}, make("div", {}, make("span", {dir: "auto"}, row.name), make("b", {}, said), ...(unfit ? [make("span", {class: "bad"}, unfit)] : [])), svg);
}

function peakTable(rows) {
  const columns = [{title: "setting", text: true}, ...["images", "median MiB", "largest MiB", "out of memory"].map(title => ({title, number: true}))];
  return tableOf("Peak memory by setting", columns, rows.map(row => [row.name, String(row.images), String(Math.round(row.median)), String(Math.round(row.largest)), String(row.unfit)]), "peak-table");
}
