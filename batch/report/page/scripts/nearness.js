/* The viewer's buttons: how near one looks, how two pictures are compared, how much a difference is amplified. */

import { make } from "./dom.js";

/** How two pictures are compared. */
export const MODES = {slider: "Slider", side: "Side by side", flip: "Flip", difference: "Difference"};

export const CLOSER = 1.5;

const GAINS = 6, GAIN = 3;  // powers of two: the strongest, and the one to begin with

/** Tools as an element, and the amplifier as another; `on` has fit(), exact(), zoom(times), choose(mode) and amplify(times). */
export class ViewerTools {
  constructor(on) {
    const button = (text, label, onclick) => make("button", {type: "button", "aria-label": label, title: label, onclick}, text);
    this.fit = button("Fit", "Fit the whole picture (f)", on.fit);
    this.exact = button("1:1", "1:1, a pixel of the picture on one of the screen (1)", on.exact);
    this.percent = make("span", {class: "percent"});
    this.modes = make("span", {class: "group modes", role: "group", "aria-label": "Compare by"}, ...Object.entries(MODES).map(([mode, name]) =>
      make("button", {type: "button", "data-how": mode, onclick: () => on.choose(mode)}, name)));
    this.gain = make("input", {type: "range", min: 0, max: GAINS, step: 1, value: GAIN, "aria-label": "Amplify the difference", oninput: () => this.#amplify(on)});
    this.gained = make("span", {class: "gained"});
    this.amplifier = make("label", {class: "viewer-gain"}, this.gain, this.gained);  // over the picture, which stays where it is
    this.nearness = make("span", {class: "group nearness"}, this.fit, this.exact,
      button("−", "Farther (-)", () => on.zoom(1 / CLOSER)), this.percent, button("+", "Closer (+)", () => on.zoom(CLOSER)));
    this.element = make("div", {class: "viewer-tools"}, this.nearness, this.modes);
    this.#amplify(on);
  }

  #amplify(on) {
    const times = 2 ** this.gain.value;
    this.gained.textContent = "amplified " + times + "×";
    this.gain.setAttribute("aria-valuetext", times + " times");
    on.amplify(times);
  }

  /** Say how two are compared ("single": there is one), whether that is the only way, and whether there is no picture. */
  tell(how, only, lacking) {
    this.nearness.hidden = lacking;
    this.modes.hidden = how === "single";
    this.amplifier.hidden = how !== "difference";
    for (const button of this.modes.children) {
      button.setAttribute("aria-pressed", String(button.dataset.how === how));
      button.disabled = only && button.dataset.how !== how;
    }
  }

  /** Say how near one looks: `ratio` pixels of the screen for one of the picture. */
  measure(ratio, fitted) {
    this.percent.textContent = Math.round(100 * ratio) + "%";
    this.fit.setAttribute("aria-pressed", String(fitted));
    this.exact.setAttribute("aria-pressed", String(Math.abs(ratio - 1) < 1e-6));
  }
}
