"""The whole registry of ops, one case for every op and sample; a new op is tested by being declared.

Of each sample: the type rule agrees with the reference; the kernels that the passes make of it, and the machine code made of
those, compute the same; its text reads back as the same node; and, of those that are differentiable, the backward function, its
own derivative and `jvp` agree with central differences in f64.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

import graphc
from graphc.errors import GraphcError
from graphc.graph import Graph, Node, building
from graphc.interp import run_graph
from graphc.op import OPS, Kind, Op, Sample
from graphc.options import Options
from graphc.parse import parse
from graphc.passes.pipeline import OPTIONAL, run_passes
from graphc.program_interp import run_program
from graphc.tensor import Tensor

Arrays = list[np.ndarray]


class Case(NamedTuple):
    op: Op
    sample: Sample


def cases() -> dict[str, Case]:
    """All samples, drawn as the same numbers whatever other ops there are."""
    found = {}
    for op in OPS.values():
        rng = np.random.default_rng(zlib.crc32(op.name.encode()))
        for i, sample in enumerate(op.samples(rng)):
            found[f"{op.name}-{i}"] = Case(op, sample)
    return found


CASES = cases()
# Integers have no gradient, and the gradient of custom_vjp is whatever its user says.
DIFFERENTIABLE = {
    name: case
    for name, case in CASES.items()
    if case.sample.differentiable and case.op.name != "custom_vjp" and any(a.dtype == np.float64 for a in case.sample.arrays)
}
SUMS = (Kind.CONTRACT, Kind.REDUCE, Kind.SCATTER, Kind.COMPOSITE)  # may be taken in another order
every_sample = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_differentiable_sample = pytest.mark.parametrize("case", DIFFERENTIABLE.values(), ids=DIFFERENTIABLE)


def declare(case: Case) -> tuple[list[Tensor], Tensor]:
    inputs = [graphc.input(f"x{i}", array.shape, array.dtype) for i, array in enumerate(case.sample.arrays)]
    return inputs, case.op(*inputs, **case.sample.attrs)


def graph_of(inputs: list[Tensor], *outputs: Tensor) -> Graph:
    return Graph(tuple(x.node for x in inputs), tuple(y.node for y in outputs))


def reference(case: Case) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(case.op.ref(case.sample.attrs, *case.sample.arrays))


def assert_close(found: np.ndarray, expected: np.ndarray, ulps: float, absolute: float = 0) -> None:
    """Equal but for `ulps` units in the last place, and `absolute` of them at 1; integers, zeros' signs and NaN always."""
    assert found.dtype == expected.dtype and found.shape == expected.shape
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    precision = np.finfo(expected.dtype).eps
    np.testing.assert_allclose(found, expected, rtol=ulps * precision, atol=absolute * precision)
    zero = (found == 0) & (expected == 0)
    np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(expected[zero]))


# --- values ---


@every_sample
def test_type_rule_agrees_with_reference(case: Case) -> None:
    _, y = declare(case)
    expected = reference(case)
    assert (expected.dtype, expected.shape) == (y.dtype, y.shape)


@every_sample
@pytest.mark.parametrize("options", [Options(), Options(passes_off=OPTIONAL, fusion=False)], ids=["all passes", "no passes"])
def test_kernels_agree_with_reference(case: Case, options: Options) -> None:
    inputs, y = declare(case)
    program = run_passes(graph_of(inputs, y), options, verify=True)[-1].ir
    (found,), _ = run_program(program, case.sample.arrays)
    sums = 100 if case.op.kind in SUMS else 0
    assert_close(found, reference(case), ulps=sums, absolute=sums)


@every_sample
def test_native_agrees_with_reference(case: Case) -> None:
    """Moved elements are exact, functions within the 2 to 4 units that they promise and NumPy's own."""
    inputs, y = declare(case)
    (found,) = graphc.compile([y], inputs=inputs)(*case.sample.arrays)
    sums = 100 if case.op.kind in SUMS else 0
    assert_close(found, reference(case), ulps=sums or (6 if case.op.kind is Kind.ELEMENTWISE else 0), absolute=sums)


@every_sample
def test_text_reads_back(case: Case) -> None:
    with building(loc="model.py:3"):
        inputs, y = declare(case)
    text = str(graph_of(inputs, y))
    if any(callable(value) for value in case.sample.attrs.values()):
        with pytest.raises(GraphcError, match="Python function"):
            parse(text)
        return
    again = parse(text)
    assert str(again) == text
    (found,), _ = run_graph(again, case.sample.arrays)
    assert found.tobytes() == reference(case).tobytes()


# --- derivatives ---


def evaluate(inputs: list[Tensor], outputs: list[Tensor], arrays: Arrays) -> list[np.ndarray]:
    return list(run_graph(graph_of(inputs, *outputs), arrays)[0])


def directional(f: Callable[[Arrays], np.ndarray], arrays: Arrays, directions: Arrays) -> np.ndarray:
    """The derivative of `f` along `directions`, by central differences of two steps, extrapolated."""

    def at(step: float) -> np.ndarray:
        up, down = ([a + (sign * step * d).astype(a.dtype) for a, d in zip(arrays, directions, strict=True)] for sign in (1, -1))
        return (f(up) - f(down)) / (2 * step)

    return (4 * at(1e-4) - at(2e-4)) / 3


class Problem:
    """The scalar function sum(c * op(x...)) of a case, the points and random directions of its float operands."""

    def __init__(self, case: Case):
        rng = np.random.default_rng(0)
        self.inputs, self.y = declare(case)
        self.arrays = [np.asarray(array) for array in case.sample.arrays]
        self.float_inputs = [x for x in self.inputs if x.dtype == np.float64]
        self.c = rng.standard_normal(self.y.shape)
        self.loss = (self.y * self.c).sum()
        self.directions = [rng.standard_normal(a.shape) if a.dtype == np.float64 else np.zeros_like(a) for a in self.arrays]
        self.tangents = [d for d, x in zip(self.directions, self.inputs, strict=True) if x.dtype == np.float64]

    def value(self, *outputs: Tensor) -> Callable[[Arrays], np.ndarray]:
        return lambda arrays: np.concatenate([one.ravel() for one in evaluate(self.inputs, list(outputs), arrays)])

    def derivative(self, *outputs: Tensor) -> np.ndarray:
        return directional(self.value(*outputs), self.arrays, self.directions)


@every_differentiable_sample
def test_backward_agrees_with_central_differences(case: Case) -> None:
    problem = Problem(case)
    gradients = evaluate(problem.inputs, graphc.grad(problem.loss, problem.float_inputs), problem.arrays)
    assert [g.shape for g in gradients] == [x.shape for x in problem.float_inputs]
    along = sum(np.sum(g * d) for g, d in zip(gradients, problem.tangents, strict=True))
    np.testing.assert_allclose(along, problem.derivative(problem.loss).item(), rtol=1e-6, atol=1e-7)


@every_differentiable_sample
def test_jvp_agrees_with_central_differences(case: Case) -> None:
    problem = Problem(case)
    tangent = graphc.jvp(problem.y, problem.float_inputs, problem.tangents)
    (found,) = evaluate(problem.inputs, [tangent], problem.arrays)
    np.testing.assert_allclose(found.ravel(), problem.derivative(problem.y), rtol=1e-6, atol=1e-7)


@every_differentiable_sample
def test_hessian_vector_product(case: Case) -> None:
    """The gradient of (gradient . d) against central differences of the gradient."""
    problem = Problem(case)
    gradients = graphc.grad(problem.loss, problem.float_inputs)
    along = sum((g * d).sum() for g, d in zip(gradients, problem.tangents, strict=True))
    product = problem.value(*graphc.grad(along, problem.float_inputs))(problem.arrays)
    np.testing.assert_allclose(product, problem.derivative(*gradients), rtol=1e-5, atol=1e-6)


# --- rewrites ---


def test_every_rewrite_keeps_the_type() -> None:
    """Of every sample, with each operand in turn a constant 0, 1, -1 or 2, which is what rewrites look for."""
    applied = 0
    for case in CASES.values():
        for i, array in enumerate(case.sample.arrays):
            for value in (0, 1, -1, 2):
                operands: list[Node] = [x.node for x in declare(case)[0]]
                operands[i] = graphc.full(array.shape, value, array.dtype).node
                node = case.op(*map(Tensor, operands), **case.sample.attrs).node
                for rule in case.op.rewrites:
                    found = rule(node)
                    if found is not None:
                        applied += 1
                        assert found.type == node.type
    assert applied > 100
