/* The page: what is selected, which step it is, and what keys, buttons and the slider do.

Owns: the state, and everything that a user can do.
Must not own: how anything looks.
*/

import { download, pngFile, svgFile } from "./export.js";
import {
  foldedFor,
  MANY,
  nodesIn,
  overviewOf,
  progressAt,
  scopesAbove,
  search,
  standIn,
  stepAt,
  stepsOf,
  visibleGraph,
} from "./graph.js";
import { countText, isDark, isTouched, make } from "./numbers.js";
import { KINDS, Panel } from "./panel.js";
import { Picture, shorten, titleOf } from "./picture.js";

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SECOND = 1000;

const on = {
  select: (item) => {
    uncover(item);
    select(item, true);
  },
  toggle: (scope) => toggle(scope),
  goTo: (step) => goTo(step),
  isFolded: (scope) => state.folded.has(scope.id),
};
const picture = new Picture($("graph"), { select: (box) => select(box), toggle: on.toggle });
const overview = overviewOf(data, (view) => picture.measured(view));
const tree = overview.tree;
const state = { folded: new Set(overview.folded), step: 0, selected: null, opened: [], timer: 0 };
const panel = new Panel($("panel-content"), data, tree, on);

/** Lay out the visible part; the step stays at its place in the computation. */
function rebuild(anchor = null) {
  const before = state.steps?.[state.step];
  state.view = visibleGraph(tree, state.folded);
  state.steps = stepsOf(state.view, tree);
  if (before) state.step = stepNear(before);
  picture.show(state.view, anchor);
  const slider = $("slider");
  slider.max = state.steps.length - 1;
  const forward = state.steps.filter((step) => step.phase === "forward").length;
  slider.style.setProperty("--half", `${(100 * (forward + 0.5)) / Math.max(state.steps.length - 1, 1)}%`);
  update();
}

function stepNear({ phase, box }) {
  if (!box || phase === "overview") return 0;
  const stand = state.view.boxes.includes(box) ? box : standIn(box.isScope ? lastComputed(box) : box, state.folded);
  const found = state.steps.findIndex((step) => step.phase === phase && step.box === stand);
  return Math.max(found, 0);
}

function lastComputed(scope) {
  const computed = nodesIn(scope).filter((node) => node.totals.operations);
  return computed[computed.length - 1] ?? nodesIn(scope)[0];
}

function update() {
  const step = state.steps[state.step];
  picture.progress(progressAt(state.view, state.steps, state.step), step, state.selected);
  panel.show(state.selected, state.steps, state.step);
  const words = stepText(state.step);
  const slider = $("slider");
  slider.value = state.step;
  slider.setAttribute("aria-valuetext", words);
  $("where").textContent = words;
  document.body.dataset.phase = step.phase;
  $("back").disabled = state.step === 0;
  $("next").disabled = state.step === state.steps.length - 1;
}

function stepText(number) {
  const { phase, box } = state.steps[number];
  if (phase === "overview" && state.steps.length === 1) return "Nothing was computed";
  if (phase === "overview") return `Overview: ${isTouched ? "tap ▶\ufe0e" : "press → to walk"}`;
  const all = state.steps.filter((step) => step.phase === "forward").length;
  const what = shorten(titleOf(box), 30);
  if (phase === "seed") return `Backward begins at ${what}`;
  return phase === "forward"
    ? `Forward ${number} of ${all}: ${what}`
    : `Backward ${number - all - 1} of ${all}: ${what}`;
}

function goTo(step) {
  state.step = Math.min(Math.max(step, 0), state.steps.length - 1);
  const { box } = state.steps[state.step];
  state.selected = box;
  update();
  if (box) picture.reveal(box);
  announce(stepText(state.step));
  if (isLinkable) history.replaceState(null, "", linkText());
}

/* A step has a link: `#step=12`, and after it the scopes that are open, unless they are those that the page opens with.
   It leads to the same operation whatever is folded, as a smaller window folds more. */

const isLinkable = location.protocol !== "about:"; // as in a notebook, where the page has no address

/** Which scopes of the program are open; a page has them in the same order in every window. */
const openScopes = (folded) => data.scopes.map((_, i) => i).filter((i) => !folded.has(`scope ${i}`));

function linkText() {
  const open = openScopes(state.folded).join(".");
  const isUsual = open === openScopes(overview.folded).join(".");
  return `#step=${state.steps[state.step].number}${isUsual ? "" : `&open=${open}`}`;
}

function openLink() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (!asked.has("step")) return;
  if (asked.has("open")) {
    const open = new Set(asked.get("open").split(".").map((i) => `scope ${i}`));
    state.folded = new Set([...tree.scopes.keys()].filter((id) => id && !open.has(id)));
    rebuild();
    picture.fit(true);
  }
  goTo(stepAt(state.steps, Number(asked.get("step")) || 0, tree));
}

function announce(words) {
  $("said").textContent = words;
}

function select(item, reveal = false) {
  state.selected = item;
  update();
  if (item) {
    document.body.classList.remove("panel-closed");
    if (reveal) picture.reveal(item, true);
    picture.focus(item);
  }
}

/** Unfold the scopes that hide an item. */
function uncover(item) {
  const hidden = scopesAbove(item).filter((scope) => state.folded.has(scope.id));
  if (hidden.length) unfold(hidden, item);
}

function unfold(scopes, keep) {
  for (const scope of scopes) {
    state.folded.delete(scope.id);
    state.opened.push(scope);
  }
  const above = new Set(scopesAbove(keep));
  if (keep.isScope) above.add(keep);
  let folded = 0;
  while (visibleGraph(tree, state.folded).boxes.length > MANY) {
    const other = state.opened.find((scope) => !above.has(scope) && !state.folded.has(scope.id)) ?? largestOpen(above);
    if (!other) break;
    state.folded.add(other.id);
    folded += 1;
  }
  state.opened = state.opened.filter((scope) => !state.folded.has(scope.id));
  if (folded) announce(`${countText(folded, "other scope")} folded, to keep the picture readable`);
  rebuild(keep);
  picture.showFrame(scopes.at(-1));
}

function largestOpen(above) {
  const open = [...tree.scopes.values()].filter(
    (scope) => scope.id && !state.folded.has(scope.id) && !above.has(scope),
  );
  return open.sort((a, b) => b.children.length - a.children.length)[0];
}

function toggle(scope) {
  if (state.folded.has(scope.id)) {
    announce(`${titleOf(scope)} unfolded`);
    state.selected = scope;
    unfold([scope], scope);
  } else {
    state.folded.add(scope.id);
    state.selected = scope;
    announce(`${titleOf(scope)} folded`);
    rebuild(scope);
    picture.focus(scope);
  }
}

function foldAll(fold) {
  state.folded = fold ? new Set([...tree.scopes.keys()].filter(Boolean)) : foldedFor(tree, MANY);
  state.opened = [];
  if (state.selected && !state.view.boxes.includes(state.selected)) state.selected = null;
  rebuild();
  picture.fit();
  announce(fold ? "All scopes folded" : "Scopes unfolded");
}

function play() {
  if (state.timer) stop();
  else {
    goTo(isLast() ? 1 : state.step + 1);
    start();
  }
}

const isLast = () => state.step >= state.steps.length - 1;

function start() {
  clearInterval(state.timer);
  state.timer = setInterval(() => (isLast() ? stop() : goTo(state.step + 1)), SECOND / Number($("speed").value));
  showPlaying(true);
}

function stop() {
  clearInterval(state.timer);
  state.timer = 0;
  showPlaying(false);
}

function showPlaying(playing) {
  $("play").setAttribute("aria-pressed", String(playing));
  $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
}

function turn() {
  picture.direction = picture.direction === "TB" ? "LR" : "TB";
  rebuild();
  picture.fit();
}

function changeTheme() {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  repaint();
}

function repaint() {
  picture.refresh();
  update();
}

/* On paper the page is light, the whole picture is on it, and the details follow. */

addEventListener("beforeprint", () => {
  state.theme = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
  repaint();
  picture.spread(true);
});
addEventListener("afterprint", () => {
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
  picture.spread(false);
  repaint();
});

async function save(kind) {
  const name = `${data.title.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60)}-${state.step}.${kind}`;
  const text = svgFile(picture.svg, picture.stage);
  download(kind === "svg" ? new Blob([text], { type: "image/svg+xml" }) : await pngFile(text), name);
  $("saving").close();
  announce(`Saved as ${name}`);
}

/* Search: a list of what was found, to be walked with the arrow keys. */

function showFound() {
  const found = search(tree, $("search").value);
  const list = $("found");
  list.replaceChildren(
    ...found.slice(0, 40).map((item, i) => {
      const above = scopesAbove(item).at(-1);
      const where = item.isScope ? item.path : above && (above.path || titleOf(above));
      const entry = make(
        "li",
        { role: "option", id: `found-${i}`, "aria-selected": "false", onclick: () => pick(item) },
        make("span", { class: `badge ${item.kind}` }, item.isScope ? "scope" : KINDS[item.kind]),
        ` ${shorten(titleOf(item), 50)} `,
        make(
          "span",
          { class: "quiet" },
          [item.size, shorten(where ?? "", 40)].filter(Boolean).join(" "),
        ),
      );
      entry.pick = () => pick(item);
      return entry;
    }),
  );
  if (!found.length && $("search").value.trim()) list.append(make("li", { class: "quiet" }, "Nothing found"));
  if (found.length > 40) list.append(make("li", { class: "quiet" }, `and ${found.length - 40} more`));
  list.hidden = !list.children.length;
  $("search").setAttribute("aria-expanded", String(!list.hidden));
  $("search").removeAttribute("aria-activedescendant");
}

function pick(item) {
  closeFound();
  on.select(item);
  announce(`${titleOf(item)} selected`);
}

function closeFound() {
  $("found").hidden = true;
  $("search").setAttribute("aria-expanded", "false");
}

function moveFound(by) {
  const options = [...$("found").querySelectorAll('[role="option"]')];
  if (!options.length) return;
  const now = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
  const next = (now + by + options.length) % options.length;
  options.forEach((option, i) => option.setAttribute("aria-selected", String(i === next)));
  options[next].scrollIntoView({ block: "nearest" });
  $("search").setAttribute("aria-activedescendant", options[next].id);
}

$("search").addEventListener("input", showFound);
let closing = null; // by a click into the list too, which must find it open
$("search").addEventListener("focus", () => {
  clearTimeout(closing);
  if ($("search").value) showFound();
});
$("search").addEventListener("blur", () => {
  closing = setTimeout(closeFound, 200);
});
$("search").addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") moveFound(event.key === "ArrowDown" ? 1 : -1);
  else if (event.key === "Enter") {
    const option = $("found").querySelector('[aria-selected="true"]') ?? $("found").querySelector('[role="option"]');
    option?.pick();
  } else if (event.key === "Escape") {
    closeFound();
    $("search").value = "";
    $("graph").focus();
  } else return;
  event.preventDefault();
  event.stopPropagation();
});

/* Keys. Left and right are steps; within the picture, up and down follow the lines. */

function follow(up) {
  const active = document.activeElement?.closest?.("[data-id]");
  const now = active && state.view.boxes.find((box) => box.id === active.dataset.id);
  const from = now ?? state.selected;
  if (!from || !state.view.boxes.includes(from)) return select(state.view.boxes[0], true);
  const lines = state.view.lines.filter((line) => (up ? line.target : line.source) === from);
  const next = lines.map((line) => (up ? line.source : line.target));
  if (next.length) select(next[0], true);
}

function sideways(by) {
  const boxes = state.view.boxes;
  const now = boxes.indexOf(state.selected);
  select(boxes[(now + by + boxes.length) % boxes.length], true);
}

const KEYS = {
  ArrowRight: () => goTo(state.step + 1),
  ArrowLeft: () => goTo(state.step - 1),
  Home: () => goTo(0),
  End: () => goTo(state.steps.length - 1),
  " ": play,
  ArrowUp: () => follow(true),
  ArrowDown: () => follow(false),
  n: () => sideways(1),
  p: () => sideways(-1),
  Enter: () => state.selected?.isScope && toggle(state.selected),
  f: () => foldAll(true),
  u: () => foldAll(false),
  r: turn,
  t: changeTheme,
  0: () => picture.fit(),
  s: () => $("saving").showModal(),
  "+": () => picture.zoomBy(1.3),
  "=": () => picture.zoomBy(1.3),
  "-": () => picture.zoomBy(1 / 1.3),
  "/": () => $("search").focus(),
  "?": () => $("help").showModal(),
  Escape: () => select(null),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const at = event.target;
  const isSlider = at === $("slider");
  if (at.matches("input, select") && !isSlider) return;
  if (at.matches("button, summary, a") && (event.key === " " || event.key === "Enter")) return;
  const isReading = $("panel").contains(at) && ["ArrowUp", "ArrowDown", "Home", "End"].includes(event.key);
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || isReading) return;
  event.preventDefault();
  action();
});

$("slider").addEventListener("input", () => goTo(Number($("slider").value)));
const CLICKS = {
  back: () => goTo(state.step - 1),
  next: () => goTo(state.step + 1),
  play,
  fold: () => foldAll(true),
  unfold: () => foldAll(false),
  fit: () => picture.fit(),
  "zoom-in": () => picture.zoomBy(1.3),
  "zoom-out": () => picture.zoomBy(1 / 1.3),
  turn,
  theme: changeTheme,
  "saving-open": () => $("saving").showModal(),
  "saving-close": () => $("saving").close(),
  "save-svg": () => save("svg"),
  "save-png": () => save("png"),
  "help-open": () => $("help").showModal(),
  "help-close": () => $("help").close(),
  "panel-close": () => document.body.classList.toggle("panel-closed"),
};
for (const [id, action] of Object.entries(CLICKS)) $(id).addEventListener("click", action);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
$("graph").addEventListener("click", (event) => event.target === $("graph") && select(null));
$("graph").addEventListener("focus", () => $("graph").matches(":focus-visible") && !state.selected && follow(true));

$("speed").addEventListener("change", () => state.timer && start());
addEventListener("hashchange", openLink);

for (const id of ["fold", "unfold"]) $(id).hidden = tree.scopes.size === 1;
document.title = `${data.title} – explored`;
$("title").textContent = shorten(data.title, 60);
picture.direction = overview.direction;
rebuild();
picture.fit(true);
openLink();
document.body.dataset.ready = "true";
