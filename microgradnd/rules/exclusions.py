"""Functions without a derivative, and why: the rest of NumPy.

Owns: the reasons that users read, and the functions that are simply called on arrays.
Must not own: rules.
Read next: `../registry.py`.

A function whose results are integers, booleans or text is called on the arrays, and
returns plain results. Any other function without a rule raises its reason. Functions
are looked up by name, because not every NumPy has all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from microgradnd.registry import COMPOSITES, PLAIN, VJPS, exclude, plain


def functions(names: str, *modules: Any) -> list[Any]:
    """Return the functions of these names that this NumPy has and no rule covers."""
    found = [getattr(module, name) for module in modules or (np,) for name in names.split() if hasattr(module, name)]
    return [f for f in found if f not in VJPS and f not in COMPOSITES and f not in PLAIN]


plain(
    functions(
        "array_equiv argpartition argwhere bitwise_and bitwise_count bitwise_invert bitwise_left_shift bitwise_not "
        "bitwise_or bitwise_right_shift bitwise_xor busday_count can_cast common_type digitize flatnonzero gcd "
        "invert isclose iscomplex iscomplexobj isfortran isin isnat isneginf isposinf isreal isrealobj isscalar "
        "iterable lcm left_shift lexsort may_share_memory min_scalar_type nanargmax nanargmin ravel_multi_index "
        "result_type right_shift searchsorted shares_memory tril_indices_from triu_indices_from diag_indices_from "
        "unravel_index"
    )
)
plain(functions("matrix_rank", np.linalg))

exclude(
    "it makes arrays from sizes, files, text or functions, not from Tensors",
    functions(
        "arange array asanyarray asarray asarray_chkfinite ascontiguousarray asfortranarray asmatrix bartlett "
        "blackman bmat diag_indices empty eye frombuffer fromfile from_dlpack fromfunction fromiter fromregex "
        "fromstring full genfromtxt hamming hanning identity indices kaiser load loadtxt mask_indices ones require tri "
        "tril_indices triu_indices zeros"
    ),
)
exclude("it makes sample frequencies from sizes", functions("fftfreq rfftfreq", np.fft))
exclude("it writes to a file", functions("save savetxt savez savez_compressed"))
exclude("it packs or unpacks bits of integers", functions("packbits unpackbits"))
exclude("it works with dates", functions("busday_offset datetime_as_string datetime_data is_busday"))
exclude(
    "it describes or formats types, numbers or NumPy itself",
    functions(
        "base_repr binary_repr broadcast_shapes einsum_path format_float_positional format_float_scientific "
        "get_include get_printoptions getbufsize geterr geterrcall info isdtype issubdtype mintypecode printoptions "
        "promote_types set_printoptions setbufsize seterr seterrcall show_config show_runtime typename"
    ),
)
exclude("NumPy is about to remove it; write np.vstack", functions("row_stack"))
exclude("NumPy is about to remove it; write np.trunc", functions("fix"))
exclude("NumPy 2.4 removes it; write np.trapezoid", functions("trapz"))
exclude("NumPy 2.4 removes it; write np.isin", functions("in1d"))
exclude("it runs NumPy's own tests", functions("test", np, np.linalg, np.fft))
exclude(
    "it makes or runs Python functions; call the function on the Tensor, or make it an operation with mg.primitive",
    functions("frompyfunc nested_iters"),
)
exclude(
    "its result counts or orders elements, so it jumps instead of changing smoothly",
    functions(
        "histogram histogram2d histogram_bin_edges histogramdd bincount unique unique_all unique_counts unique_inverse"
    ),
)
exclude(
    "which elements it returns depends on their values; find them with t.data, then index the Tensor",
    functions("intersect1d setdiff1d setxor1d union1d unique_values trim_zeros"),
)
exclude("it steps through the numbers of the floating-point format", functions("nextafter spacing"))
exclude(
    "it fits or solves by a method that is not differentiated; use np.linalg.lstsq or np.linalg.eigvals",
    functions("polyfit roots"),
)
