/* What a line of a list of picks names. The command line reads the same, in this order: batch/upkeep/picks.py and albums.py. */

import { data } from "./data.js";

const MOST_LETTERS = 4096;  // of a line: no system takes a longer path
const MOST_SIGNS = 32;  // of comments in a line that are tried: a list of nothing else would take minutes
const SUFFIX = /(?<=[^/])\.(a?png|avif|bmp|gif|hei[cf]|jfif|jpe?g|jp2|jxl|pdf|psd|tga|tiff?|webp)$/i;
const ID = /(?<![0-9a-z])[0-9a-f]{8}(?:[0-9a-f]{8})?(?![0-9a-z])/g;

/** A function that finds the images, each once, that a line may mean: there should be one. */
export function namer() {
  const called = calledBy();
  return line => {
    for (const text of tooLong(line) ? [] : readings(line)) {
      const found = called(text.normalize("NFC"));
      if (found.size) return found;
    }
    return new Set();
  };
}

const tooLong = line => line.length > MOST_LETTERS && [...line].length > MOST_LETTERS;

// The likeliest first: names may hold " #", and what follows it may be a comment.
function* readings(line) {
  const whole = line.split("\t", 1)[0].trimEnd();
  yield* spellings(whole);
  for (const {index} of [...whole.matchAll(/(?<!\s)\s+#/g)].slice(0, MOST_SIGNS).reverse()) yield* spellings(whole.slice(0, index));
}

// A path as it is, or as a terminal or a file manager writes one that was dragged there.
function* spellings(written) {
  const text = addressed(unquotedPath(written));
  yield plainPath(text);
  if (!text.includes("\\")) return;
  yield plainPath(text.replaceAll("\\", "/"));  // Windows
  yield text.replace(/\\(.)/g, "$1");  // a shell
}
const unquotedPath = text => text.length > 2 && text[0] === text.at(-1) && `'"`.includes(text[0]) ? text.slice(1, -1) : text;

// The path of a file's address: its host, and what follows ? or #, are none of it.
function addressed(text) {
  const found = /^file:(?:\/\/[^/?#]*)?([^?#]*)/.exec(text);
  return found ? unescaped(found[1]).replace(/^\/(?=[A-Za-z]:)/, "") : text;
}
const unescaped = text => text.replace(/(?:%[0-9a-f]{2})+/gi, bytes => new TextDecoder("utf-8", {ignoreBOM: true}).decode(Uint8Array.from(bytes.slice(1).split("%"), byte => Number.parseInt(byte, 16))));

/** Without `.`, `..` and slashes that lead nowhere. */
function plainPath(text) {
  const top = text.startsWith("/") ? "/" : "", parts = [];
  for (const part of text.split("/")) {
    if (part === "..") climb(parts, top);
    else if (part && part !== ".") parts.push(part);
  }
  return top + parts.join("/") || ".";
}
function climb(parts, top) {
  if (parts.length && parts.at(-1) !== "..") parts.pop();
  else if (!top) parts.push("..");
}

// By ever less of a text: where an image lies, its name or its id, its file's name, the digits of an id in that.
function calledBy() {
  const places = new Map(), names = new Map(), files = new Map(), ids = new Map();
  for (const image of data.images) {
    const lies = stemOf(image.file || image.name);
    if (image.file) call(places, image, image.file);
    call(names, image, lies, lies.replace(/^images\//, ""), image.id, image.name, "images/" + image.name);
    call(files, image, lastOf(lies), lastOf(image.name));
    call(ids, image, image.id, image.id.slice(0, 8));
  }
  const tiers = [
    text => firstOf(insides(text).map(inside => allOf(places, inside))),
    text => firstOf(insides(text).map(inside => allOf(names, inside, stemOf(inside)))),
    text => allOf(files, stemOf(lastOf(text))),
    text => allOf(ids, ...lastOf(text).match(ID) || []),
  ];
  return text => {
    for (const tier of tiers) {
      const found = tier(text);
      if (found.size) return found;
    }
    return new Set();
  };
}
function call(called, image, ...texts) {
  for (const text of texts.map(text => text.normalize("NFC"))) {
    if (!called.has(text)) called.set(text, new Set());
    called.get(text).add(image);
  }
}
const allOf = (called, ...texts) => new Set(texts.flatMap(text => [...called.get(text) || []]));
const firstOf = sets => sets.find(found => found.size) || new Set();
const stemOf = path => path.replace(SUFFIX, "");
const lastOf = path => path.slice(path.lastIndexOf("/") + 1);

// A page does not know from where a path leads to its run: what begins with the folder of the images may lie in it.
const insides = text => [text, ...[...text.matchAll(/(?<=\/)images\//g)].map(({index}) => text.slice(index))];
