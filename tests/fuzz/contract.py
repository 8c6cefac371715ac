"""A program with surroundings, run as it is and compiled: equal or refused after each
call, never silently different.

Owns: running a program both ways, what is compared (results, and everything around the
function), and what counts as a refusal; making a failure smaller, and printing it.
Must not own: the programs (`surroundings.py`).
Read next: `__main__.py`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import linecache
import re
import sys
import time
import traceback
import types
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import microgradnd as mg
from tests.fuzz.check import INSIDE, REFUSALS
from tests.fuzz.surroundings import Program, draw, smaller
from tests.fuzz.things import DERIVATIVES

COMPILERS = {
    "mg.compile": mg.compile,
    "functools.partial(mg.compile, optimize=False)": mg.compile(optimize=False),
    "functools.partial(mg.compile, backend='numba')": mg.compile(backend="numba"),
    "functools.partial(mg.compile, backend='auto')": mg.compile(backend="auto"),
}
NUMPY = tuple(COMPILERS)[:2]
OTHERS = tuple(COMPILERS)[2:] if importlib.util.find_spec("numba") else NUMPY
LOOPS_EVERY = 40  # programs one is compiled by numba, which takes a second or two
SKIPPED = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, mg.compile(len).__class__, property)
OURS = {"fixed", "X", "tensors", "backward", "Pair", "Record", "compile_"}
DERIVABLE = re.compile(r"result.*\.requires_grad")
DOUBLE, SINGLE = 1e-8, 2e-4  # how near to each other results are, relative to their size


@dataclass
class Outcome:
    """What came of a program.

    Attributes
    ----------
    kind : str
        "equal", "refused", "wrong", "crashed", or "unsuitable" where the function
        itself raises.
    reason : str
        What differs, as an expression of the program, and how; or the message.
    at : int
        In which call.
    """

    kind: str
    reason: str = ""
    at: int = 0
    where: str = ""

    @property
    def failed(self) -> bool:
        return self.kind in ("wrong", "crashed")


class Side:
    """A program that is being run, with the function itself or compiled."""

    number = 0

    def __init__(self, p: Program, compiler: Any) -> None:
        Side.number += 1
        self.module = types.ModuleType(f"surroundings_{Side.number}")
        self.space = vars(self.module)
        self.space["compile_"] = compiler
        sys.modules[self.module.__name__] = self.module
        self.files: list[str] = []
        self.run(p.setup())

    def run(self, text: str) -> None:
        """Run a text, whose lines messages may quote."""
        file = f"<{self.module.__name__}, {len(self.files)}>"
        self.files.append(file)
        linecache.cache[file] = len(text), None, text.splitlines(True), file
        with np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
            exec(compile(text, file, "exec"), self.space)

    def attempt(self, text: str) -> Exception | None:
        """Run a text; return the error that it raises, if any."""
        try:
            self.run(text)
        except Exception as error:
            return error
        return None

    def state(self) -> dict[str, Any]:
        """Return everything that the program can see, by expressions."""
        found: dict[str, Any] = {}
        for name in sorted(self.space.keys() - OURS):
            if not name.startswith("_"):
                found.update(walk(name, self.space[name], self.module.__name__, set()))
        return found

    def close(self) -> None:
        del sys.modules[self.module.__name__]
        for file in self.files:
            linecache.cache.pop(file, None)
        self.space.clear()


def walk(path: str, thing: Any, program: str, above: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield what is in a thing: expressions, and arrays, numbers and texts."""
    if isinstance(thing, mg.Tensor):
        yield path, np.array(thing.data)
        if thing.requires_grad or not path.startswith("result"):
            yield f"{path}.requires_grad", thing.requires_grad
        if thing.is_leaf and not path.startswith("result"):
            yield f"{path}.grad", None if thing.grad is None else np.array(getattr(thing.grad, "data", thing.grad))
        return
    if isinstance(thing, np.ndarray | np.generic):
        yield path, np.array(thing)
        return
    if isinstance(thing, bool | int | float | complex | str | type(None)):
        yield path, thing
        return
    if isinstance(thing, SKIPPED) or id(thing) in above:
        return
    if isinstance(thing, types.ModuleType) and not thing.__name__.startswith("settings"):
        return
    above = above | {id(thing)}
    if isinstance(thing, np.random.Generator):
        yield f"{path}.bit_generator.state", repr(thing.bit_generator.state)
        return
    if isinstance(thing, mg.optim.Optimizer):
        yield f"{path}.lr", thing.lr
        yield from walk(f"{path}.state_dict()", thing.state_dict(), program, above)
        return
    if isinstance(thing, dict):
        yield f"list({path})", repr(list(thing))
        parts = [(f"{path}[{key!r}]", value) for key, value in thing.items()]
    elif isinstance(thing, list | tuple) or type(thing).__name__ == "deque":
        yield f"type({path}).__name__", type(thing).__name__
        yield f"len({path})", len(thing)
        parts = [(f"{path}[{i}]", value) for i, value in enumerate(thing)]
    elif isinstance(thing, set):
        yield path, repr(sorted(thing))
        return
    else:
        own = {} if isinstance(thing, type) and thing.__module__ != program else dict(getattr(thing, "__dict__", {}))
        own.update({k: getattr(thing, k) for k in getattr(type(thing), "__slots__", ()) if hasattr(thing, k)})
        parts = [(named(path, key), value) for key, value in own.items() if not key.startswith("_")]
    for part in parts:
        yield from walk(*part, program, above)


def named(path: str, key: str) -> str:
    """Return an expression for an attribute; the layers of a Sequential are called by
    their number.
    """
    return f"{path}.{key}" if key.isidentifier() else f"{path}[{key}]"


def differ(ours: dict[str, Any], right: dict[str, Any], tolerance: float = DOUBLE) -> str:
    """Return where two states differ, and how; empty if they don't."""
    for path in [*(p for p in right if p.startswith("result")), *right, *ours]:
        if path not in ours or path not in right:
            return f"{path}: {'missing' if path not in ours else 'there only'} when compiled"
        if not alike(ours[path], right[path], tolerance):
            return f"{path}: {described(ours[path])} when compiled, not {described(right[path])}"
    return ""


def alike(x: Any, y: Any, tolerance: float) -> bool:
    """Return whether two values are equal to rounding; arrays may replace numbers."""
    numbers = bool | int | float | complex | np.ndarray
    if not (isinstance(x, numbers) and isinstance(y, numbers)):
        return type(x) is type(y) and x == y
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray) and x.dtype != y.dtype:
        return False
    x, y = np.asarray(x), np.asarray(y)
    size = np.max(np.abs(y[np.isfinite(y)]), initial=0) if y.dtype.kind in "fc" else 0
    return x.shape == y.shape and np.allclose(x, y, rtol=tolerance, atol=tolerance * size, equal_nan=True)


def described(value: Any) -> str:
    return f"{value.tolist()} ({value.dtype})" if isinstance(value, np.ndarray) else repr(value)


def message(error: BaseException) -> str:
    """Return what a user reads."""
    return " ".join([f"{type(error).__name__}:", str(error), *getattr(error, "__notes__", ())])


def is_clear(error: BaseException) -> bool:
    """Return whether an error says what happened and what to do, and isn't one from the
    inside.
    """
    return (
        isinstance(error, REFUSALS)
        and len(message(error)) > 60
        and not INSIDE.search(re.sub(r"<lambda>(?!\()", "", message(error)))
    )


def check(p: Program) -> Outcome:
    """Run a program both ways, and compare after each call."""
    sides: list[Side] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        random_state = np.random.get_state(legacy=False)  # noqa: NPY002
        try:
            for compiler in (lambda f: f, COMPILERS[p.compiler]):
                try:
                    sides.append(Side(p, compiler))
                except REFUSALS as error:  # as of a layer in a list, which no layer may have
                    return Outcome("unsuitable", message(error))
            return compared(p, *sides)
        finally:
            np.random.set_state(random_state)  # noqa: NPY002
            for side in sides:
                side.close()


def compared(p: Program, eager: Side, compiled: Side) -> Outcome:
    """Return what comes of running the calls of a program on both sides."""
    tolerance = SINGLE if any("float32" in p.change(call) for call in p.calls) else DOUBLE
    for at, call in enumerate(p.calls):
        try:
            eager.run(p.change(call))
            compiled.run(p.change(call))
        except (*REFUSALS, IndexError) as error:  # the change itself: both sides are alike before it
            return Outcome("unsuitable", message(error), at)
        shared = np.random.get_state(legacy=False)  # noqa: NPY002
        for text, is_call in ((p.call(call), True), (p.after(call), False)):
            before = around(compiled)
            raised = eager.attempt(text)
            np.random.set_state(shared)  # noqa: NPY002
            error = compiled.attempt(text)
            if raised is not None:
                if error is not None or "checkpoint: " in str(raised):  # which calls twice what a program calls once
                    return Outcome("unsuitable", message(raised), at)
                return Outcome("wrong", f"it raises, and not when compiled: {message(raised)}", at)
            if error is not None:
                if not is_clear(error):
                    return Outcome("crashed", message(error), at, line_of(error))
                if is_call and not p.refusable and (left := differ(around(compiled), before)):
                    return Outcome("wrong", f"refused ({message(error)}), but it left something: {left}", at)
                return Outcome("refused", message(error), at)
            states = compiled.state(), eager.state()
            # backward() frees the path from the results; a derivative that doesn't
            # depend on a parameter says it might
            if "backward" in p.training or p.form in DERIVATIVES:
                states = tuple({k: v for k, v in s.items() if not DERIVABLE.match(k)} for s in states)
            if found := differ(*states, tolerance):
                return Outcome("wrong", found, at)
        spoil(compiled.space["result"])
    return Outcome("equal")


def around(side: Side) -> dict[str, Any]:
    """Return the state of everything but the latest result."""
    return {path: value for path, value in side.state().items() if not path.startswith("result")}


def line_of(error: BaseException) -> str:
    """Return where an error comes from."""
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{last.filename.rpartition('/')[2]}:{last.lineno}"


def spoil(result: Any) -> None:
    """Write to all arrays of a result, which are the caller's own."""
    if isinstance(result, np.ndarray) and result.flags.writeable and result.dtype.kind == "f":
        result[...] = 77
    elif isinstance(result, list | tuple | dict) or type(result).__name__ == "Record":
        parts = (
            result
            if isinstance(result, list | tuple)
            else (result if isinstance(result, dict) else vars(result)).values()
        )
        for part in parts:
            spoil(part)


def kind_of(outcome: Outcome) -> str:
    """Return the same for outcomes of the same kind: the message without names and
    numbers.
    """
    text = re.sub(
        r"\(<surroundings.*?\)|'[^']*'|\[[^\]]*\]|-?\d+(\.\d+)?(e-?\d+)?|\b(True|False|None)\b", "..", outcome.reason
    )
    return f"{outcome.kind}: {text[:90]}"


def signature(p: Program, outcome: Outcome) -> str:
    """Return the same for failures that have the same reason, as far as can be told."""
    if outcome.kind != "wrong" or "raises" in outcome.reason or "left something" in outcome.reason:
        return kind_of(outcome)
    place, _, how = outcome.reason.partition(": ")
    what = place.rpartition(".")[2]
    about = {"grad": p.training or p.form, "requires_grad": p.form}.get(what, " ".join(p.features()))
    return f"{what} {'None' in how} {'missing' in how} {about}"


def shrink(p: Program, outcome: Outcome, seconds: float = 20.0) -> tuple[Program, Outcome]:
    """Return the smallest program found in a time that fails in the same way."""
    end, again = time.monotonic() + seconds, True
    while again and time.monotonic() < end:
        again = False
        for candidate in smaller(p):
            if time.monotonic() > end:
                break
            found = check(candidate)
            if found.kind == outcome.kind and (found.kind != "crashed" or kind_of(found) == kind_of(outcome)):
                p, outcome, again = candidate, found, True
                break
    return p, outcome


def script(p: Program, outcome: Outcome) -> str:
    """Return a program to paste, which prints both sides."""
    path = outcome.reason.split(": ")[0] if outcome.kind == "wrong" and "raises" not in outcome.reason else "result"
    path = (
        outcome.reason.rpartition("left something: ")[2].split(": ")[0] if "left something" in outcome.reason else path
    )
    path = path.removesuffix(".requires_grad") if "missing" in outcome.reason else path
    text = p.setup()
    for i, call in enumerate(p.calls[: outcome.at + 1]):
        text += f"\n\n# call {i + 1}\n{p.change(call)}\n{p.call(call)}\n{p.after(call)}"
    if outcome.kind == "wrong":
        text += f"\nprint({path})"
    return (
        f"PROGRAM = '''\n{text.strip()}\n'''\nimport functools, microgradnd as mg\n"
        f"for compile_ in (lambda f: f, {p.compiler}):\n"
        f"    exec(PROGRAM, {{'__name__': 'program', 'compile_': compile_}})"
    )


class Session:
    """Programs drawn from one seed, and what came of them."""

    distinct = 40  # failures that are made smaller and printed

    def __init__(self, seed: int, compilers: tuple[str, ...] = ()) -> None:
        self.seed, self.compilers = seed, compilers
        self.kinds: Counter[str] = Counter()
        self.plain: Counter[str] = Counter()  # of programs which nothing in them allows to be refused
        self.refusals: Counter[str] = Counter()
        self.used: Counter[str] = Counter()
        self.unsuitable: Counter[str] = Counter()
        self.failures: dict[str, tuple[int, Program, Outcome]] = {}
        self.again = 0

    def run(self, n: int, _: bool = True) -> None:
        """Draw and check program number n."""
        rng = np.random.default_rng([self.seed, n])
        compilers = self.compilers or (OTHERS if n % LOOPS_EVERY == 0 else NUMPY)
        p = draw(lambda options: options[int(rng.integers(len(options)))], compilers)
        try:
            outcome = check(p)
        except Exception:
            print(script(p, Outcome("broken")))
            raise
        self.kinds[outcome.kind] += 1
        if outcome.kind == "unsuitable":
            self.unsuitable[kind_of(outcome)] += 1
            return
        self.used.update(p.features())
        if not p.refusable:
            self.plain[outcome.kind] += 1
            if outcome.kind == "refused":
                self.refusals[kind_of(outcome)] += 1
        if outcome.failed:
            self.report(n, p, outcome)

    def report(self, n: int, p: Program, outcome: Outcome) -> None:
        """Print a failure, made smaller, unless one of its kind has been printed."""
        if len(self.failures) < self.distinct:
            p, outcome = shrink(p, outcome)
            key = signature(p, outcome)
            if key not in self.failures:
                self.failures[key] = n, p, outcome
                print(f"\n# {outcome.kind} in call {outcome.at + 1}: {outcome.reason} {outcome.where}\n"
                      f"# (program {n} of seed {self.seed})\n{script(p, outcome)}\n", flush=True)  # fmt: skip
                return
        self.again += 1

    @property
    def share(self) -> float:
        """The share of refusals among programs that nothing in them allows to be
        refused.
        """
        return self.plain["refused"] / max(1, self.plain.total())

    def summary(self, seconds: float) -> str:
        """Return what was done, in a few lines."""
        checked = self.kinds.total() - self.kinds["unsuitable"]
        wrong = len(self.failures) + self.again
        lines = [
            f"seed {self.seed}: {checked} programs with surroundings in {seconds:.0f} s, {len(self.used)} kinds of "
            f"things and ways to come by them; {self.kinds['unsuitable']} more raise by themselves",
            f"{self.kinds['equal']} equal, {self.kinds['refused']} refused, {wrong} disagree"
            + (f" ({len(self.failures)} of them distinct)" if wrong else ""),
            f"without side effects and control flow: {self.plain.total()}, "
            f"of which {100 * self.share:.1f}% are refused",
        ]
        lines += [f"  {n} times {text}" for text, n in self.refusals.most_common(20)]
        return "\n".join(lines)
