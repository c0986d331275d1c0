"""What `python -m benchmarks kernels` measures: families of kernels over sizes, with their operands and the work they must do.

Work is what no implementation can avoid: the multiply-adds of a product, each operand read once and each result written once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

MATH = ("exp", "log", "tanh", "sigmoid", "erf", "sin", "cos", "pow")
TABLE_ROWS = 10_000  # of the table that gather reads and scatter-add adds to
DROPPED = 0.1


@dataclass(frozen=True)
class Case:
    """One kernel on one size. The shape of a product is (m, k, n), of batched ones (batch, m, k, n), of a convolution
    (N, C, H, W, filters, size); else that of the first operand."""

    family: str
    shape: tuple[int, ...]
    variant: str = ""
    dtype: str = "float32"

    @property
    def name(self) -> str:
        kind = [self.family, *([self.variant] if self.variant else []), *(["f64"] if self.dtype == "float64" else [])]
        return f"{' '.join(kind)} {'x'.join(map(str, self.shape))}"

    @property
    def flops(self) -> float:
        """Multiplications and additions of a product; 0 for everything that memory bounds, or the polynomials of math."""
        if self.family == "contraction":
            return 2.0 * math.prod(self.shape)
        if self.family == "conv2d":
            n, c, h, w, filters, size = self.shape
            return 2.0 * n * c * h * w * filters * size * size
        return 0.0

    @property
    def size(self) -> float:
        """What tells long cases from short ones."""
        return self.flops or 4.0 * math.prod(self.shape)

    def operands(self) -> list[np.ndarray]:
        """The same in every process."""
        rng = np.random.default_rng(0)

        def normal(*shapes: tuple[int, ...]) -> list[np.ndarray]:
            return [rng.standard_normal(shape, np.float32).astype(self.dtype) for shape in shapes]

        if self.family == "contraction":
            *batch, m, k, n = self.shape if self.variant != "matvec" else (*self.shape, 1)
            if self.variant == "matvec":
                return normal((m, k), (k,))
            a = (*batch, k, m) if self.variant.endswith("tn") else (*batch, m, k)
            return normal(a, (*batch, n, k) if self.variant.endswith("nt") else (*batch, k, n))
        if self.family == "conv2d":
            n, c, h, w, filters, size = self.shape
            return normal((n, c, h, w), (filters, c, size, size))
        if self.family == "math":
            operands = [rng.uniform(0.1, 3, self.shape).astype(self.dtype) for _ in range(2)]
            return operands if self.variant == "pow" else operands[:1]
        if self.family in ("gather", "scatter_add"):
            rows = rng.integers(0, TABLE_ROWS, self.shape[0], dtype=np.int32)
            return [rows, *normal((TABLE_ROWS, self.shape[1]) if self.family == "gather" else self.shape)]
        if self.family == "adam":
            parameter, gradient, first, second = normal(*[self.shape] * 4)
            return [parameter, gradient, first, second * second]
        if self.family == "layer_norm backward":
            x, gradient = normal(self.shape, self.shape)
            mean = x.mean(-1, keepdims=True)
            return [x, gradient, mean, 1 / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + np.float32(1e-5))]
        if self.family == "softmax backward":
            x, gradient = normal(self.shape, self.shape)
            e = np.exp(x)
            return [e / e.sum(-1, keepdims=True), gradient]
        return normal(*[self.shape] * (2 if self.family == "chain" else 1))

    @property
    def in_place(self) -> bool:
        return self.family == "adam"

    def traffic(self, operands: list[np.ndarray], results: list[np.ndarray]) -> tuple[float, float]:
        """Bytes read and written, each once: of the table only the rows that are asked for; all of Adam's state."""
        reads, writes = sum(array.nbytes for array in operands), sum(array.nbytes for array in results)
        if self.family == "gather":
            reads = operands[0].nbytes + len(np.unique(operands[0])) * operands[1][0].nbytes
        if self.family == "adam":
            writes = 3 * operands[0].nbytes
        return float(reads), float(writes)


def _rows(*families: str, rows: tuple[int, ...] = (4096,)) -> list[Case]:
    return [Case(family, shape) for family in families for shape in ((32, 64), *((n, 512) for n in rows))]


CASES: list[Case] = [
    *(Case("contraction", (n, n, n), "nt") for n in (16, 33, 40, 47, 48, 64, 128, 256, 512, 1024)),
    *(Case("contraction", shape, "nt") for shape in ((32, 64, 32), (128, 784, 512), (32, 2048, 10))),
    *(Case("contraction", shape, kind) for kind in ("nn", "tn") for shape in ((64, 64, 64), (128, 784, 512), (512, 512, 512))),
    *(Case("contraction", (n, n, n), "nt", "float64") for n in (64, 512)),
    Case("contraction", (32, 64, 64, 64), "batched nt"),
    Case("contraction", (32, 128, 128, 64), "batched nn"),
    *(Case("contraction", shape, "matvec") for shape in ((128, 128), (2048, 2048))),
    Case("conv2d", (8, 16, 28, 28, 32, 3)),
    Case("conv2d", (32, 3, 32, 32, 16, 5)),
    *(Case("chain", (n,)) for n in (1_000, 10_000, 100_000, 1_000_000, 16_777_216)),
    *(Case("math", (2048,), name) for name in MATH),
    *_rows("softmax", "softmax backward", "layer_norm", "layer_norm backward", rows=(4096, 32_768)),
    *_rows("column_sum", "row_sum", "full_sum", "argmax"),
    *(Case("transpose", shape, "1 0") for shape in ((64, 64), (4096, 512))),
    Case("transpose", (8, 128, 8, 64), "0 2 1 3"),
    Case("transpose", (32, 64, 28, 28), "0 2 3 1"),
    *(Case(family, shape) for family in ("gather", "scatter_add") for shape in ((64, 64), (8192, 64))),
    *(Case("adam", (n,)) for n in (10_000, 1_000_000)),
    *(Case("dropout", (n,)) for n in (10_000, 1_000_000)),
]
FAMILIES = tuple(dict.fromkeys(case.family for case in CASES))


def odd_sizes(full: bool = False) -> list[Case]:
    """Products x W^T over 33 to 47: one size at a time beside 40s, and all three alike; `full` has every triple."""
    sizes = range(33, 48)
    if full:
        shapes = set(product(sizes, repeat=3))
    else:
        shapes = {(*[40] * at, n, *[40] * (2 - at)) for n in sizes for at in range(3)} | {(n, n, n) for n in sizes}
    return [Case("contraction", shape, "nt") for shape in sorted(shapes)]


def round_sizes() -> list[Case]:
    """The multiples of 16 that those are compared with."""
    return [Case("contraction", shape, "nt") for shape in product((32, 48), repeat=3)]


def nearest_round(case: Case) -> Case:
    return Case(case.family, tuple((n + 8) // 16 * 16 for n in case.shape), case.variant)
