"""Tells which lines of a compiled workload cost most.

Owns: timing of the lines of a program's source.
Must not own: the workloads (`workloads.py`), the comparison with others (`run.py`).
Read next: `run.py`.

    python benchmarks/lines.py W2 [--top 12]

A program is Python source, so a copy of it with a clock read after each line is a profile. Each line's share is of the
sum; the clock's own cost has been taken off.
"""

import argparse
import re
import statistics
import time
from typing import Any

from pinned import pin

if __name__ == "__main__":
    pin(1)

import ours
import workloads

RUNS = 300
SECONDS = 1.0


def timed(source: str, name: str) -> tuple[str, list[str]]:
    """Return the source with a clock read after each line of the function, and those lines."""
    head, body = source.split(f"def {name}(")
    signature, *lines = body.split("\n")
    out, shown = [signature, "    _clock(-1)"], []
    for line in filter(str.strip, lines):
        if line.startswith("    return"):
            out.append("    return " + line.removeprefix("    return "))
        else:
            out += [line, f"    _clock({len(shown)})"]
            shown.append(line.strip())
    return f"{head}def {name}(" + "\n".join(out), shown


def profile(name: str) -> tuple[list[str], list[float]]:
    """Return the lines of a compiled workload and the median seconds of each."""
    programs: list[Any] = []
    compile_ = ours.mg.compile

    def catch(f: Any, **options: Any) -> Any:
        programs.append(compile_(f, **options))
        return programs[-1]

    ours.mg.compile = catch
    candidate = ours.compiled(name, workloads.WORKLOADS[name]())
    start = time.perf_counter()
    candidate.step()
    candidate.step()
    runs = max(5, min(RUNS, int(SECONDS / (time.perf_counter() - start))))
    entry = programs[0]._latest
    function = re.search(r"\ndef (\w+)\([^\n]*\n(?!.*\ndef )", entry.source, re.S)
    assert function is not None
    source, lines = timed(entry.source, function[1])
    times: list[list[float]] = [[] for _ in lines]
    last = 0.0

    def clock(i: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if i >= 0:
            times[i].append(now - last)
        last = time.perf_counter()

    namespace = dict(entry.constants, _clock=clock)
    exec(source, namespace)
    entry.function = namespace[function[1]]
    programs[0]._quick = {}
    for _ in range(runs):
        candidate.step()
    clock(-1)
    empty = [0.0] * 100
    for i in range(100):
        times.append([])
        clock(len(times) - 1)
        empty[i] = times.pop()[0]
    overhead = statistics.median(empty)
    return lines, [max(0.0, statistics.median(line) - overhead) for line in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(workloads.WORKLOADS))
    parser.add_argument("--top", type=int, default=12)
    options = parser.parse_args()
    for name in options.names:
        lines, seconds = profile(name)
        total = sum(seconds)
        print(f"{name}: {len(lines)} lines")
        for i in sorted(range(len(lines)), key=lambda i: -seconds[i])[: options.top]:
            print(f"  {seconds[i] / total:6.1%}  {lines[i][:110]}")


if __name__ == "__main__":
    main()
