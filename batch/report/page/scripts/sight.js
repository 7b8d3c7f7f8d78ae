/* Where one looks: which part of a picture, and how near. Numbers alone; no element is touched. */

const MOST_DOTS = 16;  // pixels of the screen, along one pixel of a picture

/** How many points of the page (CSS pixels) one pixel of a picture takes where the whole of it fills its frame. */
export const fitScale = (picture, frame) => Math.min(frame.width / picture.width, frame.height / picture.height);

/** Whether two pictures can be laid over each other: sides in the same proportion, up to a pixel of the smaller one. */
export function alike(a, b) {
  const [small, large] = a.width <= b.width ? [a, b] : [b, a];
  return Math.abs(small.height - large.height * small.width / large.width) <= 1;
}

/** A place on whole pixels of the screen, where one pixel of the picture is one (or exactly two, three …) of them. */
export function onScreenDots({scale, x, y}, dots) {
  if (Math.abs(scale * dots - Math.round(scale * dots)) > 1e-6) return {scale, x, y};
  return {scale: Math.round(scale * dots) / dots, x: Math.round(x * dots) / dots, y: Math.round(y * dots) / dots};
}

/**
 * What of some boxes lies on whole pixels of the screen, as a shape of CSS. Half a pixel at an edge is mixed with what
 * lies behind it, and so differs from itself.
 */
export function wholeDots(boxes, dots) {
  const inner = (lengths, round, most) => round(most(...lengths) * dots) / dots;
  const up = value => Math.ceil(value - 1e-3), down = value => Math.floor(value + 1e-3);
  const left = inner(boxes.map(box => box.x), up, Math.max), right = inner(boxes.map(box => box.x + box.width), down, Math.min);
  const top = inner(boxes.map(box => box.y), up, Math.max), bottom = inner(boxes.map(box => box.y + box.height), down, Math.min);
  return `polygon(${[[left, top], [right, top], [right, bottom], [left, bottom]].map(([x, y]) => `${x}px ${y}px`).join()})`;
}

/**
 * A place in a picture, kept as fractions of it, so that it is the same place of the next one, whatever its size.
 *
 * `frame` is what the picture is seen through and `picture` its size in pixels (both have width and height);
 * `dots` are pixels of the screen for each point of the page.
 */
export class Sight {
  constructor() {
    this.u = this.v = 0.5;  // what is in the middle of the frame
    this.power = 1;  // times as large as what fits
  }

  get fitted() {
    return this.power === 1;
  }

  fit() {
    [this.u, this.v, this.power] = [0.5, 0.5, 1];
  }

  /** Where the picture's left upper corner lies in the frame, and how large a pixel of it is (all in points). */
  place(picture, frame, dots) {
    const scale = this.#within(this.power, picture, frame, dots) * fitScale(picture, frame);
    const x = startOf(frame.width, picture.width * scale, this.u), y = startOf(frame.height, picture.height * scale, this.v);
    return {scale, x, y};
  }

  /** Nearer or farther, while what lies under a point of the frame stays there. */
  zoom(times, point, picture, frame, dots) {
    const before = this.place(picture, frame, dots), fit = fitScale(picture, frame);
    const power = this.#within(times * before.scale / fit, picture, frame, dots);
    const part = (at, from, length) => (at - from) / (length * before.scale);
    this.power = Math.abs(power - 1) < 1e-3 ? 1 : power;
    this.u = middleOf(frame.width, picture.width * fit * this.power, part(point.x, before.x, picture.width), point.x);
    this.v = middleOf(frame.height, picture.height * fit * this.power, part(point.y, before.y, picture.height), point.y);
  }

  /** One pixel of the picture on `pixels` of the screen. */
  exact(pixels, point, picture, frame, dots) {
    this.zoom(pixels / dots / this.place(picture, frame, dots).scale, point, picture, frame, dots);
  }

  /** Move the picture by points of the page, as far as its edges. */
  move(x, y, picture, frame, dots) {
    const now = this.place(picture, frame, dots), width = picture.width * now.scale, height = picture.height * now.scale;
    this.u = middleOf(frame.width, width, (frame.width / 2 - now.x - x) / width, frame.width / 2);
    this.v = middleOf(frame.height, height, (frame.height / 2 - now.y - y) / height, frame.height / 2);
  }

  // A picture is never smaller than what fits; a small one, never smaller than its pixels.
  #within(power, picture, frame, dots) {
    const whole = 1 / dots / fitScale(picture, frame);
    return Math.min(Math.max(power, Math.min(1, whole)), Math.max(1, MOST_DOTS * whole));
  }
}

// Where a length begins that has this part of it in the middle of the room. One that has room enough is centred.
function startOf(room, length, part) {
  if (length <= room) return (room - length) / 2;
  return Math.min(0, Math.max(room - length, room / 2 - part * length));
}

// Which part of a length is in the middle, where `part` of it lies at a point, and its ends stay out of the room.
function middleOf(room, length, part, point) {
  if (length <= room) return 0.5;
  const margin = room / 2 / length;
  return Math.min(1 - margin, Math.max(margin, part + (room / 2 - point) / length));
}
