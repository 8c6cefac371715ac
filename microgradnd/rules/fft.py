"""Derivatives of the discrete Fourier transforms.

Owns: `np.fft`.
Must not own: anything else.
Read next: `linalg.py`.

A transform is linear: out = W x, with a symmetric matrix of roots of unity. So the VJP
of `fft` is `fft` again, and that of `ifft` is `ifft`, in the same normalisation. With
`n=`, the input is cropped or padded with zeros, so the cotangent is padded or cropped.
Transforms of several axes go axis by axis, as in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib import NumpyVersion

from microgradnd.registry import composite, linear

LAST_FIRST = NumpyVersion(np.__version__) >= "2.1.2"  # the order of axes in np.fft.rfftn, which rounding shows


def resized(g: Any, like: Any, axis: int) -> Any:
    """Return a cotangent cropped or zero-padded to the argument's length on an axis."""
    n, wanted = g.shape[axis], like.shape[axis]
    if n == wanted:
        return g
    if n > wanted:
        return g[(slice(None),) * (axis % g.ndim) + (slice(wanted),)]
    missing = [wanted - n if a == axis % g.ndim else m for a, m in enumerate(g.shape)]
    return np.concatenate([g, np.zeros(missing, g.dtype)], axis=axis)


for function in (np.fft.fft, np.fft.ifft):
    linear(
        function,
        lambda g, out, a, n=None, axis=-1, norm=None, function=function: resized(function(g, n, axis, norm), a, axis),
    )


# Transforms of real arrays keep half of the frequencies. Each counts twice, except the
# first and, for even n, the last


def twice(half: Any, n: int, axis: int) -> Any:
    """Return how often a spectrum holds each frequency of its half: 1, 2, ..., 2.

    For even n, the last one counts 1.
    """
    shape = [1] * half.ndim
    shape[axis] = half.shape[axis]
    times = np.full(shape[axis], 2, half.real.dtype)
    times[0] = 1
    if n % 2 == 0:
        times[-1] = 1
    return times.reshape(shape)


def rfft_cotangent(g: Any, out: Any, a: Any, n: int | None = None, axis: int = -1, norm: Any = None) -> Any:
    """Return Re(W' g) for the half of W that np.fft.rfft keeps."""
    n = a.shape[axis] if n is None else n
    return resized(np.fft.hfft(g / twice(g, n, axis), n, axis, norm), a, axis)


def ihfft_cotangent(g: Any, out: Any, a: Any, n: int | None = None, axis: int = -1, norm: Any = None) -> Any:
    """Return the same for np.fft.ihfft, with the conjugate of W."""
    n = a.shape[axis] if n is None else n
    return resized(np.fft.irfft(g / twice(g, n, axis), n, axis, norm), a, axis)


def irfft_cotangent(g: Any, out: Any, a: Any, n: int | None = None, axis: int = -1, norm: Any = None) -> Any:
    """Return the cotangent of half a spectrum: that of the whole, folded."""
    half = np.fft.ihfft(g, None, axis, norm)
    return resized(half * twice(half, g.shape[axis], axis), a, axis)


def hfft_cotangent(g: Any, out: Any, a: Any, n: int | None = None, axis: int = -1, norm: Any = None) -> Any:
    """Return the same for np.fft.hfft."""
    half = np.fft.rfft(g, None, axis, norm)
    return resized(half * twice(half, g.shape[axis], axis), a, axis)


linear(np.fft.rfft, rfft_cotangent)
linear(np.fft.irfft, irfft_cotangent)
linear(np.fft.hfft, hfft_cotangent)
linear(np.fft.ihfft, ihfft_cotangent)
linear(np.fft.fftshift, lambda g, out, x, axes=None: np.fft.ifftshift(g, axes))
linear(np.fft.ifftshift, lambda g, out, x, axes=None: np.fft.fftshift(g, axes))


# Several axes


def lengths_and_axes(a: Any, s: Any, axes: Any) -> tuple[list[int | None], list[int]]:
    """Return the length and the axis of each transform; None keeps the length."""
    if s is None:
        axes = range(-a.ndim, 0) if axes is None else axes
        return [None] * len(axes), list(axes)
    if axes is None:
        axes = range(-len(s), 0)
    if len(s) != len(axes):
        raise ValueError(
            f"np.fft: s and axes must have equal lengths, got {s} and {axes}; give one length for each axis"
        )
    return [a.shape[axis] if n == -1 else n for n, axis in zip(s, axes, strict=True)], list(axes)


def over_axes(a: Any, s: Sequence[int | None], axes: Sequence[int], transform: Any, norm: Any) -> Any:
    """Return `a` transformed along one axis after another, the last axis first."""
    for n, axis in reversed(list(zip(s, axes, strict=True))):
        a = transform(a, n, axis, norm)
    return a


def of_all_axes(transform: Any, default: Any) -> Callable[..., Any]:
    """Define a complex transform of several axes."""

    def spelled(a: Any, s: Any = None, axes: Any = default, norm: Any = None) -> Any:
        return over_axes(a, *lengths_and_axes(a, s, axes), transform, norm)

    return spelled


def of_real_arrays(default: Any) -> Callable[..., Any]:
    """Define np.fft.rfftn: rfft along the last axis, then fft along the others."""

    def spelled(a: Any, s: Any = None, axes: Any = default, norm: Any = None) -> Any:
        lengths, axes = lengths_and_axes(a, s, axes)
        lengths = [a.shape[axis] if n is None else n for n, axis in zip(lengths, axes, strict=True)]  # also if repeated
        order = range(len(axes) - 1) if LAST_FIRST else range(len(axes) - 2, -1, -1)
        others = [lengths[i] for i in order], [axes[i] for i in order]
        return over_axes(np.fft.rfft(a, lengths[-1], axes[-1], norm), *others, np.fft.fft, norm)

    return spelled


def to_real_arrays(default: Any) -> Callable[..., Any]:
    """Define np.fft.irfftn: ifft along all axes but the last, then irfft along it."""

    def spelled(a: Any, s: Any = None, axes: Any = default, norm: Any = None) -> Any:
        lengths, axes = lengths_and_axes(a, s, axes)
        inner = over_axes(a, lengths[-2::-1], axes[-2::-1], np.fft.ifft, norm)  # here NumPy starts with the first
        return np.fft.irfft(inner, lengths[-1], axes[-1], norm)

    return spelled


LAST_TWO = (-2, -1)
composite(np.fft.fft2)(of_all_axes(np.fft.fft, LAST_TWO))
composite(np.fft.fftn)(of_all_axes(np.fft.fft, None))
composite(np.fft.ifft2)(of_all_axes(np.fft.ifft, LAST_TWO))
composite(np.fft.ifftn)(of_all_axes(np.fft.ifft, None))
composite(np.fft.rfft2)(of_real_arrays(LAST_TWO))
composite(np.fft.rfftn)(of_real_arrays(None))
composite(np.fft.irfft2)(to_real_arrays(LAST_TWO))
composite(np.fft.irfftn)(to_real_arrays(None))
