"""Rows of the Fourier transforms: see `microgradnd/rules/fft.py`.

Owns: lengths that crop, pad, are even, odd and 1; axes; normalisations.
Must not own: anything else.
Read next: `products.py`.
"""

import numpy as np

from tests.rows import ANY, Row, case

ONE_AXIS = {
    "even": ((2, 4), {}),
    "odd": ((5,), {"norm": "ortho"}),
    "cropped": ((2, 5), {"n": 4, "norm": "forward"}),
    "padded": ((4, 2), {"n": 7, "axis": 0}),
}
OF_SPECTRA = {
    "even": ((2, 4), {}),
    "odd": ((3,), {"n": 5, "norm": "ortho"}),
    "cropped": ((5,), {"n": 6, "norm": "forward"}),
    "padded": ((2, 3), {"n": 6, "axis": 0}),
    "one": ((2,), {"n": 1}),
}
SEVERAL_AXES = {
    "default": ((2, 3, 2), {}),
    "axes": ((3, 2, 4), {"axes": (2, 0), "norm": "ortho"}),
    "sizes": ((4, 3), {"s": (3, 4), "axes": (0, 1), "norm": "forward"}),
    "own-size": ((3, 4), {"s": (-1, 5), "axes": (-2, -1)}),
}


def rows(function, calls, dtype):
    """Return one row per call; the first checks second derivatives too."""
    return [
        case(function, name, lambda x, kwargs=kwargs: function(x, **kwargs), (shape, ANY, dtype), order=1 + (i == 0))
        for i, (name, (shape, kwargs)) in enumerate(calls.items())
    ]


FFT = np.fft
ROWS: list[Row] = [
    *(row for f in (FFT.fft, FFT.ifft) for row in rows(f, ONE_AXIS, np.complex128)),
    *(row for f in (FFT.rfft, FFT.ihfft) for row in rows(f, ONE_AXIS, np.float64)),
    *(row for f in (FFT.irfft, FFT.hfft) for row in rows(f, OF_SPECTRA, np.complex128)),
    case(FFT.fft, "real", FFT.fft, (4,)),
    case(FFT.irfft, "real", FFT.irfft, (3,)),
    *(row for f in (FFT.fft2, FFT.fftn, FFT.ifft2, FFT.ifftn) for row in rows(f, SEVERAL_AXES, np.complex128)),
    *(row for f in (FFT.rfft2, FFT.rfftn) for row in rows(f, SEVERAL_AXES, np.float64)),
    *(row for f in (FFT.irfft2, FFT.irfftn) for row in rows(f, SEVERAL_AXES, np.complex128)),
    case(FFT.fftshift, "all", FFT.fftshift, (3, 4)),
    case(FFT.fftshift, "axis", lambda x: FFT.fftshift(x, axes=1), (2, 5)),
    case(FFT.ifftshift, "axes", lambda x: FFT.ifftshift(x, axes=(0, -1)), (3, 2, 5)),
]
