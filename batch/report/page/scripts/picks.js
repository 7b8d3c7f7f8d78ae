/* Marks: none yet. */

export const markOf = () => "";
export function mark() {}
export function toggleMark() {}
export function onMarks() {}
export const markButtons = () => "";
