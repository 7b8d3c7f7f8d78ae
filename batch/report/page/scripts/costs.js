/* Time and memory: charts and tables, drawn when one looks at them. */

import { $, renew } from "./dom.js";
import { data } from "./data.js";
import { tableOf } from "./folding.js";
import { drawPeaks } from "./peaks.js";
import { drawSessions } from "./sessions.js";
import { watch } from "./state.js";
import { drawTimeline, startTimeline } from "./timeline.js";
import { known } from "./words.js";
let width = 0;  // of what the bars were drawn into

export function startCosts() {
  startTimeline();
  watch(["part"], costs);
  new ResizeObserver(() => { if ($("plot").clientWidth !== width) costs(); }).observe($("costs"));
}

/** Draw what is in view anew; the rest is drawn when it is looked at. */
export function costs() {
  if ($("costs").hidden) return;
  drawSessions();
  drawTimeline();
  width = $("plot").clientWidth;
  drawPeaks();
  timing();
  schedulers();
}

const COLUMN_TITLES = {total_s: "total s", denoise_s: "denoise s", decode_s: "decode s", save_s: "save s", peak_allocated_mib: "allocated MiB",
  peak_reserved_mib: "reserved MiB", peak_device_mib: "card MiB", peak_rss_mib: "host MiB"};

function timing() {
  const {columns, rows} = data.timing, shared = name => ["model", "size", "memory"].includes(name) && name in data.common;
  const shown = (name, value) => !known(value) ? "–" : name.endsWith("_s") ? value.toFixed(2) : name.endsWith("_mib") ? Math.round(value) : value;
  const number = (name, index) => name.endsWith("_s") || typeof rows.find(row => known(row[index]))?.[index] === "number";
  const kept = columns.map((name, index) => ({name, index})).filter(({name}) => !shared(name));  // the head says what all share
  const titled = kept.map(({name, index}) => ({title: COLUMN_TITLES[name] || name, number: number(name, index), text: ["lora", "extra", "memory"].includes(name)}));
  putTable("timing", "Time and memory by setting", titled, rows.map(row => kept.map(({name, index}) => String(shown(name, row[index])))));
}

function schedulers() {
  $("schedulers").hidden = !data.schedulers.length;
  const names = ["model", "scheduler", "class", "settings", "images"];
  const columns = names.map(title => ({title, number: title === "images", text: title === "settings"}));
  putTable("schedulers", "Schedulers and their settings", columns, data.schedulers.map(row => names.map(name => row[name])));
}

function putTable(id, label, columns, rows) {
  const fresh = tableOf(label, columns, rows, id);
  fresh.dataset.key = id;
  const boxes = $(id).querySelectorAll(":scope > div, :scope > details > div");
  renew(boxes[boxes.length - 1], fresh);
}
