"""Functions on tensors, named and behaving as NumPy's and the array API's: broadcasting, promotion, negative axes, scalars and
arrays as operands. Each builds nodes of the strict ops in `graphc.ops`."""

from graphc.functions.convert import as_tensor
from graphc.functions.elementwise import (
    abs, add, ceil, clip, cos, divide, equal, erf, exp, expm1, floor, floor_divide, greater, greater_equal, isfinite, isinf,
    isnan, less, less_equal, log, log1p, log2, log10, maximum, minimum, multiply, negative, not_equal, power, reciprocal,
    remainder, round, rsqrt, sigmoid, sign, sin, sqrt, square, stop_gradient, subtract, tan, tanh, trunc, where,
)  # fmt: skip
from graphc.functions.logic import (
    bitwise_and, bitwise_invert, bitwise_or, bitwise_xor, logical_and, logical_not, logical_or, logical_xor,
)  # fmt: skip
from graphc.functions.indexing import getitem, one_hot, scatter_add, take, take_along_axis
from graphc.functions.products import dot, einsum, matmul, outer, tensordot, vecdot
from graphc.functions.reductions import all, any, argmax, argmin, logsumexp, max, mean, min, prod, std, sum, var
from graphc.functions.making import arange, eye, full, full_like, linspace, ones, ones_like, tril, triu, zeros, zeros_like
from graphc.functions.shaping import (
    astype, broadcast_to, concat, expand_dims, flip, matrix_transpose, moveaxis, pad, permute_dims, repeat, reshape, roll, split,
    squeeze, stack, swapaxes, tile, unstack,
)  # fmt: skip

# what NumPy and the array API call differently
concatenate, pow, transpose = concat, power, permute_dims

__all__ = [
    "abs", "add", "all", "any", "arange", "argmax", "argmin", "as_tensor", "astype", "bitwise_and", "bitwise_invert",
    "bitwise_or", "bitwise_xor", "broadcast_to", "ceil", "clip", "concat", "concatenate", "cos", "divide", "dot", "einsum",
    "equal", "erf", "exp", "expand_dims", "expm1", "eye", "flip", "floor", "floor_divide", "full", "full_like", "getitem",
    "greater", "greater_equal", "isfinite", "isinf", "isnan", "less", "less_equal", "linspace", "log", "log10", "log1p",
    "log2", "logical_and", "logical_not", "logical_or", "logical_xor", "logsumexp", "matmul", "matrix_transpose", "max",
    "maximum", "mean", "min", "minimum", "moveaxis", "multiply", "negative", "not_equal", "one_hot", "ones", "ones_like",
    "outer", "pad", "permute_dims", "pow", "power", "prod", "reciprocal", "remainder", "repeat", "reshape", "roll", "round",
    "rsqrt", "scatter_add", "sigmoid", "sign", "sin", "split", "sqrt", "square", "squeeze", "stack", "std", "stop_gradient",
    "subtract", "sum", "swapaxes", "take", "take_along_axis", "tan", "tanh", "tensordot", "tile", "transpose", "tril", "triu",
    "trunc", "unstack", "var", "vecdot", "where", "zeros", "zeros_like",
]  # fmt: skip
