"""Random bits as a pure function: Philox4x32-10, a counter-based generator.

The bits of element i are the first words of Philox with counter (i, stream, step) and key `seed`, so they can be computed
anywhere, in any order, by any thread, and again: a mask is not stored for the backward graph, it is drawn a second time.

Source: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.graph import Attrs
from graphc.op import Kind, Sample, declare
from graphc.ops.common import no_gradient
from graphc.types import TensorType, int32, int64

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # what the key grows by in each round
ROUNDS = 10
MASK = 0xFFFFFFFF


def philox4x32(counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> tuple[Any, Any, Any, Any]:
    """The four output words for counter and key words, all uint64 arrays below 2**32."""
    c0, c1, c2, c3 = (np.asarray(word, np.uint64) for word in counter)
    k0, k1 = (np.asarray(word, np.uint64) for word in key)
    low, half = np.uint64(MASK), np.uint64(32)
    for _ in range(ROUNDS):
        p0, p1 = np.uint64(MULTIPLIERS[0]) * c0, np.uint64(MULTIPLIERS[1]) * c2
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & low, (p0 >> half) ^ c3 ^ k1, p0 & low
        k0, k1 = (k0 + np.uint64(WEYL[0])) & low, (k1 + np.uint64(WEYL[1])) & low
    return c0, c1, c2, c3


def _type(types: tuple[TensorType, ...], attrs: Attrs) -> TensorType:
    index = types[0]
    if any(one != TensorType(int64, index.shape) for one in types):
        raise DTypeError(f"index, seed and step are i64 of one shape, got {', '.join(map(str, types))}")
    if attrs["dtype"] not in (int32, int64):
        raise DTypeError(f"random bits are i32 or i64, not {attrs['dtype']}")
    if index.size > MASK:
        raise ShapeError(f"{index.size} random values in one tensor; at most {MASK}")
    return TensorType(attrs["dtype"], index.shape)


def _ref(attrs: Attrs, index: np.ndarray, seed: np.ndarray, step: np.ndarray) -> np.ndarray:
    words = [np.asarray(one).astype(np.int64).view(np.uint64) for one in (index, seed, step)]
    low, half = np.uint64(MASK), np.uint64(32)
    index, seed, step = words
    counter = (index & low, np.broadcast_to(np.uint64(attrs["stream"]), index.shape), step & low, step >> half)
    w0, w1, _, _ = philox4x32(counter, (seed & low, seed >> half))
    if attrs["dtype"] == int32:
        return w0.astype(np.uint32).view(np.int32)
    return (w0 | w1 << half).view(np.int64)


def _scalar(b: Any, index: Any, seed: Any, step: Any, attrs: Attrs) -> Any:
    """The words are the lower halves of 64-bit lanes, so that a product is one widening multiply; what lies above them does not
    count, neither there nor in the result."""

    def const(value: int) -> Any:
        return b.const(value, int64)

    def low(x: Any) -> Any:
        return b.logical_and(x, const(MASK))

    def high(x: Any) -> Any:
        return b.shift_right(x, 32)

    def turn(words: list[Any]) -> list[Any]:
        c0, c1, c2, c3, k0, k1 = words
        p0, p1 = b.mul(low(c0), const(MULTIPLIERS[0])), b.mul(low(c2), const(MULTIPLIERS[1]))
        first, third = (b.logical_xor(b.logical_xor(high(p), c), k) for p, c, k in ((p1, c1, k0), (p0, c3, k1)))
        return [first, p1, third, p0, b.add(k0, const(WEYL[0])), b.add(k1, const(WEYL[1]))]

    c0, c1, *_ = b.repeat(ROUNDS, [index, const(attrs["stream"]), step, high(step)], [seed, high(seed)], turn)
    if attrs["dtype"] == int32:
        return b.cast(c0, int32)
    return b.logical_or(low(c0), b.shift_left(c1, 32))


def _samples(rng: np.random.Generator) -> Iterator[Sample]:
    for dtype in (int32, int64):
        for shape in ((), (5,), (3, 37), (0, 2)):
            index = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
            seed, step = (np.full(shape, value, np.int64) for value in rng.integers(-(2**62), 2**62, 2))
            yield Sample((index, seed, step), {"stream": int(rng.integers(2**32)), "dtype": dtype}, False)


philox = declare(
    "philox",
    Kind.ELEMENTWISE,
    doc="Uniform random bits: the first word, or two, of Philox4x32-10 with counter (index, stream, step) and key seed.",
    infer=_type,
    ref=_ref,
    scalar=_scalar,
    backward=no_gradient,
    samples=_samples,
    cost=60,
)
