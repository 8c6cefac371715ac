"""Loops as machine code: what numba compiles, and how it is kept and run.

Owns: the text of the module that numba compiles, its cache, the choice between
programs, and threads.
Must not own: how loops are printed (`loops.py`).
Read next: `elementary.py`.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import inspect
import math
import os
import re
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from microgradnd.compiler import elementary
from microgradnd.compiler.driver import Driver, driver_of
from microgradnd.compiler.program import Program
from microgradnd.compiler.saving import Written
from microgradnd.compiler.source import loaded

RACE_SECONDS = 0.02
COMPILING = threading.Lock()
LOOPS, SEAL = "loops.py", "seal"  # the files of a cache entry, in addition to numba's own
RATE = "rate"  # a file of the cache: the last compilation's time per unit of work
GROWTH = 1.4  # numba's time grows with this power of a function's lines, as measured
LEAST = 200  # less work mostly shows how long numba takes to begin
OURS = {name: thing for name, thing in vars(elementary).items() if inspect.isfunction(thing)}
FREEDOM = {  # roundings that our own functions may omit or reorder; other code is compiled literally
    **{name: {"reassoc"} for name in ("add", "multiply")},
    "add_product": {"reassoc", "contract"},
    **{name: {"contract"} for name in ("power_of_e", "power_of_e32", "log", "log32", "tanh", "tanh32", "wave")},
}
INTRINSICS = {"largest": "maximum", "smallest": "minimum"}
INTRINSIC = '''@intrinsic
def {name}(context, x, y):
    """Return LLVM's {llvm}, which it can vectorise in a reduction; NaN if either is NaN."""

    def code(context, builder, signature, args):
        number = args[0].type
        function = ir.FunctionType(number, (number, number))
        return builder.call(builder.module.declare_intrinsic("llvm.{llvm}", (number,), function), args)

    return x(x, x), code
'''


class Loops(NamedTuple):
    """A program whose loops numba has compiled.

    Attributes
    ----------
    program : Program
    source : str
        The loops, and the function that calls them.
    function : callable
        That function.
    report : str
        Which parts are loops, which are left to NumPy, and why.
    is_open : bool
        Whether it serves all lengths.
    seconds : float
        The time spent on compiling; next to nothing if the disk had the result.
    """

    program: Program
    source: str
    function: Callable[..., Any]
    report: str
    is_open: bool
    seconds: float


def loops_of(programs: Sequence[Program], name: str, general: Callable[..., Any] | None = None) -> Loops:
    """Return a program with its loops compiled, for its lengths or for all.

    If lengths are open, `programs` has it for two sets of them, and `general` makes one
    text of the two.
    """
    start = time.perf_counter()
    load_numba()
    drivers = [driver_of(program, name, general is not None) for program in programs]
    driver, is_open = drivers[0], False
    compiled_parts = [*driver.parts, *driver.rolled]
    parts, text, constants = [part.text for part in compiled_parts], driver.text, driver.constants()
    report = "\n".join(driver.report)
    if general is not None and not any(d.rolled for d in drivers):
        forms = [
            Written(name, [*zip(d.program.inputs, d.inputs, strict=True)], d.names.constants, "", d.text)
            for d in drivers
        ]
        found = general(forms, [["\n".join(d.report), *(part.text for part in d.parts)] for d in drivers])
        if found is not None:
            written, (report, *parts), lengths = found
            is_open, constants = True, written.constants
            parts, text = with_lengths(driver, parts, written.source(), ", ".join(lengths))
    loops = module_text(parts)
    namespace: dict[str, Any] = {"np": np, "in_threads": in_threads, **constants}
    if parts:
        module = compiled(platform(), loops, name)
        namespace.update((part.name, getattr(module, part.name)) for part in compiled_parts)
    function = loaded(text, name, namespace)
    return Loops(programs[0], f"{loops}\n\n{text}", function, report, is_open, time.perf_counter() - start)


def with_lengths(driver: Driver, parts: Sequence[str], text: str, lengths: str) -> tuple[list[str], str]:
    """Return a program's loops and the text that calls them, with open lengths."""
    types = "int64, " * (lengths.count(",") + 1)
    found = []
    for part, loops in zip(driver.parts, parts, strict=True):
        threads = "uint64, uint64, " if part.wide is not None else ""
        bounds = "start, stop, " if part.wide is not None else ""
        loops = loops.replace(f'"{part.result}({threads}', f'"{part.result}({threads}{types}', 1)
        found.append(loops.replace(f"def {part.name}({bounds}", f"def {part.name}({bounds}{lengths}, ", 1))
        call = rf"(in_threads\({part.name}, [^,]+, )" if part.wide is not None else rf"(?m)^( *(?:.* = )?{part.name}\()"
        text = re.sub(call, rf"\g<1>{lengths}, ", text)
    return found, text


def module_text(parts: Sequence[str]) -> str:
    """Return the source of the module with the compiled functions of a program."""
    if not parts:
        return "import numpy as np\n"
    names = called("\n".join(parts))
    while more := called("".join(text_of(OURS[name]) for name in names & OURS.keys())) - names:
        names |= more
    lines = ["import math", "", "import numpy as np"] + ["from llvmlite import ir"] * bool(names & INTRINSICS.keys())
    lines += ["from numba import njit"] + ["from numba.extending import intrinsic"] * bool(names & INTRINSICS.keys())
    if names & {"exp", "exp32", "tanh", "tanh32", "sin", "cos"}:
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


def compiled(platform: str, text: str, name: str) -> types.ModuleType:
    """Return a module whose functions numba has compiled, now or in an earlier process.

    The text and its machine code are kept in a folder: `MICROGRADND_CACHE`, or else
    `microgradnd` in the user's cache. A folder from another machine has another name; a
    damaged one is made again. After a second, a note says what takes so long and, by
    the rate of the last compilation, how long.
    """
    functions = text.split("@njit")[1:]
    work = sum(len(function.splitlines()) ** GROWTH for function in functions)
    what = f"{len(functions)} functions, {len(text.splitlines())} lines"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cache = Path(os.environ.get("MICROGRADND_CACHE") or Path(home, "microgradnd"))
    entry = cache / hashlib.sha256(f"{platform} {text}".encode()).hexdigest()[:24]
    said = f"microgradnd: numba is compiling {name}, {what} ... (Ctrl-C: continue with NumPy calls)"
    if (rate := rate_of(cache)) is not None:
        said = said.replace(" ...", f", which takes about {math.ceil(rate * work)} s ...")
    note = threading.Timer(1.0, lambda: print(said, file=sys.stderr))
    note.daemon = True
    note.start()
    with COMPILING:
        try:
            if (module := kept(text, entry)) is not None:
                return module
            start = time.perf_counter()
            module = made(text, entry)
            if work > LEAST:
                with contextlib.suppress(OSError):
                    (cache / RATE).write_text(repr((time.perf_counter() - start) / work), encoding="utf-8")
            return module
        finally:
            note.cancel()


def rate_of(cache: Path) -> float | None:
    """Return the seconds per unit of work of the last compilation, if known."""
    try:
        return float((cache / RATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def kept(text: str, entry: Path) -> types.ModuleType | None:
    """Return the module of a cache folder, None if its files have changed."""
    try:
        return executed(text, entry) if (entry / SEAL).read_text(encoding="utf-8") == seal(entry) else None
    except Exception:  # numba trusts the files that it finds, and may raise anything
        return None


def made(text: str, entry: Path) -> types.ModuleType:
    """Return a newly compiled module, and keep it in a folder of the cache."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=entry.parent, ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch, entry.name)
            folder.mkdir()
            (folder / LOOPS).write_text(text, encoding="utf-8")
            module = executed(text, folder)
            (folder / SEAL).write_text(seal(folder), encoding="utf-8")
            with contextlib.suppress(OSError):  # another process may do the same
                if entry.exists():
                    entry.rename(Path(scratch, "old"))
                folder.rename(entry)
            return module
    except OSError:  # no place to keep it: each process compiles it
        return executed(text.replace(", cache=True", ""), entry)


def executed(text: str, folder: Path) -> types.ModuleType:
    """Run the text of a module in a folder where numba also keeps the machine code."""
    module = types.ModuleType(f"microgradnd_loops_{folder.name}")
    sys.modules[module.__name__] = module  # numba looks for it there
    try:
        exec(builtins.compile(text, str(folder / LOOPS), "exec"), vars(module))
    finally:
        sys.modules.pop(module.__name__, None)  # it lives as long as the program
    return module


def seal(folder: Path) -> str:
    """Return a digest of the files in a folder, which shows whether they changed."""
    digest = hashlib.sha256(folder.name.encode())
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != SEAL:
            digest.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode() + path.read_bytes())
    return digest.hexdigest()


def platform() -> str:
    """Return the versions and the processor, on which machine code depends too."""
    from llvmlite import binding

    versions = sys.version, np.__version__, load_numba().__version__, binding.llvm_version_info
    processor = binding.get_process_triple(), binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    return repr((versions, processor))


def race(programs: Sequence[Callable[..., Any]], arrays: Sequence[Any]) -> list[float]:
    """Return the microseconds that each program takes on copies of some arrays.

    Each time is the best of a few calls.
    """
    times = []
    for program in programs:
        copies = [np.array(a) if isinstance(a, np.ndarray) else a for a in arrays]
        with np.errstate(all="ignore"):  # repeated updates may well overflow
            program(*copies)
            end, best = time.perf_counter() + RACE_SECONDS, math.inf
            while best == math.inf or time.perf_counter() < end:
                begun = time.perf_counter()
                program(*copies)
                best = min(best, time.perf_counter() - begun)
        times.append(1e6 * best)
    return times


def in_threads(loops: Callable[..., None], extent: int, *args: Any) -> None:
    """Run a loop from 0 to `extent` in as many threads as numba and OpenMP allow."""
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
    """Return numba, or say how to install it."""
    try:
        import numba
    except ImportError as error:
        raise ImportError('mg.compile(f, backend="numba") needs numba: pip install "microgradnd[numba]"') from error
    return numba
