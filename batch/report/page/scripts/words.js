/* Figures and names as they are read. */

export function duration(seconds) {
  if (seconds < 60) return seconds.toFixed(seconds < 1 ? 2 : 1) + "s";
  const whole = Math.round(seconds), minutes = Math.floor(whole / 60);
  if (minutes < 60) return minutes + "m " + String(whole % 60).padStart(2, "0") + "s";
  return Math.floor(minutes / 60) + "h " + String(minutes % 60).padStart(2, "0") + "m";
}
// Between two moments, which are known to the second.
export const lasting = seconds => seconds < 60 ? Math.round(seconds) + "s" : duration(seconds);
export const mib = value => value >= 1024 ? (value / 1024).toFixed(1) + " GiB" : Math.round(value) + " MiB";
// Below the page's own folder, whatever a receipt says: no other host, no script, no folder above.
export const path = name => name.split("/").filter(part => part && part !== "..").map(encodeURIComponent).join("/");
export const known = value => value !== undefined && value !== null;
export const named = (key, value) => ["model", "size", "format"].includes(key) ? value : key.replace("_", " ") + " " + value;
export const short = (text, length) => text.length > length ? text.slice(0, length).trimEnd() + " …" : text;
// What is said, without the word that stands before it.
export const after = (word, text) => text.startsWith(word + ": ") ? text.slice(word.length + 2) : text;
export const clock = seconds => {
  const time = new Date(seconds * 1000), [day, hour] = time.toLocaleString("sv").split(" ");
  return (day === new Date().toLocaleString("sv").split(" ")[0] ? "" : day + " ") + hour.slice(0, 5);
};
export const toSecond = seconds => clock(seconds).slice(0, -5) + new Date(seconds * 1000).toLocaleString("sv").slice(11);
const GRAINS_S = [60, 300, 600, 1800, 3600, 3600], UP_TO_S = [1200, 7200, 28800, 86400];
/** An expected moment, no finer than it can be told so long before; of a guess a step coarser. The terminal says it so, too. */
export function clockAbout(seconds, guessed) {
  const left = seconds - Date.now() / 1000, step = UP_TO_S.filter(most => left >= most).length + (guessed ? 1 : 0), time = new Date(seconds * 1000);
  const midnight = new Date(time.getFullYear(), time.getMonth(), time.getDate()).getTime() / 1000;
  return clock(midnight + Math.round((seconds - midnight) / GRAINS_S[step]) * GRAINS_S[step]);
}
// 2026-01-31 23:59:59, in the reader's time zone
export const when = time => new Date(time).toLocaleString("sv");
// Saturday 31 January 2026, and 23:59:59, in the reader's time zone
export const day = time => new Date(time).toLocaleDateString("en-GB", {weekday: "long", day: "numeric", month: "long", year: "numeric"});
export const hour = time => when(time).slice(11);
