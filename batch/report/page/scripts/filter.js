/* The filter's field, the selects that write terms into it, and what it says of terms that nobody knows. */

import { $, make } from "./dom.js";
import { data } from "./data.js";
import { typing } from "./keyboard.js";
import { addKeys } from "./keys.js";
import { keys, termFor, terms } from "./query.js";
import { changed, problems, SORTS, visible } from "./selection.js";
import { get, set, watch } from "./state.js";
import { folded } from "./texts.js";
import { known, short } from "./words.js";
const MOST_CHOICES = 80;
const selects = {};  // by setting

export function startFilter() {
  $("text").addEventListener("input", () => set({find: $("text").value}));
  $("text").addEventListener("keydown", event => {
    if (event.key !== "Escape" || $("text").value) return;
    document.querySelector(":is(#gallery, #grid):not([hidden]) :is(a, button, div)[tabindex='0']")?.focus();
  });
  $("sort").addEventListener("change", () => set({sort: $("sort").value}));
  $("down").addEventListener("click", () => set({down: get("down") ? "" : "1"}));
  $("terms").addEventListener("click", () => explain($("explained").hidden));
  $("options-button").addEventListener("click", () => unfold($("options").hidden));
  unfold(matchMedia("(min-width: 701px) and (min-height: 601px)").matches);
  document.addEventListener("keydown", event => {
    if (event.key !== "/" || typing(event) || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    $("text").focus();
  });
  watch(["find", "sort", "down"], changed);
  $("clear-filter").addEventListener("click", () => {
    set({find: ""});
    $("text").focus();
  });
  fillHelp();
}
addKeys("Filter", [["/", "to the filter"], ["Esc", "clear the filter; of an empty one, back to the pictures"]]);

function unfold(open) {
  $("options").hidden = !open;
  $("options-button").setAttribute("aria-expanded", String(open));
}
function explain(open) {
  $("explained").hidden = !open;
  $("terms").setAttribute("aria-expanded", String(open));
}

/** Say what is chosen: in the field, the selects, and the count. `there` is how many are shown, `more` what is to be said, too. */
export function sayChoice(there, more) {
  if ($("text").value !== get("find")) $("text").value = get("find");
  for (const [key, select] of Object.entries(selects)) select.value = chosenOf(key, [...select.options].map(option => option.value));
  $("sort").value = get("sort");
  $("down").setAttribute("aria-pressed", String(Boolean(get("down"))));
  $("down").textContent = get("down") ? "↓" : "↑";
  put("count", countOf(data.images.length, visible.length, there));
  put("complaint", [...problems, more].filter(Boolean).join(" "));
  $("nothing").hidden = visible.length > 0;
}
function countOf(all, count, there) {
  if (count === all) return there === all ? all + " images" : `${there} here of ${all}`;
  return `${count} of ${all}` + (there === count ? "" : ` · ${there} here`);
}
function put(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

/** Offer a select for each setting that has several values, and few. */
export function filters() {
  const asked = [...data.varying];
  if (new Set(data.images.map(image => image.status)).size > 1) asked.unshift("status");
  for (const key of new Set([...Object.keys(selects), ...asked])) {
    const values = asked.includes(key) ? valuesFor(key) : [];
    if (values.length >= 2 && values.length <= MOST_CHOICES) choices(key, values);
    else selects[key]?.remove(), delete selects[key];
  }
  for (const [name, {of}] of SORTS) {
    const option = [...$("sort").options].find(other => other.value === name) || $("sort").appendChild(make("option", {value: name}, SORTS.get(name).title));
    option.hidden = option.disabled = new Set(data.images.map(of).filter(known)).size < 2;
  }
}
function valuesFor(key) {
  const values = new Set(data.images.map(image => image[key]).filter(value => known(value) && value !== ""));
  return [...values].map(String).sort((a, b) => a.localeCompare(b, undefined, {numeric: true}));
}
function choices(key, values) {
  const title = key.replaceAll("_", " ");
  if (!selects[key]) {
    selects[key] = make("select", {"aria-label": "Filter by " + title, onchange: () => rewrite(key, selects[key].value)});
    $("filters").append(selects[key]);
  }
  const options = [...selects[key].options].slice(1).map(option => option.value);
  if (options.length === values.length && values.every((value, index) => value === options[index])) return;
  selects[key].replaceChildren(make("option", {value: ""}, "any " + title), ...values.map(value => make("option", {value}, short(value, 60))));
  selects[key].value = chosenOf(key, values);
}

const termsOf = key => [...terms(get("find"))].filter(term => term.key === key && term.sign === "=" && !term.not);

/** The value that the filter's text names for a setting, where it is one that a select has. */
function chosenOf(key, values) {
  const [term, another] = termsOf(key);
  if (!term || another) return "";
  return values.find(value => folded(value) === folded(term.value)) ?? "";
}
function rewrite(key, value) {
  let text = get("find");
  for (const {start, end} of termsOf(key).reverse()) text = (text.slice(0, start).trimEnd() + " " + text.slice(end).trimStart()).trim();
  set({find: value ? (text && text + " ") + termFor(key, value) : text});
}

const EXAMPLES = [
  ["red fox", "both words: in prompts, names, settings or errors"],
  ['"red fox" -night', "this phrase, and not that word"],
  ["seed:1..4", "seeds from 1 to 4; seed:1|7 is either"],
  ["steps>20 guidance<=4.5", "settings that are numbers"],
  ["time>1m peak>7GiB", "what it cost: seconds unless a unit says otherwise, and GiB"],
  ["size:5376x3072", "or width>2000"],
  ["model:sana memory=auto", "a colon finds a part, = the whole"],
  ['prompt:"red fox"', "in this text alone"],
  ["is:failed", "is:picked, is:done, is:degraded, is:repaired, is:cut, has:error …"],
];
function fillHelp() {
  const example = ([term, what]) => make("div", {}, make("dt", {}, make("button", {class: "term", onclick: () => set({find: term})}, term)), make("dd", {}, what));
  $("explained").append(make("dl", {}, ...EXAMPLES.map(example)),
    make("p", {class: "muted"}, "All terms must hold. Before a colon may stand: " + keys().join(", ") + "."));
}
