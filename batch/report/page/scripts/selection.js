/* Which images are shown, and in what order. */

import { $, make } from "./dom.js";
import { data } from "./data.js";
import { known, short } from "./words.js";
const MOST_CHOICES = 80;
export const selects = {};  // by setting
export let visible = [];

export function filters() {
  const keys = [...data.varying];
  if (new Set(data.images.map(image => image.status)).size > 1) keys.unshift("status");
  for (const key of new Set([...Object.keys(selects), ...keys])) {
    const chosen = selects[key] ? selects[key].value : "";
    const values = new Set(keys.includes(key) ? data.images.map(image => image[key]).filter(value => known(value) && value !== "") : []);
    const few = values.size >= 2 && values.size <= MOST_CHOICES;
    if (!few && !chosen) {
      if (selects[key]) selects[key].remove();
      delete selects[key];
      continue;
    }
    if (chosen) values.add(chosen);
    choices(key, [...values].sort((a, b) => String(a).localeCompare(String(b), undefined, {numeric: true})), chosen);
  }
  for (const option of $("sort").options) {
    option.hidden = option.disabled = option.value !== "" && !data.images.some(image => known(image[option.value]));
  }
}
function choices(key, values, chosen) {
  const title = key.replace("_", " ");
  if (!selects[key]) {
    selects[key] = make("select", {"aria-label": "Filter by " + title, onchange: () => changed()});
    $("filters").append(selects[key]);
  }
  const options = [...selects[key].options].slice(1).map(option => option.value);
  if (options.length === values.length && values.every((value, index) => String(value) === options[index])) return;
  selects[key].replaceChildren(make("option", {value: ""}, "any " + title), ...values.map(value => make("option", {value}, short(String(value), 60))));
  selects[key].value = chosen;
}

export function choose() {
  const words = $("text").value.toLowerCase().trim();
  const chosen = Object.entries(selects).filter(([, select]) => select.value);
  visible = data.images.filter(image => (!words || image.words.includes(words)) && chosen.every(([key, select]) => image[key] === select.value));
  const key = $("sort").value, turn = $("down").getAttribute("aria-pressed") === "true" ? -1 : 1;
  if (!key && turn < 0) visible.reverse();
  if (key) visible.sort((a, b) => {
    if (!known(a[key]) || !known(b[key])) return known(b[key]) - known(a[key]) || a.index - b.index;
    const order = typeof a[key] === "number" ? a[key] - b[key] : a[key].localeCompare(b[key], undefined, {numeric: true});
    return turn * order || a.index - b.index;
  });
  $("count").textContent = visible.length === data.images.length ? visible.length + " images" : visible.length + " of " + data.images.length;
}

/** The image beside another as they are laid out, one to the left is (-1, 0); undefined at the edge. */
export const neighbour = (image, dx, dy) => dy ? undefined : visible[visible.indexOf(image) + dx];
/** Bring an image into view and give it the focus; whether it is among those shown. */
export function reveal(image) {
  const element = document.querySelector(`.picture[data-id="${CSS.escape(image.id)}"]`);
  element?.focus();
  return Boolean(element);
}

let changed = () => {};
/** What is called when the reader has chosen otherwise. */
export function onChoice(work) {
  changed = work;
  $("text").addEventListener("input", work);
  $("sort").addEventListener("change", work);
  $("down").addEventListener("click", () => {
    const down = $("down").getAttribute("aria-pressed") !== "true";
    $("down").setAttribute("aria-pressed", String(down));
    $("down").textContent = down ? "↓" : "↑";
    work();
  });
}
