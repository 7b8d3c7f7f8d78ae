/* Keys, as the help lists them: each part of the page says its own. */

export const KEYS = [];

export function addKeys(title, keys) {
  KEYS.push({title, keys});
}
