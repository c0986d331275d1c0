"""Inner loops as LLVM writes them: accumulators stay in registers, and math is as many instructions as it was counted to be."""

from __future__ import annotations

import numpy as np
import pytest
from native_kernels import Builder, chain, reduction, softmax
from test_codegen_contract import inner_loops

from graphc.codegen import llvm
from graphc.codegen.object import emit_kernel
from graphc.codegen.target import level_target
from graphc.program import Kernel
from graphc.types import float32, float64

# Vector instructions to one vector, loop control left out: (f32, f64).
MATH = {
    "exp": (25, 31),
    "expm1": (31, 38),
    "log": (40, 44),
    "tanh": (39, 40),
    "sigmoid": (31, 38),
    "sin": (35, 41),
    "cos": (35, 41),
}


def loops_of(kernel: Kernel, level: str) -> list[list[str]]:
    target = level_target(level)
    module = llvm.new_module(target)
    emit_kernel(module, target, kernel, 0)
    return inner_loops(llvm.emit_assembly(str(module), target))


def spills(loop: list[str]) -> list[str]:
    """Vectors that go through the stack."""
    return [line for line in loop if "%rsp" in line and "mm" in line]


def elementwise(name: str, dtype: np.dtype, size: int) -> Kernel:
    b = Builder((size,)).stage()
    source, result = b.slot(dtype, size), b.slot(dtype, size)
    b.store(result, b.point, b.op(name, b.load(source, b.point)))
    return b.kernel()


def adam(size: int) -> Kernel:
    b = Builder((size,)).stage()
    p, g, m, v = (b.slot(float32, size) for _ in range(4))
    gradient = b.load(g, b.point)

    def mixed(slot: int, keep: float, value: int) -> int:
        kept = b.op("mul", b.load(slot, b.point), b.const(keep, float32))
        total = b.op("add", kept, b.op("mul", value, b.const(1 - keep, float32)))
        b.store(slot, b.point, total)
        return total

    first, second = mixed(m, 0.9, gradient), mixed(v, 0.999, b.op("mul", gradient, gradient))
    step = b.op("div", first, b.op("add", b.op("sqrt", second), b.const(1e-8, float32)))
    b.store(p, b.point, b.op("sub", b.load(p, b.point), step))
    return b.kernel()


KERNELS = {
    "chain": chain(100_000),
    "adam": adam(100_000),
    "softmax": softmax(64, 512),
    "row sum": reduction("sum", (64,), (512,), float32, "inner", False),
    "row max": reduction("max", (64,), (512,), float32, "inner", False),
    "column sum": reduction("sum", (512,), (64,), float32, "outer", True),
    "column max": reduction("max", (512,), (64,), float32, "outer", True),
}


@pytest.mark.parametrize("level", ["x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("name", KERNELS)
def test_no_spills(name: str, level: str) -> None:
    found = loops_of(KERNELS[name], level)
    assert found
    for loop in found:
        assert len(spills(loop)) <= len(loop) // 40  # a constant or two


@pytest.mark.parametrize("name", MATH)
def test_math_is_short(name: str) -> None:
    """One vector of a function, and four side by side: not an instruction more, and no scalar code."""
    for dtype, most in zip((float32, float64), MATH[name], strict=True):
        for size, vectors in ((4096, 1), (100_000, 4)):
            (loop,) = loops_of(elementwise(name, dtype, size), "x86-64-v4")
            body = [line for line in loop if not line.startswith(("add", "cmp", "j", "sub", "inc", "."))]
            assert len(spills(body)) <= (0 if vectors == 1 else len(body) // 15)
            stores = sum(line.startswith("vmov") and line.endswith(("4)", "8)")) for line in body)
            assert stores == vectors
            assert len(body) <= most * vectors, f"{len(body)} instructions for {vectors} vectors"
