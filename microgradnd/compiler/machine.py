"""Loops as machine code: what numba compiles, and how it is kept and run.

Owns: the text of the module that numba compiles, where it is kept, the choice between programs, and threads.
Must not own: how loops are printed (`loops.py`).
Read next: `elementary.py`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import math
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from microgradnd.compiler import elementary
from microgradnd.compiler.driver import Driver
from microgradnd.compiler.fusion import Op
from microgradnd.compiler.loops import Layout
from microgradnd.compiler.program import Program
from microgradnd.compiler.source import loaded

RACE_SECONDS = 0.02
COMPILING = threading.Lock()
OURS = {name: thing for name, thing in vars(elementary).items() if inspect.isfunction(thing)}
FREEDOM = {  # what rounding may be left out or moved in our own functions; everywhere else the program is kept to
    **{name: {"reassoc"} for name in ("add", "multiply")},
    "add_product": {"reassoc", "contract"},
    **{name: {"contract"} for name in ("exp", "exp32", "log", "tanh", "wave")},
}
INTRINSICS = {"largest": "maximum", "smallest": "minimum"}
INTRINSIC = '''@intrinsic
def {name}(context, x, y):
    """Return LLVM's {llvm}, which it can vectorise in a reduction; NaN if one of them is."""

    def code(context, builder, signature, args):
        number = args[0].type
        function = ir.FunctionType(number, (number, number))
        return builder.call(builder.module.declare_intrinsic("llvm.{llvm}", (number,), function), args)

    return x(x, x), code
'''


class Loops:
    """A program whose loops numba has compiled.

    Attributes
    ----------
    source : str
        The loops, and the function that calls them.
    function : callable
        That function.
    report : str
        What became loops, and what NumPy still does, and why.
    seconds : float
        What compiling took; next to nothing where it was found on disk.
    """

    def __init__(self, program: Program, name: str) -> None:
        start = time.perf_counter()
        numba = load_numba()
        layout = Layout(program)
        driver = Driver(layout, name)
        self.program, self.constants = program, driver.constants
        self.report = report(layout, driver)
        loops = module_text(driver)
        namespace: dict[str, Any] = {"np": np, "in_threads": in_threads, **self.constants}
        if driver.parts:
            module = compiled(f"{numba.__version__} {np.__version__}", loops, name)
            namespace.update((part.name, getattr(module, part.name)) for part in driver.parts)
        self.source = f"{loops}\n\n{driver.text}"
        self.function = loaded(driver.text, name, namespace)
        self.seconds = time.perf_counter() - start


def report(layout: Layout, driver: Driver) -> str:
    """Return what became loops, and what is left to NumPy, and why."""
    lines = []
    parts = iter(driver.parts)
    for part in layout.parts:
        if isinstance(part, Op):
            name = getattr(part.step.function, "__name__", str(part.step.function))
            lines.append(f"NumPy: {name} of {', '.join(str(v.shape) for v in part.step.operands())}: {part.text}")
        else:
            printed = next(parts)
            loops = sum(line.lstrip().startswith("for ") for line in printed.lines)
            threads = "" if printed.wide is None else ", shared by threads"
            lines.append(
                f"loops: {printed.name}: {len({op.step for op in printed.ops})} steps in {loops} loops{threads}"
            )
    return "\n".join(lines)


def module_text(driver: Driver) -> str:
    """Return the source of the module with the compiled functions of a program."""
    parts = [part.text for part in driver.parts]
    if not parts:
        return "import numpy as np\n"
    names = called("\n".join(parts))
    while more := called("".join(text_of(OURS[name]) for name in names & OURS.keys())) - names:
        names |= more
    lines = ["import math", "", "import numpy as np"] + ["from llvmlite import ir"] * bool(names & INTRINSICS.keys())
    lines += ["from numba import njit"] + ["from numba.extending import intrinsic"] * bool(names & INTRINSICS.keys())
    if names & {"exp", "exp32", "tanh", "sin", "cos"}:
        lines += [""] + [
            f"{name} = {number!r}" for name, number in vars(elementary).items() if name.startswith("ROUND")
        ]
    texts = [INTRINSIC.format(name=name, llvm=llvm) for name, llvm in INTRINSICS.items() if name in names]
    if "quarter_turns" in names:
        texts.append(f"{text_of(elementary.quarters)}\n\nQUARTERS = quarters()\n")
    for name in [name for name in OURS if name in names]:
        flags = f", fastmath={{{', '.join(map(repr, sorted(FREEDOM[name])))}}}" if name in FREEDOM else ""
        texts.append(f'@njit(forceinline=True, error_model="numpy"{flags})\n{text_of(OURS[name])}')
    return "\n".join(lines) + "\n" + "".join(f"\n\n{text}" for text in [*texts, *parts])


def text_of(function: Callable[..., Any]) -> str:
    """Return the source of a function, without types."""
    return re.sub(r": Any| -> Any", "", inspect.getsource(function))


def called(text: str) -> set[str]:
    """Return the names of our own functions that a piece of source calls."""
    return set(re.findall(r"(?<![\w.])(\w+)\(", text)) & (OURS.keys() | INTRINSICS.keys())


def compiled(versions: str, text: str, name: str) -> Any:
    """Return a module whose functions numba has compiled, now or in an earlier process.

    The module is written to a folder, in which numba keeps the machine code too: `MICROGRADND_CACHE` names it, or else
    it is `microgradnd` in the user's cache. After a second, a note says what takes so long.
    """
    what = f"{text.count('@njit')} functions, {len(text.splitlines())} lines"
    module_name = f"microgradnd_loops_{hashlib.sha256(f'{versions} {text}'.encode()).hexdigest()[:24]}"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(os.environ.get("MICROGRADND_CACHE") or Path(home) / "microgradnd") / f"{module_name}.py"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent)
            with open(handle, "w") as file:
                file.write(text)
            Path(temporary).replace(path)
    except OSError:  # nowhere to keep it: it is compiled in each process
        path = Path(tempfile.mkdtemp()) / path.name
        path.write_text(text)
    said = f"microgradnd: numba is compiling {name}, {what} ..."
    note = threading.Timer(1.0, lambda: print(said, file=sys.stderr))
    note.daemon = True
    note.start()
    with COMPILING:
        try:
            spec: Any = importlib.util.spec_from_file_location(module_name, path)
            module = importlib.util.module_from_spec(spec)
            sys.modules[module_name] = module  # numba looks for it there
            spec.loader.exec_module(module)
        finally:
            note.cancel()
            sys.modules.pop(module_name, None)  # it lives as long as the program
    return module


def race(programs: Sequence[Callable[..., Any]], arrays: Sequence[Any]) -> list[float]:
    """Return the time in microseconds that each program takes on copies of some arrays: the best of a few calls."""
    times = []
    for program in programs:
        copies = [np.array(a) if isinstance(a, np.ndarray) else a for a in arrays]
        program(*copies)
        end, best = time.perf_counter() + RACE_SECONDS, math.inf
        while best == math.inf or time.perf_counter() < end:
            begun = time.perf_counter()
            program(*copies)
            best = min(best, time.perf_counter() - begun)
        times.append(1e6 * best)
    return times


def in_threads(loops: Callable[..., None], extent: int, *args: Any) -> None:
    """Run a loop from 0 to `extent`, divided among as many threads as numba and OpenMP may use."""
    limit = load_numba().config.NUMBA_NUM_THREADS
    count = max(1, min(limit, int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0] or limit), extent))
    bounds = [extent * i // count for i in range(count + 1)]
    threads = [threading.Thread(target=loops, args=(*pair, *args)) for pair in pairwise(bounds[1:])]
    for thread in threads:
        thread.start()
    loops(*bounds[:2], *args)
    for thread in threads:
        thread.join()


def load_numba() -> Any:
    """Return numba, or say how to get it."""
    try:
        import numba
    except ImportError as error:
        raise ImportError('mg.compile(f, backend="numba") needs numba: pip install "microgradnd[numba]"') from error
    return numba
