"""Shows the most expensive lines of a compiled workload.

Owns: timing of the lines of a program's source.
Must not own: the workloads (`workloads.py`), the comparison with others (`run.py`).
Read next: `run.py`.

    python benchmarks/lines.py W2 [--top 12]

A program is Python source, so Python's own tracing of lines profiles it. Each share is
a share of the sum, after subtracting the cost of the tracing.
"""

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from types import FrameType
from typing import Any

from pinned import pin

if __name__ == "__main__":
    pin(1)

import ours
import workloads

RUNS = 300
SECONDS = 1.0


def line_times(step: Callable[[], Any], filename: str) -> dict[int, float]:
    """Return the seconds that each line of the code of a file takes in one step."""
    times: dict[int, float] = defaultdict(float)
    line, last = 0, 0.0

    def on_line(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal line, last
        if line:
            times[line] += time.perf_counter() - last
        line = frame.f_lineno if event == "line" else 0
        last = time.perf_counter()
        return on_line

    def on_call(frame: FrameType, event: str, arg: Any) -> Any:
        return on_line if frame.f_code.co_filename.startswith(filename) else None

    sys.settrace(on_call)
    step()
    sys.settrace(None)
    return times


def overhead() -> float:
    """Return the seconds that tracing adds to a line."""
    code = compile("def f():\n" + "    pass\n" * 200, "<nothing>", "exec")
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    return statistics.median(line_times(namespace["f"], "<nothing>").values())


def profile(name: str) -> list[tuple[float, str]]:
    """Return the lines of a compiled workload with their shares, the largest first."""
    candidate = ours.compiled(name, workloads.WORKLOADS[name]())
    candidate.step()
    start = time.perf_counter()
    candidate.step()
    runs = max(5, min(RUNS, int(SECONDS / (time.perf_counter() - start))))
    measured = [line_times(candidate.step, "<compiled ") for _ in range(runs)]
    source, cost = candidate.source().splitlines(), overhead()
    medians = {line: statistics.median(times.get(line, 0.0) for times in measured) - cost for line in measured[0]}
    total = sum(max(0.0, t) for t in medians.values())
    return sorted(((max(0.0, t) / total, source[line - 1].strip()) for line, t in medians.items()), reverse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(workloads.WORKLOADS))
    parser.add_argument("--top", type=int, default=12)
    options = parser.parse_args()
    for name in options.names:
        lines = profile(name)
        print(f"{name}: {len(lines)} lines")
        for share, line in lines[: options.top]:
            print(f"  {share:6.1%}  {line[:110]}")


if __name__ == "__main__":
    main()
