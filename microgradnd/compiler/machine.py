"""Loops as machine code: what numba compiles, and how it is kept and run.

Owns: the text of the module that numba compiles, its cache, the choice between
programs, and threads.
Must not own: how loops are printed (`loops.py`).
Read next: `elementary.py`.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
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
import weakref
from collections.abc import Callable, Sequence, Set
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
KNOWN = weakref.WeakValueDictionary[Path, Any]()  # the compiled functions that some program uses, by cache entry
WORD = re.compile(r"(?<![.\w])[^\W\d]\w*")
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
    seconds : float
        The time spent on compiling; next to nothing if the disk had the result.
    """

    program: Program
    source: str
    function: Callable[..., Any]
    report: str
    seconds: float


def loops_of(programs: Sequence[Program], name: str, general: Callable[..., Any] | None = None) -> Loops | None:
    """Return a program with its loops compiled, for its lengths or for all.

    If lengths are open, `programs` has it for two sets of them, and `general` makes one
    text of the two. Return None if it can't.
    """
    start = time.perf_counter()
    load_numba()
    drivers = [driver_of(program, name, general is not None) for program in programs]
    driver = drivers[0]
    parts, text, constants = [part.text for part in driver.parts], driver.text, driver.constants()
    report = "\n".join(driver.report)
    if general is not None:
        forms = [
            Written(name, [*zip(d.program.inputs, d.inputs, strict=True)], d.names.constants, "", d.text)
            for d in drivers
        ]
        found = general(forms, [["\n".join(d.report), *(part.text for part in d.parts)] for d in drivers])
        if found is None:
            return None
        written, (report, *parts), lengths = found
        constants = written.constants
        parts, text = with_lengths(driver, parts, written.source(), ", ".join(lengths))
    functions = dict(zip([part.name for part in driver.parts], compiled(parts, name), strict=True))
    function = loaded(text, name, {"np": np, "in_threads": in_threads, **constants, **functions})
    return Loops(programs[0], f"{module_text(parts)}\n\n{text}", function, report, time.perf_counter() - start)


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
    """Return the source of a module with the loops of a program."""
    names = called("\n".join(parts))
    while more := called("".join(text_of(OURS[name]) for name in names & OURS.keys())) - names:
        names |= more
    return ours_text(names) + "".join(f"\n\n{part}" for part in parts) if parts else "import numpy as np\n"


def ours_text(names: Set[str]) -> str:
    """Return the source of some of our own functions, as numba reads them."""
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
    return "\n".join(lines) + "\n" + "".join(f"\n\n{text}" for text in texts)


@functools.cache
def ours() -> dict[str, Any]:
    """Return our own functions, which numba compiles when a process first uses them."""
    namespace: dict[str, Any] = {}
    exec(ours_text(OURS.keys() | INTRINSICS.keys()), namespace)
    return namespace


def text_of(function: Callable[..., Any]) -> str:
    """Return the source of a function, without types."""
    return re.sub(r": Any| -> Any", "", inspect.getsource(function))


def called(text: str) -> set[str]:
    """Return the names of our own functions that a piece of source calls."""
    return set(re.findall(r"(?<![\w.])(\w+)\(", text)) & (OURS.keys() | INTRINSICS.keys())


def numbered(text: str) -> str:
    """Return a function with numbers for its names: the same text for equal loops."""
    head, body = text.split("\ndef ", 1)
    body = "def " + re.sub(r",\s+", ", ", body)  # the names' lengths tell how long the lines are
    [code] = [x for x in builtins.compile(body, LOOPS, "exec").co_consts if isinstance(x, types.CodeType)]
    names = {name: f"x{i}" for i, name in enumerate(code.co_varnames)} | {code.co_name: "loops"}
    return f"{head}\n{WORD.sub(lambda word: names.get(word[0], word[0]), body)}"


def compiled(parts: Sequence[str], name: str) -> list[Callable[..., Any]]:
    """Return functions that numba has compiled, now or earlier; equal ones are one.

    The text and the machine code of each function are kept in a folder, below
    `MICROGRADND_CACHE`, or else `microgradnd` in the user's cache. A folder from
    another machine has another name; a damaged one is made again. After a second, a
    note says what takes so long and, by the rate of the last compilation, how long.
    """
    texts = [numbered(part) for part in parts]
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cache, basis = Path(os.environ.get("MICROGRADND_CACHE") or Path(home, "microgradnd")), platform() if parts else ""
    entries = {text: cache / hashlib.sha256(f"{basis} {text}".encode()).hexdigest()[:24] for text in texts}
    with COMPILING:
        found = {text: KNOWN.get(entry) or kept(text, entry) for text, entry in entries.items()}
        missing = [text for text, function in found.items() if function is None]
        lines = [len(text.splitlines()) for text in missing]
        work = sum(n**GROWTH for n in lines)
        what = f"{len(missing)} functions, {sum(lines)} lines"
        said = f"microgradnd: numba is compiling {name}, {what} ... (Ctrl-C: continue with NumPy calls)"
        if (rate := rate_of(cache)) is not None:
            said = said.replace(" ...", f", which takes about {max(1, rate * work):.0f} s ...")
        note = threading.Timer(1.0, lambda: print(said, file=sys.stderr))
        note.daemon = True
        note.start()
        try:
            start = time.perf_counter()
            found.update((text, made(text, entries[text])) for text in missing)
            KNOWN.update((entries[text], function) for text, function in found.items())
            if work > LEAST:
                with contextlib.suppress(OSError):
                    (cache / RATE).write_text(repr((time.perf_counter() - start) / work), encoding="utf-8")
        finally:
            note.cancel()
    return [found[text] for text in texts]


def rate_of(cache: Path) -> float | None:
    """Return the seconds per unit of work of the last compilation, if known."""
    try:
        return float((cache / RATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def kept(text: str, entry: Path) -> Any:
    """Return the function of a cache folder, None if its files have changed."""
    try:
        return executed(text, entry) if (entry / SEAL).read_text(encoding="utf-8") == seal(entry) else None
    except Exception:  # numba trusts the files that it finds, and may raise anything
        return None


def made(text: str, entry: Path) -> Any:
    """Return a newly compiled function, and keep it in a folder of the cache."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=entry.parent, ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch, entry.name)
            folder.mkdir()
            (folder / LOOPS).write_text(text, encoding="utf-8")
            function = executed(text, folder)
            (folder / SEAL).write_text(seal(folder), encoding="utf-8")
            with contextlib.suppress(OSError):  # another process may do the same
                if entry.exists():
                    entry.rename(Path(scratch, "old"))
                folder.rename(entry)
            return function
    except OSError:  # no place to keep it: each process compiles it
        return executed(text.replace(", cache=True", ""), entry)


def executed(text: str, folder: Path) -> Any:
    """Return the function of a text, whose machine code numba keeps in a folder."""
    module = types.ModuleType(f"microgradnd_loops_{folder.name}")
    vars(module).update(ours())
    sys.modules[module.__name__] = module  # numba looks for it there
    config = load_numba().config
    elsewhere, config.CACHE_DIR = config.CACHE_DIR, ""  # a folder of the user's, outside of the sealed one
    try:
        exec(builtins.compile(text, str(folder / LOOPS), "exec"), vars(module))
    finally:
        config.CACHE_DIR = elsewhere
        sys.modules.pop(module.__name__, None)
    return vars(module).pop("loops")


def seal(folder: Path) -> str:
    """Return a digest of the files in a folder, which shows whether they changed."""
    digest = hashlib.sha256(folder.name.encode())
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != SEAL:
            digest.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode() + path.read_bytes())
    return digest.hexdigest()


def platform() -> str:
    """Return what else machine code depends on: versions, processor, our functions."""
    from llvmlite import binding

    versions = sys.version, np.__version__, load_numba().__version__, binding.llvm_version_info
    processor = binding.get_process_triple(), binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    return repr((versions, processor, ours_text(OURS.keys() | INTRINSICS.keys())))


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
    allowed = re.match(r"\s*\d+", os.environ.get("OMP_NUM_THREADS", ""))  # others ignore what is no number
    count = max(1, min(limit, int(allowed[0]) if allowed else limit, extent))
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
