"""i64 arithmetic for loop control and addresses, and calls: operands are registers (`%v1`) or literals, and literals fold.

mul(fn, "%i", 1) == "%i"      mul(fn, "3", "4") == "12"      add(fn, "%i", "0") == "%i"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.codegen.builder import Function

Int = str | int


def _fold(fn: Function, opcode: str, x: Int, y: Int, compute: Callable[[int, int], int]) -> str:
    x, y = str(x), str(y)
    if x[0] != "%" and y[0] != "%":
        return str(compute(int(x), int(y)))
    return fn.op(f"{opcode} i64 {x}, {y}")


def add(fn: Function, x: Int, y: Int) -> str:
    if str(x) == "0" or str(y) == "0":
        return str(y) if str(x) == "0" else str(x)
    return _fold(fn, "add", x, y, lambda a, b: a + b)


def sub(fn: Function, x: Int, y: Int) -> str:
    return str(x) if str(y) == "0" else _fold(fn, "sub", x, y, lambda a, b: a - b)


def mul(fn: Function, x: Int, y: Int) -> str:
    if str(x) == "0" or str(y) == "0":
        return "0"
    if str(x) == "1" or str(y) == "1":
        return str(y) if str(x) == "1" else str(x)
    return _fold(fn, "mul", x, y, lambda a, b: a * b)


def floordiv(fn: Function, x: Int, y: int) -> str:
    """Of a non-negative x."""
    return str(x) if y == 1 else _fold(fn, "udiv", x, y, lambda a, b: a // b)


def mod(fn: Function, x: Int, y: int) -> str:
    """Of a non-negative x."""
    return "0" if y == 1 else _fold(fn, "urem", x, y, lambda a, b: a % b)


def minimum(fn: Function, x: Int, y: Int) -> str:
    if str(x)[0] != "%" and str(y)[0] != "%":
        return str(min(int(x), int(y)))
    return fn.op(f"select i1 {fn.op(f'icmp slt i64 {x}, {y}')}, i64 {x}, i64 {y}")


def select(fn: Function, condition: str, x: Int, y: Int) -> str:
    """x where the i1 `condition` holds, else y; the condition is not looked at where both are the same."""
    return str(x) if str(x) == str(y) else fn.op(f"select i1 {condition}, i64 {x}, i64 {y}")


def equal(fn: Function, x: Int, y: Int) -> str:
    return fn.op(f"icmp eq i64 {x}, {y}")


def step(fn: Function, pointer: str, bytes_: Int) -> str:
    """`pointer` moved by that many bytes."""
    return pointer if str(bytes_) == "0" else fn.op(f"getelementptr i8, ptr {pointer}, i64 {bytes_}")


def call(fn: Function, function: str, params: Sequence[tuple[str, str]], *values: Int) -> None:
    """Call a function without a result, `@name` or a pointer, with the parameters that it declares."""
    fn.do(f"call void {function}({', '.join(f'{type_} {value}' for (type_, _), value in zip(params, values, strict=True))})")
