/* The border between two pictures that lie over each other: dragged, or moved by the arrow keys. */

import { make } from "./dom.js";

const STEPS = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1, PageDown: -10, PageUp: 10, Home: -100, End: 100};

/** A border over `stage`; `moved(percent)` hears where it is: so much of the stage, from its left, shows A. */
export class Border {
  constructor(stage, moved) {
    this.moved = moved;
    this.element = make("div", {
      class: "border", role: "slider", tabindex: "0", "aria-label": "Border between A and B", "aria-valuemin": "0", "aria-valuemax": "100",
      onkeydown: event => this.#key(event),
      onpointerdown: event => { event.preventDefault(); this.element.focus(); this.element.setPointerCapture(event.pointerId); },
      onpointermove: event => {
        if (!this.element.hasPointerCapture(event.pointerId)) return;
        const box = stage.getBoundingClientRect();
        this.put(100 * (event.clientX - box.left) / box.width);
      },
    });
  }

  put(percent) {
    this.percent = Math.min(100, Math.max(0, percent));
    this.element.style.left = this.percent + "%";
    this.element.setAttribute("aria-valuenow", Math.round(this.percent));
    this.element.setAttribute("aria-valuetext", Math.round(this.percent) + " % of the width shows A");
    this.moved(this.percent);
  }

  #key(event) {
    const step = STEPS[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.put(this.percent + step);
  }
}
