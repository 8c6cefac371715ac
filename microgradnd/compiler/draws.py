"""Random numbers that a traced function draws.

Owns: noticing draws that would happen only once, while a function is traced.
Must not own: draws that a program repeats (`../anew.py`).
Read next: `watch.py`.

A draw changes the state of a generator, but the state doesn't show who drew. If other
threads are running, the function's code must name a function that draws. If it doesn't,
the function is traced a second time, and a difference between the two programs shows
that it drew.
"""

from __future__ import annotations

import functools
import os
import pickle
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import CodeType
from typing import Any

import numpy as np

from microgradnd.compiler.bytecode import lines_of
from microgradnd.compiler.recorder import Recorder, TraceError, last_line, replaced
from microgradnd.lines import quoted_line
from microgradnd.tape import current

bit_generator: Any = np.random.bit_generator  # its `randbits` gives entropy to generators without a seed
KINDS = (np.random.Generator, np.random.RandomState, random.Random)
METHODS = {name for kind in KINDS for name in dir(kind) if not name.startswith("_")}
# The names of methods that draw from the generators that everybody shares, without
# those that other functions have too.
SHARED = METHODS - {"power", "beta", "gamma", "f", "bytes", "seed", "get_state", "set_state", "getstate", "setstate"}
DRAW = "draw them with mg.anew(function, shape) or a function that takes rng=, or pass them as an argument"


class Draws:
    """The generators that a function can reach, and their states when found."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.found: dict[int, tuple[str, Callable[[], Any], bytes]] = {}
        self.entropy: Any = None  # the error for a generator that was made without a seed and asked for entropy
        self.is_doubtful = False
        self.is_alone = threading.active_count() == 1  # then nobody else can have drawn
        self.add("np.random", functools.partial(np.random.get_state, legacy=False))
        self.add("random", random.getstate)

    def add(self, name: str, read: Callable[[], Any]) -> None:
        self.found.setdefault(len(self.found), (name, read, pickle.dumps(read())))

    def note(self, name: str, thing: Any) -> bool:
        """Note a thing if it is a generator; return whether it is one."""
        if isinstance(thing, np.random.Generator):
            self.add(name, lambda: (thing.bit_generator.state, children(thing.bit_generator)))
        elif isinstance(thing, np.random.BitGenerator):
            self.add(name, lambda: (thing.state, children(thing)))
        elif isinstance(thing, np.random.RandomState):
            self.add(name, functools.partial(thing.get_state, legacy=False))
        elif isinstance(thing, random.Random) and not isinstance(thing, random.SystemRandom):
            self.add(name, thing.getstate)
        else:
            return isinstance(thing, random.SystemRandom)
        return True

    @contextmanager
    def noticing_entropy(self) -> Iterator[None]:
        """Notice when a generator is made without a seed."""
        seed = random.Random.seed

        def seeded(generator: Any, a: Any = None, version: int = 2) -> None:
            (self.noticed(seed) if a is None else seed)(generator, a, version)

        with ExitStack() as stack:
            for owner, name in ((bit_generator, "randbits"), (os, "urandom"), (random, "_urandom")):
                stack.enter_context(replaced(owner, name, self.noticed(getattr(owner, name))))
            stack.enter_context(replaced(random.Random, "seed", seeded))
            yield

    def was_alone(self) -> bool:
        """Return whether no other thread can have changed anything meanwhile."""
        return self.is_alone and threading.active_count() == 1

    def noticed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if current().trace is self.recorder and self.entropy is None:
                self.entropy = self.recorder.refused = drawn(" without a seed", last_line())
            return function(*args)

        return call

    def check(self, codes: dict[CodeType, None], names: set[str]) -> None:
        """Raise if the function has drawn random numbers; note if that is doubtful."""
        for i, (name, read, before) in self.found.items():
            if pickle.dumps(read()) == before:
                continue
            suspects = SHARED if i < 2 else METHODS
            if names.isdisjoint(suspects) and not self.was_alone():
                self.is_doubtful = True
                continue
            where = next((line for line, words in lines_of(codes) if words & suspects), None)
            error = drawn(f" from {name}", where)
            # A generator that the function seeds is the same after a second trace; a
            # draw of another thread won't happen again.
            error.has_happened = self.was_alone()
            raise error


def drawn(source: str, where: tuple[str, int] | None) -> TraceError:
    """Return the error for a draw that a program would not repeat."""
    return TraceError(
        f"inside a compiled function{quoted_line(where)}, random numbers were drawn{source}; {DRAW}. The function "
        f"itself runs once; afterwards its program runs"
    )


def children(generator: Any) -> int:
    """Return how many generators a generator has spawned."""
    return getattr(getattr(generator, "seed_seq", None), "n_children_spawned", 0)
