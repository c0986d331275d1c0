"""The scalar builder that emits LLVM: one method call, one instruction over all lanes.

    b = LaneBuilder(fn, target)
    x = Value("%x", float32, 8)
    b.mul(x, b.const(2, float32))      # %v1 = fmul <8 x float> %x, splat (float 0x4000000000000000)

A value of one lane is the same for every lane (a constant, a row's value) and is computed once, in a scalar register; where it
meets a wider value it is splatted. Lanes never influence one another, so a value's bits do not depend on how many there are.
No instruction carries a fast-math flag, and a product is fused with a sum only by `fma`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from graphc.codegen.builder import Function
from graphc.codegen.loops import repeat
from graphc.codegen.target import Target
from graphc.codegen.values import ELEMENT, ONES, TWIN, Value, literal, literal_value, llvm_type, type_suffix
from graphc.types import bool_, is_bool, is_float

# Python's comparison names by kind: ordered for floats except `ne`, unsigned for bool.
_COMPARE = {
    "eq": {"f": "fcmp oeq", "i": "icmp eq", "b": "icmp eq"},
    "ne": {"f": "fcmp une", "i": "icmp ne", "b": "icmp ne"},
    "lt": {"f": "fcmp olt", "i": "icmp slt", "b": "icmp ult"},
    "le": {"f": "fcmp ole", "i": "icmp sle", "b": "icmp ule"},
    "gt": {"f": "fcmp ogt", "i": "icmp sgt", "b": "icmp ugt"},
    "ge": {"f": "fcmp oge", "i": "icmp sge", "b": "icmp uge"},
}
_ADD = {"f": "fadd", "i": "add", "b": "or"}
_SUB = {"f": "fsub", "i": "sub", "b": "xor"}
_MUL = {"f": "fmul", "i": "mul", "b": "and"}


class LaneBuilder:
    """Implements `graphc.scalar.ScalarBuilder`, and the primitives that the math functions are written in."""

    def __init__(self, fn: Function, target: Target):
        self.fn = fn
        self.target = target
        self.unrolled = False  # whether to spend LLVM's time on `repeat`
        self._splats: dict[tuple[str, str, int], str] = {}

    # --- values ----------------------------------------------------------------------------------------------------------------

    def const(self, value: float | bool, dtype: np.dtype) -> Value:
        return Value(literal(value, dtype), dtype, 1)

    def splat(self, x: Value, lanes: int) -> Value:
        """`x` in every lane."""
        return x if x.lanes == lanes else Value(self.operand(x, lanes), x.dtype, lanes)

    def operand(self, x: Value, lanes: int) -> str:
        """The text of `x` as an operand of that many lanes."""
        if x.lanes == lanes:
            return x.name
        if x.lanes != 1:
            raise AssertionError(f"{x.lanes} lanes meet {lanes}")
        element = ELEMENT[x.dtype]
        if x.name[0] != "%":
            return f"splat ({element} {x.name})"
        key = (self.fn.block, x.name, lanes)
        known = self._splats.get(key)
        if known is None:
            vector = f"<{lanes} x {element}>"
            one = self.fn.op(f"insertelement {vector} poison, {element} {x.name}, i64 0")
            known = self.fn.op(f"shufflevector {vector} {one}, {vector} poison, <{lanes} x i32> zeroinitializer")
            self._splats[key] = known
        return known

    def binary(self, opcode: str, x: Value, y: Value) -> Value:
        lanes = max(x.lanes, y.lanes)
        text = f"{opcode} {llvm_type(x.dtype, lanes)} {self.operand(x, lanes)}, {self.operand(y, lanes)}"
        return Value(self.fn.op(text), x.dtype, lanes)

    def convert(self, opcode: str, x: Value, dtype: np.dtype) -> Value:
        text = f"{opcode} {llvm_type(x.dtype, x.lanes)} {x.name} to {llvm_type(dtype, x.lanes)}"
        return Value(self.fn.op(text), dtype, x.lanes)

    def intrinsic(self, name: str, *args: Value, extra: str = "") -> Value:
        """Call llvm.`name`, whose operands and result have one type; `extra` is a flag operand, as `i1 false`."""
        lanes = max(arg.lanes for arg in args)
        dtype = args[0].dtype
        type_ = llvm_type(dtype, lanes)
        full = f"@llvm.{name}.{type_suffix(dtype, lanes)}"
        flags = [extra] if extra else []
        self.fn.module.declare(full, f"{type_} {full}({', '.join([type_] * len(args) + [flag.split()[0] for flag in flags])})")
        operands = ", ".join([f"{type_} {self.operand(arg, lanes)}" for arg in args] + flags)
        return Value(self.fn.op(f"call {type_} {full}({operands})"), dtype, lanes)

    def _compare(self, name: str, x: Value, y: Value) -> Value:
        return self.binary(_COMPARE[name][x.dtype.kind], x, y)._replace(dtype=bool_)

    # --- arithmetic ------------------------------------------------------------------------------------------------------------

    def add(self, x: Value, y: Value) -> Value:
        return self.binary(_ADD[x.dtype.kind], x, y)

    def sub(self, x: Value, y: Value) -> Value:
        return self.binary(_SUB[x.dtype.kind], x, y)

    def mul(self, x: Value, y: Value) -> Value:
        return self.binary(_MUL[x.dtype.kind], x, y)

    def div(self, x: Value, y: Value) -> Value:
        return self.binary("fdiv", x, y)

    def floordiv(self, x: Value, y: Value) -> Value:
        from graphc.codegen import division

        return division.floordiv(self, x, y)

    def mod(self, x: Value, y: Value) -> Value:
        from graphc.codegen import division

        return division.mod(self, x, y)

    def neg(self, x: Value) -> Value:
        if is_float(x.dtype):
            return Value(self.fn.op(f"fneg {llvm_type(x.dtype, x.lanes)} {x.name}"), x.dtype, x.lanes)
        return self.logical_not(x) if is_bool(x.dtype) else self.sub(self.const(0, x.dtype), x)

    def abs(self, x: Value) -> Value:
        if is_float(x.dtype):
            return self.intrinsic("fabs", x)
        return x if is_bool(x.dtype) else self.intrinsic("abs", x, extra="i1 false")

    def sign(self, x: Value) -> Value:
        if is_bool(x.dtype):
            return x
        zero, one, minus = (self.const(value, x.dtype) for value in (0, 1, -1))
        rest = self.where(self.eq(x, zero), zero, x) if is_float(x.dtype) else zero
        return self.where(self.lt(zero, x), one, self.where(self.lt(x, zero), minus, rest))

    def minimum(self, x: Value, y: Value) -> Value:
        return self._extremum(x, y, "lt", "smin", "and")

    def maximum(self, x: Value, y: Value) -> Value:
        return self._extremum(x, y, "gt", "smax", "or")

    def _extremum(self, x: Value, y: Value, better: str, integer: str, logical: str) -> Value:
        if is_bool(x.dtype):
            return self.binary(logical, x, y)
        if not is_float(x.dtype):
            return self.intrinsic(integer, x, y)
        if x.is_literal:
            x, y = y, x
        # The select is one minps or maxps, which yields x where either is NaN; so only a NaN in y needs a second look. A constant
        # there, because LLVM would merge two selects of y into a slower one; all ones, because then it is an `or` with the mask.
        # Not so on AVX-512, where a register of ones may be made anew in the loop, by an instruction that waits for what the
        # register held before.
        best = self.where(self._compare(better, y, x), y, x)
        if y.is_literal and not np.isnan(literal_value(y)):
            return best
        nan = self.const(np.nan, x.dtype) if self.target.vector_bytes == 64 else Value(ONES[x.dtype], x.dtype, 1)
        return self.where(self.is_nan(y), nan, best)

    def fma(self, x: Value, y: Value, z: Value) -> Value:
        """x * y + z, rounded once where the target can, else twice."""
        return self.intrinsic("fma", x, y, z) if self.target.has_fma else self.add(self.mul(x, y), z)

    # --- comparison and logic --------------------------------------------------------------------------------------------------

    def eq(self, x: Value, y: Value) -> Value:
        return self._compare("eq", x, y)

    def ne(self, x: Value, y: Value) -> Value:
        return self._compare("ne", x, y)

    def lt(self, x: Value, y: Value) -> Value:
        return self._compare("lt", x, y)

    def le(self, x: Value, y: Value) -> Value:
        return self._compare("le", x, y)

    def gt(self, x: Value, y: Value) -> Value:
        return self._compare("gt", x, y)

    def ge(self, x: Value, y: Value) -> Value:
        return self._compare("ge", x, y)

    def is_nan(self, x: Value) -> Value:
        return self.binary("fcmp uno", x, x)._replace(dtype=bool_)

    def logical_and(self, x: Value, y: Value) -> Value:
        return self.binary("and", x, y)

    def logical_or(self, x: Value, y: Value) -> Value:
        return self.binary("or", x, y)

    def logical_xor(self, x: Value, y: Value) -> Value:
        return self.binary("xor", x, y)

    def logical_not(self, x: Value) -> Value:
        return self.binary("xor", x, self.const(True if is_bool(x.dtype) else -1, x.dtype))

    def where(self, condition: Value, x: Value, y: Value) -> Value:
        lanes = max(condition.lanes, x.lanes, y.lanes)
        type_ = llvm_type(x.dtype, lanes)
        # One condition for all lanes stays scalar: LLVM then picks a whole register.
        test = f"{llvm_type(bool_, condition.lanes)} {condition.name}"
        text = f"select {test}, {type_} {self.operand(x, lanes)}, {type_} {self.operand(y, lanes)}"
        return Value(self.fn.op(text), x.dtype, lanes)

    def any(self, x: Value) -> str:
        """Whether a bool holds in some lane, as an i1."""
        if x.lanes == 1:
            return x.name
        full = f"@llvm.vector.reduce.or.v{x.lanes}i1"
        self.fn.module.declare(full, f"i1 {full}({llvm_type(bool_, x.lanes)})")
        return self.fn.op(f"call i1 {full}({llvm_type(bool_, x.lanes)} {x.name})")

    # --- conversion ------------------------------------------------------------------------------------------------------------

    def cast(self, x: Value, dtype: np.dtype) -> Value:
        if x.dtype == dtype:
            return x
        source, width, goal = x.dtype.kind, x.dtype.itemsize, dtype.kind
        if goal == "b":
            return self.ne(x, self.const(0, x.dtype))
        if source == "b":
            return self.convert("uitofp" if goal == "f" else "zext", x, dtype)
        if source == goal == "f":
            return self.convert("fpext" if width < dtype.itemsize else "fptrunc", x, dtype)
        if source == goal == "i":
            return self.convert("sext" if width < dtype.itemsize else "trunc", x, dtype)
        if goal == "f":
            return self.convert("sitofp", x, dtype)
        return self._saturated(x, dtype)

    def _saturated(self, x: Value, dtype: np.dtype) -> Value:
        """A float as an integer: its limits beyond them, 0 for NaN. LLVM's own saturating conversion is done lane by lane."""
        limits = np.iinfo(dtype)
        low, high = self.const(limits.min, x.dtype), self.const(-limits.min, x.dtype)
        inside = self.lt(self.abs(x), high)
        result = self.convert("fptosi", self.where(inside, x, self.const(0, x.dtype)), dtype)
        result = self.where(self.ge(x, high), self.const(limits.max, dtype), result)
        return self.where(self.le(x, low), self.const(limits.min, dtype), result)

    def to_float(self, x: Value, dtype: np.dtype) -> Value:
        return self.convert("sitofp", x, dtype)

    def bitcast_int(self, x: Value) -> Value:
        return self.convert("bitcast", x, TWIN[x.dtype])

    def bitcast_float(self, x: Value) -> Value:
        return self.convert("bitcast", x, TWIN[x.dtype])

    def shift_left(self, x: Value, n: int | Value) -> Value:
        return self.binary("shl", x, self.const(n, x.dtype) if isinstance(n, int) else n)

    def shift_right(self, x: Value, n: int | Value, signed: bool = False) -> Value:
        return self.binary("ashr" if signed else "lshr", x, self.const(n, x.dtype) if isinstance(n, int) else n)

    # --- loops -----------------------------------------------------------------------------------------------------------------

    def repeat(
        self, times: int, vectors: Sequence[Value], scalars: Sequence[Value], body: Callable[[list[Value]], list[Value]]
    ) -> list[Value]:
        """`body` on its own results, `times` times over; of the values that it takes and gives, `scalars` stay the same for all
        lanes. In a loop LLVM's time is that for one round; unrolled, the processor's is a quarter less."""
        if self.unrolled:
            values = [*vectors, *scalars]
            for _ in range(times):
                values = body(values)
            return values
        lanes = max(x.lanes for x in vectors)
        initial = [*(self.splat(x, lanes) for x in vectors), *scalars]
        with repeat(self.fn, "0", str(times), 1, [(llvm_type(x.dtype, x.lanes), x.name) for x in initial]) as loop:
            after = body([x._replace(name=name) for x, name in zip(initial, loop.carried, strict=True)])
            loop.next(*(self.operand(x, old.lanes) for x, old in zip(after, initial, strict=True)))
        return [x._replace(name=name) for x, name in zip(initial, loop.results, strict=True)]

    # --- functions -------------------------------------------------------------------------------------------------------------

    def floor(self, x: Value) -> Value:
        return self.intrinsic("floor", x)

    def copysign(self, x: Value, y: Value) -> Value:
        return self.intrinsic("copysign", x, y)

    def sqrt(self, x: Value) -> Value:
        return self.intrinsic("sqrt", x)

    def rsqrt(self, x: Value) -> Value:
        return self.div(self.const(1, x.dtype), self.sqrt(x))

    def exp(self, x: Value) -> Value:
        return _math("exp", self, x)

    def expm1(self, x: Value) -> Value:
        return _math("expm1", self, x)

    def log(self, x: Value) -> Value:
        return _math("log", self, x)

    def log1p(self, x: Value) -> Value:
        return _math("log1p", self, x)

    def sigmoid(self, x: Value) -> Value:
        return _math("sigmoid", self, x)

    def tanh(self, x: Value) -> Value:
        return _math("tanh", self, x)

    def erf(self, x: Value) -> Value:
        return _math("erf", self, x)

    def sin(self, x: Value) -> Value:
        return _math("sin", self, x)

    def cos(self, x: Value) -> Value:
        return _math("cos", self, x)

    def power(self, x: Value, y: Value) -> Value:
        if is_float(x.dtype):
            return _math("power", self, x, y)
        from graphc.codegen import division

        return division.integer_power(self, x, y)


def _math(name: str, b: LaneBuilder, *args: Value) -> Value:
    from graphc.codegen import math

    function = getattr(math, name)
    if any(x.lanes > 1 or x.is_literal for x in args):
        return function(b, *args)
    # A single lane in a short register: LLVM takes scalar conditions through general registers, which then wait for each other.
    lanes = 16 // args[0].dtype.itemsize
    result = function(b, *(b.splat(x, lanes) for x in args))
    type_ = llvm_type(result.dtype, lanes)
    return Value(b.fn.op(f"extractelement {type_} {result.name}, i64 0"), result.dtype, 1)
