/* When the run was at work, and what share of that time the card was. */

import { $, make, renew, shape } from "./dom.js";
import { asTable, drawing, legend, percent, span } from "./charts.js";
import { data, goesOn } from "./data.js";
import { tableOf } from "./folding.js";
import { clock, duration, lasting, toSecond } from "./words.js";

const COLUMNS = 300, HIGH = 16, EXACTLY = 600;  // of a strip; seconds of a run that is told to the second

const rested = one => one.pauses.reduce((sum, [from, to]) => sum + to - from, 0);
const awake = one => Math.max(0, one.ended - one.began - rested(one));
const worked = one => one.encode_s + one.denoise_s + one.decode_s;  // of all devices
const share = (part, whole) => whole > 0 ? Math.min(1, part / whole) : 0;
const summed = (some, what) => some.reduce((sum, one) => sum + what(one), 0);
const worker = () => data.sessions.some(one => one.devices > 1) ? "the devices" : data.cards.length ? "the card" : "the processor";

export function drawSessions() {
  const some = data.sessions.filter(one => one.ended > one.began);
  $("sessions").hidden = !some.length;
  if (!some.length) return;
  renew($("sessions"), make("h2", {"data-key": "title"}, "When it was at work"), make("p", {"data-key": "said"}, sessionsSaid(some)), strips(some),
    legend([["work", "texts, denoising and decoding"], ...(some.some(rested) ? [["rest", "paused"]] : []), ["idle", "anything else: loading, waiting"]]),
    make("p", {class: "muted", "data-key": "meaning"}, meaning()), asTable("sessions", () => sessionTable(some)));
}

function sessionsSaid(some) {
  const first = some[0], last = some.at(-1), at = summed(some, awake), pauses = summed(some, rested);
  const runs = some.length > 1 ? "in " + some.length + " runs, together " + lasting(at) : lasting(at);
  const told = last.ended - first.began < EXACTLY ? toSecond : clock;
  return told(first.began) + " to " + (goesOn() ? "now" : told(last.ended)) + ", " + runs + (pauses ? " without pauses of " + lasting(pauses) : "")
    + ". Of that " + worker() + " worked " + percent(share(summed(some, worked), summed(some, one => one.device_s))) + ".";
}

const meaning = () => "At work is the time of encoding texts, denoising and decoding, as each image's receipt has it, over the time from start to end without pauses"
  + (data.sessions.some(one => one.devices > 1) ? ", of every device. " : ". ")
  + (data.sessions.some(one => one.shards > 1) ? "Shards that were at work at the same time are one run. " : "")
  + "Saving goes on beside the next image and does not count; nor do loading, waiting, and attempts that were tried again.";

/** One strip for each run, all of one scale. */
function strips(some) {
  const longest = Math.max(...some.map(one => one.ended - one.began));
  const list = make("ol", {class: "strips"});
  list.append(...some.slice(-20).map(one => make("li", {}, sessionStrip(one, longest), make("span", {}, sessionSaid(one)))));
  if (some.length > 20) list.prepend(make("li", {class: "muted"}, (some.length - 20) + " earlier runs stand in the table."));
  return list;
}

const ending = one => one.end === "end" ? "" : one.end === "stopped" ? "stopped" : goesOn() && one === data.sessions.at(-1) ? "goes on" : "ended without a word";
const sessionSaid = one => [one.ended - one.began < EXACTLY ? toSecond(one.began) + "–" + toSecond(one.ended).slice(-8) : clock(one.began) + "–" + clock(one.ended).slice(-5), span(one.began, one.ended), one.images + (one.images === 1 ? " image" : " images"),
  one.failed ? one.failed + " failed" : "", one.shards > 1 ? one.shards + " shards" : "", percent(share(worked(one), one.device_s)) + " at work", ending(one)].filter(Boolean).join(" · ");

function sessionStrip(one, longest) {
  const of = at => COLUMNS * Math.min(1, Math.max(0, (at - one.began) / longest));
  const rect = (kind, from, to) => shape("rect", {class: "c-" + kind, x: of(from), y: 0, width: Math.max(0, of(Math.min(to, one.ended)) - of(from)), height: HIGH});
  const strip = drawing("Work and gaps of the run of " + clock(one.began), "100%", HIGH, rect("idle", one.began, one.ended),
    shape("path", {class: "c-work", d: workOf(spells(one), of, one.devices)}), ...one.pauses.map(([from, to]) => rect("rest", from, to)));
  strip.setAttribute("viewBox", `0 0 ${COLUMNS} ${HIGH}`);
  strip.setAttribute("preserveAspectRatio", "none");
  return strip;
}

/** A column as high as the share of its time that was work: what is filled is the share that is told. */
function workOf(found, of, devices) {
  const shares = new Array(COLUMNS).fill(0);
  for (const [from, to] of found.map(spell => spell.map(of))) {
    for (let column = Math.floor(from); column < to; column += 1) shares[column] += (Math.min(to, column + 1) - Math.max(from, column)) / devices;
  }
  return `M0,${HIGH}` + shares.map(part => `V${(HIGH * (1 - Math.min(1, part))).toFixed(2)}h1`).join("") + `V${HIGH}z`;
}

/** From when to when images were worked on. Their beginnings are known to the second: on one device one begins after the one before it. */
function spells(one) {
  let last = 0;
  return [...data.images, ...one.gone].filter(image => image.at >= one.began && image.at <= one.ended).sort((a, b) => a.at - b.at).map(image => {
    const from = Math.max(image.at + (image.load_s || 0), one.devices > 1 ? 0 : last);
    last = from + ["encode_s", "denoise_s", "whole_s", "decode_s"].reduce((sum, stage) => sum + (image[stage] || 0), 0);
    return [from, Math.min(last, one.ended)];
  });
}

function sessionTable(some) {
  const columns = [["begun"], ["ended"], ["how"], ...["time", "paused", "images", "failed", "at work", "texts", "denoising", "decoding", "loading"].map(title => [title, true])];
  return tableOf("Runs", columns.map(([title, number]) => ({title, number})), some.map(one => [
    clock(one.began), clock(one.ended), ending(one) || "to its end", span(one.began, one.ended), lasting(rested(one)), String(one.images), String(one.failed),
    percent(share(worked(one), one.device_s)), ...[one.encode_s, one.denoise_s, one.decode_s, one.load_s].map(duration)]), "session-table");
}
