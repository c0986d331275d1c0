"""All ops, one file a family. Importing this package fills the registry `graphc.op.OPS`."""

from graphc.ops import (
    arithmetic, compare, contract, fold, implied, index, math, random, reduce, scan, slicing, source, view, window,
)  # fmt: skip

__all__ = [
    "arithmetic", "compare", "contract", "fold", "implied", "index", "math", "random", "reduce", "scan", "slicing", "source",
    "view", "window",
]  # fmt: skip
