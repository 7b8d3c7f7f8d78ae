/* A manifest that renders some of the images again: the same products that `manifest from` makes of them. */

import { data } from "./data.js";

/** The text of a manifest. Throws an Error that says why there is none. */
export function manifestText(images) {
  const {axes, heads, images: rows, repeats} = data.entries, names = Object.keys(axes);
  const chosen = images.filter(image => rows[image.id]);
  if (!chosen.length) throw new Error("no manifest can say this image");
  const head = headOf(chosen.map(image => heads[rows[image.id][0]]));
  const blocks = asProducts(chosen.map(image => rows[image.id].slice(1)), names);
  const [first] = blocks, written = block => names.flatMap((name, at) => block[at][0] < 0 ? [] : [[name, listed(block[at].map(number => axes[name][number]))]]);
  const isShared = (name, at) => blocks.length === 1 || (name !== "prompt" && first[at].length === 1 && blocks.every(block => block[at].length === 1 && block[at][0] === first[at][0]));
  const shared = new Set(names.filter(isShared));
  const lines = written(first).filter(([name]) => shared.has(name)).map(([name, value]) => `  ${name}: ${value}`);
  const entries = blocks.map(block => written(block).filter(([name]) => !shared.has(name)).map(([name, value], at) => `${at ? "  " : "- "}${name}: ${value}`).join("\n"));
  return [
    ...comments(chosen, images.length - chosen.length, head.notes),
    ...repeats ? ["kind: measure", `repeats: ${repeats}`] : [],
    ...Object.entries(head.texts).map(([key, value]) => `${key}: ${value}`),
    "grid:", ...lines,
    ...blocks.length > 1 ? ["include:", ...entries] : [],
    ...head.resize ? ["resize: true"] : [],
    ...head.output ? [`output: ${head.output}`] : [],
  ].join("\n") + "\n";
}

// What a manifest says once must be the same for all.
function headOf(found) {
  const texts = new Set(found.map(head => JSON.stringify(head.texts))), outputs = new Set(found.map(head => head.output));
  if (texts.size > 1) throw new Error("the images differ in long_prompts or prompt_syntax, which hold for a whole manifest: pick of one kind");
  const notes = found.flatMap(head => head.notes);
  if (outputs.size > 1) notes.push("the pictures are of several formats; the manifest writes png");
  return {texts: found[0].texts, output: outputs.size > 1 ? "" : found[0].output, resize: found.some(head => head.resize), notes};
}

function comments(images, left, notes) {
  const allowed = [...new Set(images.flatMap(image => image.allowed ? image.allowed.split(", ") : []))].map(name => `the model needs ${name}: look at it before you allow it`);
  const said = [...new Set([...notes, ...allowed]), ...left ? [left + " more cannot be said in a manifest"] : []];
  const what = images.length === 1 ? images[0].name : images.length + " images";
  return [`${what} of ${data.name}, from report.html`, ...said].map(line => "# " + JSON.stringify(line).slice(1, -1).replace(/[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd]/gu, "?"));
}

/** Values of one axis: one as it is, several in a list; a list is one value, so it stands in a list. */
const listed = values => values.length === 1 && !values[0].startsWith("[") ? values[0] : `[${values.join(", ")}]`;

// Rows that differ on one axis alone become one block, axis by axis: of a whole product one block remains.
function asProducts(rows, names) {
  let blocks = [...new Map(rows.map(row => [row.join(), row.map(number => [number])])).values()];
  const order = [...new Set(["seed", "prompt", ...names])].map(name => names.indexOf(name)).filter(at => at >= 0);
  for (const at of order) {
    const groups = new Map();
    for (const block of blocks) {
      const rest = JSON.stringify(block.map((numbers, place) => place === at ? numbers[0] < 0 : numbers));
      if (!groups.has(rest)) groups.set(rest, []);
      groups.get(rest).push(block);
    }
    blocks = [...groups.values()].map(group => joinedAt(group, at));
  }
  return blocks;
}

function joinedAt(group, at) {
  const numbers = [...new Set(group.flatMap(block => block[at]))].sort((a, b) => a - b);
  return group[0].map((own, place) => place === at ? numbers : own);
}
