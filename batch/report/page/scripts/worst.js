/* compare.html: the worst picture of a setting over its reference, in the viewer. */

import { $, make } from "./dom.js";
import { define, get, set, watch } from "./state.js";
import { Viewer } from "./viewer.js";

const VIEWS = {crop: "Where they differ most", whole: "Whole picture"};

const OPENS = {crop: "Compare this part", whole: "Compare the whole pictures"};

const worst = [...document.querySelectorAll(".worst")];
const pairHead = {};
let pairViewer = null, openedHere = false;  // whether the browser's way back leads out of the viewer

/** Each of them gets a button for the viewer, and the address says which one is shown. */
export function startWorst() {
  if (!worst.length) return;
  buildPairViewer();
  define("image");
  define("view", "crop");
  define("how", "slider");
  watch(["image", "view"], followPair);
  watch(["how"], () => { pairViewer.how = get("how"); });
  for (const article of worst) {
    const buttons = Object.entries(VIEWS).map(([view, name]) => make("button", {type: "button", onclick: () => lookCloser(article, view)}, OPENS[view]));
    article.querySelector(".look").prepend(...buttons);
  }
}

function lookCloser(article, view) {
  openedHere ||= !pairHead.dialog.open;
  set({image: article.dataset.number, view}, {step: !pairHead.dialog.open});
}

const shownView = () => Object.hasOwn(VIEWS, get("view")) ? get("view") : "crop";
const shownArticle = () => worst.find(article => article.dataset.number === get("image"));

function followPair() {
  const article = shownArticle();
  if (!article) return pairHead.dialog.close();
  if (!pairHead.dialog.open) openPair();
  pairHead.title.textContent = article.querySelector("h3").textContent;
  pairHead.facts.textContent = article.querySelector(".apart").textContent;
  pairHead.place.textContent = `${worst.indexOf(article) + 1} of ${worst.length}`;
  pairHead.aloud.textContent = `${pairHead.place.textContent}: ${pairHead.title.textContent}, ${VIEWS[shownView()]}`;
  for (const [view, button] of Object.entries(pairHead.views)) button.setAttribute("aria-pressed", String(view === shownView()));
  pairViewer.show(itemsOf(article, shownView()));
  pairViewer.how = get("how");
  pairHead.last = article;
}

function openPair() {
  pairHead.dialog.showModal();
  document.documentElement.classList.add("looking");
  pairViewer.stage.focus();
}

/** The crops are in the page; the whole pictures are its small ones until their files have been read. */
function itemsOf(article, view) {
  const titles = {before: article.dataset.base, after: article.dataset.setting};
  return ["before", "after"].map(kind => {
    const image = article.querySelector(`.${view} [data-kind=${kind}]`);
    const found = {src: image.src, width: image.naturalWidth, height: image.naturalHeight, alt: image.alt, title: titles[kind]};
    if (view === "crop" || !article.dataset[kind]) return found;
    return {...found, src: article.dataset[kind], thumb: image.src, width: Number(article.dataset.width), height: Number(article.dataset.height)};
  });
}

function step(by) {
  const next = worst[worst.indexOf(shownArticle()) + by];
  if (next) set({image: next.dataset.number});
}

function changeView(view) {
  set({view});
  pairViewer.fit();  // a place in one says nothing of the other
}

function leavePair() {
  if (!pairHead.last) return;
  pairViewer.clear();
  document.documentElement.classList.remove("looking");
  pairHead.last.querySelector(".look button").focus();
  pairHead.last = null;
  if (!get("image")) return;  // by the way back
  if (openedHere) history.back();
  else set({image: "", view: "crop", how: "slider"});
  openedHere = false;
}

function buildPairViewer() {
  const button = (text, label, onclick) => make("button", {type: "button", "aria-label": label, title: label, onclick}, text);
  const root = make("div", {class: "looking-root"});
  Object.assign(pairHead, {
    dialog: make("dialog", {"aria-labelledby": "pair-title"}, root),
    title: make("h2", {id: "pair-title", dir: "auto"}),
    facts: make("div", {class: "muted"}),
    place: make("span", {class: "place muted"}),
    aloud: make("p", {class: "beyond", role: "status"}),
    views: Object.fromEntries(Object.entries(VIEWS).map(([view, name]) => [view, make("button", {type: "button", title: "The part where they differ most, or the whole (o)", onclick: () => changeView(view)}, name)])),
    last: null,
  });
  const turning = make("div", {class: "turning"}, button("←", "Previous setting (left arrow)", () => step(-1)), pairHead.place, button("→", "Next setting (right arrow)", () => step(1)));
  root.append(make("div", {class: "looking-head"}, turning, make("div", {class: "said"}, pairHead.title, pairHead.facts), button("✕", "Close (Esc)", () => pairHead.dialog.close())));
  pairViewer = new Viewer(root, {go: right => step(right), key: keyOfPair, how: mode => set({how: mode})});
  pairViewer.tools.prepend(make("span", {class: "group"}, ...Object.values(pairHead.views)));
  root.append(pairHead.aloud);
  pairHead.dialog.addEventListener("close", leavePair);
  document.body.append(pairHead.dialog);
}

function keyOfPair(event) {
  if (event.key !== "o") return false;
  changeView(shownView() === "crop" ? "whole" : "crop");
  return true;
}
