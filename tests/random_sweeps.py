"""Random Sweeps, for tests: loads through every kind of index, predicate and gather, several stages, reductions and stores."""

from __future__ import annotations

import numpy as np
from native_kernels import Builder

import graphc.ops  # noqa: F401 - registers the ops
from graphc.index import Index, Range, flatten
from graphc.kernel import Coordinate
from graphc.space import evaluate, grid, holds
from graphc.types import bool_, float32, float64, int32, int64, is_float, row_major_strides

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
            empty = int(rng.integers(len(outer + inner)))
            extents = tuple(0 if axis == empty else extent for axis, extent in enumerate(outer + inner))
            outer, inner = extents[: len(outer)], extents[len(outer) :]
        while int(np.prod(outer + inner)) > 20000:
            outer = outer[1:]
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
        sums = ["prod"] if dtype == bool_ else ["sum", "sum"]
        return self.b.reduce(self.pick(sums if 0 in self.b.inner else ["max", "min", "argmax", "argmin", *sums]), value)

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
