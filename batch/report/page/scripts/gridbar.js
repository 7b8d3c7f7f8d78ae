/* What the grid is made of: which axes go down and across, and the values of the others. */

import { $, make } from "./dom.js";
import { axes, axisNamed, NONE, tabsOf } from "./axes.js";
import { gridNow, tabsText, wantedTabs } from "./grid.js";
import { visible } from "./selection.js";
import { set } from "./state.js";
import { short } from "./words.js";
const MOST_BUTTONS = 8, PARTS_OF_GRID = ["rows", "rows2", "columns", "columns2"];

export function startGridBar() {
  for (const part of PARTS_OF_GRID) $("grid-" + part).addEventListener("change", event => place(part, event.target.value));
  $("swap").addEventListener("click", () => {
    const {chosen} = gridNow(), name = part => chosen[part]?.name || NONE;
    set({rows: name("columns"), rows2: name("columns2"), columns: name("rows"), columns2: name("rows2")});
  });
}

/** An axis that is somewhere else changes places with what was here. */
function place(part, name) {
  const {chosen} = gridNow(), now = Object.fromEntries(PARTS_OF_GRID.map(other => [other, chosen[other]?.name || NONE]));
  const from = PARTS_OF_GRID.find(other => name !== NONE && now[other] === name);
  if (from) now[from] = now[part];
  set({...now, [part]: name});
}

/** Say what is chosen. */
export function sayAxes() {
  const {chosen} = gridNow();
  for (const part of PARTS_OF_GRID) {
    const select = $("grid-" + part), options = [[NONE, "none"], ...axes().map(({name, title, labels}) => [name, `${title} (${labels.size})`])];
    const text = JSON.stringify(options);
    if (select.dataset.options !== text) select.replaceChildren(...options.map(([value, title]) => make("option", {value}, title)));
    select.dataset.options = text;
    select.value = chosen[part]?.name || NONE;
  }
  sayTabs();
}

let tabsDrawn = "";
function sayTabs() {
  const {chosen, tabs} = gridNow();
  const text = JSON.stringify([Object.values(chosen).map(one => one?.name), tabs.map(({axis, key, there}) => [axis.name, key, [...axis.labels], [...there]])]);
  if (text === tabsDrawn) return;
  tabsDrawn = text;
  const focused = document.activeElement.closest?.("#grid-tabs") && document.activeElement.dataset.value;
  $("grid-tabs").replaceChildren(...tabs.map(tabOf));
  $("grid-tabs").hidden = !tabs.length;
  if (focused) [...$("grid-tabs").querySelectorAll("[data-value]")].find(one => one.dataset.value === focused)?.focus();
}

function tabOf({axis, key, there}) {
  const off = value => there.has(value) ? {} : {disabled: ""}, values = [...axis.labels], texts = values.map(([, label]) => short(label || "none", 60));
  if (values.length > MOST_BUTTONS || texts.join("").length > 90) {
    const select = make("select", {"data-value": axis.name, onchange: event => turn(axis, event.target.value)}, ...values.map(([value], number) => make("option", {value, ...off(value)}, texts[number])));
    select.value = key;
    return make("label", {class: "grid-tab"}, axis.title + " ", select);
  }
  const button = ([value], number) => make("button", {...off(value), "aria-pressed": String(value === key), "data-value": axis.name + " " + value, onclick: () => turn(axis, value)}, texts[number]);
  return make("div", {class: "grid-tab", role: "group", "aria-label": axis.title}, make("span", {class: "muted"}, axis.title), ...values.map(button));
}

/** Another value of an axis: the others keep theirs where there is a picture with all of them. */
function turn(axis, key) {
  const {chosen} = gridNow();
  const tabs = tabsOf(chosen, {[axis.name]: key, ...Object.fromEntries(Object.entries(wantedTabs()).filter(([name]) => name !== axis.name && axisNamed(name)))}, visible);
  set({tabs: tabsText(Object.fromEntries(tabs.map(tab => [tab.axis.name, tab.key])))});
}
