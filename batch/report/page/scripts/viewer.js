/* Pictures at any nearness: one, or two to compare. It knows addresses and sizes, and nothing of runs. */

import { Border } from "./border.js";
import { make } from "./dom.js";
import { Gestures } from "./gestures.js";
import { CLOSER, MODES, ViewerTools } from "./nearness.js";
import { Photo, Shelf } from "./photo.js";
import { alike, fitScale, onScreenDots, Sight, wholeDots } from "./sight.js";

const PAN = 0.15, BLOCKS = 2;  // above so many pixels of the screen for one, pixels are seen as blocks
const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

/**
 * A viewer in a container, which gets its tools, its notes and its stage.
 *
 * `on` may have `go(x, y)` (arrow keys and swipes; without it, arrow keys move the picture), `how(mode)` (the reader has
 * chosen it) and `key(event)`, which is asked before the viewer's own keys and says whether it took the key.
 */
export class Viewer {
  #container; #on; #photos = []; #near = []; #how = "slider"; #flipped = false; #sight = new Sight(); #shelf = new Shelf(); #before = null;
  #note; #panes; #labels; #border; #tools; #said = ""; #ratio = 1;

  constructor(container, on = {}) {
    [this.#container, this.#on] = [container, on];
    container.classList.add("viewer");
    this.#build(container);
    new Gestures(this.stage, {
      drag: (x, y) => this.#drag(x, y),
      zoom: (times, point) => this.#zoom(times, point),
      tap: () => this.#shownHow() === "flip" && this.flip(),
      twice: point => this.#sight.fitted ? this.exact(point) : this.fit(),
      swipe: direction => this.#sight.fitted && this.#on.go?.(direction, 0),
      hold: x => this.stage.style.setProperty("--held", (this.#sight.fitted ? x : 0) + "px"),
    });
    container.addEventListener("keydown", event => this.#key(event));
    new ResizeObserver(() => this.#arrange()).observe(this.stage);
  }

  /** Show one picture, or two; `near` are addresses of those that may come next. What is looked at stays in place. */
  show(items, near = []) {
    const addresses = items.map(item => item.src).filter(Boolean);
    this.#shelf.keep([...addresses, ...near]);
    const old = [...this.#photos];
    this.#photos = items.map(item => this.#photo(item, old));
    this.#near = near;
    this.#flipped = false;
    this.#arrange();
    this.#lookAhead();
  }

  /** Let go of all pictures, and look at the next one as a whole. */
  clear() {
    this.show([]);
    this.#sight.fit();
  }

  get how() {
    return this.#how;
  }

  set how(mode) {
    this.#how = Object.hasOwn(MODES, mode) ? mode : "slider";
    this.#flipped = false;
    this.#arrange();
  }

  fit() {
    this.#sight.fit();
    this.#place();
  }

  /** One pixel of the picture on one of the screen, whatever the system's zoom is; around a point of the window. */
  exact(point = this.#centre()) {
    this.#look((...where) => this.#sight.exact(1, ...where), point);
  }

  /** B in place of A, or A again. */
  flip() {
    this.#flipped = !this.#flipped;
    this.#arrange();
  }

  // Building

  #build(container) {
    this.#note = make("p", {class: "viewer-note", role: "status"});
    this.#panes = [0, 1].map(() => make("div", {class: "pane"}, make("div", {class: "layers"})));
    this.#labels = ["a", "b"].map(name => make("div", {class: "label " + name}));
    this.stage = make("div", {class: "stage", tabindex: "0", role: "group", "aria-label": "Picture"}, ...this.#panes);
    this.#border = new Border(this.stage, percent => this.stage.style.setProperty("--border", percent + "%"));
    this.#border.put(50);
    this.stage.append(this.#border.element);
    this.#tools = new ViewerTools({
      fit: () => this.fit(),
      exact: () => this.exact(),
      zoom: times => this.#zoom(times),
      choose: mode => this.#choose(mode),
      amplify: times => this.stage.style.setProperty("--gain", times),
    });
    this.tools = this.#tools.element;
    container.append(this.tools, this.#tools.amplifier, this.#note, this.stage);
  }

  #choose(mode) {
    if (mode === "flip" && this.#shownHow() === "flip") return this.flip();  // space on the button it has the focus of
    this.how = mode;
    this.#on.how?.(mode);
  }

  // What is shown

  #photo(item, old) {
    const at = old.findIndex(photo => photo.item.src && photo.item.src === item.src);
    if (at < 0) return new Photo(item, this.#shelf, () => { this.#arrange(); this.#lookAhead(); });
    const [same] = old.splice(at, 1);
    same.item = item;
    return same;
  }

  // Files that may come next are read when those that are looked at are there.
  #lookAhead() {
    if (this.#photos.every(photo => photo.whole || photo.said || !photo.item.src)) this.#near.forEach(address => this.#shelf.take(address));
  }

  #shownHow() {
    if (this.#photos.length < 2) return "single";
    return this.#apart() ? "side" : this.#how;
  }

  // Why two pictures cannot lie over each other.
  #apart() {
    const [a, b] = this.#photos;
    if (!a.item.src || !b.item.src) return "One of the two has no picture: they are shown side by side.";
    if (!alike(a, b)) return `Sides in other proportions (${a.width}×${a.height} and ${b.width}×${b.height}): they can be compared side by side only.`;
    return "";
  }

  #arrange() {
    const how = this.#shownHow(), pair = this.#photos.length > 1;
    this.stage.dataset.how = how;
    this.stage.classList.toggle("flipped", this.#flipped);
    this.#panes[1].hidden = how !== "side";
    this.#border.element.hidden = how !== "slider";
    this.#tools.tell(how, pair && this.#apart() !== "", this.#photos.every(photo => photo.lacking));
    this.#share();
    this.#name(how, pair);
    this.#place();
    this.#keepFocus();
  }

  // A button that is gone or at its end takes the focus with it, and keys would be heard by nobody.
  #keepFocus() {
    const at = document.activeElement, here = this.#container.contains(at), lost = at === document.body && this.#container.closest("dialog[open]");
    if (lost || here && (at.disabled || !at.getClientRects().length)) this.stage.focus();
  }

  #name(how, pair) {
    const names = this.#photos.map((photo, index) => (pair ? "AB"[index] + ": " : "") + (photo.item.alt || photo.item.title || ""));
    this.stage.setAttribute("aria-label", how === "flip" ? names[Number(this.#flipped)] : names.join("; ") || "Picture");
  }

  // Each picture into its pane.
  #share() {
    const apart = this.#shownHow() === "side";
    const wanted = this.#panes.map((_, index) => this.#photos.filter((photo, which) => (apart ? which : 0) === index));
    for (const [index, pane] of this.#panes.entries()) {
      keepChildren(pane.firstElementChild, wanted[index].map(photo => photo.element));
      const labels = this.#photos.length < 2 ? [] : apart ? [this.#labels[index]] : index ? [] : this.#labels;
      keepChildren(pane, [pane.firstElementChild, ...labels]);
    }
    for (const [index, photo] of this.#photos.entries()) {
      photo.element.classList.toggle("over", index > 0);
      this.#labels[index].replaceChildren(make("b", {}, "AB"[index]), make("bdi", {}, photo.item.title || ""));
    }
    if (apart) this.stage.classList.toggle("stacked", this.#stacked());
  }

  // Below each other, where that leaves more room.
  #stacked() {
    const {clientWidth: width, clientHeight: height} = this.stage, [first] = this.#photos;
    return fitScale(first, {width, height: height / 2}) > fitScale(first, {width: width / 2, height});
  }

  #tell() {
    const how = this.#shownHow(), pair = this.#photos.length > 1;
    const parts = this.#photos.flatMap((photo, index) => !photo.said ? [] : [(pair ? "AB"[index] + ": " : "") + photo.said + " ", linkTo(photo.item)]);
    if (pair && this.#apart()) parts.push(this.#apart() + " ");
    if (how === "difference") parts.push(this.#ofDifference());
    this.#note.hidden = !parts.length;
    const said = parts.map(part => part.href || part).join("");
    if (said !== this.#said) this.#note.replaceChildren(...parts);  // it is read aloud
    this.#said = said;
  }

  #ofDifference() {
    const [a, b] = this.#photos;
    if (!a.whole || !b.whole) return a.said || b.said ? "A difference of what is shown, not of the files." : "Loading …";
    if (a.width !== b.width) return "Of other sizes: one is enlarged, and what that does to it is seen, too.";
    return this.#ratio < 0.999 ? "Black is equal. Below 1:1 single pixels may not be seen: press 1." : "Black is equal.";
  }

  // Where one looks

  #place() {
    const apart = this.#shownHow() === "side", dots = devicePixelRatio;
    const [first] = this.#photos;
    if (!first || !this.stage.clientWidth) return;
    const boxes = this.#panes.map(pane => pane.getBoundingClientRect());
    this.#keepScale(first, boxes[0]);
    // Browsers paint boxes on whole pixels of the screen, and what is moved by a transform between them.
    for (const [index, pane] of this.#panes.entries()) {
      for (const side of ["left", "top"]) pane.firstElementChild.style[side] = Math.ceil(boxes[index][side] * dots) / dots - boxes[index][side] + "px";
    }
    for (const [index, photo] of this.#photos.entries()) {
      const box = boxes[apart ? index : 0], place = this.#sight.place(photo, box, dots);
      photo.put(onScreenDots(place, dots));
      photo.element.classList.toggle("blocks", !this.#sight.fitted && place.scale * dots > BLOCKS);
      if (index === 0) this.#ratio = place.scale * dots;
    }
    this.stage.style.setProperty("--covered", wholeDots(this.#photos.map(photo => photo.box), dots));
    this.#tools.measure(this.#ratio, this.#sight.fitted);
    this.stage.classList.toggle("fitted", this.#sight.fitted);
    this.stage.classList.toggle("on-dots", Math.abs(this.#ratio - Math.round(this.#ratio)) < 1e-6);
    this.#tell();
  }

  // A window or a pane of another size shows more or less of the picture, as near as before.
  #keepScale(first, frame) {
    const now = {width: first.width, height: first.height, fit: fitScale(first, frame)}, before = this.#before;
    if (before && !this.#sight.fitted && before.width === now.width && before.height === now.height) this.#sight.power *= before.fit / now.fit;
    this.#before = now;
  }

  // Call with a point of the window as one of the pane it lies in, and the picture there.
  #look(work, point = this.#centre()) {
    if (!this.#photos.length) return;
    const apart = this.#shownHow() === "side";
    const boxes = this.#panes.map(pane => pane.getBoundingClientRect());
    const index = apart && point.x >= boxes[1].left && point.y >= boxes[1].top ? 1 : 0, box = boxes[index];
    work({x: point.x - box.left, y: point.y - box.top}, this.#photos[index], box, devicePixelRatio);
    this.#place();
  }

  #centre() {
    const box = this.#panes[0].getBoundingClientRect();
    return {x: box.left + box.width / 2, y: box.top + box.height / 2};
  }

  #zoom(times, point) {
    this.#look((...where) => this.#sight.zoom(times, ...where), point);
  }

  #drag(x, y) {
    this.#look((_, ...where) => this.#sight.move(x, y, ...where));
  }

  // Keys

  #key(event) {
    const element = event.target, range = element.type === "range" || element.getAttribute("role") === "slider";
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(element.tagName) && !range;
    const theirs = range ? event.key in ARROWS : ["BUTTON", "A", "SUMMARY"].includes(element.tagName) && [" ", "Enter"].includes(event.key);
    if (event.ctrlKey || event.metaKey || event.altKey || typing || theirs) return;
    if (this.#on.key?.(event) || this.#ownKey(event)) event.preventDefault();
  }

  #ownKey(event) {
    const arrow = ARROWS[event.key], pair = this.#photos.length > 1;
    const keys = {f: () => this.fit(), 0: () => this.fit(), 1: () => this.exact(), "+": () => this.#zoom(CLOSER), "=": () => this.#zoom(CLOSER), "-": () => this.#zoom(1 / CLOSER)};
    if (pair) Object.assign(keys, {" ": () => this.#choose("flip"), s: () => this.#choose("slider"), b: () => this.#choose("side"), d: () => this.#choose("difference")});
    const frame = this.#panes[0].getBoundingClientRect();
    if (arrow && (event.shiftKey || !this.#on.go)) keys[event.key] = () => this.#drag(-arrow[0] * PAN * frame.width, -arrow[1] * PAN * frame.height);
    else if (arrow) keys[event.key] = () => this.#on.go(...arrow);
    if (!Object.hasOwn(keys, event.key)) return false;
    keys[event.key]();
    return true;
  }
}

/** The viewer's keys, for a list of them. */
export const VIEWER_KEYS = [
  ["wheel, pinch, + -", "closer, farther"], ["double-click, double-tap", "1:1, and back"], ["f or 0", "fit"], ["1", "1:1: a pixel of the picture on one of the screen"],
  ["drag, Shift + arrows", "move the picture"], ["space", "flip between A and B"], ["s b d", "slider, side by side, difference"],
];

function linkTo(item) {
  const link = make("a", {target: "_blank", rel: "noopener"}, "Open the file");
  link.setAttribute("href", item.src);
  return link;
}

// Other children only where they are others: what stays keeps its focus and is not drawn anew.
function keepChildren(element, children) {
  const there = [...element.childNodes];
  if (there.length !== children.length || there.some((child, index) => child !== children[index])) element.replaceChildren(...children);
}
