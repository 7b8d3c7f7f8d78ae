/* The pictures as a table: what differs goes down and across. Lines are filled as they come into view. */

import { $, make } from "./dom.js";
import { chosenAxes, said, tabsOf } from "./axes.js";
import { picture } from "./cards.js";
import { data, failed } from "./data.js";
import { labelled } from "./labels.js";
import { matrix } from "./matrix.js";
import { letterBadge } from "./pair.js";
import { showsMark } from "./picks.js";
import { moveInTable, roam } from "./roaming.js";
import { standsThere, visible } from "./selection.js";
import { get, set } from "./state.js";
import { duration, known, mib } from "./words.js";
const drawnCells = new Map();  // the elements of what is drawn, by image
const linesAt = new Map();     // by key of the line: its element
let table = null, chosen = null, others = [], matching = new Set(), drawnColumns = "", drawnLines = "";

/** The pictures as a grid, for pictures.js. */
export const grid = {cards: drawnCells, show: showGrid, redraw: redrawGrid, neighbour: besideCell, reveal: revealCell, count: () => table.images.length};

export const gridNow = () => ({chosen, tabs: others, table});
/** The values chosen of what is neither row nor column, by name. */
export const wantedTabs = () => Object.fromEntries(new URLSearchParams(get("tabs")));
export const tabsText = wanted => String(new URLSearchParams(wanted));

function readGrid() {
  chosen = chosenAxes(get);
  others = tabsOf(chosen, wantedTabs(), visible.length ? visible : data.images);
  matching = new Set(visible);
  table = matrix(chosen, others, matching);
}

function showGrid() {
  readGrid();
  drawGrid(new Map());
  roam($("grid"));
}

function drawGrid(kept) {
  filler.disconnect();
  linesAt.clear();
  drawnCells.clear();
  $("grid").replaceChildren(...(table.lines.length ? [head(), ...bands(kept)] : []));
  [drawnColumns, drawnLines] = outline();
  for (let line = 0; line * table.columns.length < AT_ONCE && table.lines[line]; line += 1) fillLine(linesAt.get(table.lines[line].key));
}
const AT_ONCE = 60;  // so many cells need not wait until they are seen
/** What decides the columns, and what the lines. */
const outline = () => [
  JSON.stringify([Object.values(chosen).map(one => one?.name), others.map(tab => tab.key), table.columns.map(column => column.key), get("say")]),
  JSON.stringify(table.lines.map(line => [line.key, line.flattest, line.tallest])),
];

// What has changed is drawn anew, and nothing else is touched.
function redrawGrid(changed) {
  const focused = document.activeElement.closest?.("#grid") ? document.activeElement.dataset.id : "";
  readGrid();
  const [columns, lines] = outline(), kept = new Map(columns === drawnColumns ? linesAt : []);
  if (columns !== drawnColumns || lines !== drawnLines) drawGrid(kept);
  for (const line of table.lines) refill(line, changed);
  if (document.activeElement !== document.body || !focused) return;
  const image = visible.find(one => one.id === focused);
  if (image && table.placeOf(image)) revealCell(image);
}

// Above

function head() {
  const inner = make("div", {class: "grid-line", role: "row"}, corner(), ...table.columns.map(column => headed("columnheader", innerOf(chosen.columns, chosen.columns2), column.inner)));
  const outer = chosen.columns && chosen.columns2 ? [make("div", {class: "grid-line grid-outer", role: "row"}, corner(), ...spans())] : [];
  return make("div", {class: "grid-head", role: "rowgroup"}, ...outer, inner);
}
function spans() {
  const found = [];
  for (const {outer} of table.columns) {
    if (found.at(-1)?.outer === outer) found.at(-1).width += 1;
    else found.push({outer, width: 1});
  }
  return found.map(({outer, width}) => {
    const header = headed("columnheader", chosen.columns, outer);
    header.setAttribute("aria-colspan", String(width));
    header.style.setProperty("--span", String(width));
    return header;
  });
}
const corner = () => make("div", {class: "grid-corner", role: "gridcell"});
const innerOf = (axis, second) => axis && second ? second : axis || second;
const headed = (role, axis, key) => axis ? labelled(role, axis.title, said(axis, key)) : make("div", {class: "grid-value", role});

// Below

function bands(kept) {
  const groups = [];
  for (const line of table.lines) {
    if (groups.length && groups.at(-1)[0].outer === line.outer) groups.at(-1).push(line);
    else groups.push([line]);
  }
  return groups.map(lines => {
    const band = make("div", {class: "grid-band", role: "rowgroup"});
    if (chosen.rows && chosen.rows2) band.append(make("div", {class: "grid-title", role: "row"}, labelled("rowheader", chosen.rows.title, said(chosen.rows, lines[0].outer))));
    band.append(...lines.map(line => drawnLine(line, kept.get(line.key))));
    return band;
  });
}

function drawnLine(line, kept) {
  const element = kept || make("div", {class: "grid-line", role: "row", "aria-busy": "true"});
  // Pictures of one shape fill their cells; portraits beside landscapes get a square.
  element.style.setProperty("--ratio", String(Math.min(line.tallest, line.tallest - line.flattest > 0.02 ? 1 : 2)));
  linesAt.set(line.key, element);
  lines.set(element, line);
  if (!element.dataset.filled) filler.observe(element);
  return element;
}
const lines = new WeakMap();  // by element

const filler = new IntersectionObserver(entries => {
  for (const {isIntersecting, target} of entries) if (isIntersecting) fillLine(target);
}, {rootMargin: "600px"});

/** Draw what stands in a line, if that is not done. */
export function fillLine(element) {
  const line = lines.get(element);
  if (!line || element.dataset.filled) return;
  element.dataset.filled = "1";
  element.removeAttribute("aria-busy");
  filler.unobserve(element);
  element.append(headed("rowheader", innerOf(chosen.rows, chosen.rows2), line.inner), ...table.columns.map(column => cell(table.at(line, column))));
}

function refill(line, changed) {
  const element = linesAt.get(line.key);
  lines.set(element, line);
  if (!element.dataset.filled) return;
  table.columns.forEach((column, number) => {
    const images = table.at(line, column), old = element.children[number + 1];
    if (images.length) drawnCells.set(images[0], old);
    if (!images.some(image => changed.has(image)) && old.dataset.id === images[0]?.id && old.classList.contains("dim") === dim(images)) return;
    const now = cell(images);
    if (now.isEqualNode(old)) drawnCells.set(images[0], old);
    else old.replaceWith(now);
  });
}
const dim = images => images.length > 0 && !matching.has(images[0]);

function cell(images) {
  const [first] = images;
  const box = make("div", {class: "grid-cell" + (dim(images) ? " dim" : ""), role: "gridcell", tabindex: "-1"});
  if (!first) return box;
  box.dataset.id = first.id;
  drawnCells.set(first, box);
  showsMark(box, first);
  box.classList.add(first.status);
  const link = picture(first);
  if (link.matches("a, button")) link.tabIndex = -1;
  box.append(link, letterBadge(first));
  if (images.length > 1) box.append(make("span", {class: "grid-more"}, "+" + (images.length - 1)));
  if (get("say")) box.append(make("div", {class: "grid-says"}, saying(first)));
  return box;
}
function saying(image) {
  const value = Object.hasOwn(image, get("say")) ? image[get("say")] : null;
  if (failed(image) || !known(value)) return "";
  if (get("say") === "memory_mib") return mib(value);
  return get("say").endsWith("_s") ? duration(value) : String(value);
}

// From picture to picture

function besideCell(image, dx, dy) {
  const place = table.placeOf(image);
  if (!place) return undefined;
  const there = (line, column) => table.at(table.lines[line], table.columns[column]).filter(one => matching.has(one) && standsThere(one));
  const same = there(place.line, place.column), next = dx && same[same.indexOf(image) + dx];
  if (next && same.includes(image)) return next;
  for (let line = place.line + dy, column = place.column + dx; table.lines[line] && table.columns[column]; line += dy, column += dx) {
    const found = there(line, column);
    if (found.length) return found.at(dx < 0 ? -1 : 0);
  }
  return undefined;
}

function revealCell(image) {
  if (!table.placeOf(image)) set({tabs: tabsText(Object.fromEntries(others.map(({axis}) => [axis.name, axis.of(image)])))});
  const place = table.placeOf(image);
  if (!place) return;
  const element = linesAt.get(table.lines[place.line].key);
  fillLine(element);
  moveInTable({row: element, column: place.column});
}
