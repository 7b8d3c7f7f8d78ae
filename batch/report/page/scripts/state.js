/* What the reader has chosen. It stands in the page's address, so that a reload, a link and the way back show the same. */

const DEFAULTS = new Map(), WATCHERS = [];
// Safari lets a page write its address a hundred times in half a minute, and no more: typing could be more.
const MOST_WRITES = 30, IN_MS = 10000, LATER_MS = 500;
const writes = [];  // when
let state = {}, writing = null;

/** A name, and the value that the address leaves out. */
export function define(name, value = "") {
  DEFAULTS.set(name, value);
}

export const get = name => state[name] ?? DEFAULTS.get(name);

/** Call `work` when one of these names has another value. */
export function watch(names, work) {
  WATCHERS.push({names, work});
}

/** Choose; `step` is a place that the browser's way back leads to, as from a picture or the grid to the gallery. */
export function set(values, {step = false} = {}) {
  const before = {...state};
  if (step) write();  // so that the way back leads to what there is now
  Object.assign(state, values);
  if (step) write("pushState");
  else if (writes.filter(when => when > Date.now() - IN_MS).length < MOST_WRITES) write();
  else writing ??= setTimeout(write, LATER_MS);
  tell(before);
}

/** Read the address; call it once everything is defined and watched. */
export function start() {
  addEventListener("popstate", restore);
  addEventListener("hashchange", restore);
  addEventListener("pagehide", () => write());
  restore();
}

function write(how = "replaceState") {
  clearTimeout(writing);
  writing = null;
  const address = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) if (value !== DEFAULTS.get(name)) address.set(name, value);
  const hash = "#" + address;
  if (hash === (location.hash || "#")) return;
  writes.push(Date.now());
  if (writes.length > MOST_WRITES) writes.shift();
  try {
    history[how](null, "", hash);
  } catch {
    // An address that may not be written costs a link, and nothing of what is chosen.
  }
}

function restore() {
  clearTimeout(writing);
  writing = null;
  const before = state, written = new URLSearchParams(location.hash.slice(1));
  state = Object.fromEntries([...DEFAULTS].map(([name, value]) => [name, written.get(name) ?? value]));
  tell(before);
}

function tell(before) {
  const other = name => (before[name] ?? DEFAULTS.get(name)) !== get(name);
  for (const {names, work} of WATCHERS) if (names.some(other)) work();
}
