/* Prompts as they were before styles, where every prompt has every style: one row for all styles of a prompt. */

/** `of(image)`: the key of its prompt, and `label(key)` its text. */
export function styledPrompts(images) {
  const styles = new Map();
  for (const image of images) {
    const style = image.style || "";
    if (!styles.has(style)) styles.set(style, new Map());
    const numbers = styles.get(style);
    if (!numbers.has(image.prompt)) numbers.set(image.prompt, String(numbers.size));
  }
  const counts = new Set([...styles.values()].map(numbers => numbers.size)), [count] = counts;
  const different = [...new Set(images.map(image => image.prompt))];
  if (styles.size < 2 || counts.size > 1 || different.length < styles.size * count) return numbered(different);
  const texts = [...styles.values()].map(numbers => [...numbers.keys()]);
  const bare = styles.has("none") ? [...styles.get("none").keys()] : null;
  const labels = Array.from({length: count}, (_, number) => bare ? bare[number] : shared(texts.map(some => some[number])));
  // Styles are gone through for every prompt alike: the third prompt of one is the third of all others.
  return {of: image => styles.get(image.style || "").get(image.prompt), label: key => labels[key]};
}

function numbered(texts) {
  const numbers = new Map(texts.map((text, number) => [text, String(number)]));
  return {of: image => numbers.get(image.prompt), label: key => texts[key]};
}

/** What texts have in common at their beginning or at their end, whichever is more. */
function shared(texts) {
  const [first] = texts;
  let start = 0, end = 0;
  while (start < first.length && texts.every(text => text[start] === first[start])) start += 1;
  while (end < first.length && texts.every(text => text.at(-1 - end) === first.at(-1 - end))) end += 1;
  const beginning = first.slice(0, start).replace(/[ ,.;:-]+$/, ""), ending = end ? first.slice(-end).replace(/^[ ,.;:-]+/, "") : "";
  return [beginning, ending].sort((a, b) => b.length - a.length)[0] || first;
}
