/* What happened, for those who hear the page: marks, choices. */

import { make } from "./dom.js";
const HEARD_AFTER_MS = 60;  // a region that is new, or says the same again, is not read out
const ALOUD = "aloud";

/** Say it to a screen reader, where the reader is: outside an open dialog nothing is heard. */
export function sayAloud(text) {
  const place = document.querySelector("dialog[open]") || document.body;
  const region = place.querySelector(`:scope > .${ALOUD}`) || place.appendChild(make("div", {class: ALOUD + " beyond", role: "status"}));
  region.textContent = "";
  setTimeout(() => { region.textContent = text; }, HEARD_AFTER_MS);
}
