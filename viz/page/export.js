/* The picture as a file: SVG, which drawing programs read, and PNG.

Owns: how what is on the screen becomes a file of its own.
Must not own: the drawing (`picture.js`), or the buttons (`page.js`).
Read next: `page.js`.
*/

import { make, makeSvg } from "./numbers.js";

const AROUND = 12; // pixels around the picture
const MOST_PIXELS = 32e6; // of a PNG; browsers draw no more
const SHARPER = 2; // pixels of a PNG for one of the picture, if that isn't too many

/* What a style sheet says, each element of the file has to say itself. */
const DRAWN = (
  "fill fill-opacity stroke stroke-width stroke-dasharray stroke-linecap opacity visibility " +
  "font-family font-size font-weight image-rendering"
).split(" ");

/** The whole picture, in the colours that it has now, as an SVG file. */
export function svgFile(svg, stage) {
  const copy = svg.cloneNode(true);
  const copies = copy.querySelectorAll("*");
  svg.querySelectorAll("*").forEach((element, i) => {
    const style = getComputedStyle(element);
    copies[i].setAttribute("style", DRAWN.map((name) => `${name}:${style.getPropertyValue(name)}`).join(";"));
    for (const name of ["class", "role", "tabindex"]) copies[i].removeAttribute(name);
  });
  const { x, y, width, height } = stage.getBBox();
  const [left, top, wide, tall] = [x - AROUND, y - AROUND, width + 2 * AROUND, height + 2 * AROUND];
  copy.replaceChildren(
    copy.querySelector("defs"),
    makeSvg("rect", { x: left, y: top, width: wide, height: tall, fill: getComputedStyle(document.body).backgroundColor }),
    copy.querySelector("g:not(defs g)"),
  );
  copy.lastChild.removeAttribute("transform");
  for (const name of copy.getAttributeNames()) copy.removeAttribute(name);
  copy.setAttribute("viewBox", `${left} ${top} ${wide} ${tall}`);
  copy.setAttribute("width", wide);
  copy.setAttribute("height", tall);
  return new XMLSerializer().serializeToString(copy);
}

/** An SVG file as a PNG. */
export async function pngFile(text) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const scale = Math.min(SHARPER, Math.sqrt(MOST_PIXELS / (image.width * image.height)));
  const canvas = make("canvas", { width: Math.round(scale * image.width), height: Math.round(scale * image.height) });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** Let the browser save a file. */
export function download(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
