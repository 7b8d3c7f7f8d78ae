/* Marks of pictures: which are picked, which rejected. */

/** Buttons that mark an image, for its card. */
export const markButtons = () => [];
