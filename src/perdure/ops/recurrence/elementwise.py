r"""sigma(z) and sigma'(z) of a block of numbers, vectorised: what every step of a compiled recurrence does besides its product.

tanh, sigmoid and the others come from e^y - 1 with y = n log 2 + r, |r| <= log(2) / 2:  e^y - 1 = 2^n (e^r - 1) + (2^n - 1), with e^r - 1 by its
Taylor polynomial, whose remainder r^(d+1) / (d+1)! is below rounding at degree d = 7 (float32) and 13 (float64). At n = 0 the result
keeps its relative precision, so that tanh(z) = e / (e + 2), e = e^(2 z) - 1, is accurate to a few roundings for small z as well: the tail of a
memory is made of small numbers. The code has no branches, so that LLVM turns the loops into vector instructions. NaN stays NaN, in sigma' too (that
of linear is 1 everywhere). At infinity both are what torch says, softsign and silu' NaN among them; but gelu(inf) = inf with slope 1, where torch has
inf in some builds and sizes and NaN in others.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import types

from perdure.ops.machine_code import by_type, compiled, instruction
from perdure.ops.recurrence.activations import CODES

INVERSE_LOG2 = 1.4426950408889634
# log 2 in two parts, of which the first times any n in range is exact
LOG2_HIGH_32, LOG2_LOW_32 = np.float32(0.693145751953125), np.float32(math.log(2) - 0.693145751953125)
LOG2_HIGH_64, LOG2_LOW_64 = 0.6931471803691238, math.log(2) - 0.6931471803691238 + 2.319046813846299e-17
TANH, HARDTANH, LINEAR, RELU, SIGMOID, SOFTPLUS, ELU, GELU, SILU, SOFTSIGN = (CODES[name] for name in (
    "tanh", "hardtanh", "linear", "relu", "sigmoid", "softplus", "elu", "gelu", "silu", "softsign"))  # fmt: skip


@instruction
def _two_to_32(typingctx, n):
    """2^n as float32, for an int32 n in [-126, 127]: the exponent field itself."""

    def build(context, builder, signature, args):
        biased = builder.add(args[0], ir.Constant(ir.IntType(32), 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(ir.IntType(32), 23)), ir.FloatType())

    return types.float32(types.int32), build


@instruction
def _two_to_64(typingctx, n):
    """2^n as float64, for an int64 n in [-1022, 1023]."""

    def build(context, builder, signature, args):
        biased = builder.add(args[0], ir.Constant(ir.IntType(64), 1023))
        return builder.bitcast(builder.shl(biased, ir.Constant(ir.IntType(64), 52)), ir.DoubleType())

    return types.float64(types.int64), build


@instruction
def _floor(typingctx, y):
    """The floor of a float as a float of the same type (math.floor makes an integer, which does not vectorise)."""

    def build(context, builder, signature, args):
        return builder.call(builder.module.declare_intrinsic("llvm.floor", [args[0].type]), args)

    return y(y), build


def parts(y):
    """(p, q) with e^y - 1 = q p + (q - 1) and e^y = q p + q, q a power of two, for y below 88 (float32) or 700 (float64).

    Numbers below -87 or -700 count as that. NaN gives some number: the caller puts NaN back.
    """
    return math.expm1(y), 1.0


@by_type(parts)
def _parts(y):
    kind = np.float32 if y == types.float32 else np.float64
    degree, lowest = (7, kind(-87.0)) if kind is np.float32 else (13, kind(-700.0))
    high, low = (LOG2_HIGH_32, LOG2_LOW_32) if kind is np.float32 else (LOG2_HIGH_64, LOG2_LOW_64)
    half, per = kind(0.5), kind(INVERSE_LOG2)
    weights = tuple(kind(1 / math.factorial(k)) for k in range(degree, 1, -1))
    power = _two_to_32 if kind is np.float32 else _two_to_64
    whole = np.int32 if kind is np.float32 else np.int64
    terms = degree - 1

    def implementation(y):
        y = lowest if y < lowest else y
        n = _floor(y * per + half)
        r = (y - n * high) - n * low
        total = weights[0]
        for k in range(1, terms):
            total = total * r + weights[k]
        return r + r * r * total, power(whole(n))

    return implementation


def _log1p(u):
    """log(1 + u) for u in [0, 1], as 2 artanh(s), s = u / (2 + u) <= 1/3: an odd series in s that is below rounding at s^17 or s^33."""
    return math.log1p(u)


@by_type(_log1p)
def _log1p_series(u):
    kind, terms = (np.float32, 8) if u == types.float32 else (np.float64, 16)
    two, weights = kind(2), tuple(kind(2 / (2 * k + 1)) for k in range(terms - 1, -1, -1))

    def series(u):
        s = u / (two + u)
        square, total = s * s, weights[0]
        for k in range(1, terms):
            total = total * square + weights[k]
        return s * total

    return series


@compiled
def tanh(v):
    """Hyperbolic tangent of one number."""
    kind = type(v)
    one, two, top = kind(1), kind(2), kind(40)
    y = v + v
    p, q = parts(top if y > top else y)
    e = q * p + (q - one)
    s = e / (e + two)
    return s if v == v else v


@compiled
def activate(code, z, slope):
    """Z <- sigma(z) and slope <- sigma'(z), for one-dimensional arrays of one size."""
    kind = z.dtype.type
    zero, half, one, top = kind(0), kind(0.5), kind(1), kind(40)
    if code == TANH:
        for i in range(z.size):
            s = tanh(z[i])
            z[i] = s
            slope[i] = one - s * s
    elif code == HARDTANH:
        for i in range(z.size):
            v = z[i]
            s = one if v > one else (-one if v < -one else v)
            z[i] = s
            slope[i] = (one if abs(v) < one else zero) + (s - s)
    elif code == LINEAR:
        for i in range(z.size):
            slope[i] = one
    elif code == RELU:
        for i in range(z.size):
            v = z[i]
            z[i] = zero if v < zero else v
            slope[i] = one if v > zero else (zero if v == v else v)
    elif code == SIGMOID:
        for i in range(z.size):
            v = z[i]
            p, q = parts(-abs(v))
            e = q * p + q
            z[i] = (one if v >= zero else e) / (one + e) if v == v else v
            slope[i] = e / ((one + e) * (one + e))
    elif code == SOFTPLUS:
        for i in range(z.size):
            v = z[i]
            p, q = parts(-abs(v))
            e = q * p + q
            slope[i] = (one if v >= zero else e) / (one + e)
            z[i] = (v if v > zero else zero) + _log1p(e) if v == v else v
    elif code == ELU:
        for i in range(z.size):
            v = z[i]
            p, q = parts(zero if v > zero else v)
            z[i] = v if (v > zero or v != v) else q * p + (q - one)
            slope[i] = one if v > zero else q * p + q
    elif code == GELU:
        root, density = kind(0.7071067811865476), kind(0.3989422804014327)
        for i in range(z.size):
            v = z[i]
            share = half * (one + math.erf(v * root))
            z[i] = v * share if v > -top else v - v
            slope[i] = share + (v * density * math.exp(-half * v * v) if abs(v) < top else (zero if v > zero else v - v))
    elif code == SILU:
        for i in range(z.size):
            v = z[i]
            p, q = parts(-abs(v))
            e = q * p + q
            share = (one if v >= zero else e) / (one + e)
            z[i] = v * share if v > -kind(1e4) else v - v  # 0, but NaN for NaN and, as in torch, for -inf
            rest = (e if v >= zero else one) / (one + e)
            slope[i] = share * (one + (v * rest if abs(v) < kind(1e4) else zero)) + (v - v)
    elif code == SOFTSIGN:
        for i in range(z.size):
            v = z[i]
            size = one + abs(v)
            share = v / size
            z[i] = share
            slope[i] = one / (size * size) + (share - share)  # NaN where sigma is
