"""Contractions with epilogues: what happens to finished sums, wherever and in however many parts they were summed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from contraction_native import LAYOUTS, RUNNABLE, Case, check, check_einsums, contraction, draw, shapes

from graphc.codegen import llvm, prefetch
from graphc.codegen.blocking import block
from graphc.codegen.contract import emit_contraction
from graphc.codegen.orientation import oriented
from graphc.codegen.target import level_target
from graphc.index import Index, Range, unflatten
from graphc.kernel import Apply, Const, Contraction, Instr, Load, Slot, Store
from graphc.op import OPS
from graphc.types import bool_, float32


def apply(name: str, *args: int, dtype: np.dtype = float32) -> Apply:
    return Apply(OPS[name], args, dtype)


def epilogue_case(
    m: int, n: int, k: int, make, extra: Sequence[tuple[np.dtype, int]], layout: str = "ik,jk->ij", batch: int = 0
) -> Case:
    """`make(b, i, j)` gives the epilogue over the axes of batch, m and n; `extra` are the slots after the two operands."""
    spec = "b" + layout.replace(",", ",b").replace("->", "->b") if batch else layout
    extents = ([batch] if batch else []) + [m, n]
    axes = [Index.axis(axis, extent) for axis, extent in enumerate(extents)]
    kernel = contraction(spec, dict(b=batch, i=m, j=n, k=k), float32, make(*([Index()] * (3 - len(axes)) + axes)))
    slots = kernel.slots[:2] + tuple(Slot(dtype, size) for dtype, size in extra)
    rng = np.random.default_rng(m * n + k)
    return Contraction(kernel.batch, kernel.m, kernel.n, kernel.k, kernel.lhs, kernel.rhs, kernel.epilogue, slots, float32), [
        draw(rng, slot.size, slot.dtype) for slot in slots
    ]


SHAPES = [(1, 1, 3), (5, 1, 4), (1, 6, 4), (17, 33, 8), (30, 64, 16), (47, 100, 3), (16, 40, 0)]


@pytest.mark.parametrize("level", RUNNABLE)
def test_bias_relu_and_mask(level: str) -> None:
    """max(sum + bias[n], 0) to one slot, whether it is positive to another."""

    def make(n: int):
        def body(b: Index, i: Index, j: Index) -> list[Instr]:
            at = i * n + j
            return [
                Load(2, j, float32), apply("add", 0, 1), Const(0.0, float32), apply("maximum", 2, 3), Store(3, at, 4, float32),
                apply("lt", 3, 2, dtype=bool_), Store(4, at, 6, bool_),
            ]  # fmt: skip

        return body

    check([epilogue_case(m, n, k, make(n), [(float32, n), (float32, m * n), (bool_, m * n)]) for m, n, k in SHAPES], [level])


def test_update_in_place() -> None:
    """p -= rate * sum, into the state itself."""

    def make(n: int):
        def body(b: Index, i: Index, j: Index) -> list[Instr]:
            at = i * n + j
            return [
                Load(2, at, float32), Load(3, Index(), float32), apply("mul", 2, 0), apply("sub", 1, 3), Store(2, at, 4, float32),
            ]  # fmt: skip

        return body

    for layout in LAYOUTS:
        check([epilogue_case(m, n, k, make(n), [(float32, m * n), (float32, 1)], layout) for m, n, k in SHAPES])


def test_epilogue_over_batch_rows_and_transposed_stores() -> None:
    """Loads along each axis alone and under a predicate; stores transposed, and with heads moved outwards."""

    def make(m: int, n: int):
        def body(b: Index, i: Index, j: Index) -> list[Instr]:
            head, inner = unflatten(j, (n // 16, 16)) if n % 16 == 0 else (Index(), j)
            return [
                Load(2, b * m + i, float32), apply("mul", 0, 1),
                Load(3, j, float32, (Range(j - i, 0, n),), 1.5), apply("add", 2, 3),
                Store(4, (b * n + j) * m + i, 2, float32),
                Store(5, ((b * (n // 16) + head) * m + i) * 16 + inner if n % 16 == 0 else (b * m + i) * n + j, 4, float32),
            ]  # fmt: skip

        return body

    cases = []
    for m, n, k in SHAPES:
        extra = [(float32, 3 * m), (float32, n), (float32, 3 * m * n), (float32, 3 * m * n)]
        cases.append(epilogue_case(m, n, k, make(m, n), extra, batch=3))
    check(cases, RUNNABLE)


def test_epilogue_after_the_last_of_several_k_blocks() -> None:
    def body(b: Index, i: Index, j: Index) -> list[Instr]:
        return [Load(2, i * 70 + j, float32), apply("add", 0, 1), Store(2, i * 70 + j, 2, float32)]

    check([epilogue_case(30, 70, 3000, body, [(float32, 2100)], layout) for layout in LAYOUTS])


def test_depth_in_parts() -> None:
    """Few rows and columns, much depth: parts are summed apart. Odd ends, an epilogue, batches."""

    def body(b: Index, i: Index, j: Index) -> list[Instr]:
        return [Load(2, b * 420 + i * 35 + j, float32), apply("add", 0, 1), Store(2, b * 420 + i * 35 + j, 2, float32)]

    cases = [epilogue_case(12, 35, 4001, body, [(float32, 2 * 420)], layout, batch) for layout in LAYOUTS for batch in (0, 2)]
    for level in RUNNABLE:
        assert all(block(oriented(kernel, level_target(level)), level_target(level)).k_parts > 1 for kernel, _ in cases)
    check(cases[:1], RUNNABLE)
    check(cases)
    check_einsums(LAYOUTS, shapes((33, 40, 4000)))


def test_lines_asked_for_before_a_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same results where every buffer counts as large; and one that is large is asked for."""

    def body(b: Index, i: Index, j: Index) -> list[Instr]:
        at = b * 300 * 250 + i * 250 + j
        return [Load(2, at, float32), apply("add", 0, 1), Store(2, at, 2, float32)]

    kernel, _ = case = epilogue_case(300, 250, 7, body, [(float32, 3 * 300 * 250)], batch=3)
    target = level_target(RUNNABLE[0])
    module = llvm.new_module(target)
    emit_contraction(module, target, kernel, "large")
    assert "define internal void @large_prefetch" in str(module)
    check([case], RUNNABLE)
    monkeypatch.setattr(prefetch, "FAR", 0)
    test_update_in_place()
    test_epilogue_over_batch_rows_and_transposed_stores()
