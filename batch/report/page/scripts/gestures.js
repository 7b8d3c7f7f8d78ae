/* What hands do on a picture: drag, pinch, wheel, tap, swipe; mouse, pen, touch and trackpad. */

const TAP_PX = 8, TAP_MS = 400, TWICE_MS = 320, TWICE_PX = 30, SWIPE_PX = 50;

/**
 * Tell what hands do on an element. `on` has drag(x, y), zoom(times, point), tap(), twice(point), swipe(direction),
 * and hold(x): how far a finger has swept that may become a swipe; 0 when it is lifted. Points are of the window.
 */
export class Gestures {
  #fingers = new Map();  // where each pointer is
  #began = null;  // of the first one: where, when, whether another one came
  #tapped = null;  // the last tap
  #pinch = 1;  // of Safari's trackpad

  constructor(element, on) {
    this.on = on;
    element.addEventListener("pointerdown", event => this.#down(element, event));
    element.addEventListener("pointermove", event => this.#move(event));
    element.addEventListener("pointerup", event => this.#up(event));
    element.addEventListener("pointercancel", event => this.#lost(event));
    element.addEventListener("wheel", event => this.#wheel(event), {passive: false});
    element.addEventListener("gesturestart", event => { event.preventDefault(); this.#pinch = event.scale; }, {passive: false});
    element.addEventListener("gesturechange", event => this.#stretch(event), {passive: false});
  }

  #down(element, event) {
    if (event.button || event.target.closest("button, a, [role=slider]")) return;
    element.setPointerCapture(event.pointerId);
    this.#fingers.set(event.pointerId, placeOf(event));
    if (this.#fingers.size === 1) this.#began = {...placeOf(event), time: event.timeStamp, alone: true};
    else this.#began.alone = false;
  }

  #move(event) {
    const before = this.#fingers.get(event.pointerId);
    if (!before) return;
    if (this.#fingers.size === 2) return this.#pinched(event);
    this.#fingers.set(event.pointerId, placeOf(event));
    this.on.drag(event.clientX - before.x, event.clientY - before.y);
    if (event.pointerType === "touch" && this.#began.alone) this.on.hold(event.clientX - this.#began.x);
  }

  #pinched(event) {
    const before = spreadOf([...this.#fingers.values()]);
    this.#fingers.set(event.pointerId, placeOf(event));
    const now = spreadOf([...this.#fingers.values()]);
    if (before.length) this.on.zoom(now.length / before.length, before);
    this.on.drag(now.x - before.x, now.y - before.y);
  }

  #up(event) {
    if (!this.#fingers.delete(event.pointerId)) return;
    this.on.hold(0);
    if (this.#fingers.size || !this.#began.alone) return;
    const x = event.clientX - this.#began.x, y = event.clientY - this.#began.y;
    if (Math.hypot(x, y) < TAP_PX) return event.timeStamp - this.#began.time < TAP_MS && this.#tap(event);
    if (event.pointerType === "touch" && Math.abs(x) > SWIPE_PX && Math.abs(x) > 1.5 * Math.abs(y)) this.on.swipe(-Math.sign(x));
  }

  #lost(event) {
    this.#fingers.delete(event.pointerId);
    this.on.hold(0);
  }

  #tap(event) {
    const last = this.#tapped;
    const twice = last && event.timeStamp - last.time < TWICE_MS && Math.hypot(event.clientX - last.x, event.clientY - last.y) < TWICE_PX;
    this.#tapped = twice ? null : {...placeOf(event), time: event.timeStamp};
    if (twice) this.on.twice(placeOf(event));
    else this.on.tap();
  }

  #wheel(event) {
    if (event.target.closest(".no-picture")) return;  // a text, which may be long
    event.preventDefault();
    const lines = [1, 16, 400][event.deltaMode];
    // A trackpad's pinch arrives as a wheel with ctrl, in small steps.
    this.on.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), placeOf(event));
  }

  #stretch(event) {
    event.preventDefault();
    if (this.#fingers.size) return;  // fingers on the screen are heard as pointers
    this.on.zoom(event.scale / this.#pinch, placeOf(event));
    this.#pinch = event.scale;
  }
}

const placeOf = event => ({x: event.clientX, y: event.clientY});

function spreadOf([a, b]) {
  return {x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, length: Math.hypot(a.x - b.x, a.y - b.y)};
}
