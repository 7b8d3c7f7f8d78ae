/* Pictures at their full size: one, or B laid over A. */

import { $, make } from "./dom.js";
import { SHOWN } from "./data.js";
import { neighbour, reveal } from "./selection.js";
import { duration, known, mib, named, path } from "./words.js";
export let picked = [];

export function pick(image) {
  picked = picked.includes(image) ? picked.filter(other => other !== image) : [...picked, image].slice(-2);
  for (const tick of document.querySelectorAll(".card input[type=checkbox]")) tick.checked = picked.some(image => image.id === tick.dataset.id);
  $("compare").hidden = !picked.length;
  $("compare").disabled = picked.length < 2;
  $("compare").textContent = picked.length < 2 ? "A/B: choose one more" : "Compare A and B";
}

export let shown = [], whole = false, flipped = false;

export function look(images) {
  if (!images[0].file) return;
  shown = images;
  flipped = false;
  if (!$("viewer").open) $("viewer").showModal();
  const canvas = $("canvas"), pair = images.length > 1;
  const views = images.map((image, index) => make("img", {src: path(image.file), alt: image.prompt, class: index ? "over" : "", draggable: "false"}));
  views[0].addEventListener("load", () => { scale(); centre(); });
  canvas.className = pair ? "canvas pair" : "canvas";
  canvas.replaceChildren(...views);
  for (const id of ["previous", "next", "pick", "file"]) $(id).hidden = pair;
  $("cut").hidden = !pair;
  $("file").href = path(images[0].file);
  cut(50);
  caption();
  scale();
  $("stage").focus();
}

export function caption() {
  const line = image => {
    const parts = ["seed " + image.seed, image.pixels, ...SHOWN.map(key => named(key, image[key]))];
    for (const stage of ["encode_s", "denoise_s", "decode_s", "save_s"]) if (known(image[stage])) parts.push(stage.slice(0, -2) + " " + duration(image[stage]));
    if (known(image.memory_mib)) parts.push(mib(image.memory_mib));
    return parts.join(" · ");
  };
  const [first, second] = shown;
  const half = (title, image) => title + line(image) + (first.prompt === second.prompt ? "" : " · " + image.prompt);
  $("title").textContent = second ? half("A, left: ", first) : first.prompt;
  $("details").textContent = second ? half("B, right: ", second) : line(first);
  for (const id of ["title", "details"]) $(id).title = $(id).textContent;
  $("pick").textContent = picked.includes(first) ? "chosen" : "A/B";
}

function scale() {
  const view = $("canvas").firstElementChild, stage = $("stage");
  if (!view) return;
  $("fit").textContent = whole ? "1:1" : "fit";
  // One pixel of the image on one of the screen, whatever the system's zoom is.
  const width = (view.naturalWidth || shown[0].width) / devicePixelRatio, height = (view.naturalHeight || shown[0].height) / devicePixelRatio;
  const factor = whole ? Math.min(stage.clientWidth / width, stage.clientHeight / height) : 1;
  view.style.width = Math.floor(width * factor) + "px";
  view.style.height = Math.floor(height * factor) + "px";
}
function centre() {
  const stage = $("stage");
  stage.scrollTo((stage.scrollWidth - stage.clientWidth) / 2, (stage.scrollHeight - stage.clientHeight) / 2);
}
function cut(percent) {
  $("cut").value = percent;
  $("canvas").style.setProperty("--cut", percent + "%");
}
function move(by, down = 0) {
  if (shown.length > 1) return;
  const next = neighbour(shown[0], by, down);
  if (next && next.file) look([next]);
}

$("compare").addEventListener("click", () => look(picked));
$("cut").addEventListener("input", event => cut(event.target.value));
$("previous").addEventListener("click", () => move(-1));
$("next").addEventListener("click", () => move(1));
$("fit").addEventListener("click", () => { whole = !whole; scale(); centre(); });
$("pick").addEventListener("click", () => { pick(shown[0]); caption(); });
$("close").addEventListener("click", () => $("viewer").close());
$("viewer").addEventListener("close", () => {
  reveal(shown[0]);
  $("canvas").replaceChildren();
});
document.addEventListener("keydown", event => {
  const typing = ["INPUT", "SELECT"].includes(event.target.tagName) && event.target.type !== "range";
  if (event.ctrlKey || event.metaKey || event.altKey || typing) return;
  if (!$("viewer").open) return;
  const keys = {f: () => $("fit").click(), c: () => shown.length < 2 && $("pick").click()};
  if (event.target.type !== "range" && !event.shiftKey) Object.assign(keys, {ArrowLeft: () => move(-1), ArrowRight: () => move(1), ArrowUp: () => move(0, -1), ArrowDown: () => move(0, 1)});
  if (shown.length > 1) keys[" "] = () => { flipped = !flipped; cut(flipped ? 0 : 100); };
  if (keys[event.key] && !(event.key === " " && event.target.tagName === "BUTTON")) { event.preventDefault(); keys[event.key](); }
});
let drag = null;
$("stage").addEventListener("pointerdown", event => {
  if (event.pointerType === "touch" || event.button) return;
  drag = {x: event.clientX + $("stage").scrollLeft, y: event.clientY + $("stage").scrollTop};
  $("stage").setPointerCapture(event.pointerId);
  $("stage").classList.add("dragging");
});
$("stage").addEventListener("pointermove", event => { if (drag) $("stage").scrollTo(drag.x - event.clientX, drag.y - event.clientY); });
for (const name of ["pointerup", "pointercancel"]) $("stage").addEventListener(name, () => { drag = null; $("stage").classList.remove("dragging"); });
addEventListener("resize", () => { if ($("viewer").open) scale(); });
