/* The graph as it is seen: which scopes are folded, what is visible, and in which order it is walked.

Owns: the tree of scopes, folding, the visible boxes and lines, the steps.
Must not own: anything that is drawn.
Read next: `picture.js`.
*/

import { arrayOf } from "./numbers.js";

export const MANY = 320; // boxes: the most that are laid out at once
const CROWD = 60; // children: the most of one scope; more are gathered in stretches
const CROWDS = [CROWD, 24, 16, 12, 9, 7, 5, 3]; // children that an overview may show side by side
const TURNS = 24; // iterations of a loop: the most that are shown side by side
const FEWEST = 6; // boxes that an overview should have, if something can be unfolded

/** The tree of scopes, from the data of `explore.py`. Its leaves are the nodes of the graph. */
function treeOf(data, crowd = CROWD) {
  const root = { id: "", title: "", path: "", kind: "root", children: [], parent: null, isScope: true };
  const scopes = data.scopes.map((scope, i) => ({ ...scope, id: `scope ${i}`, children: [], isScope: true }));
  for (const scope of scopes) scope.parent = scopes[scope.parent] ?? root;
  const placed = new Set([root]);
  const place = (item) => {
    item.parent.children.push(item);
    if (placed.has(item.parent)) return;
    placed.add(item.parent);
    place(item.parent);
  };
  let rank = 0; // of an operation among all
  const nodes = data.nodes.map((told, order) => {
    const numbers = { values: arrayOf(told.values), grad: arrayOf(told.grad), accumulated: arrayOf(told.accumulated) };
    const links = { parent: scopes[told.in] ?? root, inputs: [], outputs: [], isScope: false };
    const node = { name: "", ...data.kinds[told.is], ...told, ...numbers, ...links, order };
    node.rank = isData(node) ? 0 : (rank += 1);
    place(node);
    return node;
  });
  const edges = data.edges.map(([source, target, rule, own = {}]) => ({
    numbers: "",
    ...data.rules[rule],
    ...own,
    grad: arrayOf(own.grad),
    source: nodes[source],
    target: nodes[target],
  }));
  for (const edge of edges) {
    edge.source.outputs.push(edge);
    edge.target.inputs.push(edge);
  }
  const all = [root, ...scopes];
  for (const scope of [root, ...scopes]) {
    putDataFirst(scope);
    gatherStretches(scope, all, scope.kind === "repeat" ? Math.min(crowd, TURNS) : crowd);
  }
  measure(root);
  return { root, count: rank, scopes: new Map(all.map((scope) => [scope.id, scope])), nodes, edges };
}

/** Put data right before its first use in a scope, so that gathered children form no circle. */
function putDataFirst(scope) {
  const places = new Map(scope.children.map((child, i) => [child, i]));
  const placeOf = (item) => {
    while (item && !places.has(item)) item = item.parent;
    return places.get(item) ?? Infinity;
  };
  const firstUse = (item) => item.outputs.reduce((first, edge) => Math.min(first, placeOf(edge.target)), Infinity) - 0.5;
  for (const child of scope.children) {
    if (isData(child) && child.kind !== "result") places.set(child, Math.min(firstUse(child), places.get(child)));
  }
  scope.children.sort((a, b) => places.get(a) - places.get(b));
}

/** The totals of a scope: operations, trained numbers, memory, and its last operation. */
function measure(item) {
  const isComputed = item.kind === "operation" || item.kind === "fold";
  const totals = { operations: 0, trained: 0, bytes: 0, last: 0 };
  if (!item.isScope) {
    totals.operations = item.kind === "operation" ? 1 : item.members;
    totals.trained = item.parameters;
    totals.last = item.rank;
    totals.bytes = isComputed ? item.memory : 0;
  } else {
    for (const child of item.children) {
      const { operations, trained, bytes, last } = measure(child);
      totals.operations += operations;
      totals.trained += trained;
      totals.bytes += bytes;
      totals.last = Math.max(totals.last, last);
    }
    if (item.operations) {
      // a scope that stands for several copies holds one, but counts for all
      Object.assign(totals, { operations: item.operations, trained: item.parameters, bytes: item.memory });
    }
  }
  item.totals = totals;
  return totals;
}

/** Gather consecutive children, if a scope has more than fit side by side. */
function gatherStretches(parent, scopes, crowd) {
  if (parent.children.length <= crowd) return;
  const gather = (children) => {
    if (children.length === 1) return children[0];
    const id = `${parent.id}/${scopes.length}`;
    const group = { id, kind: "stretch", title: "", path: "", repeat: 1, parent, isScope: true, children };
    for (const child of children) child.parent = group;
    scopes.push(group);
    return group;
  };
  const isResult = (item) => item.kind === "result";
  const isShared = (item) => isData(item) && item.outputs.length > 1;
  const [shared, results] = [parent.children.filter(isShared), parent.children.filter(isResult)];
  let rest = [[]]; // each with the data that only it needs
  for (const item of parent.children.filter((child) => !isShared(child) && !isResult(child))) {
    const group = rest.at(-1);
    if (!isData(item)) rest.push([]);
    if (!isData(item) && group.length > crowd / 2) group.push(gather(group.splice(0)));
    group.push(item);
  }
  rest = rest.filter((group) => group.length);
  while (rest.length > crowd) {
    const size = Math.ceil(rest.length ** (1 / Math.ceil(Math.log(rest.length) / Math.log(crowd))));
    const groups = [];
    for (let start = 0; start < rest.length; start += size) groups.push([gather(rest.slice(start, start + size).flat())]);
    rest = groups;
  }
  parent.children = [...(shared.length > crowd / 2 ? [gather(shared)] : shared), ...rest.flat(), ...results];
}

export const isData = (item) => !item.isScope && item.kind !== "operation" && item.kind !== "fold";

/** The cotangent on an edge; if it is the whole gradient of its source, the data holds it only there. */
export function productOf(edge) {
  const isAll = edge.source.outputs.filter((output) => output.flows).length === 1;
  return edge.flows ? (isAll && edge.source.grad) || edge.grad : null;
}

/** The nodes in a scope, in the order of the program. */
export function nodesIn(scope) {
  if (scope.nodes) return scope.nodes;
  const found = [];
  const todo = [scope];
  while (todo.length) {
    const item = todo.pop();
    if (item.isScope) todo.push(...item.children);
    else found.push(item);
  }
  scope.nodes = found.sort((a, b) => a.order - b.order);
  return scope.nodes;
}

/** The only output of a scope, or null. */
export function outputOf(scope) {
  if (scope.output === undefined) {
    const nodes = nodesIn(scope);
    const inside = new Set(nodes);
    const out = nodes.filter((node) => node.outputs.some((edge) => !inside.has(edge.target)));
    scope.output = out.length === 1 ? out[0] : null;
  }
  return scope.output;
}

export function scopesAbove(item) {
  const found = [];
  for (let scope = item.parent; scope && scope.id; scope = scope.parent) found.unshift(scope);
  return found;
}

/** The visible box of an item: itself, or the outermost folded scope around it. */
export function standIn(item, folded) {
  return scopesAbove(item).find((scope) => folded.has(scope.id)) ?? item;
}

/**
 * Fold all but so many outer levels that no more than `limit` boxes are visible.
 *
 * @param isKept which scopes stay folded in any case
 */
export function foldedFor(tree, limit, isKept = () => false) {
  const folded = new Set([...tree.scopes.keys()].filter((id) => id));
  let level = [tree.root];
  let visible = tree.root.children.length;
  while (level.length) {
    const isOpen = (child) => child.isScope && !isKept(child);
    const next = level.flatMap((scope) => scope.children.filter(isOpen));
    visible += next.reduce((sum, scope) => sum + scope.children.length - 1, 0);
    if (visible > limit) break;
    for (const scope of next) folded.delete(scope.id);
    level = next;
  }
  return folded;
}

/**
 * How a page opens: with the most boxes that are all in view and can be read, or else with those that come closest.
 *
 * @param measured `measured(view)`: how much smaller than readable the view would be, above 1, or how much larger
 */
export function overviewOf(data, measured) {
  const isKept = (scope) => scope.kind === "repeat" || scope.kind === "stretch";
  let best = null;
  for (const crowd of CROWDS) {
    const tree = treeOf(data, crowd);
    if (tree.scopes.size === best?.tree.scopes.size) continue; // nothing more was gathered
    const seen = new Set();
    for (let limit = 70; limit >= 4; limit = Math.floor(limit * 0.7)) {
      const folded = foldedFor(tree, limit, isKept);
      if (seen.has(folded.size)) continue;
      seen.add(folded.size);
      const view = visibleGraph(tree, folded);
      const { size, direction } = measured(view);
      const found = { tree, folded, view, direction, size, count: view.boxes.length };
      if (size <= 1 && (found.count >= FEWEST || !folded.size)) return found;
      const isBetter = size <= 1 ? best?.size > 1 || found.count > best?.count : size < best?.size;
      if (!best || isBetter) best = found;
    }
  }
  return best;
}

/** The boxes and lines to draw, and the frames around them. */
export function visibleGraph(tree, folded) {
  const boxes = [];
  const frames = [];
  const standsFor = new Map();
  const cover = (item, box) => {
    const todo = [item];
    while (todo.length) {
      const next = todo.pop();
      if (next.isScope) todo.push(...next.children);
      else standsFor.set(next, box);
    }
  };
  const visit = [tree.root];
  while (visit.length) {
    const item = visit.pop();
    if (item.isScope && !folded.has(item.id)) {
      if (item.id) frames.push(item);
      visit.push(...[...item.children].reverse());
    } else {
      boxes.push(item);
      cover(item, item);
    }
  }
  const lines = new Map();
  for (const edge of tree.edges) {
    const [source, target] = [standsFor.get(edge.source), standsFor.get(edge.target)];
    if (source === target) continue;
    const id = `${source.id} ${target.id}`;
    const line = lines.get(id) ?? { id, source, target, edges: [] };
    lines.set(id, line);
    line.edges.push(edge);
  }
  return { boxes, frames, lines: [...lines.values()], standsFor };
}

/**
 * The steps: nothing in particular, forward from box to box, the seed of the gradient, and all the way back.
 *
 * The number of a step is what it would be if nothing were folded.
 */
export function stepsOf(view, { count }) {
  const computed = view.boxes.filter((box) => box.totals.operations);
  computed.sort((a, b) => a.totals.last - b.totals.last);
  const result = view.boxes.find((box) => box.kind === "result");
  const forward = computed.map((box) => ({ phase: "forward", box, number: box.totals.last }));
  const behind = ({ box, number }) => ({ phase: "backward", box, number: 2 * count + 2 - number });
  const back = [...forward].reverse().map(behind);
  const seed = result ? [{ phase: "seed", box: result, number: count + 1 }] : [];
  return [{ phase: "overview", box: null, number: 0 }, ...forward, ...(forward.length ? [...seed, ...back] : [])];
}

/** The step closest to a number: where this operation is computed, or its gradient arrives. */
export function stepAt(steps, number, { count }) {
  const found = number <= count ? steps.findIndex((step) => step.number >= number) : -1;
  return found >= 0 ? found : steps.findLastIndex((step) => step.number <= number);
}

/** How each box and each line looks at a step. */
export function progressAt(view, steps, step) {
  const { phase } = steps[step];
  const computed = new Set();
  const reached = new Set(); // their whole gradients have arrived
  const touched = new Set(); // a part of their gradients has arrived
  const behind = new Set(); // the backward pass has been here
  const back = phase === "backward" || phase === "seed";
  if (phase === "overview") {
    return { computed: new Set(view.boxes), reached: new Set(view.boxes), touched, behind: new Set(view.boxes), back };
  }
  const done = new Set(
    steps
      .slice(1, step + 1)
      .filter((s) => s.phase === "forward")
      .map((s) => s.box),
  );
  for (const box of view.boxes) {
    const given = !box.totals.operations && box.kind !== "result";
    if (given || done.has(box) || back) computed.add(box);
  }
  const finished = steps.findIndex((s) => s.phase === "seed");
  if (phase === "forward" && finished > 0 && step === finished - 1) {
    for (const box of view.boxes) if (box.kind === "result") computed.add(box);
  }
  if (back) {
    for (const { box } of steps.slice(finished, step + 1)) behind.add(box);
    const open = new Map();
    for (const line of view.lines) {
      if (line.edges.every((edge) => edge.carried)) continue; // to the next round of a loop, which isn't shown
      if (behind.has(line.target)) touched.add(line.source);
      else open.set(line.source, true);
    }
    for (const box of view.boxes) {
      if (box.kind === "result" || (touched.has(box) && !open.has(box))) reached.add(box);
    }
  }
  return { computed, reached, touched, behind, back };
}

/** Find nodes and scopes by their texts. */
export function search(tree, words) {
  const wanted = words.toLowerCase().trim();
  if (!wanted) return [];
  const rank = (item) => {
    const names = item.isScope
      ? [item.path, item.title]
      : [item.name, item.function, item.text, item.id, item.kind, item.place];
    const found = names.filter(Boolean).map((name) => name.toLowerCase());
    if (found.some((name) => name === wanted)) return 0;
    if (found.some((name) => name.startsWith(wanted))) return 1;
    return found.some((name) => name.includes(wanted)) ? 2 : 3;
  };
  const all = [...tree.scopes.values()].filter((scope) => scope.id).concat(tree.nodes);
  const ranked = all.map((item) => [rank(item), item]).filter(([order]) => order < 3);
  return ranked.sort((a, b) => a[0] - b[0]).map(([, item]) => item);
}
