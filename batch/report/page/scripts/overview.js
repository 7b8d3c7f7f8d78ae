/* What there is to know of the run beside its pictures. */

import { $, make } from "./dom.js";
import { data, failed } from "./data.js";
import { define, get, set, watch } from "./state.js";
import { after, duration, known, mib, named, short, when } from "./words.js";
export function heading() {
  const sum = data.summary, facts = $("facts");
  facts.replaceChildren();
  document.title = data.name + " · run_batch report";
  $("name").textContent = data.name;
  const hidden = new Set(["none", "default", ""]);
  $("common").textContent = Object.entries(data.common)
    .filter(([key, value]) => key !== "device" && !hidden.has(value)).map(([key, value]) => named(key, value)).join(" · ");
  const fact = (title, value, kind = "") => facts.append(make("div", {class: kind}, make("b", {}, value), title));
  fact("done of " + sum.total, String(sum.done));
  if (sum.failed) fact("failed", String(sum.failed), "bad");
  if (sum.out_of_memory) fact("out of memory", String(sum.out_of_memory), "warn");
  if (sum.skipped) fact("skipped", String(sum.skipped), "warn");
  if (sum.missing) fact("to render", String(sum.missing), "warn");
  if (sum.degraded) fact("degraded", String(sum.degraded), "warn");
  if (sum.cut) fact("prompt cut", String(sum.cut), "warn");
  for (const [what, count] of Object.entries(sum.touched)) fact(what, String(count), "warn");
  if (sum.torn) fact("torn", String(sum.torn), "bad");
  if (sum.extra) fact("no longer in the manifest", String(sum.extra));
  fact("sum of all stages and loading", duration(sum.total_s));
  if (known(sum.median_s)) fact("an image (median)", duration(sum.median_s));
  const kinds = {peak_device_mib: "peak on the device", peak_reserved_mib: "peak reserved by torch", peak_rss_mib: "peak host memory"};
  if (known(sum.peak_mib)) fact(kinds[sum.peak_kind], mib(sum.peak_mib));
  const versions = Object.entries(sum.versions).filter(([, value]) => value).map(([key, value]) => key + " " + value);
  $("machine").textContent = [sum.devices.join(", "), ...versions].filter(Boolean).join(" · ");
}

const opened = new Set();  // groups of failures that are listed to their end
export function failures() {
  const groups = new Map();
  for (const image of data.images.filter(failed)) {
    const key = image.stage + "\n" + image.error;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(image);
  }
  const section = $("failures");
  section.lastElementChild.replaceChildren();
  section.querySelector("h2").textContent = [[data.summary.failed, "failed"], [data.summary.out_of_memory, "out of memory"]]
    .filter(([count]) => count).map(([count, word]) => count + " " + word).join(", ");
  for (const [key, images] of groups) {
    const names = images.map(image => make("li", {}, short(image.prompt, 160) + " · seed " + image.seed + " · " + image.pixels + data.varying.filter(key => key !== "size" && key !== "device").map(key => " · " + named(key, image[key])).join("")));
    const list = make("ul", {}, ...names.slice(0, opened.has(key) ? names.length : 5));
    const box = make("div", {class: "failure"},
      make("p", {}, make("b", {}, (images[0].stage || "before the first stage") + " · "
        + images.length + (images.length > 1 ? " images" : " image")), " · attempts " + Math.max(...images.map(image => image.attempts || 0))),
      make("pre", {}, images[0].error), list);
    if (names.length > 5 && !opened.has(key)) box.append(make("button", {onclick: event => { opened.add(key); list.append(...names.slice(5)); event.target.remove(); }}, "show all " + names.length));
    section.lastElementChild.append(box);
  }
}

export function happened() {
  const row = event => make("tr", {class: event.kind === "started" ? "muted" : ""},
    make("td", {title: event.time}, when(event.time)), make("td", {}, event.kind),
    make("td", {class: "text"}, after(event.kind, event.text), ...(event.log ? [make("details", {}, make("summary", {class: "muted"}, "the end of its log"), make("pre", {}, event.log))] : [])),
    make("td", {class: "name"}, event.name));
  $("happened").lastElementChild.replaceChildren(make("table", {},
    make("thead", {}, make("tr", {}, ...["time", "kind", "what", "image"].map(title => make("th", {}, title)))),
    make("tbody", {}, ...data.happened.map(row).reverse())));
}

export function timing() {
  const {columns, rows} = data.timing;
  const titles = {total_s: "total s", denoise_s: "denoise s", decode_s: "decode s", save_s: "save s", peak_allocated_mib: "allocated MiB",
    peak_reserved_mib: "reserved MiB", peak_device_mib: "device MiB", peak_rss_mib: "host MiB"};
  const shown = (name, value) => !known(value) ? "–" : name.endsWith("_s") ? value.toFixed(2) : name.endsWith("_mib") ? Math.round(value) : value;
  const kind = index => typeof rows.find(row => known(row[index]))?.[index] === "number" || columns[index].endsWith("_s") ? "number" : "";
  $("timing").querySelector(".scroll").replaceChildren(make("table", {},
    make("thead", {}, make("tr", {}, ...columns.map((name, index) => make("th", {class: kind(index)}, titles[name] || name)))),
    make("tbody", {}, ...rows.map(row => make("tr", {}, ...row.map((value, index) => make("td", {class: kind(index)}, String(shown(columns[index], value)))))))));
}

export function schedulers() {
  $("schedulers").hidden = !data.schedulers.length;
  const columns = ["model", "scheduler", "class", "settings", "images"];
  $("schedulers").querySelector(".scroll").replaceChildren(make("table", {},
    make("thead", {}, make("tr", {}, ...columns.map(name => make("th", {}, name)))),
    make("tbody", {}, ...data.schedulers.map(row => make("tr", {}, ...columns.map(name => make("td", {class: name === "settings" ? "text" : ""}, row[name])))))));
}

// The parts of the page

const PARTS = ["pictures", "failures", "costs", "happened"];

export function startTabs() {
  define("part", PARTS[0]);
  watch(["part"], () => tabs());
  for (const part of PARTS) {
    $("tab-" + part).addEventListener("click", () => set({part}));
    $("tab-" + part).addEventListener("keydown", event => {
      const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
      if (!step) return;
      const there = PARTS.filter(name => !$("tab-" + name).hidden);
      const next = there[(there.indexOf(part) + step + there.length) % there.length];
      set({part: next});
      $("tab-" + next).focus();
    });
  }
  tabs();
}
/** Parts that hold nothing have no tab; one that the address names and that holds nothing yet shows the pictures. */
export function tabs() {
  const count = data.images.filter(failed).length;
  const titles = {pictures: "Pictures", failures: "Failed " + count, costs: "Time and memory", happened: "What happened"};
  const there = {pictures: true, failures: count, costs: data.timing.rows.length, happened: data.happened.length};
  const part = there[get("part")] ? get("part") : PARTS[0];
  for (const name of PARTS) {
    const tab = $("tab-" + name);
    tab.textContent = titles[name];
    tab.hidden = !there[name];
    tab.setAttribute("aria-selected", String(name === part));
    tab.tabIndex = name === part ? 0 : -1;
    $(name).hidden = name !== part;
  }
}
