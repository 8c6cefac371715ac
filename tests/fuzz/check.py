"""One program, run by all sides: do they agree, was it refused, or is a number wrong?

Owns: `check`, which runs and compares, and `Verdict`; finite differences; what a
refusal may say.
Must not own: the texts (`programs.py`, `questions.py`), or making a program smaller
(`shrink.py`).
Read next: `shrink.py`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import microgradnd as mg
from tests.fuzz import plain_side, torch_side
from tests.fuzz.plain_side import Memory, Unsuitable
from tests.fuzz.programs import Program
from tests.fuzz.questions import QUESTIONS, as_function, torch_text

REFUSALS = (TypeError, ValueError, RuntimeError, NotImplementedError, np.linalg.LinAlgError)
# Marks of a message that Python or NumPy raised inside, which helps nobody
INSIDE = re.compile(
    r"has no attribute|unexpected keyword|positional argument|unsupported operand|<lambda>|not callable"
    r"|WRITEABLE|NotImplemented|not supported between|truth value|unhashable|is not iterable|is not subscriptable"
    r"|cannot be interpreted|setting an array element|could not convert|to unpack"
)
BY_TORCH = {64: (1e-9, 1e-8), 32: (3e-4, 3e-3)}  # bits: of first and second derivatives, relative to their size
BY_DIFFERENCES = {64: (1e-7, 1e-5), 32: (1e-3, 1e-2)}
TORCH_CANNOT = ("inplace", "in-place", "isFloatingType")  # in its errors: what it doesn't support
STEP = {1: 2e-3, 2: 1e-2}  # of finite differences of first and second order


@dataclass
class Verdict:
    """What came of a program.

    Attributes
    ----------
    kind : str
        "agrees", "refused", "wrong", "crashed" or "unsuitable".
    reason : str
        The message of a refusal or a crash; which sides disagree, on what.
    numbers : dict of str to list of array
        What each side says, where they disagree.
    oracles : set of str
        Which sides ours was compared with.
    """

    kind: str
    reason: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)
    oracles: set[str] = field(default_factory=set)

    @property
    def failed(self) -> bool:
        return self.kind in ("wrong", "crashed")


def check(p: Program, names: dict[str, Any] | None = None) -> Verdict:
    """Run a program on every side and compare.

    Parameters
    ----------
    p : Program
    names : dict, optional
        More names for the texts of ours and plain arrays: operations of a test.
    """
    try:
        plain_side.run(p.steps, p.inputs, names)
        plain = Plain(p, names)
    except Unsuitable as error:
        return Verdict("unsuitable", str(error))
    try:
        ours = run_ours(p, names)
    except REFUSALS as error:
        text = " ".join([str(error), *getattr(error, "__notes__", ())])
        locked = "read-only" in text  # as detect_anomaly promises
        clear = locked or (len(text) > 40 and not INSIDE.search(text))
        return Verdict("refused" if clear else "crashed", f"{type(error).__name__}: {text}")
    except Exception as error:  # whatever else comes out is no refusal
        return Verdict("crashed", f"{type(error).__name__}: {error}")
    if (found := malformed(p, ours)) or (found := differ("value", ours["loss"], plain.value, p, 0)):
        return Verdict("wrong", found, {"ours": [ours["loss"]], "NumPy": [plain.value]})
    verdict = Verdict("agrees")
    theirs = run_torch(p, plain.value) if torch_side.torch() is not None else None
    by: dict[str, tuple[str, dict[str, Any]]] = {}  # what each oracle finds wrong, if it says anything
    for oracle, compare in (("PyTorch", by_torch), ("finite differences", by_differences)):
        if (oracle == "PyTorch" and theirs is None) or (oracle != "PyTorch" and p.assigns_to_frozen):
            continue
        found, numbers = compare(p, ours["results"], theirs, plain)
        if found is not None:
            verdict.oracles.add(oracle)
            by[oracle] = found, numbers
    # PyTorch is wrong alone where it misses changes by .data =, or has NaN: second
    # derivatives of equal singular values
    doubtful = p.mutates or any(np.isnan(r).any() for r in theirs or () if r is not None)
    if doubtful and by.get("finite differences", (None,))[0] == "":
        by.pop("PyTorch", None)
    for oracle, (found, numbers) in by.items():
        if found:
            return Verdict("wrong", f"{found}, by {oracle}", numbers, verdict.oracles)
    return verdict if verdict.oracles else Verdict("unsuitable", "nothing to compare with")


def inputs_of(p: Program) -> dict[str, Any]:
    """Return the arrays that the texts of a program start from."""
    return {**{f"{n}0": a.copy() for n, a in p.inputs.items()}, **{f"{n}d": d for n, d in p.directions.items()}}


def holder(t: Any) -> Any:
    """Return a module that holds a Tensor as `held`."""
    module = mg.nn.Module()
    module.register_parameter("held", t)
    return module


def step(t: Any, by: float) -> None:
    """Move a leaf by an optimizer's step."""
    before = t.grad
    t.grad = np.full(t.shape, by, t.dtype)
    mg.optim.SGD([t], lr=1.0).step()
    t.grad = before


OURS = {"np": np, "mg": mg, "holder": holder, "step": step}


def run_ours(p: Program, names: dict[str, Any] | None) -> dict[str, Any]:
    """Return the names that a program leaves, with the value of its loss and its
    results as arrays.
    """
    space = {**OURS, **(names or {}), **inputs_of(p)}
    losses: list[Any] = []
    space["seen"] = losses.append
    text = QUESTIONS[p.question].ours(p).replace("return loss", "seen(loss); return loss")
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(text, "<program>", "exec"), space)
    loss = space["loss"] if "loss" in space else losses[0]
    while isinstance(loss, mg.Tensor):
        loss = loss.data
    results = [None if r is None else r.data if isinstance(r, mg.Tensor) else np.asarray(r) for r in space["results"]]
    return {"loss": np.asarray(loss), "results": results}


def malformed(p: Program, ours: dict[str, Any]) -> str:
    """Return what is wrong with the form of the results: shapes and dtypes."""
    for name, r in zip(QUESTIONS[p.question].leaves(p), ours["results"], strict=False):
        x = p.leaves[name]
        if r is not None and (r.shape != x.shape or r.dtype != x.dtype):
            return f"the derivative by {name} has shape {r.shape} and dtype {r.dtype}, not {x.shape} and {x.dtype}"
    return ""


def run_torch(p: Program, value: Any) -> list[Any] | None:
    """Return the results of PyTorch; None if it refuses, or has another value, as with
    views that are assigned to.
    """
    torch = torch_side.torch()
    if not all(step.operation.torch for step in p.steps):
        return None
    wide = {"f": torch.float64, "c": torch.complex128}

    def fixed(a: Any) -> Any:
        return torch.as_tensor(np.array(a)).to(wide.get(a.dtype.kind, torch.int64))

    space = {
        **torch_side.names(),
        "fixed": fixed,
        "leaf": lambda a: fixed(a).requires_grad_(),
        **inputs_of(p),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exec(compile(torch_text(p), "<program for PyTorch>", "exec"), space)
        except RuntimeError as error:
            if "does not require grad" in str(error):
                return [None] * (len(QUESTIONS[p.question].leaves(p) or [0]) + len(p.retained))
            if p.mutates or any(words in str(error) for words in TORCH_CANNOT):
                return None
            raise
    if not np.allclose(space["value"].detach().numpy(), value, rtol=1e-4 if p.dtype.name == "float32" else 1e-9):
        return None
    return [None if r is None else r.detach().resolve_conj().numpy() for r in space["results"]]


class Plain:
    """A program as a function of plain arrays."""

    def __init__(self, p: Program, names: dict[str, Any] | None) -> None:
        self.program = p
        self.memory = Memory()
        wide = {n: a.astype(np.complex128 if a.dtype.kind == "c" else np.float64) for n, a in inputs_of(p).items()}
        self.space = {**plain_side.names(self.memory), **(names or {}), **wide}
        exec(compile(as_function(p, "plain"), "<plain program>", "exec"), self.space)
        self.leaves = [wide[f"{n}0"] for n in p.leaves]
        end = plain_side.run(p.steps, p.inputs, names)
        self.retained = [np.zeros_like(end[n]) for n in p.retained]  # what is added to each
        with np.errstate(all="ignore"):
            self.value = self.space["f"](*self.leaves, *self.retained)
        self.memory.recording = False

    def asked(self) -> dict[int, Any]:
        """Return the directions that the question names, by the position of their
        leaf.
        """
        p = self.program
        count = 1 if QUESTIONS[p.question].first_only else len(p.leaves)
        return {i: p.directions[n] for i, n in enumerate(list(p.leaves)[:count])}

    def along(self, directions: dict[int, Any]) -> Callable[[float], Any]:
        """Return the loss as a function of how far the inputs are moved; directions are
        named by position.
        """
        start = [*self.leaves, *self.retained]

        def loss(t: float) -> Any:
            self.memory.start()
            return self.space["f"](*(x + t * directions[i] if i in directions else x for i, x in enumerate(start)))

        return loss

    def slope(self, directions: dict[int, Any]) -> tuple[float, float]:
        """Return the derivative along directions, by central differences and
        extrapolation, and an error.
        """
        f, h = self.along(directions), STEP[1]
        with np.errstate(all="ignore"):
            d = [(f(s) - f(-s)) / (2 * s) for s in (h, h / 2, h / 4)]
        return extrapolated(d)

    def curvature(self, one: dict[int, Any], other: dict[int, Any]) -> tuple[float, float]:
        """Return the second derivative along two directions."""
        h, places = STEP[2], {*one, *other}
        both, apart = ({i: one.get(i, 0) + s * other.get(i, 0) for i in places} for s in (1, -1))
        f, g = self.along(both), self.along(apart)
        with np.errstate(all="ignore"):
            d = [(f(s) + f(-s) - g(s) - g(-s)) / (4 * s * s) for s in (h, h / 2, h / 4)]
        return extrapolated(d)

    def answers(self) -> list[Any]:
        """Return the answer to the question element by element, as `.grad` holds it."""
        question = QUESTIONS[self.program.question]
        if question.order == 0:
            return [np.asarray(self.slope(self.asked())[0])]
        found = []
        for i, x in enumerate([*self.leaves, *self.retained][: 1 if question.first_only else None]):
            g = np.zeros(x.shape, x.dtype)
            for place in np.ndindex(x.shape):
                for unit in (1, 1j) if x.dtype.kind == "c" else (1,):
                    d = np.zeros(x.shape, x.dtype)
                    d[place] = unit
                    change = self.slope({i: d}) if question.order == 1 else self.curvature({i: d}, self.asked())
                    g[place] += unit * change[0]
            found.append(g)
        return found


def extrapolated(d: list[Any]) -> tuple[float, float]:
    first, second = (4 * d[1] - d[0]) / 3, (4 * d[2] - d[1]) / 3
    return float(np.real(second)), float(abs(second - first))


def expected_form(p: Program, results: list[Any]) -> list[Any]:
    """Return our results as `.grad` holds them, zeros for None, and without the
    question's factor.
    """
    question = QUESTIONS[p.question]
    likes = [p.leaves[n] for n in question.leaves(p)] if question.order else [np.zeros(())]
    kept = list(results[len(likes) :])
    filled = [np.zeros_like(x) if r is None else r for r, x in zip(results, likes, strict=False)] + kept
    filled = [r / question.factor if r is not None else np.zeros(()) for r in filled]
    return filled if question.conjugate else [np.conj(r) for r in filled]


def tolerance(p: Program, table: dict[int, tuple[float, float]]) -> float:
    return table[32 if p.dtype.name in ("float32", "complex64") else 64][QUESTIONS[p.question].order == 2]


def size(arrays: list[Any]) -> float:
    return 1 + max((float(np.max(np.abs(a), initial=0)) for a in arrays), default=0.0)


def what(p: Program, i: int) -> str:
    """Return what a result is, for a message."""
    leaves = QUESTIONS[p.question].leaves(p)
    if not leaves:
        return "the tangent"
    return f"the derivative by {leaves[i]}" if i < len(leaves) else f"a retained gradient{' (complex)' * p.is_complex}"


def by_torch(p: Program, results: list[Any], theirs: Any, plain: Plain) -> tuple[str | None, dict[str, Any]]:
    ours = expected_form(p, results)
    theirs = [np.zeros(g.shape) if r is None else r for g, r in zip(ours, theirs, strict=True)]
    allowed = tolerance(p, BY_TORCH) * size(theirs)
    for i, (g, r) in enumerate(zip(ours, theirs, strict=True)):
        if g.shape != r.shape or not np.all(np.abs(g - r) <= allowed):
            return f"{what(p, i)} differs", {"ours": ours, "PyTorch": theirs}
    return "", {}


def by_differences(p: Program, results: list[Any], theirs: Any, plain: Plain) -> tuple[str | None, dict[str, Any]]:
    """Compare the derivative along a direction for each result; not where differences
    of several steps disagree.
    """
    ours, question = expected_form(p, results), QUESTIONS[p.question]
    rng = np.random.default_rng(0)
    compared: str | None = None
    if question.order == 1:
        directions = [random_like(rng, x) for x in [*plain.leaves, *plain.retained]]
        pairs = [(float(np.sum(np.real(np.conj(g) * d))), plain.slope({i: d})) for i, (g, d) in
                 enumerate(zip(ours, directions, strict=True))]  # fmt: skip
    elif question.order == 0:
        pairs = [(float(np.real(ours[0])), plain.slope(plain.asked()))]
    else:
        u = {i: random_like(rng, g) for i, g in enumerate(ours)}
        pairs = [(float(sum(np.sum(np.real(np.conj(g) * u[i])) for i, g in enumerate(ours))),
                  plain.curvature(u, plain.asked()))]  # fmt: skip
    for i, (got, (want, error)) in enumerate(pairs):
        allowed = tolerance(p, BY_DIFFERENCES) * (1 + abs(want) + float(abs(plain.value)))
        if not error <= allowed / 10:
            continue
        compared = compared or ""
        if not abs(got - want) <= allowed:
            return f"{what(p, i)} differs", {"ours": [got], "finite differences": [want]}
    return compared, {}


def random_like(rng: np.random.Generator, x: Any) -> Any:
    v = rng.normal(size=x.shape)
    return v + 1j * rng.normal(size=x.shape) if x.dtype.kind == "c" else v


def differ(what: str, got: Any, want: Any, p: Program, order: int) -> str:
    allowed = tolerance(p, BY_TORCH) * size([np.asarray(want)])
    return "" if np.all(np.abs(got - want) <= allowed) else f"the {what} is {got}, NumPy's {want}"
