/* What may be long shows its beginning, and the rest when it is asked for. */

import { make, renew } from "./dom.js";
const unfolded = new Set();  // by key: what the reader has unfolded stays so

/** Put the first `most` of the items, drawn, into a list; what comes back is the button for the others, if there are any. */
export function folding(list, items, drawn, key, most = 10) {
  const whole = unfolded.has(key) || items.length <= most + 2;  // a button for two lines more is no gain
  renew(list, ...(whole ? items : items.slice(0, most)).map(item => drawn(item)));
  return whole ? [] : [unfolding(list, items, drawn, key, most)];
}

function unfolding(list, items, drawn, key, most) {
  const button = make("button", {class: "more", type: "button", onclick: () => {
    unfolded.add(key);
    const rest = items.slice(most).map(item => drawn(item));
    list.append(...rest);
    button.remove();
    rest[0].tabIndex = -1;
    rest[0].focus({preventScroll: true});
  }}, "Show all " + items.length);
  return button;
}

/**
 * A table in a box of its own, which scrolls where it is too wide.
 *
 * A column is `{title, number, text}`, a cell of a row an element or text.
 */
export function tableOf(label, columns, rows, key, most = 12) {
  const kind = column => [column.number && "number", column.text && "text"].filter(Boolean).join(" ");
  const head = make("tr", {}, ...columns.map(column => make("th", {scope: "col", class: kind(column)}, column.title)));
  const body = make("tbody");
  const row = cells => make("tr", {}, ...cells.map((cell, index) => make("td", {class: kind(columns[index])}, cell)));
  const more = folding(body, rows, row, key, most);
  const box = make("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": label},
    make("table", {}, make("thead", {}, head), body));
  return make("div", {class: "table"}, box, ...more);
}
