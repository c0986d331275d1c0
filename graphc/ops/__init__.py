"""All ops, one file a family. Importing this package fills the registry `graphc.op.OPS`."""

from graphc.ops import arithmetic, compare, contract, index, math, reduce, slicing, source, view

__all__ = ["arithmetic", "compare", "contract", "index", "math", "reduce", "slicing", "source", "view"]
