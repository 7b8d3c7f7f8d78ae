/* Whether the pictures lie beside the page: of one that was copied or sent alone it is said once. */

import { $ } from "./dom.js";

/** Watch the pictures as they come; call it before there are any. Those of a run that goes on may not be there yet. */
export function watchPictures() {
  const around = new AbortController(), options = {capture: true, signal: around.signal};
  document.addEventListener("load", event => { if (isThumbnail(event)) end(); }, options);
  document.addEventListener("error", event => { if (isThumbnail(event)) $("alone").hidden = false; }, options);
  function end() {
    $("alone").hidden = true;
    around.abort();
  }
}
const isThumbnail = event => event.target.tagName === "IMG" && event.target.getAttribute("src")?.startsWith("thumbs/");
