"""Matrix products inside compiled loops, by the BLAS that torch itself brings.

A compiled step multiplies at most a few hundred rows, thousands of times a second, so that the product is called straight from machine
code. torch's CPU builds for x86 export the Fortran names of MKL, and MKL lets each thread say that its own products stay on that
thread, which products called from several threads at once need. Where either is missing (`ADDRESSES` is all zeros) plain loops take
over; OpenBLAS, which numba's own numpy.dot would call, may hang when it is called from several threads.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import torch
from llvmlite import ir
from numba import types

from perdure.ops.machine_code import compiled, instruction

NAMES = ("sgemm_", "dgemm_", "MKL_Set_Num_Threads_Local")


def addresses() -> tuple[int, int, int]:
    """Addresses of sgemm, dgemm and MKL's thread setting, or three zeros."""
    folder = Path(torch.__file__).parent / "lib"
    for name in ("libtorch_cpu.so", "torch_cpu.dll", "libtorch_cpu.dylib"):
        if (folder / name).exists():
            try:
                library = ctypes.CDLL(str(folder / name))
                found = [ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value or 0 for symbol in NAMES]
            except (OSError, AttributeError):
                return (0, 0, 0)
            return (found[0], found[1], found[2]) if all(found) else (0, 0, 0)
    return (0, 0, 0)


ADDRESSES = addresses()


@instruction
def _call_gemm(typingctx, address, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """The Fortran subroutine at an address: thirteen pointers, nothing returned."""

    def build(context, builder, signature, args):
        pointer = ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [pointer] * 13)
        target = builder.inttoptr(args[0], function.as_pointer())
        builder.call(target, [builder.bitcast(arg, pointer) for arg in args[1:]])
        return context.get_dummy_value()

    return types.void(types.int64, *([types.voidptr] * 13)), build


@instruction
def _call_threads(typingctx, address, count):
    """Int f(int) at an address."""

    def build(context, builder, signature, args):
        function = ir.FunctionType(ir.IntType(32), [ir.IntType(32)])
        return builder.call(builder.inttoptr(args[0], function.as_pointer()), [args[1]])

    return types.int32(types.int64, types.int32), build


@compiled
def own_threads(address, count):
    """Limit products called from this thread to `count` threads (0: no limit of its own); the limit before."""
    return _call_threads(address, np.int32(count)) if address != 0 else np.int32(0)


@compiled
def product(address, letters, dims, scale, a, b, c):
    """C <- op(B) op(A) + scale[1] C for flat row-major matrices, by the letters' N (as it is) or T (transposed) of A and B.

    dims is (columns of C, rows of C, inner size, columns of A, columns of B) as int32, scale is (1, beta). Seen by columns, as Fortran does,
    it is C^T <- op(A)^T op(B)^T.
    """
    _call_gemm(
        address, letters.ctypes, letters[1:].ctypes, dims.ctypes, dims[1:].ctypes, dims[2:].ctypes, scale.ctypes, a.ctypes, dims[3:].ctypes,
        b.ctypes, dims[4:].ctypes, scale[1:].ctypes, c.ctypes, dims.ctypes,
    )  # fmt: skip
