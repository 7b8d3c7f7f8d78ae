/* compare.html: what its charts and tables do beside standing there. Everything in them can be read without. */

import { $, make } from "./dom.js";

// A mark of a chart says its figures beside it; by a finger it is chosen first, and leads to its row the second time.
export function startCaptions() {
  for (const chart of document.querySelectorAll(".chart")) captionsOf(chart);
}

function captionsOf(chart) {
  const caption = chart.querySelector(".caption");
  caption.textContent = "Choose a mark to see its figures.";
  for (const mark of chart.querySelectorAll("svg a")) captioned(mark, caption, chart);
}

function captioned(mark, caption, chart) {
  let before = false;  // whether it was chosen when the finger came
  const show = () => {
    for (const other of chart.querySelectorAll("svg a.chosen")) other.classList.remove("chosen");
    mark.classList.add("chosen");
    const text = mark.getAttribute("aria-label"), row = $(mark.getAttribute("href").slice(1));
    if (caption.firstChild?.textContent === text) return;
    caption.replaceChildren(make("bdi", {}, text), ...(row ? [" ", make("a", {href: "#" + row.id}, "its row")] : []));
  };
  mark.addEventListener("pointerenter", event => { if (event.pointerType !== "touch") show(); });
  mark.addEventListener("pointerdown", event => { before = event.pointerType !== "touch" || mark.classList.contains("chosen"); });
  mark.addEventListener("focus", show);
  mark.addEventListener("click", event => {
    // By keyboard (no pointer came) it is chosen already.
    if (event.detail && !before) event.preventDefault();
    show();
  });
}

// Tables are sorted by a column when its head is chosen; each block of rows by itself.
export function startSorting() {
  for (const table of document.querySelectorAll("table.costs")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => sortable(table, head, column));
  }
}

function sortable(table, head, column) {
  const button = make("button", {type: "button"}, head.textContent);
  button.addEventListener("click", () => {
    const turn = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", turn);
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter(row => !row.classList.contains("head"));
      body.append(...rows.sort((a, b) => inOrder(cellText(a, column), cellText(b, column), turn === "ascending" ? 1 : -1)));
    }
  });
  head.replaceChildren(button);
}

// Words in place of figures stand in one wide cell.
const cellText = (row, column) => row.cells[column]?.colSpan === 1 ? row.cells[column].textContent : "-";

/** Numbers by their size, others by their letters; what is not known comes last. */
function inOrder(one, other, turn) {
  if (one === "-" || other === "-") return (one === "-") - (other === "-");
  const left = parseFloat(one), right = parseFloat(other);
  return turn * (Number.isNaN(left - right) ? one.localeCompare(other, undefined, {numeric: true}) : left - right);
}
