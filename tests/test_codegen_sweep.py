"""Sweep and Scatter kernels as native code, against the Program interpreter, at every feature level that this host has."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from native_kernels import (
    POISON,
    RUNNABLE,
    Builder,
    Native,
    arrays_for,
    chain,
    check_kernel,
    compare,
    expected,
    poisoned,
    reduction,
    softmax,
)
from random_sweeps import RandomSweep

from graphc.codegen import rows as sweep_rows
from graphc.codegen import streaming, sweep_plan
from graphc.index import Index, Range
from graphc.kernel import Check, Coordinate, Scatter, Slot
from graphc.types import bool_, float32, float64, int32, int64


@pytest.mark.parametrize("dtype", [float32, float64, int32, int64])
def test_elementwise_chain(dtype: np.dtype) -> None:
    for size in (1, 2, 3, 7, 16, 17, 33, 1000, 20003):
        kernel = chain(size, dtype)
        check_kernel(kernel, arrays_for(kernel), None if size in (17, 20003) else RUNNABLE[-1:])


@pytest.mark.parametrize("vector", ["inner", "outer"])
def test_softmax(vector: str) -> None:
    for rows, columns in ((1, 1), (3, 10), (5, 16), (2, 100), (33, 129)):
        kernel = softmax(rows, columns, vector=vector)
        check_kernel(kernel, arrays_for(kernel), None if columns == 129 else RUNNABLE[-1:])


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("vector", ["inner", "outer"])
@pytest.mark.parametrize("reducer", ["sum", "prod", "max", "min", "argmax", "argmin"])
def test_reductions(reducer: str, vector: str, columns: bool) -> None:
    shapes = [((7,), (5,)), ((), (300,)), ((40,), ()), ((3, 4), (2, 21)), ((130,), (70,)), ((1, 5, 1), (1, 9)), ((2,), (1,))]
    for dtype in (float32, float64, int32, int64, bool_):
        for shape in shapes if dtype == float32 else shapes[:2]:
            kernel = reduction(reducer, *shape, dtype, vector, columns)
            levels = RUNNABLE if shape[0] == (7,) else RUNNABLE[-1:]
            check_kernel(kernel, arrays_for(kernel), levels, 1e-4 if dtype == float32 else None)


@pytest.mark.parametrize("dtype", [float32, float64, int32, int64])
@pytest.mark.parametrize("index", [int32, int64])
def test_scatter(dtype: np.dtype, index: np.dtype) -> None:
    shapes = [(1, 5, 1, 3), (2, 40, 70, 9), (1, 100, 300, 50), (3, 0, 4, 5), (1, 4, 16, 1), (40, 3, 2, 4), (2, 3, 0, 4)]
    shapes += [(2, 40, 300, 3), (3, 20, 130, 2)]  # few wide rows: in blocks
    for outer, count, inner, size in shapes:
        slots = (Slot(index, count), Slot(dtype, outer * count * inner), Slot(dtype, outer * size * inner))
        kernel = Scatter(outer, count, inner, size, slots)
        arrays = arrays_for(kernel)
        arrays[0] = np.random.default_rng(1).integers(0, size, count).astype(index)
        check_kernel(kernel, arrays, None if inner == 70 else RUNNABLE[-1:])


def test_scatter_however_units_are_dealt() -> None:
    """Every call scans for the rows of its units, which may begin and end within an outer index or a block of columns; positions
    out of range add nothing."""
    rng = np.random.default_rng(0)
    for outer, count, inner, size in ((3, 50, 5, 40), (2, 30, 300, 3), (1, 64, 8, 17)):
        slots = (Slot(int64, count), Slot(float32, outer * count * inner), Slot(float32, outer * size * inner))
        native = Native(Scatter(outer, count, inner, size, slots), RUNNABLE[-1])
        index, update = rng.integers(-2, size + 2, count), rng.normal(size=(outer, count, inner)).astype(np.float32)
        want = np.zeros((outer, size, inner), np.float32)
        for j, row in enumerate(index):
            if 0 <= row < size:
                want[:, row] += update[:, j]
        for pieces in range(1, native.code.phases[0].units + 1):
            result = np.full(want.shape, np.nan, np.float32)
            native([index, update, result], pieces)
            np.testing.assert_array_equal(result, want)


def test_transposes() -> None:
    for batch, rows, columns in [(1, 5, 3), (2, 33, 16), (3, 16, 50), (1, 70, 129)]:
        b = Builder((batch, rows, columns)).stage()
        source, result = b.slot(float32, b.size), b.slot(float32, b.size)
        offset = b.axes[0] * (rows * columns) + b.axes[2] * rows + b.axes[1]
        b.store(result, b.point, b.op("exp", b.load(source, offset)))
        check_kernel(b.kernel(), arrays_for(b.kernel()))


@pytest.mark.parametrize("dtype", [float32, float64, int32, bool_])
def test_tiles(dtype: np.dtype) -> None:
    """Squares turned in registers: loads and stores, beside a column, a row, and a masked load, over edges on either side."""
    for rows, columns in [(5, 3), (16, 32), (33, 16), (20, 129), (70, 41)]:
        b = Builder((2, rows, columns)).stage()
        source, turned, row, column, part = (b.slot(dtype, size) for size in (b.size, b.size, rows, columns, b.size))
        results = [b.slot(dtype, b.size) for _ in range(2)]
        across = b.axes[0] * (rows * columns) + b.axes[2] * rows + b.axes[1]
        inside = (Range(b.axes[2], 1, columns),)
        values = [b.load(turned, across), b.load(row, b.axes[1]), b.load(column, b.axes[2])]
        values.append(b.load(part, b.point, where=inside, fill=1))
        total = b.load(source, b.point)
        for value in values:
            total = b.op("ne" if dtype == bool_ else "add", total, value)
        b.store(results[0], b.point, total)
        b.store(results[1], across, total)
        check_kernel(b.kernel(), arrays_for(b.kernel()))


def test_updates_in_place() -> None:
    """Every element is read before it is written, shifted neighbours included where a slot is only read."""
    size = 1003
    b = Builder((size,)).stage()
    state, gradient, rate = b.slot(float32, size), b.slot(float32, size), b.slot(float32, 1)
    step = b.op("mul", b.load(gradient, b.point * -1 + (size - 1)), b.load(rate, Index()))
    b.store(state, b.point, b.op("sub", b.load(state, b.point), step))
    check_kernel(b.kernel(), arrays_for(b.kernel()))


def test_scalar_state_counts_once() -> None:
    """A later load of what an earlier stage stored sees the new value."""
    b = Builder(()).stage()
    counter = b.slot(int64, 1)
    b.store(counter, Index(), b.op("add", b.load(counter, Index()), b.const(1, int64)))
    for level in RUNNABLE:
        value = np.array([41], np.int64)
        Native(b.kernel(), level)([value])
        assert value[0] == 42


@pytest.mark.parametrize("dtype", [int32, int64])
@pytest.mark.parametrize("vector", ["outer", "inner"])
def test_checks_report_the_first_failure(dtype: np.dtype, vector: str) -> None:
    shape = ((6, 100), ()) if vector == "outer" else ((6,), (100,))
    b = Builder(*shape, vector).stage(vector == "inner")
    labels, result = b.slot(dtype, 600), b.slot(dtype, 600)
    value = b.load(labels, b.point)
    b.store(result, b.point, b.add(Check(value, 0, 10, -100, 7, dtype)))
    for level in RUNNABLE:
        native = Native(b.kernel(), level)
        assert all(phase.grain >= phase.units for phase in native.code.phases)
        good = np.random.default_rng(0).integers(0, 10, 600).astype(dtype)
        good[[5, 599]] = -100
        assert native([good, np.empty(600, dtype)]) == (0, 0)
        for bad in (0, 1, 15, 16, 99, 100, 599):
            labels_now = good.copy()
            labels_now[bad:] = 10
            labels_now[bad] = -1
            assert native([labels_now, np.empty(600, dtype)]) == (7, -1)


@pytest.mark.parametrize("dtype", [float32, float64])
@pytest.mark.parametrize("reducer", ["max", "min", "argmax", "argmin", "sum"])
def test_reductions_of_special_values(dtype: np.dtype, reducer: str) -> None:
    rows = np.zeros((6, 70), dtype)
    rows[0], rows[1] = -np.inf, np.inf
    rows[2, [3, 40, 69]] = np.nan
    rows[3, 69] = np.nan
    rows[4, [2, 50]], rows[5] = np.inf, np.arange(70) % 5
    for vector in ("inner", "outer"):
        kernel = reduction(reducer, (6,), (70,), dtype, vector, False)
        check_kernel(kernel, [rows.reshape(-1), np.zeros(6, kernel.slots[1].dtype)])


@pytest.mark.parametrize("shape", [((), (300_001,)), ((3,), (70_000,)), ((3,), (1000, 3, 35)), ((2,), (3, 70_001))])
@pytest.mark.parametrize("vector", ["inner", "outer"])
@pytest.mark.parametrize("columns", [False, True])
def test_long_sums_are_accurate(shape: tuple[tuple[int, ...], tuple[int, ...]], vector: str, columns: bool) -> None:
    """Equal terms round the same way, so one running sum of them would be off by 1e-3."""
    kernel = reduction("sum", *shape, float32, vector, columns)
    for level in RUNNABLE:
        terms, sums = np.full(kernel.slots[0].size, 0.1, np.float32), np.zeros(kernel.slots[1].size, np.float32)
        Native(kernel, level)([terms, sums])
        exact = terms.astype(np.float64).sum() / sums.size
        np.testing.assert_allclose(sums, exact, rtol=4e-6)


@pytest.mark.parametrize("dtype", [float32, float64])
def test_long_bodies_side_by_side(dtype: np.dtype) -> None:
    """Several vectors of a long body at once, with operands that a row, a column or all elements share."""
    height, width = 131, 251
    assert height * width >= sweep_plan.MANY
    for vector in ("inner", "outer"):
        b = Builder((height,), (width,)) if vector == "inner" else Builder((height, width))
        b.vector = vector
        source, row, column, result = (b.slot(dtype, size) for size in (b.size, height, width, b.size))
        b.stage(vector == "inner")
        scaled = b.op("mul", b.load(source, b.point), b.load(row, b.axes[0]))
        value = b.op("add", b.op("tanh", scaled), b.op("exp", b.load(column, b.axes[1])))
        b.store(result, b.point, b.op("sub", value, b.op("sigmoid", b.load(row, b.axes[0]))))
        check_kernel(b.kernel(), arrays_for(b.kernel()))
    check_kernel(softmax(70, 500, dtype), arrays_for(softmax(70, 500, dtype)))


@pytest.mark.parametrize("unrolled", [False, True])
def test_rounds(unrolled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random bits by a loop over rounds, and without: for all lanes, for one, and in rows that are summed."""
    monkeypatch.setattr(sweep_rows, "UNROLLED", 0 if unrolled else 1 << 40)
    for shape, inner in (((1003,), ()), ((1,), ()), ((7,), (130,))):
        for dtype in (int32, int64):
            b = Builder(shape, inner, "inner" if inner else "outer")
            seed, step, result = b.slot(int64, 1), b.slot(int64, 1), b.slot(dtype, shape[0])
            b.stage(bool(inner))
            index = b.add(Coordinate(b.point))
            bits = b.op("philox", index, b.load(seed, Index()), b.load(step, Index()), stream=77, dtype=dtype)
            if inner:
                bits = b.reduce("sum", bits)
                b.stage()
            b.store(result, b.row, bits)
            arrays = [np.array([-(2**61) + 5]), np.array([2**40 + 3]), np.zeros(shape[0], dtype)]
            check_kernel(b.kernel(), arrays)


def test_bools_alone() -> None:
    """Registers full of bools, which have more lanes than any other."""
    for shape in ((1,), (63,), (64,), (65,), (1000,), (7, 129), (33, 64)):
        b = Builder(shape).stage()
        one, row, result = (b.slot(bool_, size) for size in (b.size, shape[-1], b.size))
        both = b.op("and", b.load(one, b.point), b.op("not", b.load(row, b.axes[-1])))
        b.store(result, b.point, b.op("ne", both, b.const(True, bool_)))
        check_kernel(b.kernel(), arrays_for(b.kernel()))


def test_rows_asked_for_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long rows in memory, of which the next one is fetched while one is worked on; there is none after the last."""
    monkeypatch.setattr(sweep_rows, "FAR", 0)
    kernel = softmax(5, 9001)
    assert all("llvm.prefetch" in Native(kernel, level).text for level in RUNNABLE)
    check_kernel(kernel, arrays_for(kernel))


@pytest.mark.parametrize("dtype", [float32, float64, int32])
def test_streaming_stores(dtype: np.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results past the caches: from every alignment, beside a result with another one, and in place."""
    monkeypatch.setattr(streaming, "LARGE", 0)
    size = 20_003
    kernel = chain(size, dtype)
    arrays = arrays_for(kernel)
    want = expected(kernel, arrays)[3]
    for level in RUNNABLE:
        native = Native(kernel, level)
        assert ("nontemporal" in native.text) == level.startswith("x86")
        for offset, pieces in ((0, 1), (8, 4), (16, 3), (40, 7), (64 - dtype.itemsize, 2)):
            block = poisoned(offset + size * dtype.itemsize + 64)
            result = block[offset : offset + size * dtype.itemsize].view(dtype)
            native([*arrays[:3], result], pieces)
            compare(result, want, 2e-5, f"{offset} bytes from a line, at {level}")
            assert (block[:offset] == POISON).all() and (block[offset + result.nbytes :] == POISON).all()
        for moved in (0, 5):  # in place: there the plain loop decides
            memory = np.append(arrays[0], np.zeros(moved, dtype))[moved:]
            right = expected(kernel, [memory.copy(), *arrays[1:]])[3]
            native([memory, *arrays[1:3], memory], 3)
            compare(memory, right, 2e-5, f"in place at {level}")
    b = Builder((size,)).stage()
    source, first, second = (b.slot(dtype, size) for _ in range(3))
    value = b.load(source, b.point)
    b.store(first, b.point, b.op("add", value, value))
    b.store(second, b.point, b.op("mul", value, value))
    arrays = arrays_for(b.kernel())
    want = expected(b.kernel(), arrays)
    for level, shift in itertools.product(RUNNABLE, (0, 32)):
        blocks = [poisoned(size * dtype.itemsize), poisoned(size * dtype.itemsize + shift)]
        results = [block[at : at + size * dtype.itemsize].view(dtype) for block, at in zip(blocks, (0, shift), strict=True)]
        Native(b.kernel(), level)([arrays[0], *results])
        for got, right in zip(results, want[1:], strict=True):
            compare(got, right, 2e-5, f"{shift} bytes apart at {level}")


@pytest.mark.parametrize("block", range(4))
def test_random_sweeps(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if block % 2:
        monkeypatch.setattr(sweep_plan, "MANY", 0)
    for seed in range(block * 15, block * 15 + 15):
        made = RandomSweep(seed)
        check_kernel(made.b.kernel(), made.arrays, [RUNNABLE[seed % len(RUNNABLE)]])
