"""Products of tensors: matmul and einsum, both contractions."""

from __future__ import annotations

import re
from typing import Any

import graphc.functions.elementwise as ew
import graphc.functions.making as making
import graphc.functions.reductions as reductions
import graphc.functions.shaping as shaping
from graphc.errors import InputError, ShapeError
from graphc.functions.convert import promoted
from graphc.op import rule
from graphc.ops.contract import contraction
from graphc.tensor import Tensor
from graphc.types import DEFAULT_INT, broadcast_shapes, is_whole, listed, normalize_axis

_LABELS = re.compile(r"[A-Za-z]*(\.\.\.)?[A-Za-z]*")
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _numbers(name: str, *values: Any) -> list[Tensor]:
    """Promoted operands; bools count as integers, as there are no products of bools."""
    tensors = promoted(name, *values)
    return [shaping.astype(tensor, DEFAULT_INT) if tensor.dtype.kind == "b" else tensor for tensor in tensors]


def matmul(x: Any, w: Any) -> Tensor:
    """Matrix product over the last axis of x and the last but one of w; leading axes broadcast; vectors as NumPy's."""
    x, w = _numbers("matmul", x, w)
    with rule("matmul", x, w):
        if x.ndim == 0 or w.ndim == 0:
            raise ShapeError("operands need at least one axis")
        inner = w.shape[-2] if w.ndim > 1 else w.shape[0]
        if x.shape[-1] != inner:
            raise ShapeError(f"inner dimensions differ, {x.shape[-1]} != {inner}")
        batch = broadcast_shapes(x.shape[:-2], w.shape[:-2])
    labels = LETTERS[: len(batch)]
    rows = "y" if x.ndim > 1 else ""
    columns = "z" if w.ndim > 1 else ""
    # an axis that is broadcast in one operand is simply absent from its labels
    sides = []
    for tensor, tail in ((x, rows + "x"), (w, "x" + columns)):
        lead = tensor.shape[: tensor.ndim - len(tail)]
        names = labels[len(batch) - len(lead) :]
        kept = [i for i, size in enumerate(lead) if size != 1 or batch[len(batch) - len(lead) + i] == 1]
        shape = tuple(lead[i] for i in kept) + tensor.shape[len(lead) :]
        sides.append((shaping.reshape(tensor, shape), "".join(names[i] for i in kept) + tail))
    (x, x_labels), (w, w_labels) = sides
    return contraction(x, w, x_labels, w_labels, labels + rows + columns)


def einsum(spec: str, *operands: Any) -> Tensor:
    """Einstein summation, as NumPy's: explicit or implicit result, `...`, repeated labels (diagonals), one or more operands.
    Several operands are contracted from left to right."""
    if not isinstance(spec, str):
        raise InputError(f"einsum: the first argument is a string such as 'ij,jk->ik', not {spec!r}")
    if not operands:
        raise InputError("einsum: needs at least one operand")
    tensors = _numbers("einsum", *operands)
    with rule("einsum", *tensors):
        terms, out = _parse(spec, tensors)
        sizes: dict[str, int] = {}
        for i, (labels, tensor) in enumerate(zip(terms, tensors, strict=True)):
            for label, size in zip(labels, tensor.shape, strict=True):
                known = sizes.setdefault(label, size)
                if known == 1:
                    sizes[label] = size
                elif size not in (1, known):
                    raise ShapeError(f"sizes of axis {label!r} differ, {known} != {size} (operand {i})")
    prepared = [_prepare(tensor, labels, sizes) for tensor, labels in zip(tensors, terms, strict=True)]
    x, labels = prepared[0]
    for i, (w, w_labels) in enumerate(prepared[1:], 1):
        later = set(out).union(*(other for _, other in prepared[i + 1 :]))
        x, labels = _pair(x, labels, w, w_labels, later)
    x, labels = _sum_out(x, labels, set(out))
    missing = [label for label in out if label not in labels]
    if missing:  # an axis that was of size 1 in every operand
        x, labels = shaping.reshape(x, (*x.shape, *(1 for _ in missing))), labels + "".join(missing)
    return shaping.permute_dims(x, [labels.index(label) for label in out])


def _parse(spec: str, tensors: list[Tensor]) -> tuple[list[str], str]:
    """Labels of each operand and of the result, with `...` spelled out in unused letters."""
    text = spec.replace(" ", "")
    left, arrow, out = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors):
        raise ShapeError(f"{spec!r} names {len(terms)} operands, {len(tensors)} given")
    if not all(_LABELS.fullmatch(part) for part in (*terms, out)):
        raise ShapeError(f"{spec!r} is not of the form 'ij,jk->ik'")
    spare = [letter for letter in LETTERS if letter not in text]
    rank = 0
    for term, tensor in zip(terms, tensors, strict=True):
        named = len(term.replace("...", ""))
        if named > tensor.ndim or ("..." not in term and named != tensor.ndim):
            raise ShapeError(f"{term!r} names {named} axes of {tensor.type}")
        if "..." in term:
            rank = max(rank, tensor.ndim - named)
    if rank > len(spare):
        raise ShapeError(f"{spec!r} needs more than {len(LETTERS)} labels")
    dots = "".join(spare[:rank])
    if not arrow:
        letters = left.replace(",", "").replace(".", "")
        out = ("..." if "..." in left else "") + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    result = out.replace("...", dots)
    spelled = []
    for term, tensor in zip(terms, tensors, strict=True):
        width = tensor.ndim - len(term.replace("...", ""))
        spelled.append(term.replace("...", dots[rank - width :] if width else ""))
    if len(set(result)) != len(result) or any(label not in "".join(spelled) for label in result):
        raise ShapeError(f"the result {out!r} of {spec!r} repeats a label or names one that no operand has")
    return spelled, result


def _prepare(x: Tensor, labels: str, sizes: dict[str, int]) -> tuple[Tensor, str]:
    """Diagonals taken for repeated labels, and axes dropped that are broadcast (size 1 here, more elsewhere)."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            x = _diagonal(x, i, j)
            labels = labels[:j] + labels[j + 1 :]
    kept = [i for i, label in enumerate(labels) if x.shape[i] == sizes[label]]
    return shaping.reshape(x, tuple(x.shape[i] for i in kept)), "".join(labels[i] for i in kept)


def _diagonal(x: Tensor, i: int, j: int) -> Tensor:
    """Elements whose positions on axes i and j agree; axis j goes."""
    size = max(x.shape[i], x.shape[j])
    x = shaping.broadcast_to(x, tuple(size if axis in (i, j) else n for axis, n in enumerate(x.shape)))
    at = making.arange(size, dtype="int32")
    same = shaping.expand_dims(at, 1) == at
    shape = tuple(size if axis in (i, j) else 1 for axis in range(x.ndim))
    return reductions.sum(ew.where(shaping.reshape(same, shape), x, 0), axis=j)


def _sum_out(x: Tensor, labels: str, kept: set[str]) -> tuple[Tensor, str]:
    gone = tuple(i for i, label in enumerate(labels) if label not in kept)
    return (reductions.sum(x, axis=gone) if gone else x), "".join(label for label in labels if label in kept)


def _pair(x: Tensor, x_labels: str, w: Tensor, w_labels: str, later: set[str]) -> tuple[Tensor, str]:
    """The contraction of two operands, keeping the labels needed later. Labels of one operand alone are summed first."""
    x, x_labels = _sum_out(x, x_labels, later | set(w_labels))
    w, w_labels = _sum_out(w, w_labels, later | set(x_labels))
    out = "".join(label for label in dict.fromkeys(x_labels + w_labels) if label in later)
    if x.dtype != w.dtype:  # integer sums are int64
        x, w = promoted("einsum", x, w)
    return contraction(x, w, x_labels, w_labels, out), out


def tensordot(x: Any, w: Any, axes: Any = 2) -> Tensor:
    """Sum over pairs of axes: the last `axes` of x with the first of w, or two lists, as NumPy's."""
    x, w = _numbers("tensordot", x, w)
    with rule("tensordot", x, w):
        if is_whole(axes):
            if not 0 <= axes <= min(x.ndim, w.ndim):
                raise ShapeError(f"{x.type} and {w.type} have no {axes} axes to sum over")
            pairs = [(x.ndim - axes + i, i) for i in range(axes)]
        else:
            if not isinstance(axes, (tuple, list)) or len(axes) != 2:
                raise ShapeError(f"axes is an integer or a pair, not {axes!r}")
            left, right = (listed(one, "axes") for one in axes)
            if len(left) != len(right):
                raise ShapeError(f"axes {axes} do not pair up")
            pairs = [(normalize_axis(a, x.ndim), normalize_axis(b, w.ndim)) for a, b in zip(left, right, strict=True)]
            if any(len(set(side)) < len(side) for side in zip(*pairs, strict=True)):
                raise ShapeError(f"axes {axes} name an axis twice")
        for a, b in pairs:
            if x.shape[a] != w.shape[b]:
                raise ShapeError(f"axis {a} of {x.type} does not pair with axis {b} of {w.type}")
    x_labels = list(LETTERS[: x.ndim])
    w_labels = list(LETTERS[x.ndim : x.ndim + w.ndim])
    for a, b in pairs:
        w_labels[b] = x_labels[a]
    summed = {x_labels[a] for a, _ in pairs}
    out = "".join(label for label in x_labels + w_labels if label not in summed)
    return contraction(x, w, "".join(x_labels), "".join(w_labels), out)


def dot(x: Any, w: Any) -> Tensor:
    """As NumPy's: a product with a scalar, else over the last axis of x and the last but one (or only) of w."""
    x, w = _numbers("dot", x, w)
    if x.ndim == 0 or w.ndim == 0:
        return x * w
    return tensordot(x, w, ([x.ndim - 1], [max(w.ndim - 2, 0)]))


def vecdot(x: Any, w: Any) -> Tensor:
    """Inner products over the last axis; leading axes broadcast."""
    return einsum("...i,...i->...", x, w)


def outer(x: Any, w: Any) -> Tensor:
    """All products of elements of two flattened tensors."""
    x, w = _numbers("outer", x, w)
    return contraction(shaping.reshape(x, (-1,)), shaping.reshape(w, (-1,)), "a", "b", "ab")
