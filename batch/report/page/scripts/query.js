/* The language of the filter, as far as marks need it. */

const WORDS = new Map();  // by what one writes: is:picked

/** A term that needs no value: `is:picked`, say. */
export function addWord(name, test) {
  WORDS.set(name, test);
}

/** Whether an image has what the text asks for. */
export function matches(text) {
  const tests = text.split(/\s+/).map(word => WORDS.get(word)).filter(Boolean);
  return image => tests.every(test => test(image));
}
