/* The run, while it goes on: how it is, and what is new, come as scripts of one call each. */

import { $, make, renew } from "./dom.js";
import { costs } from "./costs.js";
import { data, describe, learnRecords } from "./data.js";
import { failures } from "./failures.js";
import { happened } from "./happened.js";
import { caption, shown } from "./looking.js";
import { heading, tabs } from "./overview.js";
import { recount } from "./picksbar.js";
import { cards, redraw } from "./pictures.js";
import { after, clock, clockAbout, duration, known, path } from "./words.js";
const ASK_MS = 2000, ASK_SILENT_MS = 5000, SILENT_S = 30, UNHEARD = 3;
let {began, generation} = data.live || {};  // which run, and how much of it is known here
let run = null, heard = 0, piece = null;
let wrote = data.live ? data.live.written * 1000 : 0;  // how old the pictures and figures of this page are
window.runBatchStatus = now => {
  if (!run) heard = now.updated * 1000;  // by the clock of the other machine, once
  else if (now.updated !== run.updated) heard = Date.now();
  run = now;
};
window.runBatchPiece = news => { piece = news; };

const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));
function load(name) {
  return new Promise(done => {
    const script = make("script", {src: path(name) + "?" + Date.now()});
    const end = loaded => { script.remove(); done(loaded); };
    script.addEventListener("load", () => end(true));
    script.addEventListener("error", () => end(false));
    document.head.append(script);
  });
}

export async function follow() {
  for (let unheard = 0; unheard < UNHEARD;) {
    unheard = await load(".run/status.js") && run ? 0 : unheard + 1;
    if (run && !data.counted) counting();
    if (run && run.began !== began) [began, generation] = [run.began, 0];
    while (run && generation < run.generation) {
      piece = null;
      if (!await load(".run/page/" + String(generation + 1).padStart(4, "0") + ".js") || !piece) break;
      generation += 1;
      wrote = piece.written * 1000;
      learn(piece);
    }
    const behind = run && run.state === "ended" && (generation < run.generation || !generation);
    if (run) strip(behind);
    if (run && run.state === "ended") return over();
    await pause(run && Date.now() - heard > SILENT_S * 1000 ? ASK_SILENT_MS : ASK_MS);
  }
  strip(false);
}

// From now on the strip counts, and nobody else: it hears of an image before the page shows it.
function counting() {
  data.counted = true;
  staying(() => {
    heading();
    tabs();
  });
}

// What is still to render will not come.
function over() {
  data.over = true;
  data.counted = false;
  staying(() => {
    heading();
    failures();
    tabs();
    costs();
  });
}

function learn({images, generation: number, written, records, ...news}) {
  learnRecords(records);
  Object.assign(data, news);
  const before = new Map(data.images.map(image => [image.id, image])), changed = new Set();
  if (number === 1) data.images.length = images.length;
  for (const [index, image] of images) {
    const same = before.get(image.id) || {};  // it may be shown, or picked
    for (const key of Object.keys(same)) delete same[key];
    changed.add(data.images[index] = Object.assign(same, image));
  }
  staying(least => {
    describe();
    heading();
    failures();
    if (news.happened) happened();
    tabs();
    recount();
    costs();
    redraw(changed, least);
  });
  if ($("viewer").open && shown.some(image => changed.has(image))) caption();
}

// The first picture in view stays where it is, whatever grows above it.
function staying(work) {
  const top = $("live").offsetHeight;
  const anchor = [...cards].find(([, element]) => element.getBoundingClientRect().bottom > top);
  if (!anchor || !scrollY || anchor[1].getBoundingClientRect().top > innerHeight) return work(() => 0);
  const [image, element] = anchor, before = element.getBoundingClientRect().top;
  work(images => images.indexOf(image) + 1);
  const now = cards.get(image);
  if (now) scrollBy({top: now.getBoundingClientRect().top - before, behavior: "instant"});
}

const STATES = {starting: "Starting", loading: "Loading", encoding: "Encoding texts", rendering: "Rendering", paused: "Paused", stopping: "Stopping", finishing: "Finishing", ended: "The run is over"};

const SEAT_STATES = {loading: "loading the model", encoding: "encoding texts", gone: "lost"};
const STAGES = {encode: "encoding", denoise: "denoising", decode: "decoding", render: "rendering", save: "saving"};

function strip(behind) {
  const silent = run && run.state !== "ended" && Date.now() - heard > SILENT_S * 1000, over = !run || run.state === "ended";
  const put = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text; };
  $("live").className = "live" + (silent ? " silent" : over ? " over" : ["paused", "stopping"].includes(run.state) ? " waits" : "");
  if (!run) {
    put("state", "Written while the run went on");
    put("doing", "nothing is heard of it here: its .run folder is not beside this page");
  } else {
    put("state", silent ? "No sign of life since " + clock(run.updated) : STATES[run.state] || run.state);
    const said = after(run.state, run.said);
    put("doing", behind ? "reload this page to see how it ended" : [said, doing(said)].filter(Boolean).join(" · "));
    put("done", run.done + " of " + run.total + " done");
    put("failed", run.failed ? run.failed + " failed" : "");
    put("rate", !over && run.per_hour ? rate(3600 / run.per_hour) : "");
    put("ends", over ? "ended " + clock(run.updated) : silent ? "" : ends());
    $("ends").title = [run.ends_by, run.ends_from].filter(Boolean).join(", ");
    put("until", !over && wrote && run.done + run.failed > data.summary.done + data.summary.failed ? "pictures up to " + clock(wrote / 1000) : "");
    devices();
    $("live").style.setProperty("--part", (run.total ? 100 * run.done / run.total : 0) + "%");
    document.title = (over ? "" : run.done + " of " + run.total + " · ") + data.name + " · run_batch report";
  }
  $("live").hidden = false;
  document.documentElement.style.setProperty("--live", $("live").offsetHeight + "px");
}
function rate(seconds) {
  if (seconds >= 60) return (3600 / seconds).toFixed(seconds > 600 ? 1 : 0) + " images/h";
  return seconds * 1.5 > 1 ? seconds.toFixed(1) + " s/image" : Math.round(1 / seconds) + " images/s";
}
function ends() {
  if (run.state === "paused") {
    const rest = known(run.resumed_s) ? run.resumed_s : run.rest_s, over = known(run.ends_at) ? run.ends_at - Date.now() / 1000 : Infinity;
    const resumed = known(rest) && rest <= over ? "about " + duration(rest) + " once resumed" : "";
    const images = known(run.ends_with) ? "stops with " + run.ends_with + " of " + run.total + " done" : "";
    return [resumed, known(run.ends_at) ? "stops at " + clock(run.ends_at) + ", paused or not" : images].filter(Boolean).join(", ");
  }
  const exact = run.ends_by !== "--max-images";
  if (run.ends_by && known(run.ends_with)) return "stops " + (exact ? "at " + clock(run.ends_at) : "about " + clockAbout(run.ends_at)) + " with " + (exact ? "about " : "") + run.ends_with + " of " + run.total + " done";
  return known(run.ends_at) ? (run.ends_by ? "stops at " + clock(run.ends_at) : "done about " + clockAbout(run.ends_at, run.ends_guessed)) : "";
}
// A line for each device, where there are several.
function devices() {
  const all = several() && ["loading", "encoding", "rendering", "stopping"].includes(run.state) ? run.seats : [];
  $("devices").hidden = !all.length;
  if (!all.length) return;
  renew($("devices-list"), ...all.map(seat => {
    const said = seat.image ? stage(seat) : SEAT_STATES[seat.state] || seat.state;
    return make("li", {"data-key": seat.number}, make("b", {}, seat.label), make("span", {dir: "auto"}, seat.image), make("span", {}, said));
  }));
}
function stage(of) {
  return (STAGES[of.stage] || of.stage || "") + (of.parts ? " " + of.part + " of " + of.parts : "");
}
function several() {
  return Array.isArray(run.seats) && run.seats.length > 1;
}
function doing(said) {
  if (several() && run.state === "rendering") {
    const [busy, lost] = ["rendering", "gone"].map(state => run.seats.filter(seat => seat.state === state).length);
    return "on " + busy + " of " + run.seats.length + " devices" + (lost ? ", " + lost + " lost" : "");
  }
  if (!["encoding", "rendering", "stopping"].includes(run.state)) return "";
  const at = run.state !== "encoding" ? stage(run) : run.parts ? "text " + run.part + " of " + run.parts : "";
  const left = known(run.image_left_s) && run.image_left_s >= 1 ? (run.image_left_s < 60 ? Math.round(run.image_left_s) + "s" : duration(run.image_left_s)) + " to go" : "";
  return [at, left, said.includes(run.image) ? "" : run.image].filter(Boolean).join(" · ");  // a name may be cut
}
