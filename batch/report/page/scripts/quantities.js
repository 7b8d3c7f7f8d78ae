/* Numbers, times and sizes, as one writes them into the filter. */

const TIME_UNITS = {"": 1, ms: 0.001, s: 1, m: 60, min: 60, h: 3600};
const BYTE_UNITS = {b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40};

/** A number without loss: seeds have more digits than a double. NaN where it is none. */
export function wholeOrNot(text) {
  if (/^[+-]?\d+$/.test(text)) return Number.isSafeInteger(Number(text)) ? Number(text) : BigInt(text);
  return /^[+-]?(\d+\.?\d*|\.\d+)$/.test(text) ? Number(text) : NaN;
}

/** `30`, `1.5m`, `1m30s`: seconds, or NaN. */
export function secondsIn(text) {
  const parts = [...text.toLowerCase().matchAll(/(\d+\.?\d*|\.\d+)(ms|min|[smh]?)/gy)];
  if (!parts.length || parts.map(part => part[0]).join("").length !== text.length) return NaN;
  return parts.reduce((sum, [, number, unit]) => sum + number * TIME_UNITS[unit], 0);
}

/** `7`, `7.5GiB`, `900M`: bytes, or NaN. KB, MB and GB count in 1,024s, as graphics cards are sold. */
export function bytesIn(text, unit) {
  const found = /^(\d+\.?\d*|\.\d+)\s*([kmgt]?)(i?b)?$/i.exec(text);
  return found ? found[1] * BYTE_UNITS[(found[2] || (found[3] ? "b" : unit[0])).toLowerCase()] : NaN;
}

/**
 * What a value stands for, `from` and `to` included, or null: `3`, and with `ranges` also `1..4`, `3..` and `..4`.
 * One value with a point, a unit or a measure stands for all that is written like it when it is rounded.
 */
export function rangeOf(text, ranges, read) {
  const parts = ranges ? text.split("..") : [text];
  if (parts.length > 2 || parts.every(part => !part)) return null;
  const [low, high] = parts.map(part => part ? read(part) : null);
  if ([low, high].some(Number.isNaN)) return null;
  if (parts.length === 2) return {low, from: low ?? -Infinity, to: high ?? Infinity};
  if (read === wholeOrNot) return {low, from: low, to: low};
  const half = halfOfLast(text, read);
  return {low, from: low - half, to: low + half};
}
function halfOfLast(text, read) {
  const last = [...text.matchAll(/\d+\.?\d*/g)].at(-1)[0], places = last.split(".")[1]?.length || 0;
  const unit = text.slice(text.lastIndexOf(last) + last.length);
  return read((10 ** -places).toFixed(places) + unit) / 2;
}
