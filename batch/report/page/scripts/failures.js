/* The images that are not there: why, and what tries them again. */

import { $, make, renew } from "./dom.js";
import { whyStopped, wordsOf } from "./about.js";
import { command } from "./copying.js";
import { data, failed, goesOn } from "./data.js";
import { folding } from "./folding.js";
import { imageLink } from "./links.js";

export function failures() {
  const sum = data.summary, count = (number, word) => number ? number + " " + word : "";
  const left = goesOn() ? [] : data.images.filter(image => image.status === "missing");
  $("failures").querySelector("h2").textContent = [count(sum.failed, "failed"), count(sum.out_of_memory, "out of memory"), count(sum.skipped, "skipped"), count(left.length, "to render")].filter(Boolean).join(", ");
  const groups = [...Map.groupBy(data.images.filter(failed), image => image.stage + "\n" + gist(image)).entries()].sort(([, a], [, b]) => b.length - a.length);
  const skipped = [...Map.groupBy(data.images.filter(image => image.status === "skipped"), image => image.error).entries()];
  renew($("failures").lastElementChild, ...advice(left.length), ...groups.map(([key, images]) => failure(key, images)),
    ...skipped.map(([why, images]) => failureGroup("skipped " + why, "Skipped", "", why, images, "quiet")),
    ...missing("lost", "Rendered, and lost since", left.filter(image => image.lost)), ...missing("left", "Not rendered yet", left.filter(image => !image.lost)));
}

const missing = (key, title, images) => images.length ? [failureGroup(key, title, "", whyStopped(), images, "quiet")] : [];

// What was asked for, and which process died, differs from image to image.
const gist = image => image.error.replace(/\d[\d.,]*/g, "#").replaceAll(image.name, "");

function failure(key, images) {
  const most = Math.max(...images.map(image => image.attempts || 0)), stage = images[0].stage || "before the first stage";
  const times = most > 1 ? "up to " + most + " attempts" : "1 attempt";
  return failureGroup(key, stage[0].toUpperCase() + stage.slice(1), times, images[0].error, images, images.some(image => image.unfit) ? "unfit" : "");
}

function failureGroup(key, title, times, why, images, kind) {
  const item = image => make("li", {}, imageLink(image, wordsOf(image)), ...[image.error, image.lost].filter(text => text && text !== why).map(text => make("div", {class: "muted"}, text)));
  const list = make("ul"), more = folding(list, images, item, key, 5);
  return make("article", {class: "failure " + kind, "data-key": key},
    make("h3", {}, title + " · " + images.length + (images.length > 1 ? " images" : " image"), ...(times ? [make("span", {class: "muted"}, " · " + times)] : [])),
    ...(why ? [make("p", {class: "why", dir: "auto"}, why)] : []),
    list, ...more);
}

/** The commands, each with what it is for. */
function advice(left) {
  const {again, summary: sum} = data, unfit = data.images.some(image => image.unfit && failed(image)), parts = [];
  const say = (title, text, line) => parts.push(make("div", {class: "advice", "data-key": title}, make("p", {}, make("b", {}, title), " " + text), ...(line ? [command(line)] : [])));
  if (goesOn()) return [];
  if (!again.go_on) return [make("p", {class: "muted", "data-key": "unknown"}, "The manifest of this run is not known here: run it again with --retry-failed, into the folder of this page.")];
  if (data.stopped?.in_a_row) say("Stopped after " + data.stopped.in_a_row + " failures in a row:", "the rest would most likely fail, too. Where the reason below is a setting, mend or leave it out in the manifest, and run that again. This goes on past failures"
    + (left ? ", to the " + left + " that were not begun:" : ":"), again.past);
  else if (data.stopped?.for_good && left) say("The last run could not go on.", "The reason stands with the images below. Mend it, or leave out in the manifest what it names: until then the same command ends the same way.");
  if (sum.failed) say("Try again.", "Failed images are tried by the next run until each has failed as often as run.retries allows; this begins the count anew, and renders what else is missing:", again.failed);
  else if (left) say(data.stopped?.for_good ? "Then go on." : "Go on.", "What is done is not rendered again:", again.go_on);
  if (sum.out_of_memory || sum.skipped) say("What did not fit", "is a result of the measurement, and is not tried again unless you ask:", again.unfit);
  if (unfit) say("Out of memory:", "end what else uses the card, or choose a smaller setting in the manifest, as memory: 8gb, 6gb or 4gb; smaller ones are tried by themselves unless on_oom: fail or --no-fallback forbids it. What each would take:", again.plan);
  return parts;
}
