/* The panel: all that is known of one node, one scope, or the whole.

Owns: what is said, and in which order.
Must not own: what is selected.
Read next: `page.js`.
*/

import { nodesIn, productOf, scopesAbove } from "./graph.js";
import { alarmText, arrayView, briefText, bytesText, countText, isTouched, make, numberText } from "./numbers.js";
import { isAlarming, shorten, titleOf } from "./picture.js";

export const KINDS = {
  parameter: "parameter",
  input: "input",
  constant: "constant",
  operation: "operation",
  result: "result",
  fold: "folded scope",
};

export class Panel {
  /** @param on what to call: `select(item)`, `toggle(scope)`, `goTo(step)` */
  constructor(element, data, tree, on) {
    Object.assign(this, { element, data, tree, on });
  }

  show(item, steps, step) {
    const now = steps[step];
    const content = !item ? this.overview() : item.isScope ? this.scope(item, now) : this.node(item, now, steps);
    this.element.replaceChildren(...content.filter(Boolean));
    this.element.scrollTop = 0;
  }

  /** A button with the name of a node or scope. */
  link(item, text = "") {
    const words = text || titleOf(item);
    const click = () => this.on.select(item);
    return make("button", { type: "button", class: `link ${item.kind}`, onclick: click }, shorten(words, 44));
  }

  section(title, note, ...children) {
    const heading = make("h3", {}, title, note ? make("small", {}, ` ${note}`) : null);
    return make("section", {}, heading, ...children);
  }

  heading(item, title, kind) {
    const crumbs = scopesAbove(item).flatMap((scope) => [
      this.link(scope, scope.path || titleOf(scope)),
      " › ",
    ]);
    return make(
      "header",
      {},
      crumbs.length ? make("nav", { "aria-label": "Scopes", class: "crumbs" }, crumbs.slice(0, -1)) : null,
      make("h2", {}, make("span", { class: `badge ${item.kind}` }, kind), " ", make("span", { class: "name" }, title)),
    );
  }

  node(item, now, steps) {
    const shown = [this.heading(item, titleOf(item), KINDS[item.kind])];
    const mine = { forward: -1, backward: -1 };
    steps.forEach(({ phase, box }, i) => {
      if (box === item) mine[phase === "seed" ? "backward" : phase] = i;
    });
    const jumps = Object.entries(mine).filter(([, i]) => i > 0 && steps[i] !== now);
    if (jumps.length) {
      const jump = ([phase, i]) =>
        make("button", { type: "button", class: "small", onclick: () => this.on.goTo(i) }, `Go to its ${phase} step`);
      shown.push(make("p", { class: "jumps" }, jumps.map(jump)));
    }
    const isBack = now.phase === "backward" || now.phase === "seed";
    const parts = item.kind === "fold" ? [this.folded(item)] : [this.forward(item), this.backward(item)];
    if (isBack) parts.reverse();
    else if (now.phase === "forward" && parts.length > 1) {
      parts[1] = make("details", {}, make("summary", {}, "What comes back to it"), parts[1]); // hidden, as it comes later
    }
    return [...shown, ...parts, this.facts(item)];
  }

  /** A fold whose contents aren't part of the data. */
  folded(item) {
    return make(
      "section",
      {},
      make("p", {}, item.detail),
      make(
        "p",
        { class: "quiet" },
        "It is folded because the computation is too large. To include more, pass max_nodes= to viz.explore.",
      ),
      item.grad ? this.section("Gradients of its parameters", "", arrayView(item.grad)) : null,
    );
  }

  forward(item) {
    const children = [];
    if (item.kind === "operation") {
      children.push(make("p", { class: "formula" }, make("code", {}, item.formula)));
      const operands = item.inputs.map((edge) =>
        make(
          "li",
          {},
          make("code", {}, edge.letter),
          " = ",
          this.link(edge.source),
          make("span", { class: "quiet" }, ` ${this.brief(edge.source)}`),
        ),
      );
      if (operands.length) children.push(make("ul", { class: "operands" }, operands));
    }
    const absent = this.data.freed
      ? "backward() has freed this array. Call viz.explore before backward(), or backward(retain_graph=True)."
      : "Its numbers aren't recorded.";
    children.push(arrayView(item.values, item, absent));
    return this.section("Value", "", ...children);
  }

  backward(item) {
    const isOperation = item.kind === "operation";
    const absent =
      item.kind === "input" || item.kind === "constant"
        ? "No gradient flows to it: it doesn't require one."
        : this.data.freed
          ? "Intermediate gradients weren't kept. Call viz.explore before backward()."
          : this.data.cut
            ? "This computation is too large: intermediate gradients are not included."
            : "No gradient has reached it.";
    const seed =
      item.kind === "result"
        ? make(
            "p",
            {},
            "Here the backward pass begins: ",
            make("code", {}, this.data.seed),
            item.shape?.length ? ", element by element." : ".",
          )
        : null;
    const shown = item.kind === "result" && !item.grad ? null : arrayView(item.grad, item, absent);
    const title = isOperation ? "Incoming gradient" : "Gradient";
    const sections = [this.section(title, isOperation ? "g" : "", seed, shown)];
    if (item.accumulated) {
      const note = "in .grad, by other computations too";
      sections.push(this.section("Accumulated", note, arrayView(item.accumulated, item)));
    }
    for (const edge of item.inputs.filter((input) => input.flows)) sections.push(this.passed(edge, item));
    const parts = item.outputs.filter((edge) => edge.flows);
    if (parts.length) {
      const arrived = (edge) =>
        make(
          "li",
          {},
          edge.rule ? make("code", {}, edge.rule) : null,
          broadcastText(edge),
          " from ",
          this.link(edge.target),
          make("span", { class: "quiet" }, ` ${briefText(productOf(edge))}`),
        );
      const more = parts.length > 12 ? make("li", { class: "quiet" }, `and ${parts.length - 12} more`) : null;
      const list = make("ul", { class: "operands" }, parts.slice(0, 12).map(arrived), more);
      const heading =
        parts.length > 1 ? `Where the gradient comes from: a sum of ${parts.length}` : "Where the gradient comes from";
      const section = this.section(heading, "", list);
      if (isOperation) sections.push(section);
      else sections.splice(1, 0, section);
    }
    return make("div", { class: "backward" }, sections);
  }

  /** The gradient of one operand: the rule, its letters, and the product. */
  passed(edge, item) {
    const product = productOf(edge);
    const used = edge.rule === "g" ? [] : lettersIn(edge.rule, item);
    const letters = used.flatMap(([letter, what, values]) => [
      ", ",
      make("code", {}, letter),
      " = ",
      what === item ? "the value" : what ? this.link(what) : "the incoming gradient",
      values && values.size <= 4 ? ` = ${briefText(values)}` : "",
    ]);
    const texts = unique([edge.rule, edge.text, edge.numbers].filter(Boolean));
    const readings = texts.flatMap((text, i) => [i ? make("br") : "", make("code", {}, i ? `= ${text}` : text)]);
    return make(
      "section",
      { class: "passed" },
      make("h3", {}, "Passed on to ", this.link(edge.source)),
      edge.rule ? make("p", { class: "formula back" }, readings, broadcastText(edge)) : null,
      letters.length ? make("p", { class: "quiet where" }, "with ", letters.slice(1)) : null,
      product ? arrayView(product, edge.source) : null,
    );
  }

  facts(item) {
    const rows = [
      ["Function", item.function && make("code", {}, item.function)],
      ["Options", item.detail && make("code", {}, item.detail)],
      ["Dtype", item.dtype],
      [
        "Memory",
        item.memory ? `${bytesText(item.memory)}${item.values || !this.data.freed ? "" : ", freed"}` : null,
      ],
      ["Trained", item.parameters ? countText(item.parameters, "number") : null],
      ["Node", make("code", {}, item.id)],
    ].filter(([, value]) => value);
    const code = item.place
      ? [
          make("h3", {}, "Your code"),
          make("p", { class: "quiet" }, item.place),
          item.code ? make("pre", {}, make("code", {}, item.code)) : null,
        ]
      : [];
    return make(
      "section",
      { class: "facts" },
      ...code.filter(Boolean),
      make("h3", {}, "Facts"),
      make(
        "dl",
        {},
        rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
      ),
    );
  }

  brief(item) {
    return [item.size, item.values && item.values.size <= 4 ? briefText(item.values) : ""]
      .filter(Boolean)
      .join(" ");
  }

  scope(scope, now) {
    const { path } = scope;
    const title = titleOf(scope);
    const { operations, trained, bytes } = scope.totals;
    const members = nodesIn(scope);
    const inside = new Set(members);
    const kinds = new Map();
    for (const node of members) if (node.kind === "operation") kinds.set(node.text, (kinds.get(node.text) ?? 0) + 1);
    const common = [...kinds].sort((a, b) => b[1] - a[1]).slice(0, 12);
    const incoming = unique(
      members.flatMap((node) => node.inputs.map((edge) => edge.source)).filter((n) => !inside.has(n)),
    );
    const outgoing = unique(members.filter((node) => node.outputs.some((edge) => !inside.has(edge.target))));
    const list = (items, brief) =>
      make(
        "ul",
        { class: "operands" },
        items
          .slice(0, 12)
          .map((item) => make("li", {}, this.link(item), make("span", { class: "quiet" }, ` ${brief(item)}`))),
        items.length > 12 ? make("li", { class: "quiet" }, `and ${items.length - 12} more`) : null,
      );
    const bad = members.find(isAlarming);
    const isBack = now.phase === "backward" || now.phase === "seed";
    const flows = [
      incoming.length
        ? this.section(
            "Goes in",
            "",
            list(incoming, (item) => this.brief(item)),
          )
        : null,
      outgoing.length
        ? this.section(
            isBack ? "Gradient that comes in" : "Comes out",
            "",
            list(outgoing, (item) => (isBack ? briefText(item.grad, "grad ") : this.brief(item))),
          )
        : null,
    ];
    if (isBack) flows.reverse();
    return [
      this.heading(
        scope,
        title,
        { module: "module", scope: "scope", repeat: "repeated", stretch: "stretch" }[scope.kind],
      ),
      path && path !== title ? make("p", { class: "quiet" }, path) : null,
      make(
        "p",
        {},
        [countText(operations, "operation"), trained ? `${countText(trained, "weight")}` : "", bytesText(bytes)]
          .filter(Boolean)
          .join(" · "),
      ),
      make(
        "p",
        {},
        make(
          "button",
          { type: "button", class: "small", onclick: () => this.on.toggle(scope) },
          this.on.isFolded(scope) ? "Unfold" : "Fold",
        ),
      ),
      bad ? make("p", { class: "alarm" }, "Not finite: ", this.link(bad)) : null,
      ...flows,
      this.parameters(members),
      common.length
        ? this.section(
            "Operations",
            "",
            make(
              "p",
              { class: "chips" },
              common.map(([text, count]) => make("span", {}, `${shorten(text, 20)} × ${count}`)),
            ),
          )
        : null,
    ];
  }

  /** The parameters with their gradient norms, the first place to look if a network doesn't learn. */
  parameters(nodes) {
    const found = nodes.filter((node) => node.kind === "parameter");
    if (!found.length) return null;
    const norms = found.map((node) => (node.grad && typeof node.grad.norm === "number" ? node.grad.norm : 0));
    const logs = norms.filter((norm) => norm > 0).map(Math.log10);
    const [low, high] = [Math.min(...logs) - 0.5, Math.max(...logs)];
    const bar = (norm) => (norm > 0 ? Math.max(((Math.log10(norm) - low) / (high - low || 1)) * 100, 4) : 0);
    const rows = found
      .slice(0, 60)
      .map((node, i) =>
        make(
          "tr",
          {},
          make("th", { scope: "row" }, this.link(node, shorten(titleOf(node), 28))),
          make("td", {}, node.size || "()"),
          make(
            "td",
            { class: alarmText(node.grad) ? "alarm" : "" },
            node.grad ? alarmText(node.grad) || numberText(norms[i], 3) : "none",
          ),
          make("td", { class: "bars", "aria-hidden": "true" }, make("span", { style: `width: ${bar(norms[i])}%` })),
        ),
      );
    const head = make(
      "tr",
      {},
      ["Name", "Shape", "‖grad‖"].map((name) => make("th", { scope: "col" }, name)),
      make("td"),
    );
    const more = found.length > 60 ? make("p", { class: "quiet" }, `and ${found.length - 60} more`) : null;
    return this.section(
      "Parameters",
      "bars: logarithm of the gradient's norm",
      make(
        "div",
        { class: "scroll" },
        make("table", { class: "parameters" }, make("thead", {}, head), make("tbody", {}, rows)),
      ),
      more,
    );
  }

  overview() {
    const { nodes } = this.tree;
    const { operations, parameters: trained, memory: bytes } = this.data;
    const bad = nodes.filter(isAlarming);
    const first = bad.find((node) => alarmText(node.values));
    const result = nodes.find((node) => node.kind === "result");
    const legend = [
      ["parameter", "Parameter", "it is trained: a gradient arrives here"],
      ["input", "Input", "data that was put in, or a constant"],
      ["operation", "Operation", "one call of a NumPy function"],
      ["fold", "Folded scope", `${isTouched ? "tap" : "click"} it to unfold`],
      ["result", "Result", "what viz.explore was given"],
    ];
    return [
      make("header", {}, make("h2", {}, make("span", { class: "name" }, "Overview"))),
      make(
        "p",
        {},
        [
          countText(operations, "operation"),
          trained ? `${countText(trained, "weight")}` : "",
          `${bytesText(bytes)} of results`,
        ]
          .filter(Boolean)
          .join(" · "),
      ),
      ...this.data.notes.map((note) => make("p", { class: "quiet" }, note)),
      bad.length
        ? make(
            "p",
            { class: "alarm" },
            `${countText(bad.length, "node")} with NaN or Inf; first: `,
            this.link(first ?? bad[0]),
            first ? "" : " (in its gradient)",
          )
        : null,
      result
        ? this.section(
            "Result",
            "",
            make("p", {}, this.link(result)),
            arrayView(result.values, result),
          )
        : null,
      make(
        "p",
        { class: "hint" },
        isTouched
          ? "Tap a box to see its numbers. The buttons below walk "
          : ["Click a box to see its numbers. Press ", make("kbd", {}, "→"), " to walk "],
        "through the computation, first forward, then backward.",
      ),
      this.parameters(nodes),
      this.section(
        "Legend",
        "",
        make(
          "ul",
          { class: "legend" },
          legend.map(([kind, word, what]) =>
            make(
              "li",
              {},
              make("span", { class: `swatch ${kind}` }),
              make("b", {}, word),
              make("span", { class: "quiet" }, ` ${what}`),
            ),
          ),
        ),
        make(
          "p",
          { class: "quiet" },
          "Heat maps: blue is below zero, orange above, red is NaN or Inf. In a box, the left map is the value and ",
          "the right one, framed in orange, the gradient. On a dashed line, the gradient is summed over the axes ",
          "along which the value was broadcast.",
        ),
      ),
    ];
  }
}

function unique(items) {
  return [...new Set(items)];
}

const broadcastText = (edge) => (edge.summed ? `, ${edge.summed}, as it was broadcast` : "");

/** The values of the letters in a rule, as `[letter, node, values]`; `g` has no node. */
function lettersIn(rule, item) {
  const has = (word) => new RegExp(`(^|[^\\w.])${word}([^\\w(]|$)`).test(rule);
  const operands = item.inputs.filter((edge) => edge.letter && has(edge.letter));
  const found = operands.map((edge) => [edge.letter, edge.source, edge.source.values]);
  if (has("out")) found.push(["out", item, item.values]);
  if (has("g")) found.unshift(["g", null, item.grad]);
  return found;
}
