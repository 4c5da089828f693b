"""Vector registers for numba: values of one to four registers of 64 bytes, on which a few operations act lane by lane.

LLVM's own vectoriser keeps neither the states nor the poles of a recurrence in registers. Written with these, a loop over time touches memory
for its input and output only. On processors with narrower registers LLVM splits each value by itself.

How many registers a value fills is said by the length of a tuple, `width`, whose type carries it: one source of a kernel serves all widths.
All arrays are contiguous, and indices count numbers from their start. NaN and infinity keep their meaning.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import models, register_model

from perdure.ops.machine_code import instruction

BYTES = 64


class Lanes(types.Type):
    """`count` numbers of type `scalar`, as an LLVM vector."""

    def __init__(self, scalar: Any, count: int) -> None:
        self.scalar, self.count = scalar, count
        super().__init__(f"Lanes({scalar}, {count})")


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    """How numba holds `Lanes`."""

    def __init__(self, manager: Any, lanes: Any) -> None:
        super().__init__(manager, lanes, ir.VectorType(_float(lanes.scalar), lanes.count))


def _float(scalar: Any) -> ir.Type:
    return ir.FloatType() if scalar.bitwidth == 32 else ir.DoubleType()


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any, to: ir.Type) -> Any:
    start = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(start, [index]), to.as_pointer())


def _call(builder: Any, name: str, returns: ir.Type, args: list[Any], **flags: Any) -> Any:
    vector = args[-1].type
    suffix = f"v{vector.count}f{32 if isinstance(vector.element, ir.FloatType) else 64}"
    signature = ir.FunctionType(returns, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{suffix}"), args, **flags)


@instruction
def load(typing, array, index, width):
    """As many registers as `width` has members, of numbers of `array` from `index` on."""
    lanes = Lanes(array.dtype, len(width) * BYTES * 8 // array.dtype.bitwidth)

    def build(context, builder, signature, args):
        to = context.get_value_type(lanes)
        return builder.load(_address(context, builder, signature.args[0], args[0], args[1], to), align=array.dtype.bitwidth // 8)

    return lanes(array, types.intp, width), build


@instruction
def store(typing, array, index, x):
    """Put the lanes of `x` into `array` from `index` on."""

    def build(context, builder, signature, args):
        builder.store(
            args[2], _address(context, builder, signature.args[0], args[0], args[1], args[2].type), align=array.dtype.bitwidth // 8
        )
        return context.get_dummy_value()

    return types.void(array, types.intp, x), build


@instruction
def accumulate(typing, array, index, x):
    """Add the lanes of `x` to the float64 `array` from `index` on."""

    def build(context, builder, signature, args):
        wide = ir.VectorType(ir.DoubleType(), args[2].type.count)
        address = _address(context, builder, signature.args[0], args[0], args[1], wide)
        value = args[2] if x.scalar.bitwidth == 64 else builder.fpext(args[2], wide)
        builder.store(builder.fadd(builder.load(address, align=8), value), address, align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, x), build


@instruction
def splat(typing, number, width):
    """One number in every lane of as many registers as `width` has members."""
    lanes = Lanes(number, len(width) * BYTES * 8 // number.bitwidth)

    def build(context, builder, signature, args):
        to = context.get_value_type(lanes)
        first = builder.insert_element(ir.Constant(to, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(
            first, ir.Constant(to, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), to.count), [0] * to.count)
        )

    return lanes(number, width), build


@instruction
def times(typing, x, y):
    """X y."""

    def build(context, builder, signature, args):
        return builder.fmul(*args)

    return x(x, x), build


@instruction
def plus(typing, x, y):
    """X + y."""

    def build(context, builder, signature, args):
        return builder.fadd(*args)

    return x(x, x), build


@instruction
def more(typing, z, x, y):
    """Z + x y, rounded once where the processor can."""

    def build(context, builder, signature, args):
        z, x, y = args
        return _call(builder, "fmuladd", z.type, [x, y, z])

    return z(z, z, z), build


@instruction
def less(typing, z, x, y):
    """Z - x y, rounded once where the processor can."""

    def build(context, builder, signature, args):
        z, x, y = args
        return _call(builder, "fmuladd", z.type, [builder.fneg(x), y, z])

    return z(z, z, z), build


@instruction
def total(typing, x):
    """The sum of the lanes, in any order."""

    def build(context, builder, signature, args):
        zero = ir.Constant(args[0].type.element, -0.0)
        return _call(builder, "vector.reduce.fadd", args[0].type.element, [zero, args[0]], fastmath=("reassoc",))

    return x.scalar(x), build
