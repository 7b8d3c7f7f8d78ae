/* The keys of the page, for whoever asks with `?`; and texts that have no room where they stand. */

import { $, make } from "./dom.js";
import { typing } from "./keyboard.js";
import { addKeys, KEYS } from "./keys.js";

addKeys("Page", [["?", "these keys"]]);

export function startHelp() {
  $("keys-button").addEventListener("click", listKeys);
  document.addEventListener("keydown", event => {
    if (event.key === "?" && !typing(event) && !document.querySelector("dialog[open]:not(#viewer)")) listKeys();
  });
}

function listKeys() {
  const parts = new Map();
  for (const {title, keys} of KEYS) parts.set(title, [...parts.get(title) || [], ...keys]);
  // The longest comes last: the others fill the column beside it.
  const sections = [...parts].sort(([, some], [, others]) => some.length - others.length).map(([title, keys]) => make("section", {}, make("h3", {}, title), make("dl", {}, ...keys.map(keyRow))));
  openSheet("Keys", make("div", {class: "keys"}, ...sections));
}
const keyRow = ([key, what]) => make("div", {}, make("dt", {}, ...key.split(/,? /).map(name => name === "or" ? "or" : make("kbd", {}, name))), make("dd", {}, what));

/** Show a text that is cut where it stands. */
export const readWhole = (title, text) => openSheet(title, make("p", {class: "whole", dir: "auto"}, text));

function openSheet(title, content) {
  const close = make("button", {class: "close", "aria-label": "Close"}, "✕");
  const dialog = make("dialog", {class: "sheet" + (content.className === "keys" ? " wide" : ""), "aria-label": title}, make("div", {class: "head"}, make("h2", {}, title), close), content);
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
