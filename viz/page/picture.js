/* The picture: boxes, lines and frames as SVG, moved about by d3-zoom.

Owns: the drawing, zoom and pan.
Must not own: positions (`layout.js`), or the effects of clicks (`page.js`).
Read next: `panel.js`.
*/

import { isData, outputOf, productOf } from "./graph.js";
import { layOut } from "./layout.js";
import { alarmText, briefText, countText, heatUrl, isSeen, makeSvg } from "./numbers.js";

const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";
const CODE = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace";
const THUMB = { width: 44, height: 28, gap: 6 };
const ROW = 14;
const MARGIN = 16; // of the stage around the whole picture
const READABLE = 0.72; // the scale below which nobody can read a box
const NEAR = 0.58; // on a phone, which is held closer

const widths = new Map();
const pen = document.createElement("canvas").getContext("2d");

function widthOf(text, size, weight = 400, font = FONT) {
  const key = `${size} ${weight} ${font} ${text}`;
  if (!widths.has(key)) {
    pen.font = `${weight} ${size}px ${font}`;
    widths.set(key, pen.measureText(text).width);
  }
  return widths.get(key);
}

export function shorten(text, longest = 26) {
  const characters = Array.from(text.slice(0, 4 * longest));
  return characters.length > longest || text.length > 4 * longest
    ? `${characters.slice(0, longest - 1).join("")}…`
    : text;
}

/** The title of a frame, shortened to its room. */
function fitting(title, room) {
  let longest = Math.max(Math.floor(room / 4), 6);
  while (longest > 6 && widthOf(shorten(title, longest), 11, 600) > room) longest -= 1;
  return shorten(title, longest);
}

/** The words in a box: title, detail, value and gradient. */
function wordsOf(box) {
  if (box.isScope || box.kind === "fold") {
    const { path } = box;
    const title = titleOf(box);
    const [, what, times] = title.match(/^(.*?)( ×[\d,]+)?$/); // a long title keeps its count
    const { operations, trained } = box.totals;
    return {
      title: `▸ ${shorten(what, 30)}${times ?? ""}`,
      detail: path && path !== title ? shorten(path, 34) : "",
      value: operations ? countText(operations, "operation") : countText(box.children.length, "array"),
      grad: trained ? countText(trained, "weight") : "",
    };
  }
  const alarm = alarmText(box.values);
  const small = box.values && box.values.size <= 4 && box.values.elements !== null;
  const value = alarm || (small ? shorten(briefText(box.values), 30) : "");
  return {
    title: shorten(box.kind === "operation" ? box.text : titleOf(box)),
    detail: [box.kind === "operation" && box.name ? shorten(box.name, 20) : "", shorten(box.detail, 30)]
      .filter(Boolean)
      .join("  "),
    value: [box.size, value].filter(Boolean).join("  "),
    grad: box.grad ? shorten(briefText(box.grad, "grad "), 32) : "",
  };
}

/** The title of a scope, or what a node is called; a stretch without a title has those of its ends. */
export function titleOf(item) {
  if (!item.isScope) return item.name || item.called;
  if (item.title) return item.title;
  const [first, last] = [endOf(item, 0), endOf(item, -1)].map(titleOf);
  const [begin, end] = [first, last].map((words) => words.match(/^iteration (\d+)$/)?.[1]);
  return begin && end ? `iterations ${begin} to ${end}` : `${first} … ${last}`;
}

/** The first or last thing in stretches of stretches. */
function endOf(box, i) {
  if (!box.isScope || box.kind !== "stretch" || box.title) return box;
  const computed = box.children.filter((child) => !isData(child));
  return endOf((computed.length ? computed : box.children).at(i), i);
}

export function isAlarming(box) {
  if (!box.isScope) return Boolean(alarmText(box.values) || alarmText(box.grad));
  box.alarming ??= box.children.some(isAlarming);
  return box.alarming;
}

function thumbsOf(box) {
  const { values, grad } = (box.isScope ? outputOf(box) : box) ?? {};
  return [
    ["values", values],
    ["grad", grad],
  ].filter(([, array]) => isSeen(array));
}

function sizeOf(box, isCopy) {
  if (isCopy) {
    const { title } = wordsOf(box);
    return { words: { title }, width: widthOf(title, 11, 500) + 16, height: 20, thumbs: [] };
  }
  const words = wordsOf(box);
  const thumbs = thumbsOf(box);
  const isSign = box.kind === "operation" && words.title.length <= 3;
  const titleSize = isSign ? 17 : 13;
  const wide = Math.max(
    widthOf(words.title, titleSize, 600),
    widthOf(words.detail, 11),
    widthOf(words.value, 11, alarmText(box.values) ? 700 : 400),
    widthOf(words.grad, 11, 600),
    22,
  );
  const rows = [words.detail, words.value, words.grad].filter(Boolean).length;
  const height = Math.max(9 + (isSign ? 19 : 16) + rows * ROW, thumbs.length ? THUMB.height + 12 : 0);
  const width = Math.ceil(wide) + 24 + thumbs.length * (THUMB.width + THUMB.gap);
  return { words, thumbs, titleSize, isSign, width, height };
}

/** The rule on a line, with the names of the operands, and its result. */
function ruleLabel(line) {
  const rules = [...new Set(line.edges.map((edge) => edge.text || edge.rule).filter(Boolean))];
  if (line.source.isScope || line.target.isScope || !rules.length) return "";
  const summed = line.edges.some((edge) => edge.summed) ? ", summed" : "";
  const product = line.edges.length === 1 && productOf(line.edges[0]);
  const number = product && product.size === 1 ? ` = ${briefText(product)}` : "";
  return shorten(rules.length > 2 ? `${rules.length} rules` : rules.join(" + "), 30) + summed + number;
}

const ruleWidth = (label) => widthOf(label, 10.5, 700, CODE) + 8;

function pathThrough(points) {
  const [first, ...rest] = points;
  let path = `M${first.x},${first.y}`;
  for (let i = 0; i < rest.length - 1; i++) {
    const middle = { x: (rest[i].x + rest[i + 1].x) / 2, y: (rest[i].y + rest[i + 1].y) / 2 };
    path += i
      ? `Q${rest[i].x},${rest[i].y} ${middle.x},${middle.y}`
      : `Q${rest[0].x},${rest[0].y} ${middle.x},${middle.y}`;
  }
  const last = rest[rest.length - 1];
  return `${path}L${last.x},${last.y}`;
}

/** The name of a box for screen readers: its words and its kind. */
function ariaLabel(box, words) {
  const what = box.isScope
    ? "folded scope, press Enter to unfold"
    : box.kind === "operation"
      ? `operation ${box.function} ${box.name}`
      : box.kind;
  return `${[words.title, words.detail, words.value, words.grad].filter(Boolean).join(" ")}, ${what}`.trim();
}

export class Picture {
  /** @param on what to call: `select(box)`, `toggle(scope)` */
  constructor(svg, on) {
    this.svg = svg;
    this.on = on;
    this.direction = "TB";
    this.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    svg.replaceChildren(this.markers(), (this.stage = makeSvg("g", {})));
    this.zoom = d3
      .zoom()
      .scaleExtent([0.05, 4])
      .clickDistance(4) // a hand that trembles clicks all the same
      .on("zoom", (event) => this.stage.setAttribute("transform", event.transform));
    this.canvas = d3.select(svg);
    this.canvas.call(this.zoom).on("dblclick.zoom", null);
    this.parts = new Map();
  }

  markers() {
    const size = { markerWidth: 10, markerHeight: 10, markerUnits: "userSpaceOnUse" };
    const arrow = (id) =>
      makeSvg(
        "marker",
        { id, viewBox: "0 0 10 10", refX: 9, refY: 5, orient: "auto-start-reverse", ...size },
        makeSvg("path", { d: "M0,0.5L10,5L0,9.5z", class: id }),
      );
    return makeSvg("defs", {}, arrow("arrow"), arrow("arrow-now"), arrow("arrow-back"));
  }

  layOut(view, direction, isDraft = false) {
    const arrows = direction === "TB" ? 4 : 16;
    const room = (line) => {
      const label = ruleLabel(line);
      return label ? { width: ruleWidth(label) + arrows, height: 12 } : {};
    };
    return layOut(view, direction, sizeOf, room, isDraft);
  }

  /** The smallest readable scale on this stage. */
  least() {
    const { width, height } = this.size();
    return Math.min(width, height) < 480 ? NEAR : READABLE;
  }

  /** The size of a readable picture relative to the stage, in the better direction. */
  measured(view) {
    const { width, height } = this.size();
    const least = this.least();
    const ways = ["TB", "LR"].map((direction) => {
      const { extent } = this.layOut(view, direction, true);
      const size = least * Math.max(extent.width / (width - MARGIN), extent.height / (height - MARGIN));
      return { size, direction };
    });
    return ways[0].size <= 1.1 * ways[1].size ? ways[0] : ways[1];
  }

  /** Draw again; the item `anchor` keeps its place on the screen. */
  show(view, anchor = null) {
    const before = anchor && this.placeOf(anchor);
    this.view = view;
    this.layout = this.layOut(view, this.direction);
    this.parts = new Map();
    const frames = makeSvg("g", {});
    const lines = makeSvg("g", {});
    const boxes = makeSvg("g", {});
    this.stage.replaceChildren(frames, lines, boxes);
    for (const outline of this.layout.outlines) frames.append(this.frame(outline));
    for (const line of this.layout.lines) lines.append(this.line(line));
    for (const part of this.layout.drawn) boxes.append(this.box(part));
    const after = anchor && this.placeOf(anchor);
    if (before && after) this.canvas.call(this.zoom.translateBy, before.x - after.x, before.y - after.y);
  }

  frame({ frame, x, y, width, height }) {
    const { path } = frame;
    const title = titleOf(frame);
    const isNamed = path && path !== title && frame.kind !== "stretch";
    const words = `▾ ${fitting(isNamed ? `${path}  ${title}` : title, width - 34)}`;
    const head = makeSvg(
      "g",
      { class: "head", role: "button", tabindex: -1, "aria-expanded": "true", "aria-label": `Fold ${title}` },
      makeSvg("rect", { x: x + 3, y: y + 3, width: widthOf(words, 11, 600) + 14, height: 18, rx: 5 }),
      makeSvg("text", { x: x + 10, y: y + 16 }, words),
    );
    head.addEventListener("click", () => this.on.toggle(frame));
    const group = makeSvg("g", { class: "frame", "data-id": frame.id });
    group.append(makeSvg("rect", { class: "outline", x, y, width, height, rx: 10 }), head);
    this.parts.set(`frame ${frame.id}`, { element: group, x: x + 10, y, head });
    return group;
  }

  line(line) {
    const group = makeSvg("g", { class: "line", "data-source": line.source.id });
    if (line.edges.every((edge) => edge.summed)) group.classList.add("summed");
    if (line.edges.every((edge) => edge.carried)) group.classList.add("carried");
    group.append(makeSvg("path", { d: pathThrough(line.points), class: "stroke", "marker-end": "url(#arrow)" }));
    const words = ruleLabel(line);
    if (words) {
      const middle = line.points[Math.floor(line.points.length / 2)];
      const [x, y] = [line.x ?? middle.x, line.y ?? middle.y];
      const width = ruleWidth(words);
      const label = makeSvg("g", { class: "rule" });
      label.append(makeSvg("rect", { x: x - width / 2, y: y - 9, width, height: 17, rx: 4 }));
      label.append(makeSvg("text", { x, y: y + 3.5, "text-anchor": "middle" }, words));
      group.append(label);
    }
    line.element = group;
    return group;
  }

  box(part) {
    const { box, copy, x, y, width, height, words, thumbs } = part;
    const kind = box.isScope || box.kind === "fold" ? "fold" : box.kind;
    const group = makeSvg("g", {
      class: `box ${kind}${copy ? " copy" : ""}${isAlarming(box) ? " alarming" : ""}`,
      transform: `translate(${x - width / 2},${y - height / 2})`,
      "data-id": box.id,
      role: "button",
      tabindex: -1,
      "aria-label": ariaLabel(box, words),
    });
    if (kind === "fold") {
      group.append(makeSvg("rect", { class: "shadow", x: 4, y: 4, width, height, rx: 9 }));
      if (box.isScope) group.setAttribute("aria-expanded", "false");
    }
    const round = { operation: height / 2 > 24 ? 16 : height / 2, parameter: 10, fold: 9, result: 10 }[kind] ?? 0;
    group.append(makeSvg("rect", { class: "body", width, height, rx: round }));
    if (kind === "result" && !copy) {
      group.append(makeSvg("rect", { class: "inner", x: 3.5, y: 3.5, width: width - 7, height: height - 7, rx: 7 }));
    }
    const onlyLeft = thumbs.length === 1 ? THUMB.width + THUMB.gap : 0; // one is on the left, two are on both sides
    const middle = (width + onlyLeft) / 2;
    let row = copy ? 14 : part.isSign ? 20 : 17;
    const write = (text, style) => {
      if (!text) return;
      group.append(makeSvg("text", { x: middle, y: row, "text-anchor": "middle", class: style }, text), " ");
      row += ROW;
    };
    write(words.title, part.isSign ? "title sign" : "title");
    write(words.detail, "detail");
    write(words.value, alarmText(box.values) ? "value alarm" : "value");
    thumbs.forEach(([what, values], i) => {
      const left = i ? width - 10 - THUMB.width : 10;
      const place = { x: left, y: (height - THUMB.height) / 2, width: THUMB.width, height: THUMB.height };
      const image = makeSvg("image", { ...place, href: heatUrl(values), preserveAspectRatio: "none" });
      group.append(makeSvg("g", { class: `thumb ${what}` }, image, makeSvg("rect", place)));
    });
    write(words.grad, kind === "fold" ? "value" : alarmText(box.grad) ? "grad alarm" : "grad");
    group.addEventListener("click", () => (box.isScope ? this.on.toggle(box) : this.on.select(box)));
    if (!copy) this.parts.set(box.id, { element: group, x, y, width, height });
    part.element = group;
    return group;
  }

  /** Show how far the walk has come. */
  progress(progress, step, selected) {
    const { computed, reached, touched, behind, back } = progress;
    for (const { box, element } of this.layout.drawn) {
      const marks = element.classList;
      marks.toggle("pending", !computed.has(box));
      marks.toggle("reached", reached.has(box));
      marks.toggle("touched", back && touched.has(box) && !reached.has(box));
      marks.toggle("faded", back && !reached.has(box) && !touched.has(box));
      marks.toggle("now", step.box === box);
      marks.toggle("selected", selected === box);
      element.setAttribute("aria-pressed", String(selected === box));
    }
    for (const { source, target, element, edges } of this.layout.lines) {
      const flows = edges.some((edge) => edge.flows) || source.isScope || target.isScope || target.kind === "result";
      const isBack = back && behind.has(target) && flows && !element.classList.contains("carried");
      const isNow = step.box === target;
      const marks = element.classList;
      marks.toggle("pending", !computed.has(source) || !computed.has(target));
      marks.toggle("back", isBack);
      marks.toggle("faded", back && !isBack);
      marks.toggle("now", isNow && (!back || isBack));
      marks.toggle("said", isBack && (this.layout.labelled || isNow));
      const path = element.querySelector(".stroke");
      path.setAttribute("marker-end", isBack ? "" : `url(#${isNow ? "arrow-now" : "arrow"})`);
      path.setAttribute("marker-start", isBack ? "url(#arrow-back)" : "");
    }
  }

  refresh() {
    for (const { element, thumbs } of this.layout.drawn) {
      element.querySelectorAll("image").forEach((image, i) => image.setAttribute("href", heatUrl(thumbs[i][1])));
    }
  }

  placeOf(item) {
    const part = this.parts.get(item.id) ?? this.parts.get(`frame ${item.id}`);
    return part && { x: part.x, y: part.y };
  }

  size() {
    const { width, height } = this.svg.getBoundingClientRect();
    return { width: Math.max(width, 1), height: Math.max(height, 1) };
  }

  /** Show the whole picture. */
  fit(atOnce = false) {
    const { width, height } = this.size();
    const box = this.stage.getBBox();
    if (!box.width) return;
    const scale = Math.min((width - MARGIN) / box.width, (height - MARGIN) / box.height, 1.4);
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    this.moveTo(d3.zoomIdentity.translate(width / 2 - scale * x, height / 2 - scale * y).scale(scale), atOnce);
  }

  /** Show an unfolded scope: all of it if that is readable, else its beginning. */
  showFrame(scope) {
    const frame = this.layout.outlines.find((outline) => outline.frame === scope);
    const { width, height } = this.size();
    const now = d3.zoomTransform(this.svg);
    const [left, top] = now.apply([frame.x, frame.y]);
    const [right, bottom] = now.apply([frame.x + frame.width, frame.y + frame.height]);
    if (left >= 0 && top >= 0 && right <= width && bottom <= height && now.k >= this.least()) return;
    const whole = Math.min((width - MARGIN) / frame.width, (height - MARGIN) / frame.height);
    const scale = Math.max(Math.min(whole, now.k), this.least());
    const along = (room, start, size) =>
      scale * size <= room ? room / 2 - scale * (start + size / 2) : MARGIN / 2 - scale * start;
    const [x, y] = [along(width, frame.x, frame.width), along(height, frame.y, frame.height)];
    this.moveTo(d3.zoomIdentity.translate(x, y).scale(scale));
  }

  /** Spread the whole picture over the available room, as for paper, or undo that. */
  spread(isSpread) {
    if (!isSpread) {
      this.svg.removeAttribute("viewBox");
      this.stage.setAttribute("transform", d3.zoomTransform(this.svg));
      return;
    }
    this.stage.removeAttribute("transform");
    const { x, y, width, height } = this.stage.getBBox();
    this.svg.setAttribute("viewBox", [x - MARGIN, y - MARGIN, width + 2 * MARGIN, height + 2 * MARGIN].join(" "));
  }

  moveTo(transform, atOnce = false) {
    if (this.still || atOnce) this.canvas.call(this.zoom.transform, transform);
    else this.canvas.transition().duration(220).call(this.zoom.transform, transform);
  }

  zoomBy(factor) {
    if (this.still) this.canvas.call(this.zoom.scaleBy, factor);
    else this.canvas.transition().duration(150).call(this.zoom.scaleBy, factor);
  }

  /** Move a box into view, if it isn't. */
  reveal(item, always = false) {
    const part = this.parts.get(item.id);
    if (!part || part.width === undefined) return;
    const now = d3.zoomTransform(this.svg);
    const { width, height } = this.size();
    const [left, top] = now.apply([part.x - part.width / 2, part.y - part.height / 2]);
    const [right, bottom] = now.apply([part.x + part.width / 2, part.y + part.height / 2]);
    const isInside = left >= 0 && top >= 0 && right <= width && bottom <= height;
    if (isInside && (!always || now.k >= NEAR)) return;
    const scale = Math.max(now.k, this.least());
    this.moveTo(d3.zoomIdentity.translate(width / 2 - scale * part.x, height / 2 - scale * part.y).scale(scale));
  }

  focus(item) {
    for (const element of this.stage.querySelectorAll('[tabindex="0"]')) element.setAttribute("tabindex", -1);
    const part = this.parts.get(item.id);
    if (!part) return;
    part.element.setAttribute("tabindex", 0);
    part.element.focus({ preventScroll: true });
  }
}
