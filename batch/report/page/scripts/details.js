/* All that is known of an image: its texts, what it cost, who made it, and why it failed. Every value is text. */

import { make } from "./dom.js";
import { command, copyText } from "./copying.js";
import { data, failed, record } from "./data.js";
import { manifestText } from "./entries.js";
import { duration, known, mib, when } from "./words.js";

const TIMED = ["encode", "denoise", "decode", "whole"];
const PEAKS = {seconds: "time", allocated: "allocated", reserved: "reserved", device: "device", rss: "host"};
const TITLES = {file: "File", machine: "Machine", scheduler: "Scheduler at work", texts: "Texts", task: "Task"};
const SAID = ["measurement", "error", "schema", ...Object.keys(TITLES)];
const BYTES = ["allocated", "reserved", "device", "rss", "device_memory", "vram_limit", "bytes", "requested"];

/** Everything about an image, to be read in a panel. */
export function details(image) {
  const found = record(image) || {};
  const parts = [
    whyNot(image, found.error), textOf("Prompt", image.prompt), textOf("Negative prompt", image.negative_prompt), copiesOf(image),
    found.measurement && costsOf(found.measurement), madeHow(without(found, SAID)), ...Object.keys(TITLES).map(key => partOf(TITLES[key], inTable(key, found[key], image))),
  ];
  return make("div", {class: "details"}, ...parts.filter(Boolean));
}

function textOf(title, text) {
  return text ? make("section", {}, make("h3", {}, title), make("p", {class: "text", dir: "auto"}, text)) : "";
}

function copiesOf(image) {
  const said = make("span", {role: "status", class: "muted"});
  const button = (title, read) => make("button", {type: "button", onclick: async () => {
    try {
      said.textContent = await copyText(read(), title) ? title + ": copied" : "";
    } catch (error) {
      said.textContent = error.message;
    }
  }}, "Copy " + title.toLowerCase());
  const buttons = [button("Prompt", () => image.prompt), button("Manifest", () => manifestText([image])), button(image.file ? "Path" : "Name", () => image.file || image.name), button("Id", () => image.id)];
  return make("div", {class: "group copies"}, ...buttons, said);
}

// Failures

function whyNot(image, error) {
  if (image.file) return "";
  if (!failed(image)) return make("section", {class: "why"}, make("h3", {}, image.status === "skipped" ? "Skipped" : "Not rendered yet"), image.error ? make("p", {class: "text"}, image.error) : "");
  const where = [image.stage && "at: " + image.stage, known(image.attempts) && "attempts: " + image.attempts].filter(Boolean).join(" · ");
  const wanted = error && known(error.requested) ? make("p", {}, "It asked for " + mib(error.requested / 2 ** 20) + " at once.") : "";
  return make("section", {class: "why bad"}, make("h3", {}, image.status === "invalid" ? "No picture" : "Failed"), make("p", {}, where), make("pre", {}, image.error || ""), wanted, againOf(error));
}

function againOf(error) {
  const again = data.again || {}, line = error && error.kind === "OutOfMemoryError" ? again.unfit || again.failed : again.failed;
  if (!line) return make("p", {}, "The same command tries it again, as often as run.retries says; --retry-failed begins that count anew.");
  return make("div", {}, make("p", {}, "To try it again:"), command(line));
}

// What its receipt says

function costsOf(measured) {
  const stages = TIMED.filter(name => measured[name]), columns = Object.keys(PEAKS).filter(key => stages.some(name => known(measured[name][key])));
  const cell = (key, value) => make("td", {class: "number"}, known(value) ? figureOf(key, value) : "–");
  const table = make("table", {},
    make("thead", {}, make("tr", {}, make("th", {}, "stage"), ...columns.map(key => make("th", {class: "number"}, PEAKS[key])))),
    make("tbody", {}, ...stages.map(name => make("tr", {}, make("th", {scope: "row"}, name), ...columns.map(key => cell(key, measured[name][key]))))));
  const scroll = make("div", {class: "scroll", tabindex: "0", role: "group", "aria-label": "Time and peak memory"}, table);
  return make("section", {}, make("h3", {}, "Time and peak memory"), stages.length ? scroll : "", listOf(without(measured, TIMED)));
}

const madeHow = values => isEmpty(values) ? "" : make("section", {}, make("h3", {}, "How it was made"), listOf(values));

function inTable(key, value, image) {
  if (key !== "task" || !value) return value;
  // A seed of 64 bits is more than a number holds; the texts stand above.
  return {...without(value, ["prompt", "negative_prompt"]), seed: image.seed};
}

const keptOpen = new Set();  // titles of parts that stay open from image to image
function partOf(title, value) {
  if (isEmpty(value)) return "";
  const box = make("details", {ontoggle: () => box.open ? keptOpen.add(title) : keptOpen.delete(title)}, make("summary", {}, title), valueOf("", value));
  box.open = keptOpen.has(title);
  return box;
}

function valueOf(key, value) {
  if (Array.isArray(value) && value.every(item => Array.isArray(item) && item.length === 2 && typeof item[0] === "string")) return listOf(Object.fromEntries(value));
  if (Array.isArray(value) && value.some(item => typeof item === "object")) return make("ol", {}, ...value.map(item => make("li", {}, valueOf(key, item))));
  if (Array.isArray(value)) return value.join(", ");
  if (value !== null && typeof value === "object") return listOf(value);
  return figureOf(key, value);
}

function listOf(values) {
  const rows = Object.entries(values).filter(([, value]) => !isEmpty(value));
  return make("dl", {}, ...rows.flatMap(([key, value]) => [make("dt", {}, key.replaceAll("_", " ").replace(/ s$/, "")), make("dd", {dir: "auto"}, valueOf(key, value))]));
}

function figureOf(key, value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (key.endsWith("_at") && Date.parse(value)) return when(value);
  if (typeof value !== "number") return String(value);
  if (key === "seconds" || key.endsWith("_s")) return duration(value);
  if (BYTES.includes(key)) return key === "bytes" ? `${value.toLocaleString("en")} bytes` : mib(value / 2 ** 20);
  if (key === "mtime") return new Date(value * 1000).toLocaleString("sv");
  return String(value);
}

const without = (values, keys) => Object.fromEntries(Object.entries(values).filter(([key]) => !keys.includes(key)));
const isEmpty = value => !known(value) || value === "" || (typeof value === "object" && !Object.keys(value).length);
