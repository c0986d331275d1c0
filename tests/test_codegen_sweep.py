"""Sweep and Scatter kernels, compiled one at a time and compared with the Program interpreter, at every feature level of x86-64.

Every kernel also runs with its units split unevenly, which must give the same bits, between guard bytes, which must survive.
"""

from __future__ import annotations

import ctypes
import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import graphc.ops  # noqa: F401 - registers the ops
from graphc.codegen import llvm
from graphc.codegen.object import emit_kernel
from graphc.codegen.target import host_target, level_target
from graphc.index import Index, Range, axes_of, flatten
from graphc.op import OPS
from graphc.program import (
    Apply,
    Buffer,
    Check,
    Const,
    Coordinate,
    FailedCheck,
    Kernel,
    Launch,
    Load,
    Reduce,
    Scatter,
    Slot,
    Space,
    Stage,
    Store,
    Sweep,
)
from graphc.program_interp import run_launch
from graphc.runtime import jit
from graphc.space import evaluate, grid, holds
from graphc.types import TensorType, bool_, float32, float64, int32, int64, is_float, row_major_strides

LEVELS = ["x86-64-v2", "x86-64-v3", "x86-64-v4"]
HOST = list(LEVELS).index(host_target().cpu) if host_target().cpu in LEVELS else -1
RUNNABLE = LEVELS[: HOST + 1]
GUARD = 64


class Native:
    """One kernel as native code."""

    def __init__(self, kernel: Kernel, level: str):
        target = level_target(level)
        module = llvm.new_module(target)
        self.kernel = kernel
        self.code = emit_kernel(module, target, kernel, 0)
        self.text = str(module)
        self.target = target
        self.library = jit.load(llvm.emit_object(self.text, target), [phase.function for phase in self.code.phases])

    def __call__(self, arrays: list[np.ndarray], pieces: int = 1) -> tuple[int, int]:
        """Runs in place, the units cut in `pieces`. Returns the error record."""
        errors = np.zeros(2, np.int64)
        shared = np.zeros(self.code.shared_scratch + 64, np.uint8)
        pointers = [array.ctypes.data for array in arrays] + [shared.ctypes.data, errors.ctypes.data]
        args = (ctypes.c_void_p * len(pointers))(*pointers)
        scratch = np.zeros(self.code.worker_scratch + 64, np.uint8)
        for phase in self.code.phases:
            call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(
                self.library.address(phase.function)
            )
            cuts = sorted({phase.units * piece // pieces for piece in range(pieces + 1)})
            for begin, end in itertools.pairwise(cuts):
                call(ctypes.addressof(args), begin, end, -(-scratch.ctypes.data // 64) * 64)
        return int(errors[0]), int(errors[1])


def guarded(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(a copy of `array`, aligned to its elements only, and the block with guard bytes around it)."""
    block = np.full(array.nbytes + 2 * GUARD + 16, 0xA5, np.uint8)
    inside = block[GUARD + 8 : GUARD + 8 + array.nbytes].view(array.dtype)
    inside[:] = array.reshape(-1)
    return inside, block


def intact(block: np.ndarray, nbytes: int) -> bool:
    return bool((block[: GUARD + 8] == 0xA5).all() and (block[GUARD + 8 + nbytes :] == 0xA5).all())


def expected(kernel: Kernel, arrays: list[np.ndarray]) -> list[np.ndarray]:
    buffers = tuple(Buffer(f"b{i}", TensorType(array.dtype, (array.size,)), Space.ARENA) for i, array in enumerate(arrays))
    memory = {buffer: array.reshape(-1).copy() for buffer, array in zip(buffers, arrays, strict=True)}
    with np.errstate(all="ignore"):
        run_launch(Launch(kernel, buffers, "kernel under test"), memory, (FailedCheck("value {value}"),) * 9)
    return [memory[buffer] for buffer in buffers]


def compare(got: np.ndarray, want: np.ndarray, rtol: float, note: str) -> None:
    if is_float(want.dtype):
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol, err_msg=note)
    else:
        np.testing.assert_array_equal(got, want, err_msg=note)


def check_kernel(kernel: Kernel, arrays: list[np.ndarray], levels: list[str] | None = None, rtol: float | None = None) -> None:
    want = expected(kernel, arrays)
    for level in levels or RUNNABLE:
        native = Native(kernel, level)
        runs = []
        for pieces in (1, 3):
            inside, blocks = zip(*(guarded(array) for array in arrays), strict=True)
            assert native(list(inside), pieces) == (0, 0)
            for i, (one, block) in enumerate(zip(inside, blocks, strict=True)):
                tolerance = rtol or (2e-5 if one.dtype == float32 else 1e-12)
                compare(one, want[i], tolerance, f"slot {i} at {level}")
                assert intact(block, one.nbytes), f"slot {i} at {level} is overrun"
            runs.append([one.tobytes() for one in inside])
        assert runs[0] == runs[1], f"{level}: bits depend on how units are split"


# --- building kernels ----------------------------------------------------------------------------------------------------------


@dataclass
class Builder:
    """A Sweep in the making: every method appends an instruction and returns its number."""

    outer: tuple[int, ...]
    inner: tuple[int, ...] = ()
    vector: str = "outer"
    stages: list[tuple[bool, list[Any]]] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    count: int = 0
    dtypes: list[np.dtype] = field(default_factory=list)

    @property
    def axes(self) -> tuple[Index, ...]:
        return axes_of(self.outer + self.inner)

    @property
    def point(self) -> Index:
        """The flat position, row-major."""
        return flatten(self.axes, row_major_strides(self.outer + self.inner))

    @property
    def row(self) -> Index:
        return flatten(self.axes[: len(self.outer)], row_major_strides(self.outer))

    @property
    def size(self) -> int:
        return int(np.prod(self.outer + self.inner, dtype=np.int64))

    def slot(self, dtype: np.dtype, size: int) -> int:
        self.slots.append(Slot(dtype, size))
        return len(self.slots) - 1

    def stage(self, inner: bool = False) -> Builder:
        self.stages.append((inner, []))
        return self

    def add(self, instr: Any) -> int:
        self.stages[-1][1].append(instr)
        self.dtypes.append(instr.dtype)
        self.count += 1
        return self.count - 1

    def load(self, slot: int, offset: Index, **more: Any) -> int:
        return self.add(Load(slot, offset, self.slots[slot].dtype, **more))

    def store(self, slot: int, offset: Index, value: int) -> int:
        return self.add(Store(slot, offset, value, self.slots[slot].dtype))

    def const(self, value: Any, dtype: np.dtype) -> int:
        return self.add(Const(value, dtype))

    def op(self, name: str, *args: int, **attrs: Any) -> int:
        ops = OPS[name]
        dtype = ops.infer(tuple(TensorType(self.dtypes[arg], ()) for arg in args), attrs).dtype
        return self.add(Apply(ops, args, dtype, tuple(attrs.items())))

    def reduce(self, reducer: str, arg: int) -> int:
        return self.add(Reduce(reducer, arg, int64 if reducer.startswith("arg") else self.dtypes[arg]))

    def kernel(self) -> Sweep:
        stages = tuple(Stage(inner, tuple(body)) for inner, body in self.stages)
        return Sweep(self.outer, self.inner, stages, tuple(self.slots), self.vector)


def data(rng: np.random.Generator, dtype: np.dtype, size: int) -> np.ndarray:
    if is_float(dtype):
        return rng.normal(size=size).astype(dtype)
    return rng.integers(0, 2, size).astype(dtype) if dtype == bool_ else rng.integers(-50, 50, size).astype(dtype)


def chain(size: int, dtype: np.dtype = float32) -> Sweep:
    """max(x * y + z, 0) * 0.5 - x"""
    b = Builder((size,)).stage()
    slots = [b.slot(dtype, size) for _ in range(4)]
    x, y, z = (b.load(slot, b.point) for slot in slots[:3])
    zero, half = b.const(0, dtype), b.const(0.5 if is_float(dtype) else 3, dtype)
    b.store(slots[3], b.point, b.op("sub", b.op("mul", b.op("maximum", b.op("add", b.op("mul", x, y), z), zero), half), x))
    return b.kernel()


def softmax(rows: int, columns: int, dtype: np.dtype = float32, vector: str = "inner") -> Sweep:
    b = Builder((rows,), (columns,), vector)
    source, result = b.slot(dtype, b.size), b.slot(dtype, b.size)
    b.stage(True)
    top = b.reduce("max", b.load(source, b.point))
    b.stage(True)
    total = b.reduce("sum", b.op("exp", b.op("sub", b.load(source, b.point), top)))
    b.stage()
    scale = b.op("div", b.const(1, dtype), total)
    b.stage(True)
    b.store(result, b.point, b.op("mul", b.op("exp", b.op("sub", b.load(source, b.point), top)), scale))
    return b.kernel()


def reduction(reducer: str, outer: tuple[int, ...], inner: tuple[int, ...], dtype: np.dtype, vector: str, columns: bool) -> Sweep:
    """Over the last axes of row-major memory, or over its first ones (`columns`)."""
    b = Builder(outer, inner, vector)
    result = int64 if reducer.startswith("arg") else dtype
    source, target = b.slot(dtype, b.size), b.slot(result, int(np.prod(outer, dtype=np.int64)))
    offset = b.point
    if columns:
        offset = flatten(b.axes[len(outer) :] + b.axes[: len(outer)], row_major_strides(inner + outer))
    b.stage(True)
    total = b.reduce(reducer, b.load(source, offset))
    b.stage()
    b.store(target, b.row, total)
    return b.kernel()


def arrays_for(kernel: Sweep, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [data(rng, slot.dtype, slot.size) for slot in kernel.slots]


# --- tests ---------------------------------------------------------------------------------------------------------------------


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
            check_kernel(kernel, arrays_for(kernel), None if shape[0] == (7,) else RUNNABLE[-1:], 1e-4 if dtype == float32 else None)


@pytest.mark.parametrize("dtype", [float32, float64, int32, int64])
@pytest.mark.parametrize("index", [int32, int64])
def test_scatter(dtype: np.dtype, index: np.dtype) -> None:
    for outer, count, inner, size in [(1, 5, 1, 3), (2, 40, 70, 9), (1, 100, 300, 50), (3, 0, 4, 5), (1, 4, 16, 1), (40, 3, 2, 4), (2, 3, 0, 4)]:
        kernel = Scatter(outer, count, inner, size, (Slot(index, count), Slot(dtype, outer * count * inner), Slot(dtype, outer * size * inner)))
        arrays = arrays_for(kernel)
        arrays[0] = np.random.default_rng(1).integers(0, size, count).astype(index)
        check_kernel(kernel, arrays, None if inner == 70 else RUNNABLE[-1:])


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


ELEMENTWISE = [op.name for op in OPS.values() if op.scalar is not None and op.name != "check_index"]
SPECIAL = {
    "f": [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 7.25, 1e-3, np.inf, -np.inf, np.nan, 1e-40, 3e38, 88.0, -104.0, 1e10, 2.0**31, -(2.0**63)],
    "i": [0, 1, -1, 2, 3, -3, 7, 31, 64, -(2**31), 2**31 - 1],
    "b": [0, 1],
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_ops_on_special_values(name: str) -> None:
    """Every pair of special values, against the op's NumPy reference, signs of NaN and zero apart."""
    op = OPS[name]
    for dtype, level in itertools.product([float32, float64, int32, int64, bool_], RUNNABLE):
        for sample in itertools.islice(op.samples(np.random.default_rng(0)), 40):
            types = tuple(TensorType(array.dtype, ()) for array in sample.arrays)
            if dtype not in {type_.dtype for type_ in types}:
                continue
            if name in ("sin", "cos"):
                values = [np.asarray([x for x in SPECIAL["f"] if not np.isfinite(x) or abs(x) < 2**20], dtype)]
            else:
                values = [np.asarray(SPECIAL[type_.dtype.kind]).astype(type_.dtype) for type_ in types]
            arrays = [np.ascontiguousarray(array.reshape(-1)) for array in np.meshgrid(*values)]
            b = Builder((arrays[0].size,)).stage()
            args = [b.load(b.slot(array.dtype, array.size), b.point) for array in arrays]
            result = b.op(name, *args, **sample.attrs)
            b.store(b.slot(b.dtypes[result], arrays[0].size), b.point, result)
            check_kernel(b.kernel(), [*arrays, np.zeros(arrays[0].size, b.dtypes[result])], [level], 1e-6 if float32 in b.dtypes else 1e-14)
            break


@pytest.mark.parametrize("source", [float32, float64, int32, int64, bool_])
def test_casts(source: np.dtype) -> None:
    """Floats saturate and NaN becomes 0; integers wrap."""
    values = np.asarray(SPECIAL[source.kind]).astype(source)
    for goal, level in itertools.product([float32, float64, int32, int64, bool_], RUNNABLE):
        b = Builder((values.size,)).stage()
        result = b.op("cast", b.load(b.slot(source, values.size), b.point), dtype=goal)
        b.store(b.slot(goal, values.size), b.point, result)
        check_kernel(b.kernel(), [values, np.zeros(values.size, goal)], [level])


# --- random kernels ------------------------------------------------------------------------------------------------------------

FLOAT_OPS = ["add", "sub", "mul", "maximum", "minimum", "neg", "abs", "where", "sign"]
INTEGER_OPS = ["add", "sub", "mul", "maximum", "minimum", "neg", "abs", "where", "sign", "floordiv", "mod"]
BOOL_OPS = ["and", "or", "xor", "not", "eq", "lt"]
EXTENTS = [1, 1, 2, 3, 4, 5, 7, 16, 17, 40]


class RandomSweep:
    """A valid Sweep with loads of every kind. Floats are multiples of 1/4, so that sums are exact in any order."""

    def __init__(self, seed: int):
        self.rng = rng = np.random.default_rng(seed)
        outer = tuple(int(n) for n in rng.choice(EXTENTS, rng.integers(0, 4)))
        inner = tuple(int(n) for n in rng.choice(EXTENTS, rng.integers(0, 3)))
        if rng.random() < 0.05 and outer + inner:
            cut = int(rng.integers(len(outer + inner)))
            extents = outer[:cut] + (0,) + outer[cut + 1 :] if cut < len(outer) else outer
            outer, inner = extents, inner if cut < len(outer) else inner[: cut - len(outer)] + (0,) + inner[cut - len(outer) + 1 :]
        while int(np.prod(outer + inner)) > 20000:
            outer, inner = outer[1:], inner
        self.b = Builder(outer, inner, str(rng.choice(["outer", "inner"])))
        self.arrays: list[np.ndarray] = []
        rows: list[int] = []
        for _ in range(rng.integers(1, 4)):
            is_inner = bool(rng.integers(2)) and (inner != () or rng.random() < 0.2)
            self.b.stage(is_inner)
            values = self.body(is_inner, list(rows))
            if is_inner and rng.random() < 0.8:
                for value in rng.choice(values, rng.integers(1, 3)):
                    rows.append(self.reduction(int(value)))
            elif not is_inner:
                rows += values
            for value in rng.choice(values, rng.integers(0 if rows else 1, 3)):
                self.store(is_inner, int(value))
        if rows:
            self.b.stage()
            for value in rows[-3:]:
                self.store(False, value)

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def body(self, is_inner: bool, values: list[int]) -> list[int]:
        for _ in range(self.rng.integers(1, 4)):
            values.append(self.load(is_inner))
        for _ in range(self.rng.integers(0, 8)):
            values.append(self.apply(values))
        return values

    def slot(self, array: np.ndarray) -> int:
        self.arrays.append(array)
        return self.b.slot(array.dtype, array.size)

    def fresh(self, dtype: np.dtype, size: int) -> np.ndarray:
        if is_float(dtype):
            return (self.rng.integers(-8, 9, size) / 4).astype(dtype)
        return self.rng.integers(0, 2, size).astype(dtype) if dtype == bool_ else self.rng.integers(-5, 6, size).astype(dtype)

    def index(self, axes: tuple[Index, ...]) -> Index:
        """Some function of the axes: affine with any strides, or through a reshape."""
        rng = self.rng
        if rng.random() < 0.3:
            chosen = [axes[i] for i in rng.permutation(len(axes))]
            extents = [1 if not axis.terms else axis.terms[0][0].extent for axis in chosen]
            flat = flatten(chosen, row_major_strides(extents)) + int(rng.integers(-3, 4))
            by = int(rng.choice([2, 3, 4, 5, 8, 16]))
            kind = rng.integers(4)
            part = flat // by if kind == 0 else flat % by if kind == 1 else (flat // by) * int(rng.integers(1, 5)) + flat % by * 2
            return part + flat * int(rng.integers(-1, 2)) if kind == 3 else part
        total = Index((), 0)
        stride = 1
        for i in rng.permutation(len(axes)):
            if rng.random() < 0.75:
                extent = axes[i].terms[0][0].extent if axes[i].terms else 1
                total += axes[i] * (stride * int(rng.choice([1, 1, 1, 1, -1, 2])))
                stride *= max(extent, 1)
        return total

    def load(self, is_inner: bool) -> int:
        rng, b = self.rng, self.b
        axes = b.axes if is_inner else b.axes[: len(b.outer)]
        dtype = self.pick([float32, float32, float64, int32, int64, bool_])
        kind = rng.random()
        if kind < 0.08:
            return b.add(Coordinate(self.index(axes)))
        if kind < 0.13:
            return b.const(self.fresh(dtype, 1)[0].item(), dtype)
        offset = self.index(axes)
        gather: tuple[tuple[int, int], ...] = ()
        space = b.outer + (b.inner if is_inner else (1,) * len(b.inner))
        reach = 0
        if kind < 0.25 and 0 not in space:
            low, high = offset.bounds()
            entries = self.slot(rng.integers(0, 6, high - low + 1).astype(self.pick([int32, int64])))
            number = b.load(entries, offset + -low)
            offset, gather, reach = self.index(axes), ((number, 7),), 35
        where: tuple[Range, ...] = ()
        for _ in range(rng.integers(0, 3) if rng.random() < 0.4 else 0):
            condition = self.index(axes)
            low, high = condition.bounds()
            where += (Range(condition, *sorted(int(x) for x in rng.integers(low - 1, high + 3, 2))),)
        points = grid(space)
        at, valid = np.broadcast_arrays(evaluate(offset, points), holds(where, points))
        at = at[valid] if 0 not in space else np.zeros(0, np.int64)
        low, high = (int(at.min()), int(at.max())) if at.size else (0, -1)
        source = self.slot(self.fresh(dtype, high - low + 1 + reach))
        return b.load(source, offset + -low, where=where, fill=self.fresh(dtype, 1)[0].item(), gather=gather)

    def apply(self, values: list[int]) -> int:
        b = self.b
        x = self.pick(values)
        dtype = b.dtypes[x]
        if self.rng.random() < 0.15:
            goal = self.pick([float32, float64, int32, int64, bool_])
            return b.op("cast", x, dtype=goal) if not (is_float(dtype) and goal.kind == "i") else x
        same = [value for value in values if b.dtypes[value] == dtype]
        y = self.pick(same)
        name = self.pick(BOOL_OPS if dtype == bool_ else FLOAT_OPS if is_float(dtype) else INTEGER_OPS)
        if name == "where":
            return b.op("where", b.op("lt", x, y), x, self.pick(same))
        return b.op(name, x) if name in ("neg", "abs", "sign", "not") else b.op(name, x, y)

    def reduction(self, value: int) -> int:
        dtype = self.b.dtypes[value]
        sums = [] if dtype == bool_ else ["sum", "sum"]
        return self.b.reduce(self.pick((sums or ["prod"]) if 0 in self.b.inner else ["max", "min", "argmax", "argmin", *sums]), value)

    def store(self, is_inner: bool, value: int) -> None:
        b = self.b
        extents = b.outer + b.inner if is_inner else b.outer
        order = self.rng.permutation(len(extents)) if self.rng.random() < 0.3 else np.arange(len(extents))
        strides = row_major_strides([extents[i] for i in order])
        offset = flatten([b.axes[i] for i in order], strides)
        size = int(np.prod(extents, dtype=np.int64))
        if self.rng.random() < 0.15:
            offset = offset * -1 + max(size - 1, 0)
        elif self.rng.random() < 0.1:
            offset, size = offset * 2, size * 2
        b.store(self.slot(self.fresh(b.dtypes[value], size)), offset, value)


@pytest.mark.parametrize("block", range(4))
def test_random_sweeps(block: int) -> None:
    for seed in range(block * 15, block * 15 + 15):
        made = RandomSweep(seed)
        check_kernel(made.b.kernel(), made.arrays, [RUNNABLE[seed % len(RUNNABLE)]])
