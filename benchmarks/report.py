"""Writes the tables and the picture of docs/performance.md from measurements.

Owns: how results are shown.
Must not own: measuring (`run.py`).
Read next: `../docs/performance.md`.

    python benchmarks/report.py out/benchmarks.json [more.json ...] [--tables NAME ...]
    [--page docs/performance.md] [--image FILE]

Several files are joined: a program that the first file doesn't have is taken from a
later one of the same threads and the same BLAS kernels, and other threads or kernels
get a table of their own. The table called `name` replaces the text in the page between
`<!-- name -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COMPILED = ("compiled", "numba", "jax", "torch.compile")
OURS = ("eager", "eager nn", "compiled", "numba")
ORDER = (
    "numpy out=",
    *OURS,
    "jax",
    "torch.compile",
    "torch",
    "mygrad",
    "autograd",
    "advect staged",
    "advect",
    "micrograd",
)
NAMES = {
    "numpy": "NumPy",
    "numpy out=": "NumPy with `out=`",
    "eager": "**eager**",
    "eager nn": "**eager, nn and optim**",
    "compiled": "**compiled**",
    "numba": "**compiled, numba**",
    "jax": "JAX jit",
    "torch": "PyTorch",
    "torch.compile": "torch.compile",
    "mygrad": "MyGrad",
    "autograd": "autograd",
}
SMALL, LARGE, EVERY = range(1, 10), range(10, 100), range(1, 100)  # the numbers of workloads in a table
SHOWN_LINES = 6
MIB = 2**20
LONGEST = 10  # the ratio at which a bar ends


def number(value: float) -> str:
    """Return a ratio with about two digits."""
    return f"{value:.2g}" if value < 0.095 else f"{value:.2f}" if value < 9.95 else f"{value:.0f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def joined(files: list[dict[str, Any]], section: str) -> dict[str, dict[str, Any]]:
    """Return the rows of several files; the first file that has a program counts."""
    whole: dict[str, dict[str, Any]] = {}
    for file in files:
        for name, programs in file.get(section, {}).items():
            for program, row in programs.items():
                whole.setdefault(name, {}).setdefault(program, row)
    return whole


def setting(file: dict[str, Any]) -> tuple[int, str]:
    """Return the settings that must agree for tables to be joined."""
    return file["environment"]["threads"], file["environment"]["kernels"]


def place(name: str) -> tuple[int, str]:
    """Return where a workload belongs: W2 before W10, and "W14" before "W14 small"."""
    digits = re.match(r"W(\d+)", name)
    assert digits
    return int(digits[1]), name


def workloads(files: list[dict[str, Any]], numbers: range) -> list[str]:
    """Return the measured workloads of a table, in order; W6 has one of its own."""
    return sorted((name for name in joined(files, "results") if name != "W6" and place(name)[0] in numbers), key=place)


def ratios(files: list[dict[str, Any]], numbers: range = SMALL) -> str:
    """Return the table of the workloads' ratios to NumPy by hand."""
    results, names = joined(files, "results"), workloads(files, numbers)
    programs = [p for p in ORDER if any(p in results[name] for name in names)]
    rows = []
    for program in programs:
        cells = [number(results[n][program]["ratio"]) if program in results[n] else "-" for n in names]
        rows.append([NAMES.get(program, program), *cells])
    return table(["", *names], rows) if rows else "Not measured."


def firsts(files: list[dict[str, Any]]) -> str:
    """Return how many eager steps the first step takes where a program is compiled."""
    results = joined(files, "results")
    names = workloads(files, EVERY)
    rows = []
    for program in [p for p in ORDER if p in COMPILED and any(p in results[name] for name in names)]:
        cells = [
            f"{results[n][program]['first'] / results[n]['eager']['seconds']:,.0f}"
            if program in results[n] and "eager" in results[n]
            else "-"
            for n in names
        ]
        rows.append([NAMES[program], *cells])
    return table(["", *names], rows) if rows else "Not measured."


def absent(files: list[dict[str, Any]]) -> str:
    """Return why programs are missing in a table."""
    results, lines = joined(files, "results"), []
    for name, programs in joined(files, "failed").items():
        for program, why in programs.items():
            if program not in results.get(name, {}):
                lines.append(f"- {NAMES.get(program, program)}, {name}: {why}")
    return "\n".join(lines) or "Nothing is missing."


def titles(files: list[dict[str, Any]]) -> str:
    """Return the description of each workload."""
    found: dict[str, str] = {}
    for file in files:
        found = {**file["titles"], **found}
    return table(["", "one unit of work"], [[name, found[name]] for name in sorted(found, key=place)])


def of_torch(files: list[dict[str, Any]]) -> str:
    """Return W6: the time of an operation as a share of PyTorch's."""
    results = joined(files, "results").get("W6", {})
    if "torch" not in results:
        return "Not measured."
    programs = [p for p in ORDER if p in results]
    cells = [[NAMES.get(p, p), number(results[p]["ratio"] / results["torch"]["ratio"])] for p in programs]
    return table(["W6", "time, of PyTorch's"], cells)


def depths(files: list[dict[str, Any]]) -> str:
    """Return W7: memory and time of an operation by the length of the chain."""
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        unit = file.get("depths", {}).get("numpy", {}).get("1000", {}).get("seconds")
        for program, rows in file.get("depths", {}).items():
            if program != "numpy" and program not in found:
                found[program] = {n: dict(row, units=row.get("seconds", 0) / unit) for n, row in rows.items()}
    if "torch" not in found:
        return "Not measured."
    base = found["torch"]["1000"]["units"]
    lengths = list(found["torch"])
    rows = []
    for program in [p for p in ORDER if p in found]:
        measured = found[program]
        last = [row for row in measured.values() if "failed" not in row][-1]
        held = last.get("bytes recorded")
        cells = []
        for length in lengths:
            row = measured.get(length, {"failed": ""})
            cells.append(number(row["units"] / base) if "failed" not in row else row["failed"] or "-")
        recorded = f"{held:.0f}" if held else "-"
        rows.append([NAMES.get(program, program), recorded, f"{last['bytes at the peak']:.0f}", *cells])
    head = ["W7", "bytes recorded", "bytes at the peak", *(f"{int(n):,}" for n in lengths)]
    return table(head, rows)


def collector(files: list[dict[str, Any]]) -> str:
    """Return W7's growth with and without the collector, as ratios to the start."""
    measured = files[0].get("depths", {}).get("eager", {})
    if not measured:
        return "Not measured."
    first = measured["1000"]
    rows = []
    for title, key in (("as it is", "seconds"), ("with `gc.disable()`", "seconds without the collector")):
        rows.append([title, *(number(row[key] / first[key]) for row in measured.values() if key in row)])
    return table(["time an operation, eager", *(f"{int(n):,}" for n in measured)], rows)


def memory(files: list[dict[str, Any]]) -> str:
    """Return the memory of a training step of W4."""
    found = next((file["memory"] for file in files if "memory" in file), {})
    rows = []
    for program in ["numpy", *ORDER]:
        if program in found:
            row = found[program]
            share = number(row["peak"] / found["numpy out="]["peak"])
            rows.append([NAMES.get(program, program), f"{row['steady'] / MIB:.1f}", f"{row['peak'] / MIB:.1f}", share])
    return table(["W4", "MiB between steps", "MiB at the peak", "peak, of `out=`"], rows) if rows else "Not measured."


def profiles(files: list[dict[str, Any]]) -> str:
    """Return the most expensive lines of compiled programs."""
    found = next((file["lines"] for file in files if "lines" in file), {})
    parts = []
    for name, lines in found.items():
        shown = [f"{share:6.1%}  {line}" for share, line in lines[:SHOWN_LINES]]
        parts.append(f"{name}\n" + "\n".join(shown))
    return "```\n" + "\n".join(parts) + "\n```" if parts else "Not measured."


def spellings(files: list[dict[str, Any]]) -> str:
    """Return the times of NumPy's spellings of the same thing."""
    found = next((file["spellings"] for file in files if "spellings" in file), None)
    if found is None:
        return "Not measured."
    rows = []
    for group in found["groups"]:
        rows.append([f"*{group['title']}*", *[""] * len(found["shapes"])])
        rows += [[f"`{spelling}`", *map(number, ratios)] for spelling, ratios in group["rows"]]
    return table(["", *found["shapes"]], rows)


def settings(files: list[dict[str, Any]]) -> str:
    """Return the tables of other numbers of threads and of other BLAS kernels."""
    parts = []
    main = setting(files[0])
    for other in dict.fromkeys(setting(file) for file in files):
        if other == main:
            continue
        threads, kernels = other
        what = [f"{threads} threads on as many cores"] if threads != main[0] else []
        what += [f"OpenBLAS's kernels for {kernels}"] if kernels != main[1] else []
        parts.append(f"With {' and '.join(what)}:\n\n" + ratios([f for f in files if setting(f) == other]))
    return "\n\n".join(parts) or "Not measured."


def versions(files: list[dict[str, Any]]) -> str:
    """Return the environments of the measurements, each once."""
    rounds: dict[str, set[int]] = {}
    for file in files:
        found = file["environment"]
        libraries = [f"{name} {v}" for name, v in found.items() if name in LIBRARIES and v]
        kernels = f", OpenBLAS's kernels: {found['kernels']}" if found["kernels"] else ""
        text = (
            f"- {found['system']} on {found['processor'] or found['machine']}, threads: {found['threads']}{kernels}; "
            f"Python {found['python']}, {', '.join(libraries)}"
        )
        rounds.setdefault(text, set()).add(file["rounds"])
    lines = [f"{text}; {' or '.join(map(str, sorted(counts)))} rounds" for text, counts in rounds.items()]
    return "\n".join(textwrap.fill(line, 98, subsequent_indent="  ") for line in lines)


LIBRARIES = ("numpy", "numba", "torch", "jax", "autograd", "mygrad", "advect", "micrograd")
TABLES = {
    "titles": titles,
    "ratios": ratios,
    "larger": lambda files: ratios(files, LARGE),
    "firsts": firsts,
    "absent": absent,
    "chain": of_torch,
    "depths": depths,
    "collector": collector,
    "memory": memory,
    "profiles": profiles,
    "spellings": spellings,
    "settings": settings,
    "versions": versions,
}
ACROSS = ("settings", "versions")  # these show all files, the others only files whose settings match the first


def plot(files: list[dict[str, Any]], path: Path) -> None:
    """Draw the ratios: a panel for each workload, faster than by hand on the left."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"font.size": 9, "svg.hashsalt": "benchmarks", "svg.fonttype": "none"})
    measured = joined(files, "results")
    results = {name: measured[name] for name in workloads(files, SMALL)}
    columns = 4
    lines = -(-len(results) // columns)
    most = max(len(rows) for rows in results.values())
    size = (12, lines * (0.19 * most + 0.55))
    figure, panels = pyplot.subplots(lines, columns, figsize=size, layout="constrained")
    for panel in panels.flat[len(results) :]:
        panel.axis("off")
    every = [row["ratio"] for rows in results.values() for row in rows.values()]
    span = min(every), min(max(every), LONGEST)
    colours = {**dict.fromkeys(OURS, "#c2410c"), "numpy out=": "#1f2937"}
    for panel, (name, rows) in zip(panels.flat, results.items(), strict=False):
        programs = sorted((p for p in rows if p != "numpy"), key=lambda p: -rows[p]["ratio"])
        for i, program in enumerate(programs):
            ratio, colour = rows[program]["ratio"], colours.get(program, "#94a3b8")
            end = min(ratio, span[1])
            panel.barh(i, end - 1, left=1, height=0.7, color=colour)
            left = ratio < 1
            panel.annotate(
                number(ratio),
                (end, i),
                (-3 if left else 3, 0),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
                size=8,
            )
        panel.set_xscale("log")
        panel.set_xlim(span[0], span[1] * 2)  # room for the figures on the right
        panel.axvline(1, color="#1f2937", linewidth=0.8)
        panel.set_yticks(range(len(programs)), [plain(p) for p in programs])
        for label, program in zip(panel.get_yticklabels(), programs, strict=True):
            label.set_fontweight("bold" if program in OURS else "normal")
        panel.tick_params(axis="y", length=0, pad=28)  # a figure left of the shortest bar is narrower
        panel.set_xticks([])
        panel.minorticks_off()
        panel.spines[["top", "right", "left", "bottom"]].set_visible(False)
        panel.set_title(name, loc="left", weight="bold", size=10)
    title = (
        "time of a step, as a ratio to NumPy written by hand (left of the line is faster; log scale, bars end at 10)"
    )
    figure.suptitle(title, size=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=130)


def plain(program: str) -> str:
    """Return a program's name without markup."""
    return NAMES.get(program, program).replace("*", "").replace("`", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--tables", nargs="+", choices=TABLES, help="the tables to write, by default all and the image")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/performance.md")
    parser.add_argument("--image", type=Path, default=ROOT / "docs/images/performance.svg")
    options = parser.parse_args()
    files = [json.loads(path.read_text()) for path in options.files]
    alike = [file for file in files if setting(file) == setting(files[0])]
    page = options.page.read_text()
    for name in options.tables or TABLES:
        text = TABLES[name](files if name in ACROSS else alike)
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.S)
        if not block.search(page):
            sys.exit(f"{options.page} has no place for the table {name!r}: <!-- {name} --> ... <!-- end -->")
        page = block.sub(lambda found, text=text: f"{found[1]}\n{text}\n\n{found[2]}", page)
    options.page.write_text(page)
    print(f"written: {options.page}")
    if options.tables is None:
        plot(alike, options.image)
        print(f"written: {options.image}")


if __name__ == "__main__":
    main()
