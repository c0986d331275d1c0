"""Every op's samples as native code, at every feature level that this machine has, against the ops' references.

All samples of an op make one graph, with one output for each: it compiles in a few hundredths of a second. Beside the samples as
they are: elementwise ones resized to long rows, with NaNs and infinities among them, so that whole vectors and their tails
run; and the gradients of all samples that have them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from agreement import Reference

import graphc
from graphc.codegen.target import runnable_levels
from graphc.op import OPS, Kind, Op, Sample
from graphc.options import Options
from graphc.passes.pipeline import OPTIONAL
from graphc.tensor import Tensor

RUNNABLE = runnable_levels()
ALL_PASSES, NO_PASSES = Options(verify=True), Options(verify=True, passes_off=OPTIONAL, fusion=False)
LONG = 301  # whole vectors and a tail, at every width

WITH_SAMPLES = [op for op in OPS.values() if next(iter(op.samples(np.random.default_rng(0))), None) is not None]
every_op = pytest.mark.parametrize("op", WITH_SAMPLES, ids=lambda op: op.name)


def samples(op: Op) -> list[Sample]:
    return list(op.samples(np.random.default_rng(zlib.crc32(op.name.encode()))))


class Batch:
    """Many calls of ops as one graph."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.outputs: list[Tensor] = []

    def operands(self, arrays: Sequence[np.ndarray]) -> list[Tensor]:
        found = []
        for array in map(np.asarray, arrays):
            x = graphc.input(f"x{len(self.inputs)}", array.shape, array.dtype)
            self.inputs.append(x)
            self.arrays[f"x{len(self.arrays)}"] = array
            found.append(x)
        return found

    def check(self, options: Options) -> None:
        native = graphc.compile(self.outputs, inputs=self.inputs, options=options, threads=1)
        Reference(native.graph, self.arrays).check_outputs(native(**self.arrays))


@every_op
@pytest.mark.parametrize("options", [ALL_PASSES, NO_PASSES], ids=["all-passes", "no-passes"])
def test_samples(op: Op, options: Options) -> None:
    batch = Batch()
    for sample in samples(op):
        batch.outputs.append(op(*batch.operands(sample.arrays), **sample.attrs))
    batch.check(options)


@every_op
@pytest.mark.parametrize("options", [ALL_PASSES, NO_PASSES], ids=["all-passes", "no-passes"])
def test_gradients(op: Op, options: Options) -> None:
    """In f32 as well as f64, of a weighted sum of the results."""
    rng = np.random.default_rng(0)
    batch = Batch()
    for sample in samples(op):
        if not any(np.asarray(array).dtype.kind == "f" for array in sample.arrays):
            continue
        operands = batch.operands(sample.arrays)
        y = op(*operands, **sample.attrs)
        if y.dtype.kind == "f":
            loss = (y * rng.standard_normal(y.shape)).sum()
            batch.outputs += graphc.grad(loss, [x for x in operands if x.dtype.kind == "f"])
    if batch.outputs:
        batch.check(options)


def long_rows(op: Op) -> Iterator[tuple[list[np.ndarray], dict]]:
    """One call for each element type, of rows that repeat all samples of the type, with special values at odd places."""
    found: dict[tuple, tuple[list[list[np.ndarray]], dict]] = {}
    for sample in samples(op):
        dtypes = tuple(np.asarray(array).dtype for array in sample.arrays)
        key = (dtypes, tuple(map(str, sample.attrs.items())))
        found.setdefault(key, ([], sample.attrs))[0].append([np.ravel(array) for array in sample.arrays])
    for (dtypes, _), (rows, attrs) in found.items():
        arrays = [np.resize(np.concatenate(columns), LONG) for columns in zip(*rows, strict=True)]
        for i, (array, dtype) in enumerate(zip(arrays, dtypes, strict=True)):
            if dtype.kind == "f":
                for j, value in enumerate((np.nan, np.inf, -np.inf, 0.0, -0.0)):
                    array[(7 + 11 * i + 61 * j) % LONG] = value
        yield arrays, attrs


@every_op
@pytest.mark.parametrize("level", RUNNABLE)
def test_levels(op: Op, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_CPU", level)
    batch = Batch()
    if op.kind is Kind.ELEMENTWISE and not op.effect:
        for arrays, attrs in long_rows(op):
            batch.outputs.append(op(*batch.operands(arrays), **attrs))
    else:
        for sample in samples(op):
            batch.outputs.append(op(*batch.operands(sample.arrays), **sample.attrs))
    batch.check(ALL_PASSES)


@pytest.mark.parametrize("level", RUNNABLE)
@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "argmax", "argmin"])
def test_reductions_of_all_shapes(name: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Along rows, columns and everything, in every type, longer than vectors and strips."""
    monkeypatch.setenv("GRAPHC_CPU", level)
    rng = np.random.default_rng(0)
    batch = Batch()
    for dtype in ("f4", "f8", "i4", "i8"):
        for shape, axes in (
            ((5, 301), (1,)), ((301, 5), (0,)), ((3, 37, 41), (0, 2)), ((3, 37, 41), (1,)), ((9, 70), (0, 1)),
            ((2, 130, 3), (1, 2)),
        ):  # fmt: skip
            array = (rng.standard_normal(shape) if dtype[0] == "f" else rng.integers(-3, 4, shape)).astype(dtype)
            if dtype[0] == "f":
                array = 1 + array / 100 if name == "prod" else array
                for value in (np.nan, np.inf, -np.inf):
                    special = array.copy()
                    special.reshape(-1)[rng.integers(special.size, size=2)] = value
                    batch.outputs.append(OPS[name](*batch.operands([special]), axes=axes))
            batch.outputs.append(OPS[name](*batch.operands([array]), axes=axes))
    batch.check(ALL_PASSES)
