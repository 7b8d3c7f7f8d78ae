/* Which picture stands where in a table of them. */

import { asInManifest } from "./data.js";

const MOST_COLUMNS = 400;  // a line is drawn at once

/**
 * The table of the axes chosen, for the pictures that have the values of the tabs. `matching` are images that the
 * filter leaves: lines and columns without any are left out. Each line and column has a `key`, and `outer` and
 * `inner` keys of its axes, and a line the shapes of its pictures, height by width, `flattest` and `tallest`; `at(line, column)` are the images of a cell, those that match first; `placeOf(image)`
 * says where it is: {line, column, number}, or undefined. `wider` is how many columns there would be.
 */
export function matrix(chosen, tabs, matching) {
  const images = asInManifest().filter(image => tabs.every(tab => tab.axis.of(image) === tab.key));
  const down = pairOf(chosen.rows, chosen.rows2), across = pairOf(chosen.columns, chosen.columns2);
  const shown = images.filter(image => matching.has(image));
  const lines = placesOf(down, shown), all = placesOf(across, shown), columns = all.slice(0, MOST_COLUMNS);
  const lineNumbers = numbersOf(lines), columnNumbers = numbersOf(columns), cells = new Map();
  for (const image of [...shown, ...images.filter(image => !matching.has(image))]) {
    const key = down.of(image) + BETWEEN + across.of(image), line = lines[lineNumbers.get(down.of(image))];
    if (!cells.has(key)) cells.set(key, []);
    cells.get(key).push(image);
    if (line) widenRatios(line, image.height / image.width);
  }
  return {
    lines, columns, images: shown, wider: all.length,
    at: (line, column) => cells.get(line.key + BETWEEN + column.key) || [],
    placeOf(image) {
      const line = lineNumbers.get(down.of(image)), column = columnNumbers.get(across.of(image));
      const number = (cells.get(down.of(image) + BETWEEN + across.of(image)) || []).indexOf(image);
      return line === undefined || column === undefined || number < 0 ? undefined : {line, column, number};
    },
  };
}

function widenRatios(line, ratio) {
  line.flattest = Math.min(line.flattest ?? ratio, ratio);
  line.tallest = Math.max(line.tallest ?? ratio, ratio);
}

const BETWEEN = "\u0001";
const numbersOf = places => new Map(places.map((place, number) => [place.key, number]));

function pairOf(outer, inner) {
  // The axis chosen second lies within the first; one alone is the inner one.
  const [first, second] = outer && inner ? [outer, inner] : [null, outer || inner];
  const outerOf = first ? first.of : () => "", innerOf = second ? second.of : () => "";
  return {first, second, outerOf, innerOf, of: image => outerOf(image) + "\u0000" + innerOf(image)};
}

/** The places along one direction that hold a picture, in the order of the axes' values. */
function placesOf({first, second, outerOf, innerOf, of}, images) {
  const found = new Map();
  for (const image of images) if (!found.has(of(image))) found.set(of(image), {key: of(image), outer: outerOf(image), inner: innerOf(image)});
  const rank = axis => new Map([...(axis ? axis.labels.keys() : [""])].map((key, number) => [key, number]));
  const outer = rank(first), inner = rank(second);
  return [...found.values()].sort((a, b) => outer.get(a.outer) - outer.get(b.outer) || inner.get(a.inner) - inner.get(b.inner));
}
