"""Times the checks that a compiled function adds to its program in each call.

Owns: functions that read many things of one kind, and how the cost of each is found.
Must not own: times of programs (`run.py`).
Read next: `../microgradnd/compiler/dispatch.py`, whose cost this is.

    python benchmarks/overhead.py [--rounds 41]

A call and the program alone take turns on the same arrays; the difference between their
times is the overhead. For each kind of thing the overhead is measured with none of them
and with many, which gives the cost of one. A thing is one watched object: a function, a
Tensor, a setting, an element of a list. The unit is the time of NumPy's addition of two
arrays of four numbers, `np.add(x, x, out=y)`.
"""

import argparse
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

import microgradnd as mg
from microgradnd import nn

MANY = 50
CALLS = 300  # in a round
X, Y = np.ones(4), np.ones(4)


class Setting:
    """An object with an attribute that a function reads."""

    def __init__(self, value: Any) -> None:
        self.value = value


def functions(n: int) -> Callable[[Any], Any]:
    """Call helpers by global name: two watched objects each, name and function."""
    scope: dict[str, Any] = {}
    exec("".join(f"def h{i}(x): return x\n" for i in range(n)), scope)
    exec(f"def f(x): return {''.join(f'h{i}(' for i in range(n))}x{')' * n} + 1", scope)
    found: Callable[[Any], Any] = scope["f"]
    return found


def tensors(n: int) -> Callable[[Any], Any]:
    """Read whether Tensors require a gradient."""
    watched = tuple(mg.tensor(1.0, requires_grad=True) for _ in range(n))
    return lambda x: x + sum(t.requires_grad for t in watched)


def modules(n: int) -> Callable[[Any], Any]:
    """Call the parameterless layers of a `Sequential`."""
    model = nn.Sequential(*(nn.Identity() for _ in range(n)))
    return lambda x: model(x) + 1


def objects(n: int) -> Callable[[Any], Any]:
    """Read an attribute of each of several objects."""
    watched = tuple(Setting(0.5) for _ in range(n))
    return lambda x: x + sum(s.value for s in watched)


def settings(n: int) -> Callable[[Any], Any]:
    """Read the attributes of one object."""
    watched = Setting(0.0)
    names = [f"s{i}" for i in range(n)]
    for name in names:
        setattr(watched, name, 0.5)  # as code does, whose names Python looks up quickly
    return lambda x: x + sum(getattr(watched, name) for name in names)


def namespace(n: int) -> Callable[[Any], Any]:
    """Read the attributes of a `SimpleNamespace`."""
    watched = SimpleNamespace(**{f"s{i}": 0.5 for i in range(n)})
    return lambda x: x + sum(vars(watched).values())


def elements(n: int) -> Callable[[Any], Any]:
    """Read the numbers in a list."""
    watched = [0.5 + i for i in range(n)]
    return lambda x: x + sum(watched)


def entries(n: int) -> Callable[[Any], Any]:
    """Read the numbers in a dict."""
    watched = {f"s{i}": 0.5 + i for i in range(n)}
    return lambda x: x + sum(watched.values())


def arrays(n: int) -> Callable[[Any], Any]:
    """Read arrays with plain NumPy."""
    watched = tuple(np.arange(4.0) for _ in range(n))
    return lambda x: x + sum(float(a.sum()) for a in watched)


KINDS = (functions, tensors, modules, objects, settings, namespace, elements, entries, arrays)


def overhead(function: Callable[[Any], Any], rounds: int) -> float:
    """Return by how many additions a call takes longer than its program."""
    compiled = mg.compile(function)
    for _ in range(3):
        compiled(X)
    entry = compiled._latest
    assert entry is not None
    given = [X, *entry.captured()]
    additions, programs, calls = [], [], []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(CALLS):
            np.add(X, X, out=Y)
        begin = time.perf_counter()
        for _ in range(CALLS):
            entry.function(*given)
        middle = time.perf_counter()
        for _ in range(CALLS):
            compiled(X)
        additions.append(begin - start)
        programs.append(middle - begin)
        calls.append(time.perf_counter() - middle)
    return (min(calls) - min(programs)) / min(additions)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=41)
    rounds = parser.parse_args(argv).rounds
    print(f"{'':12}{'none':>6}{MANY:>7}   each")
    for kind in KINDS:
        none, many = (overhead(kind(n), rounds) for n in (0, MANY))
        print(f"{kind.__name__:12}{none:6.2f} {many:6.2f} {(many - none) / MANY:6.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
