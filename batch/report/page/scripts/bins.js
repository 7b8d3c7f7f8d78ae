/* Images of a run as bars of a chart: in the order in which they were begun, several in one bar where there are many. */

import { BAR_STAGES, ticks } from "./charts.js";
import { data, failed } from "./data.js";

/** Images that were tried, in the order of their beginning; what was begun in the same second in that of the plan. */
export const begun = () => data.images.filter(image => image.at && BAR_STAGES.some(([stage]) => image[stage] > 0)).sort((a, b) => a.at - b.at || a.index - b.index);

const GAP = 14;  // pixels between two runs that stand side by side

/** One image beside the other, whenever they were begun: at most `most` bars over `width` pixels. */
export function byNumber(images, width, most) {
  const each = Math.max(1, Math.ceil(images.length / most)), count = Math.ceil(images.length / each), step = width / count;
  const bars = Array.from({length: count}, (_, index) => bin(images.slice(index * each, (index + 1) * each), index * step, step));
  const place = at => {
    const index = images.findIndex(image => image.at >= at);
    return index < 0 ? width : Math.floor(index / each) * step;
  };
  const middle = number => (Math.floor((number - 1) / each) + 0.5) * step;
  return {bars, each, place, axis: numbers(images.length, middle).map(number => [middle(number), String(number)])};
}

const APART = 44;  // pixels from one number to the next

/** Numbers that stand below bars: the first, the last, and round ones between, where there is room. */
function numbers(last, middle) {
  const most = Math.max(1, (middle(last) - middle(1)) / APART), found = [1];
  for (const number of ticks(last, Math.min(12, most)).filter(Number.isInteger)) {
    if (middle(number) - middle(found.at(-1)) >= APART && middle(last) - middle(number) >= APART) found.push(number);
  }
  return last > 1 ? [...found, last] : found;
}

/** By the clock. Runs stand side by side; the time between them is left out. */
export function byClock(images, width, sessions, least = 3) {
  const lengths = sessions.map(one => Math.max(1, one.ended - one.began)), whole = lengths.reduce((sum, one) => sum + one, 0);
  const scale = Math.max(0.01, width - GAP * (sessions.length - 1)) / whole, starts = [];
  lengths.reduce((x, length, index) => { starts[index] = x; return x + length * scale + GAP; }, 0);
  const place = at => {
    const last = sessions.findLastIndex(one => one.began <= at), index = Math.max(0, last);
    return starts[index] + Math.min(lengths[index], Math.max(0, at - sessions[index].began)) * scale;
  };
  const columns = Map.groupBy(images, image => Math.floor(place(image.at) / least));
  const bars = [...columns].sort(([a], [b]) => a - b).map(([column, some]) => bin(some, column * least, Math.max(least, spent(some) * scale)));
  bars.forEach((bar, index) => { bar.width = Math.min(bar.width, (bars[index + 1]?.x ?? width) - bar.x); });
  return {bars, each: Math.max(...bars.map(bar => bar.images.length)), place, axis: hours(sessions, starts, scale)};
}

const spent = images => images.reduce((sum, image) => sum + seconds(image, ["load_s", "denoise_s", "whole_s", "decode_s"]), 0);
const seconds = (image, stages) => stages.reduce((sum, stage) => sum + (image[stage] || 0), 0);

/** Where a run begins, and full hours (or the like) between, as `[pixel, seconds since 1970]`. */
function hours(sessions, starts, scale) {
  const found = [];
  const step = [60, 300, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400].find(step => step * scale >= 70) || Infinity;
  sessions.forEach((one, index) => {
    if (!found.length || starts[index] - found.at(-1)[0] > 50) found.push([starts[index], one.began]);
    const zone = new Date(one.began * 1000).getTimezoneOffset() * 60;
    for (let at = Math.ceil((one.began - zone) / step) * step + zone; at < one.ended; at += step) {
      const x = starts[index] + (at - one.began) * scale;
      if (x - found.at(-1)[0] > 50) found.push([x, at]);
    }
  });
  return found;
}

/** Means by stage, since those add up to the height of the bar; the first image after a load counts apart. */
function bin(images, x, width) {
  const parts = BAR_STAGES.map(([stage, , kind]) => [kind, images.reduce((sum, image) => sum + (image[stage] || 0), 0) / images.length]);
  return {images, x, width, parts, height: parts.reduce((sum, [, value]) => sum + value, 0),
    warm: images.some(image => image.warmup || image.load_s), bad: images.some(failed), degraded: images.some(image => image.degraded_from)};
}

/**
 * How high the axis goes: what loads, and single ones that took many times as long as the others, would make a flat
 * line of the rest.
 */
export function highest(bars) {
  const usual = bars.filter(bar => !bar.warm).map(bar => bar.height).sort((a, b) => a - b);
  if (!usual.length) return Math.max(0, ...bars.map(bar => bar.height));
  return Math.min(usual.at(-1), 3 * usual[Math.floor(0.95 * (usual.length - 1))]);
}
