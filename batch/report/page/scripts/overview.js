/* The head of the page, and its parts. */

import { $, make, renew } from "./dom.js";
import { whyStopped } from "./about.js";
import { data, goesOn } from "./data.js";
import { define, get, set, watch } from "./state.js";
import { clock, duration, known, lasting, mib, named, short } from "./words.js";

export function heading() {
  document.title = data.name + " · run_batch report";
  $("name").textContent = data.name;
  renew($("verdict"), ...verdict(data.summary));
  brokenOff();
  renew($("facts"), ...facts(data.summary).filter(Boolean));
  const hidden = new Set(["none", "default", ""]);
  const shared = Object.entries(data.common).filter(([key, value]) => key !== "device" && !hidden.has(value)).map(([key, value]) => named(key, value));
  $("common").textContent = [...shared, ...cardNames()].join(" · ");
  $("machine").textContent = Object.entries(data.summary.versions).filter(([, value]) => value).map(([key, value]) => key + " " + value).join(" · ");
}

function cardNames() {
  const size = card => mib(card.memory_mib) + (known(card.limit_mib) ? ", held to " + mib(card.limit_mib) : "");
  return data.summary.devices.flatMap(device => {
    const sizes = data.cards.filter(card => card.device === device).map(size);
    return sizes.length ? sizes.map(text => device + " (" + text + ")") : [device];
  });
}

const MOST_SAID = 600;  // letters of it above the pictures: whole it stands where the images are that are not there

// What the last run ended by, where it has left something.
function brokenOff() {
  const {stopped, summary: sum} = data, shows = Boolean(whyStopped()) && sum.done < sum.total;
  $("broken-off").hidden = !shows;
  if (!shows) return;
  $("broken-off").classList.toggle("bad", stopped.in_a_row > 0 || stopped.for_good);
  $("broken-off").textContent = short(whyStopped(), MOST_SAID);
}

/** Is it done, and did anything go wrong: each in a word or two that leads to where it is told. */
function verdict(sum) {
  const whole = sum.done === sum.total, parts = [];
  if (!data.counted) parts.push(make("b", {class: "verdict" + (whole ? " good" : ""), "data-key": "done"}, (whole ? "✓ all " : "") + sum.done + (whole ? " done" : " of " + sum.total + " done")));
  const say = (count, words, kind, where) => {
    if (!count) return;
    const attributes = {class: "verdict " + kind, "data-key": words};
    parts.push(where ? make("a", {...attributes, href: "#" + new URLSearchParams(where)}, count + " " + words) : make("span", attributes, count + " " + words));
  };
  const away = {part: "failures"}, found = find => ({part: "pictures", find});
  if (!data.counted) say(sum.failed, "failed", "bad", away);
  say(sum.out_of_memory, "out of memory", "warn", away);
  say(sum.skipped, "skipped", "warn", away);
  if (!data.counted) say(sum.missing, "to render", goesOn() ? "" : "warn", goesOn() ? null : away);
  say(sum.torn, "torn", "bad", found("is:missing torn"));
  say(sum.degraded, "degraded", "warn", found("degraded"));
  say(sum.cut, "with a prompt cut", "warn", found("prompt cut"));
  for (const [what, count] of Object.entries(sum.touched)) say(count, what, "warn", found(what));
  say(sum.extra, "no longer in the manifest", "");
  return parts;
}

const PEAK_TITLES = {peak_device_mib: "peak on the card", peak_reserved_mib: "peak reserved by torch", peak_rss_mib: "peak host memory"};

function facts(sum) {
  const fact = (title, value) => make("div", {"data-key": title}, make("dt", {}, title), make("dd", {}, value));
  const several = data.sessions.some(one => one.devices > 1);
  const last = data.sessions.at(-1), took = goesOn() ? 0 : data.sessions.reduce((sum, one) => sum + one.ended - one.began, 0);
  return [
    known(sum.median_s) && fact("an image" + (several ? " on one device" : "") + (sum.timed > 1 ? " (median)" : ""), duration(sum.median_s)),
    took > 0 && fact(data.sessions.length > 1 ? "in " + data.sessions.length + " runs" : "from start to end", lasting(took)),
    known(sum.peak_mib) && fact(PEAK_TITLES[sum.peak_kind], mib(sum.peak_mib)),
    last && !goesOn() && fact(last.end ? "ended" : "last heard of", clock(last.ended)),
  ];
}

// The parts of the page

const PARTS = ["pictures", "failures", "costs", "happened"];

export function startTabs() {
  define("part", PARTS[0]);
  watch(["part"], () => tabs());
  for (const part of PARTS) {
    $("tab-" + part).addEventListener("click", () => set({part}, {step: true}));
    $("tab-" + part).addEventListener("keydown", event => {
      const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
      if (!step) return;
      const there = PARTS.filter(name => !$("tab-" + name).hidden);
      const next = there[(there.indexOf(part) + step + there.length) % there.length];
      set({part: next}, {step: true});
      $("tab-" + next).focus();
    });
  }
  tabs();
}

/** Images that are not there, by the word that stands on the tab; those to render are no news while they are rendered. */
function absent() {
  const {failed: bad, out_of_memory: unfit, skipped, missing} = data.summary;
  const words = [[bad, "Failed"], [unfit, "Out of memory"], [skipped, "Skipped"], [goesOn() ? 0 : missing, "To render"]];
  return words.find(([count]) => count) || [0, "Failed"];
}

/** Parts that hold nothing have no tab; one that the address names and that holds nothing yet shows the pictures. */
export function tabs() {
  const [count, word] = absent();
  const titles = {pictures: "Pictures", failures: word + (data.counted ? "" : " " + count), costs: "Time and memory", happened: "What happened"};
  const there = {pictures: true, failures: count, costs: data.timing.rows.length, happened: data.happened.length};
  const part = PARTS.includes(get("part")) && there[get("part")] ? get("part") : PARTS[0];
  for (const name of PARTS) {
    const tab = $("tab-" + name);
    tab.textContent = titles[name];
    tab.hidden = !there[name];
    tab.setAttribute("aria-selected", String(name === part));
    tab.tabIndex = name === part ? 0 : -1;
    $(name).hidden = name !== part;
  }
}
