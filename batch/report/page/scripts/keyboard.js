/* Keys that are the reader's words, and no orders. */

/** Whether a key belongs to a field, or to the browser. */
export const typing = event => event.ctrlKey || event.metaKey || event.altKey
  || Boolean(event.target.closest?.("select, textarea, [contenteditable], input:not([type=range], [type=checkbox])"));
