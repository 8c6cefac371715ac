/* The graph as it is seen: which scopes are folded, what is visible, and in which order it is walked.

Owns: the tree of scopes, folding, the visible boxes and lines, the steps.
Must not own: anything that is drawn.
Read next: `picture.js`.
*/

const FEW = 70; // boxes that a page opens with, at most, if folding can do it
const MANY = 320; // boxes that are laid out at once, at most
const CROWD = 90; // children of one scope; more are put into stretches

/* What `explore.py` leaves out, as it goes without saying. */
const USUAL = {
  kind: "operation",
  name: "",
  text: "",
  detail: "",
  function: null,
  shape: null,
  dtype: "float64",
  values: null,
  grad: null,
  scope: [],
  memory: 0,
  members: 0,
  parameters: 0,
  last_norm: null,
  formula: "",
  place: "",
  code: "",
  position: 0,
  flows: false,
  rule: "",
  summed: [],
  carried: false,
  letter: "x",
};
const USUAL_VALUES = { elements: null, lowest: null, mean: null, highest: null, nan: 0, inf: 0, zeros: 0 };

function filled(told) {
  const all = { ...USUAL, ...told };
  for (const key of ["values", "grad"]) if (all[key]) all[key] = { ...USUAL_VALUES, ...all[key] };
  return all;
}

/** The tree of scopes. A leaf of the tree is a node of the graph. */
function treeOf(data) {
  const root = { id: "", label: "", kind: "root", children: [], parent: null, isScope: true };
  const scopes = new Map([["", root]]);
  const nodes = new Map();
  for (const [order, told] of data.nodes.entries()) {
    const node = filled(told);
    let parent = root;
    for (const id of node.scope) {
      let scope = scopes.get(id);
      if (!scope) {
        scope = { ...filled(data.scopes[id]), children: [], parent, isScope: true };
        scopes.set(id, scope);
        parent.children.push(scope);
      }
      parent = scope;
    }
    const item = { ...node, order, parent, isScope: false, inputs: [], outputs: [] };
    nodes.set(node.id, item);
    parent.children.push(item);
  }
  const edges = data.edges.map((edge) => ({
    ...filled(edge),
    source: nodes.get(edge.source),
    target: nodes.get(edge.target),
  }));
  for (const edge of edges) {
    edge.source.outputs.push(edge);
    edge.target.inputs.push(edge);
  }
  measure(root);
  for (const scope of [...scopes.values()]) gatherRepeats(scope, scopes);
  for (const scope of [...scopes.values()]) gatherStretches(scope, scopes);
  for (const scope of scopes.values()) scope.nodes = undefined; // seams were sought among them
  measure(root);
  return { root, scopes, nodes, edges };
}

/** What a scope holds, from the bottom up: its operations, numbers that are trained, and memory. */
function measure(scope) {
  const totals = { operations: 0, trained: 0, bytes: 0, last: -1, signature: "" };
  const todo = [[scope, false]];
  while (todo.length) {
    const [item, done] = todo.pop();
    if (!item.isScope) {
      item.totals = {
        operations: item.kind === "operation" ? 1 : item.members,
        trained: item.parameters,
        bytes: item.kind === "operation" || item.kind === "fold" ? item.memory : 0,
        last: item.kind === "operation" || item.kind === "fold" ? item.order : -1,
        signature: item.kind === "operation" ? item.text : "",
      };
    } else if (!done) {
      todo.push([item, true], ...item.children.map((child) => [child, false]));
    } else {
      item.totals = { ...totals };
      const signs = [];
      for (const child of item.children) {
        for (const key of ["operations", "trained", "bytes"]) item.totals[key] += child.totals[key];
        item.totals.last = Math.max(item.totals.last, child.totals.last);
        if (child.totals.signature) signs.push(child.totals.signature);
      }
      item.totals.signature = `(${signs.join(" ").slice(0, 2000)})`;
      if (item.operations) {
        // of a scope that stands for several copies, the page is told one, and counts for all
        Object.assign(item.totals, { operations: item.operations, trained: item.parameters, bytes: item.memory });
      }
    }
  }
}

/** Put three or more scopes of the same make, one after another, into one: `Block × 12`. */
function gatherRepeats(parent, scopes) {
  const alike = (a, b) => a.label === b.label && a.kind === b.kind && a.totals.signature === b.totals.signature;
  const children = [];
  let run = [];
  const close = () => {
    if (run.length >= 3 && run.length < parent.children.filter((child) => child.isScope).length + 1) {
      const [first, last] = [run[0], run[run.length - 1]];
      const label = `${first.label || first.path || "part"} × ${run.length}`;
      const group = { id: `${first.id}…${last.id}`, kind: "repeat", label, path: "", parent, isScope: true };
      group.children = run;
      for (const child of run) child.parent = group;
      scopes.set(group.id, group);
      children.push(group);
    } else children.push(...run);
    run = [];
  };
  for (const child of parent.children) {
    if (!child.isScope || (run.length && !alike(run[0], child))) close();
    if (child.isScope) run.push(child);
    else children.push(child);
  }
  close();
  parent.children = children;
}

/** Put what is recorded one after another together, where a scope has more children than anybody can look at. */
function gatherStretches(parent, scopes) {
  if (parent.children.length <= CROWD) return;
  const isApart = (item) => item.kind === "result" || (isData(item) && item.outputs.length > 1);
  const apart = parent.children.filter(isApart);
  let rest = parent.children.filter((item) => !isApart(item));
  const loop = periodOf(rest.map((item) => (item.isScope ? item.label : item.text || item.kind)));
  const begin = loop ? seamOf(rest, loop) : 0;
  for (let level = 0; rest.length > CROWD / 2; level++) {
    const levels = Math.ceil(Math.log(rest.length) / Math.log(CROWD / 2));
    const size = level === 0 && loop ? loop : Math.ceil(rest.length ** (1 / levels));
    const groups = [];
    for (let start = level ? 0 : begin - size; start < rest.length; start += size) {
      const members = rest.slice(Math.max(start, 0), start + size);
      if (!members.length) continue;
      const id = `${parent.id}/${level}/${start}`;
      const group = { id, kind: "stretch", label: "", path: "", parent, isScope: true, children: members };
      group.number = groups.length + 1;
      group.isLoop = level === 0 && Boolean(loop);
      for (const member of members) member.parent = group;
      scopes.set(id, group);
      groups.push(group);
    }
    rest = groups;
  }
  parent.children = [
    ...apart.filter((item) => item.kind !== "result"),
    ...rest,
    ...apart.filter((item) => item.kind === "result"),
  ];
}

const isData = (item) => !item.isScope && item.kind !== "operation" && item.kind !== "fold";

/** After how many elements a sequence repeats itself, nearly everywhere; 0 if it doesn't. */
function periodOf(sequence) {
  for (let period = 2; period <= Math.min(CROWD, sequence.length / 3); period++) {
    let same = 0;
    for (let i = period; i < sequence.length; i++) same += sequence[i] === sequence[i - period];
    if (same > 0.95 * (sequence.length - period)) return period;
  }
  return 0;
}

/** Where in a loop one round ends and the next begins: where the fewest lines cross; as the first began, if it may. */
function seamOf(sequence, period) {
  const place = new Map(sequence.map((item, i) => [item, i]));
  const crossing = new Array(period).fill(0);
  sequence.slice(0, 5 * period).forEach((item, i) => {
    const parts = item.isScope ? nodesIn(item) : [item];
    for (const { source } of parts.flatMap((part) => part.inputs)) {
      const from = place.get(source);
      for (let cut = (from ?? i) + 1; cut <= i; cut++)
        if (cut >= period && cut < 3 * period) crossing[cut % period] += 1;
    }
  });
  const first =
    Math.max(
      sequence.findIndex((item) => !isData(item)),
      0,
    ) % period;
  return crossing[first] === Math.min(...crossing) ? first : crossing.indexOf(Math.min(...crossing));
}

/** What flows back along an edge; where that is all of a gradient, the page is told it once. */
function productOf(edge) {
  const isAll = edge.source.outputs.filter((output) => output.flows).length === 1;
  return edge.flows ? (isAll && edge.source.grad) || edge.grad : null;
}

/** The nodes in a scope, in the order of the program. */
function nodesIn(scope) {
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

/** What a scope hands on, if it is one thing. */
function outputOf(scope) {
  if (scope.output === undefined) {
    const nodes = nodesIn(scope);
    const inside = new Set(nodes);
    const out = nodes.filter((node) => node.outputs.some((edge) => !inside.has(edge.target)));
    scope.output = out.length === 1 ? out[0] : null;
  }
  return scope.output;
}

function scopesAbove(item) {
  const found = [];
  for (let scope = item.parent; scope && scope.id; scope = scope.parent) found.unshift(scope);
  return found;
}

/** What stands for a thing in the picture: itself, or the outermost folded scope around it. */
function standIn(item, folded) {
  return scopesAbove(item).find((scope) => folded.has(scope.id)) ?? item;
}

/** Fold all but so many outer levels that no more than `limit` boxes are visible. */
function foldedFor(tree, limit) {
  const folded = new Set([...tree.scopes.keys()].filter((id) => id));
  let level = [tree.root];
  let visible = tree.root.children.length;
  while (level.length) {
    const next = level.flatMap((scope) => scope.children.filter((child) => child.isScope));
    const more = next.reduce((sum, scope) => sum + scope.children.length - 1, 0);
    if (visible + more > limit) break;
    for (const scope of next) folded.delete(scope.id);
    visible += more;
    level = next;
  }
  return folded;
}

/** The boxes and lines to draw, and the frames around them. */
function visibleGraph(tree, folded) {
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

/** The steps: nothing in particular, forward from box to box, the seed of the gradient, and all the way back. */
function stepsOf(view) {
  const computed = view.boxes.filter((box) => box.totals.operations);
  computed.sort((a, b) => a.totals.last - b.totals.last);
  const result = view.boxes.find((box) => box.kind === "result");
  const forward = computed.map((box) => ({ phase: "forward", box }));
  const back = [...forward].reverse().map(({ box }) => ({ phase: "backward", box }));
  const seed = result ? [{ phase: "seed", box: result }] : [];
  return [{ phase: "overview", box: null }, ...forward, ...(forward.length ? [...seed, ...back] : [])];
}

/** How each box and each line looks at a step. */
function progressAt(view, steps, step) {
  const { phase } = steps[step];
  const computed = new Set();
  const reached = new Set(); // gradients are there, in full
  const touched = new Set(); // a part of the gradient is there
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

/** Find nodes and scopes by what is written on them. */
function search(tree, words) {
  const wanted = words.toLowerCase().trim();
  if (!wanted) return [];
  const rank = (item) => {
    const names = item.isScope
      ? [item.path, item.label]
      : [item.name, item.function, item.text, item.id, item.kind, item.place];
    const found = names.filter(Boolean).map((name) => name.toLowerCase());
    if (found.some((name) => name === wanted)) return 0;
    if (found.some((name) => name.startsWith(wanted))) return 1;
    return found.some((name) => name.includes(wanted)) ? 2 : 3;
  };
  const all = [...tree.scopes.values()].filter((scope) => scope.id).concat([...tree.nodes.values()]);
  const ranked = all.map((item) => [rank(item), item]).filter(([order]) => order < 3);
  return ranked.sort((a, b) => a[0] - b[0]).map(([, item]) => item);
}
