/* Views of an array: its numbers, heat map and histogram.

Owns: how numbers, shapes and arrays are shown.
Must not own: the graph, or which array is shown.
Read next: `graph.js`.
*/

/** The data of an array from `explore.py`, completed; a single number is itself. */
export function arrayOf(told) {
  if (told === undefined) return null;
  const unknown = { elements: null, lowest: null, mean: null, highest: null, nan: 0, inf: 0, zeros: 0 };
  if (typeof told === "object") return { ...unknown, ...told };
  if (told === "NaN") return { ...unknown, size: 1, elements: told, norm: told, nan: 1 };
  if (typeof told === "string") return { ...unknown, size: 1, elements: told, norm: "Infinity", inf: 1 };
  const value = Number(told);
  const alike = { lowest: value, mean: value, highest: value, norm: Math.abs(value), zeros: value ? 0 : 1 };
  return { ...unknown, ...alike, size: 1, elements: told };
}

/** Make an element. Text is always a text node, never markup: names and labels are a user's. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

export function makeSvg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A number in a few significant digits; JSON has no NaN and Inf, so they come as words. */
export function numberText(value, digits = 4) {
  if (Array.isArray(value)) return `[${value.map((v) => numberText(v, digits)).join(", ")}]`;
  if (typeof value !== "number") return String(value).replace("Infinity", "Inf");
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
  const text = value.toPrecision(digits);
  const [mantissa, exponent] = text.split("e");
  const short = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
  return exponent === undefined ? short : `${short}e${exponent.replace("+", "")}`;
}

export function countText(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}

export function bytesText(bytes) {
  let unit = 0;
  let size = bytes;
  while (size >= 1000 && unit < 4) {
    size /= 1000;
    unit += 1;
  }
  return `${numberText(size, 3)} ${["B", "kB", "MB", "GB", "TB"][unit]}`;
}

export function alarmText(values) {
  if (!values || !(values.nan || values.inf)) return "";
  const parts = [values.nan && `${values.nan} NaN`, values.inf && `${values.inf} Inf`].filter(Boolean);
  return values.size === 1 ? parts.join("").slice(2) : `${parts.join(", ")} of ${values.size.toLocaleString("en")}`;
}

/** An array in one line: in full if it is small, else its norm. */
export function briefText(values, mark = "") {
  if (!values) return "";
  if (values.size > 1 && alarmText(values)) return `${mark}${alarmText(values)}`;
  if (values.elements !== null && values.size <= 4) return `${mark}${numberText(values.elements)}`;
  return `‖${mark.trim() || "·"}‖ ${numberText(values.norm)}`;
}

/** Whether the page is used with fingers, without keys or a mouse. */
export const isTouched = matchMedia("(pointer: coarse)").matches;

export const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

/* Blue below zero, orange above: the colour-blind can tell them apart, and zero is the colour of the page. */
const SCALES = {
  light: { low: [33, 102, 172], zero: [247, 247, 245], high: [179, 88, 6], bad: [214, 0, 60] },
  dark: { low: [104, 178, 255], zero: [38, 43, 50], high: [255, 166, 77], bad: [255, 64, 110] },
};

/** The range of a heat map's colours, symmetric about zero if the numbers have both signs. */
function rangeOf(values) {
  const low = values.lowest ?? 0;
  const high = values.highest ?? 0;
  if (low < 0 && high > 0) {
    const most = Math.max(-low, high);
    return [-most, most];
  }
  return low >= 0 ? [0, high || 1] : [low, 0];
}

function colourOf(value, [low, high], scale) {
  if (typeof value !== "number") return scale.bad;
  const t = value < 0 ? value / (low || -1) : value / (high || 1);
  const end = value < 0 ? scale.low : scale.high;
  const share = Math.min(Math.max(t, 0), 1);
  return scale.zero.map((from, i) => Math.round(from + (end[i] - from) * share));
}

/** Whether an array has enough numbers for a heat map. */
export function isSeen(values) {
  return Boolean(values && (values.heat || (values.elements !== null && values.size > 4 && values.lowest !== null)));
}

/** The number at this share between lowest and highest, whose difference could overflow. */
function between({ lowest, highest }, share) {
  return lowest * (1 - share) + highest * share;
}

/** The numbers of a heat map, row by row; null for NaN and Inf. */
function heatOf(values) {
  if (values.cells) return values.cells;
  if (values.heat) {
    const { rows, columns, levels, shape } = values.heat;
    const numbers = Array.from(atob(levels), (byte) => {
      const level = byte.charCodeAt(0);
      return level === 255 ? null : between(values, level / 254);
    });
    values.cells = { rows, columns, shape, numbers };
  } else {
    let table = values.elements;
    while (Array.isArray(table[0]) && Array.isArray(table[0][0])) table = table.flat();
    if (!Array.isArray(table[0])) table = [table];
    const [rows, columns] = [table.length, table[0].length];
    const numbers = table.flat().map((value) => (typeof value === "string" ? null : Number(value)));
    values.cells = { rows, columns, shape: [rows, columns], numbers };
  }
  return values.cells;
}

const pictures = new Map(); // data URLs of heat maps, by array, for the light and the dark page

/** A heat map, one pixel for a number, as the address of an image. */
export function heatUrl(values) {
  const theme = isDark() ? "dark" : "light";
  const known = pictures.get(values) ?? {};
  pictures.set(values, known);
  if (!known[theme]) {
    const { rows, columns, numbers } = heatOf(values);
    const canvas = make("canvas", { width: columns, height: rows });
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(columns, rows);
    const range = rangeOf(values);
    numbers.forEach((value, i) => pixels.data.set([...colourOf(value, range, SCALES[theme]), 255], 4 * i));
    context.putImageData(pixels, 0, 0);
    known[theme] = canvas.toDataURL();
  }
  return known[theme];
}

function cssColour(rgb) {
  return `rgb(${rgb.join(" ")})`;
}

function heatMap(values) {
  const { rows, columns, numbers, shape } = heatOf(values);
  const [low, high] = rangeOf(values);
  const scale = SCALES[isDark() ? "dark" : "light"];
  const readout = make("span", { class: "readout", "aria-hidden": "true" });
  const image = make("img", {
    class: "heat",
    src: heatUrl(values),
    alt: `Heat map of ${shape.join(" by ")} numbers, from ${values.lowest} to ${values.highest}`,
    style: `aspect-ratio: ${Math.min(Math.max(columns / rows, 0.6), 12)}`,
    onpointermove: (event) => {
      const box = image.getBoundingClientRect();
      const row = Math.min(Math.floor(((event.clientY - box.top) / box.height) * rows), rows - 1);
      const column = Math.min(Math.floor(((event.clientX - box.left) / box.width) * columns), columns - 1);
      const value = numbers[Math.max(row, 0) * columns + Math.max(column, 0)];
      const [of, to] = [shape[0] / rows, shape[1] / columns];
      const place = `[${Math.floor(row * of)}, ${Math.floor(column * to)}]`;
      const text = value === null ? "not finite" : numberText(value, 3);
      readout.textContent = `${place}${of > 1 || to > 1 ? " and around" : ""} ≈ ${text}`;
    },
    onpointerleave: () => (readout.textContent = ""),
  });
  const stops = [low, (low + high) / 2, high].map((value) => cssColour(colourOf(value, [low, high], scale)));
  return make(
    "figure",
    { class: "heat-figure" },
    image,
    make(
      "figcaption",
      {},
      make("span", {}, numberText(low, 3)),
      make("span", { class: "scale", style: `background: linear-gradient(to right, ${stops.join(", ")})` }),
      make("span", {}, numberText(high, 3)),
      readout,
    ),
  );
}

/** The numbers themselves, on the colours of the heat map. */
function numberTable(values) {
  let rows = Array.isArray(values.elements) ? values.elements : [values.elements];
  if (!Array.isArray(rows[0])) rows = [rows];
  while (Array.isArray(rows[0][0])) rows = rows.flat();
  const range = rangeOf(values);
  const theme = isDark() ? "dark" : "light";
  const cell = (value) => {
    const rgb = colourOf(value, range, SCALES[theme]);
    const bright = (0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]) / 255;
    const style = `background: ${cssColour(rgb)}; color: ${bright > 0.55 ? "#111" : "#fff"}`;
    return make("td", { style }, numberText(value, rows[0].length > 4 ? 3 : 4));
  };
  return make(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": "Numbers" },
    make(
      "table",
      { class: "numbers" },
      make(
        "tbody",
        {},
        rows.map((row) => make("tr", {}, row.map(cell))),
      ),
    ),
  );
}

function histogram(values) {
  const counts = values.histogram;
  const [width, height] = [170, 70];
  const most = Math.max(...counts, 1);
  const bar = width / counts.length;
  const svg = makeSvg("svg", { viewBox: `0 0 ${width} ${height + 14}`, class: "histogram", role: "img" });
  const peak = counts.indexOf(most);
  const middle = between(values, (peak + 0.5) / counts.length);
  const range = `${numberText(values.lowest)} to ${numberText(values.highest)}`;
  svg.append(makeSvg("title", {}, `Histogram from ${range}; most numbers are near ${numberText(middle, 3)}`));
  counts.forEach((count, i) => {
    const tall = count ? Math.max((count / most) * height, 1) : 0;
    svg.append(makeSvg("rect", { x: i * bar + 0.5, y: height - tall, width: bar - 1, height: tall, class: "bar" }));
  });
  if (values.lowest < 0 && values.highest > 0) {
    const x = width / (1 - values.highest / values.lowest);
    svg.append(makeSvg("line", { x1: x, x2: x, y1: 0, y2: height, class: "zero" }));
    if (x > 40 && x < width - 40) svg.append(makeSvg("text", { x, y: height + 11, "text-anchor": "middle" }, "0"));
  }
  svg.append(makeSvg("line", { x1: 0, x2: width, y1: height, y2: height, class: "axis" }));
  svg.append(makeSvg("text", { x: 0, y: height + 11 }, numberText(values.lowest, 3)));
  svg.append(makeSvg("text", { x: width, y: height + 11, "text-anchor": "end" }, numberText(values.highest, 3)));
  return svg;
}

/** Everything that is known about an array. */
export function arrayView(values, { shape, size } = {}, absent = "") {
  if (!values) return make("p", { class: "quiet" }, absent);
  const view = make("div", { class: "array" });
  const said = [size || (shape && !shape.length ? "a single number" : ""), alarmText(values)];
  if (values.size > 1 || values.elements === null) {
    view.append(
      make("p", { class: "shape" }, said[0], said[1] ? make("strong", { class: "alarm" }, ` ${said[1]}`) : null),
    );
  }
  if (values.size === 0) view.append(make("p", { class: "quiet" }, "It has no elements."));
  else if (values.size === 1 && values.elements !== null) {
    const number = numberText(values.elements, 7);
    view.append(
      make("p", { class: said[1] ? "number alarm" : "number" }, number, size ? make("small", {}, ` ${size}`) : null),
    );
  } else if (values.elements !== null) view.append(numberTable(values));
  else {
    const seen = [values.heat && heatMap(values), values.histogram && histogram(values)].filter(Boolean);
    if (seen.length) view.append(make("div", { class: "seen" }, seen));
  }
  if (values.size > 1) {
    const rows = [
      ["lowest", values.lowest],
      ["mean", values.mean],
      ["highest", values.highest],
      ["norm", values.norm],
    ];
    if (values.zeros) rows.push(["zeros", `${numberText((100 * values.zeros) / values.size, 3)} %`]);
    view.append(
      make(
        "dl",
        { class: "statistics" },
        rows
          .filter(([, value]) => value !== null && value !== undefined)
          .map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, numberText(value)))),
      ),
    );
  }
  return view;
}
