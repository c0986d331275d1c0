"""Every elementwise op as native code, on all pairs of special values, against its NumPy reference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from native_kernels import RUNNABLE, Builder, check_kernel

import graphc.ops  # noqa: F401 - registers the ops
from graphc.op import OPS
from graphc.types import TensorType, bool_, float32, float64, int32, int64

ELEMENTWISE = [op.name for op in OPS.values() if op.scalar is not None and op.name != "check_index"]
SPECIAL = {
    "f": [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 7.25, 1e-3, np.inf, -np.inf, np.nan, 1e-40, 3e38, 88.0, -104.0, 1e10]
    + [2.0**31, -(2.0**63)],
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
            arrays.append(np.zeros(arrays[0].size, b.dtypes[result]))
            check_kernel(b.kernel(), arrays, [level], 1e-6 if float32 in b.dtypes else 1e-14)
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
