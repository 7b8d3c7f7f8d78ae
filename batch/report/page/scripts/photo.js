/* A picture on its layer: its thumbnail at once, its file once that has been decoded, or why there is none. */

import { make } from "./dom.js";

/** Files of pictures as the browser holds them. Only those that are asked for stay: each takes 4 bytes a pixel. */
export class Shelf {
  #held = new Map();

  /** The picture of an address: an element, and a promise of whether it can be shown. */
  take(address) {
    if (!this.#held.has(address)) this.#held.set(address, fileAt(address));
    return this.#held.get(address);
  }

  /** Let go of all others; what is still being read is no longer wanted. */
  keep(addresses) {
    for (const [address, {element}] of this.#held) {
      if (addresses.includes(address)) continue;
      element.removeAttribute("src");
      this.#held.delete(address);
    }
  }
}

function fileAt(address) {
  const element = make("img", {draggable: "false"});
  element.setAttribute("src", address);
  // One that is there and that decode() refuses (it is very large) is shown all the same.
  const ready = element.decode().then(() => true, () => element.complete && element.naturalWidth > 0);
  return {element, ready};
}

// What browsers cannot all show, by the end of a file's name.
const FORMATS = {tif: "TIFF", tiff: "TIFF", jxl: "JPEG XL"};

const formatOf = address => FORMATS[address.split(/[?#]/)[0].split(".").pop().toLowerCase()];

/**
 * One picture: `src` and `thumb` are addresses, `width` and `height` its pixels, `alt` what it shows.
 * One that has no `src` has a `reason` (a text or an element) in its place.
 */
export class Photo {
  constructor(item, shelf, changed) {
    Object.assign(this, {item, width: item.width, height: item.height, whole: false, said: ""});
    this.element = make("div", {class: "layer"});
    this.views = [];
    if (!item.src) this.#say(item.reason || "");
    else this.#load(shelf.take(item.src), changed);
  }

  /** There is no picture to look at: words stand in its place. */
  get lacking() {
    return !this.views.length && (!this.item.src || this.said !== "");
  }

  async #load({element, ready}, changed) {
    const before = this.#thumbnail(changed), there = await ready;
    if (!element.hasAttribute("src")) return;  // let go of meanwhile
    const view = element.isConnected ? element.cloneNode() : element;  // the same file may be A and B
    await view.decode().catch(() => {});  // one that was read ahead may have to be decoded anew
    if (there) this.#swap(before, view);
    else await this.#fail(before);
    changed();
  }

  #swap(before, view) {
    view.alt = this.item.alt;
    this.#show(view);
    [this.width, this.height, this.whole] = [view.naturalWidth, view.naturalHeight, true];
    before?.remove();
  }

  #thumbnail(changed) {
    if (!this.item.thumb) return null;
    const view = make("img", {draggable: "false", alt: this.item.alt});
    view.setAttribute("src", this.item.thumb);
    view.addEventListener("error", () => {
      view.remove();
      this.views = this.views.filter(other => other !== view);
      changed();
    });
    this.#show(view);
    return view;
  }

  #show(view) {
    this.views = [view];
    this.element.append(view);
  }

  async #fail(thumbnail) {
    const format = formatOf(this.item.src);
    await thumbnail?.decode().catch(() => {});  // it may come later, or not at all
    const there = thumbnail?.naturalWidth > 0;
    this.said = (format ? `This browser cannot show ${format}` : "The file cannot be shown: it was moved, removed or damaged")
      + (there ? `; this is the thumbnail (${Math.max(thumbnail.naturalWidth, thumbnail.naturalHeight)} px).` : ", and there is no thumbnail.");
    if (!there) this.#say(this.said);
  }

  #say(reason) {
    this.element.append(make("div", {class: "no-picture", tabindex: "0", role: "group", "aria-label": "Why there is no picture"}, reason));
  }

  /** Put it where `place` says; both views are as large as the file, so that one takes the other's place. */
  put({scale, x, y}) {
    this.box = {x, y, width: this.width * scale, height: this.height * scale};
    for (const view of this.views) {
      view.style.width = this.width + "px";
      view.style.height = this.height + "px";
      view.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    }
  }
}
