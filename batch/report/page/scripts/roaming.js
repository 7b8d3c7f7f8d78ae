/* Arrow keys in a table: one of its cells is in the order of the Tab key, and the arrows take it from cell to cell. */

import { addKeys } from "./keys.js";

addKeys("Pictures", [["← → ↑ ↓", "to the picture beside, above or below"], ["Home End", "to the first or last of the line"], ["Enter", "look at it"]]);

let roamed = null, here = null, prepareRow = () => {}, columnKept = 0;

/** Make a table one stop of the Tab key. `fill(row)` is called before a row is entered. */
export function startRoaming(element, fill) {
  roamed = element;
  prepareRow = fill;
  roamed.addEventListener("focusin", event => settle(event.target));
  roamed.addEventListener("keydown", event => {
    const move = MOVES[event.key];
    if (!move || event.shiftKey || event.ctrlKey || event.metaKey || event.altKey || !here) return;
    event.preventDefault();
    const next = move(spotOf(event.target));
    if (next) moveInTable(next);
  });
}

const MOVES = {
  ArrowLeft: ({row, column}) => ({row, column: column - 1}),
  ArrowRight: ({row, column}) => ({row, column: column + 1}),
  ArrowUp: ({row, column}) => ({row: rowBeside(row, -1), column}),
  ArrowDown: ({row, column}) => ({row: rowBeside(row, 1), column}),
  Home: ({row}) => ({row, column: 0}),
  End: ({row}) => ({row, column: lengthOf(row) - 1}),
};

const rows = () => [...roamed.querySelectorAll("[role=row]")];
function rowBeside(row, step) {
  const all = rows();
  return all[all.indexOf(row) + step];
}

/** Where an element of the table is: its row, and its column; headers of rows are at -1. A row of one title is wherever one came from. */
function spotOf(element) {
  const row = element.closest("[role=row]");
  if (row.children.length === 1) return {row, column: columnKept};
  let column = -1;
  for (const cell of row.children) {
    if (cell.contains(element)) return {row, column};
    column += spanOf(cell);
  }
  return {row, column: -1};
}
const spanOf = cell => Number(cell.getAttribute("aria-colspan") || 1);
const lengthOf = row => [...row.children].reduce((sum, cell) => sum + spanOf(cell), -1);

function cellAt({row, column}) {
  if (!row || column < -1) return null;
  prepareRow(row);
  if (row.children.length === 1) return row.firstElementChild;
  let at = -1;
  for (const cell of row.children) {
    at += spanOf(cell);
    if (column < at) return cell;
  }
  return null;
}
// What takes the focus of a cell: the picture or the button in it, or itself.
const targetOf = cell => cell.querySelector("a, button") || cell;

/** Go to a row and a column, if there is one. */
export function moveInTable(spot) {
  const cell = cellAt(spot);
  if (!cell || cell.classList.contains("grid-corner")) return;
  const target = targetOf(cell);
  columnKept = spot.column;
  settle(target);
  target.focus({preventScroll: true});
  cell.scrollIntoView({block: "nearest", inline: "nearest"});
}

function settle(target) {
  if (here) here.tabIndex = -1;
  here = target;
  here.tabIndex = 0;
}

/** The cell that the Tab key comes to first, as long as none has been chosen. */
export function roam(element) {
  here = null;
  const cell = cellAt({row: element.querySelector(".grid-band .grid-line"), column: 0});
  if (cell) settle(targetOf(cell));
}
