"""exp, log, sin, cos and tanh as arithmetic that a compiler can vectorise.

Owns: these functions of one number; loops contain their text.
Must not own: anything about loops or programs (`loops.py`).
Read next: `loops.py`.

The C library's functions take one number at a time, and so do NumPy's sin and cos of
float64. Without branches or calls, eight numbers take the time of one. Each function
reduces its argument to a small one in exact or nearly exact steps and sums a series
there. The results are within 3 units in the last place, including for NaN, infinities,
signed zeros, subnormal numbers and huge arguments. Adding and subtracting 1.5 * 2**52
rounds to an integer, which is then in the low bits. All computation is in float64,
except exp, log and tanh of a float32.
"""

import math
from typing import Any

import numpy as np

ROUND, ROUND32 = 6755399441055744.0, np.float32(12582912.0)  # 1.5 * 2**52, 1.5 * 2**23
QUARTERS: Any = None  # the result of `quarters`, where it is needed


def add(total: Any, x: Any) -> Any:
    """Return a sum with one more number; additions may be reordered to vectorise."""
    return total + x


def multiply(total: Any, x: Any) -> Any:
    """Return a product with one more number, in any order."""
    return total * x


def add_product(total: Any, x: Any, y: Any) -> Any:
    """Return a sum with one more product, unrounded, in any order."""
    return total + x * y


def maximum(x: Any, y: Any) -> Any:
    """Return the larger number, NaN if either is NaN."""
    return x if x > y or x != x else y


def minimum(x: Any, y: Any) -> Any:
    """Return the smaller number, NaN if either is NaN."""
    return x if x < y or x != x else y


def where(condition: Any, x: Any, y: Any) -> Any:
    """Return x or y; both have been computed."""
    return x if condition else y


def share(x: Any, y: Any, most: Any, least: Any, mean: Any) -> Any:
    """Return `most` where x is larger than y, `least` where it is smaller, their mean
    where the two are equal, and NaN for NaN.
    """
    other = least if x < y else (mean if x == y else x + y)
    return most if x > y else other


def inverse_root(x: Any, one: Any) -> Any:
    """Return x**-0.5: infinity for -0.0, 0 for -infinity."""
    root = abs(one / np.sqrt(x))
    return one - one if x == -np.inf else root


def clip(x: Any, low: Any, high: Any) -> Any:
    """Return x or the bound that it exceeds, NaN if any of them is NaN.

    An x equal to a bound keeps its sign.
    """
    x = x if x >= low or x != x else low
    return x if x <= high or x != x else high


def at(i: Any, n: Any) -> Any:
    """Return an index counted from the front."""
    if i < -n or i >= n:
        raise IndexError("an index is out of bounds: it must lie between -n and n - 1 for an axis of length n")
    return i + n if i < 0 else i


def power_of_e(x: Any) -> Any:
    """Return n and e**r - 1, where x = n ln 2 + r with a small r."""
    shifted = x * 1.4426950408889634 + ROUND
    n = np.float64(shifted).view(np.int64) - np.float64(ROUND).view(np.int64)
    k = shifted - ROUND
    r = (x - k * 0.6931471803691238) - k * 1.9082149292705877e-10
    p = 1 / 479001600 + r / 6227020800
    p = 1 / 3628800 + r * (1 / 39916800 + r * p)
    p = 1 / 40320 + r * (1 / 362880 + r * p)
    p = 1 / 720 + r * (1 / 5040 + r * p)
    p = 1 / 24 + r * (1 / 120 + r * p)
    return n, r + r * r * (1 / 2 + r * (1 / 6 + r * p))


def power_of_e32(x: Any) -> Any:
    """Return the same for a float32."""
    shifted = np.float32(x * np.float32(1.4426950408889634) + ROUND32)
    n = np.int32(np.float32(shifted).view(np.int32) - np.float32(ROUND32).view(np.int32))
    k = shifted - ROUND32
    r = (x - k * np.float32(0.693359375)) - k * np.float32(-2.12194440e-4)
    p = np.float32(1 / 720) + r * np.float32(1 / 5040)
    p = np.float32(1 / 24) + r * (np.float32(1 / 120) + r * p)
    return n, r + r * r * (np.float32(1 / 2) + r * (np.float32(1 / 6) + r * p))


def exp(x: Any) -> Any:
    """Return e**x."""
    x = 800.0 if x > 800.0 else x
    x = -800.0 if x < -800.0 else x
    n, p = power_of_e(x)
    half = n >> 1  # two factors, so that neither overflows before the result does
    return (
        (p + 1.0) * np.int64((half + 1023) << 52).view(np.float64) * np.int64((n - half + 1023) << 52).view(np.float64)
    )


def exp32(x: Any) -> Any:
    """Return e**x of a float32."""
    x = np.float32(120.0) if x > np.float32(120.0) else x
    x = np.float32(-120.0) if x < np.float32(-120.0) else x
    n, p = power_of_e32(x)
    half = np.int32(n >> 1)
    scale = np.int32((half + 127) << 23).view(np.float32)
    return (p + np.float32(1.0)) * scale * np.int32((n - half + 127) << 23).view(np.float32)


def log(x: Any) -> Any:
    """Return log(x) = n log(2) + log(1 + f), with 1 + f between the roots of 1/2 and 2.

    log(1 + f) is 2 artanh(f / (2 + f)).
    """
    tiny = x < 2.2250738585072014e-308
    bits = np.float64(x * 18014398509481984.0 if tiny else x).view(np.int64)  # 2**54
    n = (bits - 4604544271217802188) >> 52  # the bits of the root of 1/2
    f = np.int64(bits - (n << 52)).view(np.float64) - 1.0
    k = np.float64(n) - (54.0 if tiny else 0.0)
    s = f / (2.0 + f)
    z = s * s
    p = 2 / 19 + z * (2 / 21)
    p = 2 / 15 + z * (2 / 17 + z * p)
    p = 2 / 11 + z * (2 / 13 + z * p)
    p = 2 / 7 + z * (2 / 9 + z * p)
    p = z * (2 / 3 + z * (2 / 5 + z * p))
    h = 0.5 * f * f
    y = k * 0.6931471803691238 - ((h - (s * (h + p) + k * 1.9082149292705877e-10)) - f)
    y = x if x == np.inf or x != x else y
    return y if x > 0.0 or x != x else (-np.inf if x == 0.0 else np.nan)


def log32(x: Any) -> Any:
    """Return log(x) of a float32."""
    tiny = x < np.float32(1.17549435e-38)
    bits = np.float32(x * np.float32(33554432.0) if tiny else x).view(np.int32)  # 2**25
    n = np.int32(np.int32(bits - np.int32(1060439283)) >> 23)  # the bits of the root of 1/2
    f = np.int32(bits - (n << 23)).view(np.float32) - np.float32(1.0)
    k = np.float32(np.int32(n)) - (np.float32(25.0) if tiny else np.float32(0.0))
    s = f / (np.float32(2.0) + f)
    z = s * s
    p = z * (np.float32(2 / 3) + z * (np.float32(2 / 5) + z * (np.float32(2 / 7) + z * np.float32(2 / 9))))
    h = np.float32(0.5) * f * f
    y = k * np.float32(0.693359375) - ((h - (s * (h + p) + k * np.float32(-2.12194440e-4))) - f)
    y = x if x == np.float32(np.inf) or x != x else y
    low = np.float32(-np.inf) if x == np.float32(0.0) else np.float32(np.nan)
    return y if x > np.float32(0.0) or x != x else low


def tanh(x: Any) -> Any:
    """Return tanh(x) = y / (y + 2), y = e**(2 |x|) - 1, without cancellation near 0."""
    a = abs(x)
    a = 40.0 if a > 20.0 else 2.0 * a
    n, p = power_of_e(a)
    scale = np.int64((n + 1023) << 52).view(np.float64)
    y = scale * p + (scale - 1.0)
    return math.copysign(y / (y + 2.0), x)


def tanh32(x: Any) -> Any:
    """Return tanh(x) of a float32; from 9.01 on it is 1."""
    a = abs(x)
    a = np.float32(20.0) if a > np.float32(10.0) else a + a
    n, p = power_of_e32(a)
    scale = np.int32((n + 127) << 23).view(np.float32)
    y = scale * p + (scale - np.float32(1.0))
    t = y / (y + np.float32(2.0))
    return np.int32(np.float32(t).view(np.int32) | (np.float32(x).view(np.int32) & np.int32(-2147483648))).view(
        np.float32
    )


def two_sum(x: Any, y: Any) -> Any:
    """Return x + y and its rounding error."""
    total = x + y
    z = total - x
    return total, (x - (total - z)) + (y - z)


def modulo_4(x: Any) -> Any:
    """Return the number closest to 0 that differs from x by a multiple of 4."""
    return x - 4.0 * ((0.25 * x + ROUND) - ROUND)


def quarter_turns(x: Any) -> Any:
    """Return how often pi/2 fits into x, modulo 4 in the low bits, and the rest.

    The rest is in radians. A large x is m * 2**e with an integer m of 53 bits. A table
    holds 2**e * 2/pi, without multiples of 4, in pieces of 25 bits: their products with
    either half of m are exact. The pieces suffice for the double that comes closest to
    a multiple of pi/2.
    """
    exponent = ((np.float64(x).view(np.int64) >> 52) & 2047) - 1023
    e = 0 if exponent < 0 else exponent
    m = x * np.int64((1075 - e) << 52).view(np.float64)
    high = np.int64(np.float64(m).view(np.int64) & -134217728).view(np.float64)  # without the low 27 bits
    low = m - high
    a, b, c, d, f = QUARTERS[0, e], QUARTERS[1, e], QUARTERS[2, e], QUARTERS[3, e], QUARTERS[4, e]
    r = (modulo_4(low * a) + modulo_4(high * b)) + (modulo_4(low * b) + modulo_4(high * c))  # exact
    shifted = r + ROUND
    r = r - (shifted - ROUND)  # exact
    second, e1 = two_sum(low * c, high * d)
    third, e2 = two_sum(low * d, high * f)
    r, e3 = two_sum(r, second)
    r, e4 = two_sum(r, third)
    rest = ((e1 + e2) + (e3 + e4)) + (low * f + m * QUARTERS[5, e])
    n = np.float64(shifted).view(np.int64)
    return n, r * 1.5707963267948966 + (r * 6.123233995736766e-17 + rest * 1.5707963267948966)


def wave(n: Any, y: Any) -> Any:
    """Return the sine of n quarter turns and y, |y| <= pi/4."""
    z = y * y
    s = 1 / 6227020800 + z * (-1 / 1307674368000 + z * (1 / 355687428096000))
    s = -1 / 5040 + z * (1 / 362880 + z * (-1 / 39916800 + z * s))
    s = y + y * z * (-1 / 6 + z * (1 / 120 + z * s))
    c = 1 / 479001600 + z * (-1 / 87178291200 + z * (1 / 20922789888000))
    c = -1 / 720 + z * (1 / 40320 + z * (-1 / 3628800 + z * c))
    c = 1.0 - z * (0.5 - z * (1 / 24 + z * c))
    value = c if n & 1 else s
    return -value if n & 2 else value


def sin(x: Any) -> Any:
    """Return sin(x)."""
    n, y = quarter_turns(x)
    value = wave(n, y)  # always computed, so that the compiler sees what sin(x) and cos(x) share
    # By bits: a branch would only compute the value where it is needed, one at a time
    is_small = -np.int64(abs(x) < 1e-8)  # all bits or none
    bits = (np.float64(x).view(np.int64) & is_small) | (np.float64(value).view(np.int64) & ~is_small)
    return np.int64(bits).view(np.float64)


def cos(x: Any) -> Any:
    """Return cos(x)."""
    n, y = quarter_turns(x)
    return wave(n + 1, y)


def quarters() -> Any:
    """Return 2**(e - 52) * 2/pi modulo 4, e = 0, 1, ..., 1024, in pieces.

    Each is the sum of five numbers of 25 bits and the rest.
    """
    digits = 1300

    def arctan_of_inverse(n: Any) -> Any:
        term = total = (1 << digits) // n
        for k in range(1, digits):
            term //= -n * n
            total += term // (2 * k + 1)
        return total

    pi = 16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239)  # Machin's formula
    table = np.empty((6, 1025))
    for e in range(1025):
        left = ((2 << (2 * digits + e - 52)) // pi) % (4 << digits)
        for piece, unit in enumerate((23, 48, 73, 98, 123)):
            number = left >> (digits - unit)
            left -= number << (digits - unit)
            table[piece, e] = math.ldexp(number, -unit)
        table[5, e] = math.ldexp(left >> (digits - 176), -176)
    return table
