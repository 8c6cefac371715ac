"""Faults in films, error pictures, comparisons, monitors, neurons and flame graphs.

Owns: the entries for these files of `viz/`.
Must not own: the form of an entry (`__init__.py`), or the faults of the other pictures
(`pictures.py`).
Read next: `pictures.py`.
"""

ERROR = "tests/test_viz_failure.py"
ANIMATE = "tests/test_animate.py"
FILMS = "tests/test_films.py"
COMPARE = "tests/test_compare.py"
MONITOR = "tests/test_monitor.py"
NETWORK = "tests/test_network.py"
PROFILE = "tests/test_profile.py"
ENTRIES = [
    ("failure.py", "for node in Record(last).operations for parent", "for node in [last] for parent", ERROR),
    ("failure.py", "if node not in used] or tensors", "] or tensors", ERROR),
    ("animate.py", "2 * count + 2 - k for id, k", "2 * count + 1 - k for id, k", ANIMATE),
    ("animate.py", "if k < steps.forward.get(source, 0):", "if k <= steps.forward.get(source, 0):", ANIMATE),
    ("animate.py", "if edge.flows and (source", "if (source", ANIMATE),
    ("frames.py", "max(1, round(s * RATE))", "max(1, round(s / RATE))", ANIMATE),
    ("films.py", "0.5 if is_share else 0)", "0.5)", FILMS),
    ("films.py", "losses[k - missing]", "losses[k - 1]", FILMS),
    ("compare.py", "same = (x == y) | (np.isnan(x) & np.isnan(y))", "same = np.isnan(x) & np.isnan(y)", COMPARE),
    ("compare.py", "(largest or 1.0)", "1.0", COMPARE),
    ("monitor.py", "return len(flags) - count + 1 if count", "return len(flags) - count if count", MONITOR),
    ("monitor.py", "math.sqrt(1 - FLAT)  # the derivative is 1", "1 - FLAT  # the derivative is 1", MONITOR),
    ("monitor.py", ".any(axis=0).mean())", ".any(axis=1).mean())", MONITOR),
    ("monitor.py", "below, ends = np.array([0.0, 1.0])", "below, ends = np.array([0.0, 0.5])", MONITOR),
    ("plots/network.py", "float(weights[j, i]) / greatest", "float(weights[i, j]) / greatest", NETWORK),
    ("plots/network.py", "range(count - most // 2, count)", "range(count - most // 2 - 1, count)", NETWORK),
    ("profile.py", "left += child.size", "left += whole.size", PROFILE),
    ("profile.py", "quickest = min(runs", "quickest = max(runs", PROFILE),
]
FAULTS = [(f"viz/{file}", *rest) for file, *rest in ENTRIES]
