/* Where everything goes.

Owns: the layout: sizes are given, places are found, by dagre.
Must not own: what is in a box (`picture.js`).
Read next: `picture.js`.

Frame by frame, the innermost first: what is in a frame is laid out on its own, and is then one box of the frame around
it. So each part stays compact, and looks the same wherever it is. A line that crosses a frame does so at a port.
*/

const COPIES = 4; // an input with more lines than that is drawn at its first use, and as a copy at each other
const LABELLED = 70; // lines; in a larger picture only the current ones say their rule
const FRAME = { side: 12, above: 26, below: 12 };
const ALIGNMENTS = [undefined, "UL", "UR", "DL", "DR"];
const ARRIVAL = 9; // pixels that the ends of two lines are apart, and that a line goes straight before its end
const ALIGNED = 120; // boxes; of a larger frame only the first alignment is tried

/**
 * @param size of a box, or of a copy of it: `size(box, isCopy)`
 * @param room that a line's label takes: `room(line)`
 * @param isDraft whether only the extent is wanted, which differs little from one alignment to another
 */
export function layOut(view, direction, size, room, isDraft = false) {
  const open = new Set(view.frames.map((frame) => frame.id));
  const levels = new Map([["", newLevel(null)]]);
  for (const frame of view.frames) levels.set(frame.id, newLevel(frame));
  const around = (item) => {
    const ids = [];
    for (let scope = item.parent; scope && scope.id; scope = scope.parent) if (open.has(scope.id)) ids.push(scope.id);
    return [...ids, ""];
  };
  const uses = new Map();
  for (const line of view.lines) uses.set(line.source, (uses.get(line.source) ?? 0) + 1);
  const isCopied = (box) => !box.isScope && !box.totals.operations && uses.get(box) > COPIES;
  const drawn = [];
  const add = (key, box, level, copy) => {
    const part = { key, box, copy, ...size(box, copy) };
    levels.get(level).parts.set(key, part);
    drawn.push(part);
  };
  for (const box of view.boxes) add(box.id, box, around(box)[0], false);
  const seen = new Set();
  const labelled = view.lines.length <= LABELLED;
  const lines = view.lines.map((line) => {
    const inner = around(line.target);
    let from = line.source.id;
    let outer = around(line.source);
    if (isCopied(line.source) && seen.has(line.source)) {
      from = `${line.source.id} for ${line.target.id}`;
      outer = inner;
      add(from, line.source, inner[0], true);
    }
    seen.add(line.source);
    return { ...line, from, ...hops(levels, line, from, outer, inner, labelled ? room(line) : {}) };
  });
  const deepest = [...view.frames].sort((a, b) => around(b).length - around(a).length);
  for (const frame of deepest) {
    const level = levels.get(frame.id);
    const { width, height } = cropped(level, direction, arrange(level, direction, isDraft));
    const part = { key: `frame ${frame.id}`, frame, level, isComputed: frame.totals.operations > 0 };
    part.width = Math.max(width + 2 * FRAME.side, 90);
    part.height = height + FRAME.above + FRAME.below;
    levels.get(around(frame)[0]).parts.set(part.key, part);
  }
  const extent = arrange(levels.get(""), direction, isDraft);
  put(levels.get(""), 0, 0);
  for (const line of lines) route(line);
  for (const box of drawn) arriveInOrder(box, lines, direction);
  const outlines = [];
  for (const level of levels.values()) {
    for (const part of level.parts.values()) {
      if (part.frame) outlines.push({ ...part, x: part.x - part.width / 2, y: part.y - part.height / 2 });
    }
  }
  outlines.sort((a, b) => b.width * b.height - a.width * a.height);
  return { drawn, lines, outlines, labelled, extent };
}

/** Let lines end where the picture comes from, in the order of the operands: side by side, unless they do anyway. */
function arriveInOrder({ box, copy, x, y, width, height }, lines, direction) {
  const own = lines.filter((line) => line.target === box);
  if (copy || box.isScope) return;
  own.sort((a, b) => a.edges[0].position - b.edges[0].position);
  const isTall = direction === "TB";
  const [side, front] = isTall ? ["x", "y"] : ["y", "x"];
  const [middle, half, border] = isTall ? [x, width / 2, y - height / 2] : [y, height / 2, x - width / 2];
  const ends = own.map(({ points }) => points.at(-1));
  const near = ends.map((end) => Math.min(Math.max(end[side], middle - half + ARRIVAL), middle + half - ARRIVAL));
  const isOrdered = near.every((end, i) => i === 0 || end >= near[i - 1] + ARRIVAL);
  own.forEach(({ points }, i) => {
    if (isOrdered && ends[i][front] < border + 1) return;
    const across = isOrdered ? near[i] : middle + half * ((2 * (i + 1)) / (own.length + 1) - 1);
    points.splice(-1, 1, { [side]: across, [front]: border - ARRIVAL }, { [side]: across, [front]: border });
  });
}

const newLevel = (frame) => ({ frame, parts: new Map(), edges: [], ports: new Map() });

/** A line as the edges that it takes: out of the frames around its source, across, into those around its target. */
function hops(levels, line, from, outer, inner, room) {
  const common = outer.find((id) => inner.includes(id));
  const out = outer.slice(0, outer.indexOf(common));
  const into = inner.slice(0, inner.indexOf(common));
  const path = [];
  const hop = (id, source, target, space = {}) => {
    const edge = { source, target, name: line.id, weight: line.source.totals.operations ? 6 : 1, ...space };
    if (target === line.target.id && !line.target.isScope) edge.position = line.edges[0].position;
    levels.get(id).edges.push(edge);
    path.push(edge);
    return edge;
  };
  let key = from;
  for (const id of out) {
    hop(id, key, port(levels.get(id), `out ${from}`, true));
    key = `frame ${id}`;
  }
  const last = into.length ? `frame ${into[into.length - 1]}` : line.target.id;
  const across = hop(common, key, last, room);
  into.forEach((_, i) => {
    const id = into[into.length - 1 - i];
    const next = i === into.length - 1 ? line.target.id : `frame ${into[into.length - 2 - i]}`;
    hop(id, port(levels.get(id), `in ${from}`, false), next);
  });
  return { path, across };
}

function port(level, key, isOut) {
  if (!level.ports.has(key)) {
    level.ports.set(key, isOut);
    level.parts.set(key, { key, width: 1, height: 1, isPort: true, isComputed: true });
  }
  return key;
}

/** Lay out one frame: of several ways to align the boxes, that which keeps the computation straightest. */
function arrange(level, direction, isDraft) {
  const isTall = direction === "TB";
  const constraints = operandOrder(level);
  let best = null;
  for (const align of isDraft || level.parts.size > ALIGNED ? [undefined] : ALIGNMENTS) {
    const graph = arranged(level, direction, align, constraints);
    const at = (key) => graph.node(key)[isTall ? "x" : "y"];
    const flows = level.edges.filter(({ source, target }) => isFlow(level, source) && isFlow(level, target));
    const bends = flows.reduce((sum, { source, target }) => sum + Math.abs(at(source) - at(target)), 0);
    const extent = graph.graph();
    const badness = bends + 2 * (isTall ? extent.width : extent.height);
    if (!best || badness < best.badness) best = { graph, badness, extent };
  }
  for (const part of level.parts.values()) {
    const { x, y } = best.graph.node(part.key);
    Object.assign(part, { x, y });
  }
  for (const edge of level.edges) {
    const { points, x, y } = best.graph.edge({ v: edge.source, w: edge.target, name: edge.name });
    Object.assign(edge, { points, x, y });
  }
  return best.extent;
}

/** Take away the room that dagre gives to ports, and put them on the frame's edge. */
function cropped(level, direction, extent) {
  const [along, length] = direction === "TB" ? ["y", "height"] : ["x", "width"];
  const [before, behind] = direction === "TB" ? [FRAME.above, FRAME.below] : [FRAME.side, FRAME.side];
  const boxes = [...level.parts.values()].filter((part) => !part.isPort);
  const low = Math.min(...boxes.map((part) => part[along] - part[length] / 2));
  const high = Math.max(...boxes.map((part) => part[along] + part[length] / 2));
  const shift = (point) => ({ ...point, [along]: point[along] - low });
  for (const edge of level.edges) {
    edge.points = edge.points.map(shift);
    if (edge.x !== undefined) edge[along] -= low;
    for (const [key, end] of [
      [edge.source, 0],
      [edge.target, edge.points.length - 1],
    ]) {
      if (!level.ports.has(key)) continue;
      const place = edge.points[end];
      const isInside = place[along] > 0 && place[along] < high - low;
      const onEdge = { ...place, [along]: level.ports.get(key) ? high - low + behind : -before };
      const both = [onEdge, ...(isInside ? [place] : [])];
      edge.points.splice(end, 1, ...(end ? both.reverse() : both));
    }
  }
  for (const part of level.parts.values()) part[along] -= low;
  return { ...extent, [length]: high - low };
}

function isFlow(level, key) {
  const part = level.parts.get(key);
  return part.isComputed || Boolean(part.box?.totals.operations);
}

/** Which of two boxes is to the left: the first operand of an operation, unless others want the opposite. */
function operandOrder(level) {
  const operands = new Map();
  for (const { source, target, position } of level.edges) {
    if (position === undefined) continue;
    operands.set(target, [...(operands.get(target) ?? []), { source, position }]);
  }
  const rightOf = new Map();
  const reaches = (from, to, seen = new Set()) => {
    if (from === to) return true;
    seen.add(from);
    return (rightOf.get(from) ?? []).some((next) => !seen.has(next) && reaches(next, to, seen));
  };
  const constraints = [];
  for (const sources of operands.values()) {
    sources.sort((a, b) => a.position - b.position);
    for (let i = 1; i < sources.length; i++) {
      const [left, right] = [sources[i - 1].source, sources[i].source];
      if (reaches(right, left)) continue; // dagre loses the boxes of a circle
      rightOf.set(left, [...(rightOf.get(left) ?? []), right]);
      constraints.push({ left, right });
    }
  }
  return constraints;
}

function arranged(level, direction, align, constraints) {
  const graph = new dagre.graphlib.Graph({ multigraph: true });
  graph.setGraph({ rankdir: direction, align, nodesep: 20, ranksep: 18, edgesep: 10 });
  for (const { key, width, height } of level.parts.values()) graph.setNode(key, { width, height });
  for (const { source, target, name, weight, width, height } of level.edges) {
    const label = width ? { width, height, labelpos: "c" } : {};
    graph.setEdge(source, target, { ...label, weight }, name);
  }
  const isUsed = (isOut) => [...level.ports.values()].includes(isOut);
  for (const isOut of [false, true])
    if (isUsed(isOut)) graph.setNode(isOut ? "below" : "above", { width: 0, height: 0 });
  for (const [key, isOut] of level.ports) {
    graph.setEdge(isOut ? key : "above", isOut ? "below" : key, { weight: 50 }, "port"); // holds it at the frame's edge
  }
  dagre.layout(graph, { constraints });
  return graph;
}

/** From places within frames to places in the picture. */
function put(level, left, top) {
  for (const part of level.parts.values()) {
    part.x += left;
    part.y += top;
    if (part.frame) {
      put(part.level, part.x - part.width / 2 + FRAME.side, part.y - part.height / 2 + FRAME.above);
    }
  }
  for (const edge of level.edges) {
    edge.points = edge.points.map(({ x, y }) => ({ x: x + left, y: y + top }));
    if (edge.x !== undefined) Object.assign(edge, { x: edge.x + left, y: edge.y + top });
  }
}

/** Join the parts of a line; where they meet at a frame, the port is the place, not the frame's middle. */
function route(line) {
  const { path, across } = line;
  const points = [];
  path.forEach(({ points: own }, i) => {
    const start = i > path.indexOf(across) || i === 0 ? 0 : 1;
    const end = i < path.indexOf(across) || i === path.length - 1 ? own.length : own.length - 1;
    points.push(...own.slice(start, end));
  });
  line.points = points;
  line.x = across.x;
  line.y = across.y;
}
