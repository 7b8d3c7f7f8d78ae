/* Time per image over the run: what each stage took, and what came up on the way. */

import { byClock, begun, byNumber, highest } from "./bins.js";
import { $, make, renew, shape } from "./dom.js";
import { asTable, legend, BAR_STAGES, timeTicks } from "./charts.js";
import { data, failed } from "./data.js";
import { folding, tableOf } from "./folding.js";
import { kindOf, saidOf, weightOf } from "./happened.js";
import { imageLink, withLink } from "./links.js";
import { look } from "./looking.js";
import { define, get, set, watch } from "./state.js";
import { clock, duration, known, mib } from "./words.js";
const HEIGHT = 200, TOP = 18, BOTTOM = 34, LEFT = 46, LEAST = 3;  // pixels
const MARKED = new Set(["worker-died", "stalled", "load-failed", "recycled", "out-of-memory", "slower", "memory-growth", "foreign-process", "paused", "resumed", "not-compiled", "batch-failed"]);
const MOST_FLAGS = 30;  // of more, those that a smaller setting followed have no line: the row below the bars shows them
let bars = [], cursorAt = -1, axisTop = 1;

export function startTimeline() {
  define("by", "number");
  watch(["by"], drawTimeline);
  const plot = $("plot");
  plot.addEventListener("pointermove", event => { if (event.pointerType !== "touch") point(nearest(event)); });
  plot.addEventListener("click", event => {
    const index = nearest(event), before = cursorAt;
    point(index);
    if (event.pointerType !== "touch" || index === before) openBar();  // a finger looks first
  });
  plot.addEventListener("keydown", event => {
    const to = {ArrowLeft: cursorAt - 1, ArrowRight: cursorAt + 1, ArrowDown: cursorAt - 1, ArrowUp: cursorAt + 1, PageUp: cursorAt - 10, PageDown: cursorAt + 10, Home: 0, End: bars.length - 1}[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || (to === undefined && event.key !== "Enter")) return;
    event.preventDefault();
    event.stopPropagation();
    if (to === undefined) openBar();
    else point(Math.max(0, Math.min(bars.length - 1, to)));
  });
  plot.addEventListener("focus", () => { if (cursorAt < 0) point(0); });
  for (const way of ["number", "clock"]) $("by-" + way).addEventListener("click", () => set({by: way}));
}

export function drawTimeline() {
  const images = begun();
  $("timeline").hidden = !images.length;
  if (!images.length || !$("plot").clientWidth) return;
  const clocked = get("by") === "clock" && data.sessions.length > 0, width = $("plot").clientWidth - LEFT;
  const chart = clocked ? byClock(images, width, data.sessions, LEAST) : byNumber(images, width, Math.floor(width / LEAST));
  const chosen = bars[cursorAt]?.images[0];
  bars = chart.bars;
  axisTop = highest(bars) * 1.05 || 1;
  const marks = happenings(chart.place);
  $("plot").querySelector("svg").replaceWith(plotted(chart, marks, width, clocked));
  for (const way of ["number", "clock"]) $("by-" + way).setAttribute("aria-pressed", String((way === "clock") === clocked));
  const used = BAR_STAGES.filter(([stage]) => images.some(image => image[stage] > 0));
  renew($("stages"), legend(used.map(([, words, kind]) => [kind, words])));
  $("binned").textContent = binned(chart.each, images.length, clocked);
  renew($("chart-marks"), ...marked(marks));
  renew($("times"), asTable("times", () => timesTable(images)));
  cursorAt = chosen ? bars.findIndex(bar => bar.images.includes(chosen)) : -1;
  point(cursorAt);
}

function binned(each, count, clocked) {
  const over = bars.filter(bar => bar.height > axisTop).length;
  return (each > 1 ? "A bar is the mean of " + (clocked ? "the images begun within its width, up to " : "") + each + " images. " : "A bar is an image. ")
    + (over ? (over === 1 ? "One bar is" : over + " bars are") + " higher than the axis and cut off, with a mark: the first after a load, or many times as long as the others. " : "")
    + "Saving goes on beside the next image. " + count + " images in the order in which they were begun" + (clocked && data.sessions.length > 1 ? "; the time between runs is left out." : ".");
}

// Drawing

const level = seconds => TOP + HEIGHT * (1 - Math.min(1, seconds / axisTop));

function plotted(chart, marks, width, clocked) {
  const lines = timeTicks(axisTop).flatMap(value => [
    shape("line", {class: "rule", x1: LEFT, x2: LEFT + width, y1: level(value), y2: level(value)}),
    shape("text", {class: "axis", x: LEFT - 6, y: level(value) + 4, "text-anchor": "end"}, duration(value).replace(/\.0+s$/, "s").replace(/ 00[sm]$/, ""))]);
  const below = chart.axis.map(([x, value]) => [x, clocked ? clock(value).slice(-5) : value]).map(([x, words]) => shape("text", {class: "axis", x: LEFT + x, y: TOP + HEIGHT + 28,
    "text-anchor": x > width - 4 * words.length ? "end" : clocked && x < 4 * words.length ? "start" : "middle"}, words));
  return shape("svg", {class: "chart", "aria-hidden": "true", width: LEFT + width, height: TOP + HEIGHT + BOTTOM},
    ...lines, ...bars.flatMap(stacked), shape("line", {class: "base", x1: LEFT, x2: LEFT + width, y1: TOP + HEIGHT, y2: TOP + HEIGHT}),
    ...below, ...markFlags(marks), shape("rect", {class: "cursor", y: TOP, height: HEIGHT + 8, width: 0}));
}

function stacked(bar) {
  let sum = 0;
  const x = LEFT + bar.x, wide = Math.max(1, bar.width - (bar.width > 4 ? 1 : 0));
  const parts = bar.parts.filter(([, value]) => value > 0 && sum < axisTop).map(([kind, value]) => {
    const from = level(sum), to = level(sum += value);
    return shape("rect", {class: "c-" + kind, x, y: to, width: wide, height: Math.max(0, from - to)});
  }).filter(part => Number(part.getAttribute("height")) > 0);
  if (bar.height > axisTop) parts.push(shape("path", {class: "cut-off", d: `M${x + wide / 2 - 4},${TOP - 1}h8l-4,-6z`}));
  if (bar.bad || bar.degraded) parts.push(shape("rect", {class: bar.bad ? "c-bad" : "c-degraded", x, y: TOP + HEIGHT + 3, width: Math.max(2, wide), height: 5}));
  return parts;
}

function markFlags(marks) {
  let last = -Infinity;
  const shown = [...marks.entries()].filter(([, mark]) => marks.length <= MOST_FLAGS || !mark.usual);
  return shown.flatMap(([index, {x, weight}]) => {
    const line = shape("line", {class: "mark " + weight, x1: LEFT + x, x2: LEFT + x, y1: TOP - 4, y2: TOP + HEIGHT});
    if (x - last < 26) return [line];
    last = x;
    return [line, shape("text", {class: "mark " + weight, x: LEFT + x, y: 10, "text-anchor": "middle"}, String(index + 1))];
  });
}

// What came up on the way

function happenings(place) {
  const starts = data.sessions.slice(1).map(one => ({at: one.began, weight: "quiet", kind: "run began again", said: ""}));
  const events = data.happened.filter(event => MARKED.has(event.kind)).map(event => ({at: Date.parse(event.time) / 1000, weight: weightOf(event), kind: kindOf(event), said: saidOf(event), image: event.image, usual: event.kind === "out-of-memory"}));
  return [...starts, ...events].sort((a, b) => a.at - b.at).map(mark => ({...mark, x: place(mark.at)}));
}

function marked(marks) {
  const images = new Map(data.images.map(image => [image.id, image])), list = make("ol", {class: "chart-marks"});
  const item = mark => make("li", {class: mark.weight}, make("b", {}, clock(mark.at) + " " + mark.kind), " ", make("span", {dir: "auto"}, ...(images.has(mark.image) ? withLink(mark.said, images.get(mark.image)) : [mark.said])));
  const more = folding(list, marks, item, "marks", 6), signs = [];
  if (data.images.some(failed)) signs.push(["bad", "failed"]);
  if (data.summary.degraded) signs.push(["degraded", "rendered with a smaller memory setting than asked for"]);
  return [...(signs.length ? [legend(signs)] : []), ...(marks.length ? [list] : []), ...more];
}

// The bar that one points at

function nearest(event) {
  const x = event.clientX - $("plot").getBoundingClientRect().left - LEFT;
  const after = bars.findIndex(bar => bar.x + bar.width > x), index = after < 0 ? bars.length - 1 : after;
  return index > 0 && x < bars[index].x && x - bars[index - 1].x - bars[index - 1].width < bars[index].x - x ? index - 1 : index;
}

function point(index) {
  cursorAt = index;
  const bar = bars[index], mark = $("plot").querySelector(".cursor");
  mark.setAttribute("x", bar ? LEFT + bar.x - 1 : 0);
  mark.setAttribute("width", bar ? bar.width + 2 : 0);
  const plot = $("plot");
  for (const [name, value] of [["min", 1], ["max", bars.length], ["now", Math.max(0, index) + 1], ["text", bar ? toldOf(bar) : "none chosen"]]) plot.setAttribute("aria-value" + name, value);
  renew($("readout"), ...(bar ? readOut(bar) : [make("span", {class: "muted"}, "Point at a bar, or go from bar to bar with the arrow keys, for its figures; a click or Enter opens its picture.")]));
}

const slowest = bar => bar.images.reduce((slow, image) => lasted(image) > lasted(slow) ? image : slow);
const lasted = image => BAR_STAGES.reduce((sum, [stage]) => sum + (image[stage] || 0), 0);

function openBar() {
  const image = bars[cursorAt] && slowest(bars[cursorAt]);
  if (image?.file) look([image]);
}

function figures(bar) {
  const parts = BAR_STAGES.map(([, words, kind], index) => [words, bar.parts[index][1], kind]).filter(([, value]) => value >= 0.005);
  const memory = Math.max(...bar.images.map(image => image.memory_mib || 0));
  return [...parts.map(([words, value]) => words + " " + duration(value)), "together " + duration(bar.height), memory ? mib(memory) : ""].filter(Boolean).join(" · ");
}

const toldOf = bar => (bar.images.length > 1 ? bar.images.length + " images from " + clock(bar.images[0].at) + ", means: " : bar.images[0].name + ", " + clock(bar.images[0].at) + ": ") + figures(bar);

function readOut(bar) {
  const image = slowest(bar), one = bar.images.length === 1;
  const notes = [image.error && "failed: " + image.error, image.degraded_from && "degraded from " + image.degraded_from, image.warmup && "first after loading"].filter(Boolean);
  return [make("div", {"data-key": "image"}, make("b", {}, one ? clock(image.at) + " " : bar.images.length + " images from " + clock(bar.images[0].at) + ", slowest "), imageLink(image)),
    make("div", {"data-key": "figures"}, (one ? "" : "means: ") + figures(bar)), ...(notes.length ? [make("div", {"data-key": "notes", class: "muted", dir: "auto"}, notes.join(" · "))] : [])];
}

function timesTable(images) {
  const used = BAR_STAGES.filter(([stage]) => images.some(image => known(image[stage])));
  const columns = [{title: "image", text: true}, {title: "begun"}, ...used.map(([, words]) => ({title: words + " s", number: true})), {title: "MiB", number: true}];
  return tableOf("Time of each image", columns, images.map(image => [imageLink(image), clock(image.at), ...used.map(([stage]) => known(image[stage]) ? image[stage].toFixed(2) : "–"), known(image.memory_mib) ? String(Math.round(image.memory_mib)) : "–"]), "times-table", 25);
}
