/* Texts to the clipboard. Not every browser lets a page from disk reach it: then by selection, then by hand. */

import { make } from "./dom.js";

/** Copy a text; true when it was, false when it is shown to be copied by hand. */
export async function copyText(text, title) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelected(text) || showToCopy(text, title);
  }
}

function copySelected(text) {
  const back = document.activeElement, field = make("textarea", {readonly: "", class: "beyond"});
  field.value = text;
  (document.querySelector("dialog[open]") || document.body).append(field);  // what lies below a dialog takes no selection
  field.select();
  let copied = false;
  try {
    copied = document.execCommand("copy");
  } catch { /* as good as false */ }
  field.remove();
  back?.focus?.({preventScroll: true});
  return copied;
}

function showToCopy(text, title) {
  const field = make("textarea", {readonly: "", rows: "16", "aria-label": title});
  field.value = text;
  const close = make("button", {type: "button", onclick: () => box.close()}, "Close");
  const box = make("dialog", {class: "by-hand", "aria-label": title, onclose: () => box.remove(), onkeydown: event => event.stopPropagation()},
    make("p", {}, "This browser does not let the page copy. Copy the text by hand:"), field, close);
  document.body.append(box);
  box.showModal();
  field.select();
  return false;
}

/** A line to paste into a shell, whole, with a button that copies it. */
export function command(line) {
  const button = make("button", {type: "button", onclick: async () => { if (await copyText(line, "Command")) button.textContent = "Copied"; }}, "Copy");
  return make("div", {class: "command"}, make("code", {}, line), button);
}

/** A file for the reader to keep. */
export function download(name, text) {
  const blob = URL.createObjectURL(new Blob([text], {type: "text/plain;charset=utf-8"}));
  make("a", {href: blob, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(blob), 60000);
}
