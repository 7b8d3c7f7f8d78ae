/* What stands beside a line of the grid and above a column. */

import { make } from "./dom.js";
import { readWhole } from "./help.js";
const ROOM = 36;  // letters that there is room for

/** A header cell; a long text opens whole. */
export function labelled(role, title, text) {
  if (text.length <= ROOM) return make("div", {class: "grid-value", role, tabindex: "-1", dir: "auto"}, make("span", {}, text));
  const button = make("button", {tabindex: "-1", dir: "auto", "aria-haspopup": "dialog", onclick: () => readWhole(title, text)}, text.slice(0, 600));
  return make("div", {class: "grid-value", role}, button);
}
