"""Reverse-mode differentiation: one loop that walks a graph backwards and builds ordinary nodes.

For a node y = g(x1, ..., xn) with gradient v of some scalar with respect to y, the op's backward function builds B[g, xi](v),
the gradient with respect to each operand. Where a value is used more than once its gradients add up, in the order in which the
loop meets the users, so the result is deterministic. The new nodes remember the forward node they came from. Since they are
ordinary nodes, gradients of gradients come free; forward mode (`jvp`) is reverse mode twice, because B is linear in v.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import graphc.functions as fn
from graphc.errors import DTypeError, InputError, ShapeError
from graphc.graph import Node, Origin, building, topological
from graphc.op import rule
from graphc.ops import math as mathematics
from graphc.ops.common import no_gradient, zero_gradient
from graphc.tensor import Tensor
from graphc.types import TupleType, is_float


def _listed(what: str, tensors: Any) -> list[Tensor]:
    if isinstance(tensors, Tensor):
        return [tensors]
    if not isinstance(tensors, Iterable) or isinstance(tensors, (str, Mapping, np.ndarray)):
        raise InputError(f"{what}: expected a tensor or a list of tensors, got {type(tensors).__name__}")
    many = list(tensors)
    for tensor in many:
        if not isinstance(tensor, Tensor):
            raise InputError(f"{what}: expected tensors, got {type(tensor).__name__}")
    return many


def _like(structure: Any, gradients: list[Tensor]) -> Any:
    return gradients[0] if isinstance(structure, Tensor) else gradients


def grad(loss: Tensor, wrt: Any) -> Any:
    """The gradient of a scalar `loss` with respect to a tensor or each of a list of tensors, in the same structure.

    `wrt` may be inputs, states or any computed tensors. One that the loss does not depend on gets zeros. Raises ShapeError where
    the loss is not a scalar, DTypeError where it or one of `wrt` is not of a float type.
    """
    if not isinstance(loss, Tensor):
        raise InputError(f"grad: the loss is a scalar tensor, not {type(loss).__name__}")
    with rule("grad", loss):
        if loss.shape != ():
            raise ShapeError(f"the loss must be a scalar, got {loss.type}; reduce it first, with .sum() or .mean()")
    return _vjp("grad", loss, wrt, None)


def vjp(outputs: Any, inputs: Any, cotangents: Any = None) -> Any:
    """Vector-Jacobian product: the sum over outputs y of B[y, x](v) for each input x, v being the output's cotangent (ones where
    `cotangents` is None). Structured as `inputs`: a tensor or a list."""
    return _vjp("vjp", outputs, inputs, cotangents)


def _vjp(name: str, outputs: Any, inputs: Any, cotangents: Any) -> Any:
    ys, xs = _listed(name, outputs), _listed(name, inputs)
    for tensor in (*ys, *xs):
        with rule(name, tensor):
            if not is_float(tensor.dtype):
                raise DTypeError(f"only float tensors have gradients, got {tensor.type}")
    vs = [fn.ones_like(y) for y in ys] if cotangents is None else _cotangents(name, cotangents, ys)
    return _like(inputs, pull_back(ys, xs, vs))


def _cotangents(name: str, values: Any, like: Sequence[Tensor]) -> list[Tensor]:
    many = list(values) if isinstance(values, (list, tuple)) else [values]
    if len(many) != len(like):
        raise InputError(f"{name}: {len(many)} cotangents or tangents for {len(like)} tensors")
    vs = []
    for value, tensor in zip(many, like, strict=True):
        v = fn.as_tensor(value, tensor.dtype)
        with rule(name, tensor, v):
            if v.shape != tensor.shape:
                raise ShapeError(f"a cotangent or tangent has the shape of its tensor, {tensor.shape}, got {v.shape}")
        vs.append(v)
    return vs


def pull_back(ys: Sequence[Tensor], xs: Sequence[Tensor], vs: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of xs, given those of ys; zeros for what they do not depend on."""
    return [fn.zeros_like(x) if g is None else g for x, g in zip(xs, gradients_where_any(ys, xs, vs), strict=True)]


def gradients_where_any(ys: Sequence[Tensor], xs: Sequence[Tensor], vs: Sequence[Tensor]) -> list[Tensor | None]:
    """The one reverse loop. None for an x from which no differentiable path leads to ys: PyTorch's `grad` is None there. A path
    through a function that is constant almost everywhere counts, and its gradient is zeros."""
    order = topological(y.node for y in ys)
    wanted = {x.node for x in xs}
    depends: set[Node] = set()  # nodes whose value depends on one of xs
    for node in order:
        if node in wanted or any(operand in depends for operand in node.inputs):
            depends.add(node)
    gradient: dict[Node, list[Any]] = {}  # contributions, in the order in which they were met
    level: set[Node] = set()  # reached where the derivative is 0, so that nothing is contributed

    def add(node: Node, v: Any) -> None:
        gradient.setdefault(node, []).append(v)

    for y, v in zip(ys, vs, strict=True):
        if y.node in depends:
            add(y.node, v)
    for node in reversed(order):
        operands = [operand for operand in node.inputs if operand in depends and _has_gradient(operand)]
        if node not in depends or not operands:
            continue
        if node not in gradient:
            if node in level and node.op.backward is not no_gradient:
                level.update(operands)
            continue
        if node.op.backward is zero_gradient:
            level.update(operands)
        with building(loc=node.loc, scope=node.scope, origins=(Origin(_rule_name(node), node),)):
            for operand, part in zip(node.inputs, node.op.backward(node, _total(gradient[node])), strict=True):
                if part is not None and operand in depends and _has_gradient(operand):
                    add(operand, part)
            if node not in wanted:
                del gradient[node]
    return [_total(gradient[x.node]) if x.node in gradient else fn.zeros_like(x) if x.node in level else None for x in xs]


def _rule_name(node: Node) -> str:
    """Whose backward function: the op's, or where one was stated by name, that function's."""
    stated = node.attrs.get("backward")
    return stated if isinstance(stated, str) else node.op.name


def _total(parts: list[Any]) -> Any:
    """The sum of contributions. Where each is one slice's, in zeros, and the slices make up the whole, they are put side by
    side."""
    whole = _side_by_side(parts) if len(parts) > 1 else None
    if whole is not None:
        return whole
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _side_by_side(parts: list[Any]) -> Tensor | None:
    places: list[tuple[int, Node]] = []
    along: set[int] = set()
    for part in parts:
        node = part.node if isinstance(part, Tensor) else None
        if node is None or node.op.name != "pad" or node.attrs["value"] != 0 or any(node.attrs["interior"]):
            return None
        low, high = node.attrs["low"], node.attrs["high"]
        axes = [axis for axis in range(len(low)) if low[axis] or high[axis]]
        if len(axes) != 1:
            return None
        along.update(axes)
        places.append((low[axes[0]], node.inputs[0]))
    if len(along) != 1:
        return None
    (axis,) = along
    places.sort(key=lambda place: place[0])
    end = 0
    for low, piece in places:
        if low != end or not piece.type.shape[axis]:
            return None
        end += piece.type.shape[axis]
    return fn.concat([Tensor(piece) for _, piece in places], axis) if end == parts[0].shape[axis] else None


def _has_gradient(node: Node) -> bool:
    return isinstance(node.type, TupleType) or is_float(node.type.dtype)


def jvp(outputs: Any, inputs: Any, tangents: Any) -> Any:
    """Jacobian-vector product: the derivative of each output along `tangents` of the inputs. Structured as `outputs`.

    B[y, x](u) is linear in u, so its own gradient with respect to u, fed the tangents, is the forward derivative.
    """
    ys, xs = _listed("jvp", outputs), _listed("jvp", inputs)
    ts = _cotangents("jvp", tangents, xs)
    # each u is a node of its own; its value never matters
    us = [fn.stop_gradient(fn.zeros_like(y)) for y in ys]
    pulled = _vjp("jvp", ys, xs, us)
    return _like(outputs, pull_back(pulled, us, ts))


def custom_vjp(f: Callable[..., Tensor], backward: Callable[..., Any]) -> Callable[..., Tensor]:
    """`f` with a derivative stated by the user.

    `f(*inputs)` returns a tensor; `backward(v, *inputs)` returns the gradients of all inputs (a tensor where there is one
    input, else a sequence; None for no gradient), built from tensors, so that it can be differentiated in turn.
    """
    for what, function in (("the function", f), ("backward", backward)):
        if not callable(function) or isinstance(function, Tensor):
            raise InputError(f"custom_vjp: {what} is a function of tensors, not {function!r}")

    def call(*inputs: Any) -> Tensor:
        xs = [fn.as_tensor(x) for x in inputs]
        y = f(*xs)
        if not isinstance(y, Tensor):
            raise InputError(f"custom_vjp: the function must return a tensor, got {type(y).__name__}")

        def checked(operands: Sequence[Tensor], v: Tensor) -> list[Tensor | None]:
            result = backward(v, *operands)
            many: list[Any] = list(result) if isinstance(result, (list, tuple, Iterator)) else [result]
            if len(many) != len(operands):
                raise InputError(f"custom_vjp: backward returned {len(many)} gradients for {len(operands)} inputs")
            pairs = zip(operands, many, strict=True)
            many = [g if g is None or isinstance(g, Tensor) else fn.as_tensor(g, x.dtype) for x, g in pairs]
            for x, g in zip(operands, many, strict=True):
                if g is not None and (g.shape != x.shape or g.dtype != x.dtype):
                    raise ShapeError(f"custom_vjp: backward returned {g.type} for an input of type {x.type}")
            return many

        checked.__name__ = getattr(backward, "__name__", "backward")
        return mathematics.custom_vjp(y, *xs, backward=checked)

    return call
