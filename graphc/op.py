"""What an op is, and the registry of all of them. One op is one declaration, in its family's file under `graphc/ops/`.

    exp = declare(
        "exp", Kind.ELEMENTWISE, doc="exp(x).", infer=float_unary, ref=lambda attrs, x: np.exp(x),
        scalar=lambda b, x: b.exp(x), backward=lambda node, v: [v * result(node)], samples=reals(-3, 3),
    )

Calling an op (`exp(x)`) builds a node; it is strict: operands are tensors of the right types and shapes. Broadcasting, promotion
and Python scalars are the business of `graphc.functions`, what users call.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import DTypeError, GraphcError, InputError, ShapeError
from graphc.graph import Attrs, Node, caller_location, provenance
from graphc.types import TensorType, check_size

if TYPE_CHECKING:
    from graphc.index import Index, Piece
    from graphc.tensor import Tensor


class Kind(enum.Enum):
    SOURCE = "source"  # no operands: input, state, const, iota
    ELEMENTWISE = "elementwise"  # operands and result of one shape; has a scalar rule
    REDUCE = "reduce"  # attrs: axes; has a reducer
    VIEW = "view"  # moves elements and computes nothing; has an index rule
    CONTRACT = "contract"  # einsum of two operands
    GATHER = "gather"
    SCATTER = "scatter"
    SCAN = "scan"  # a loop: attrs hold its body, a graph of its own; several results, of a TupleType
    PROJECT = "project"  # one result of a SCAN
    COMPOSITE = "composite"  # stands for other ops, which `expand` builds; kernels never see it


@dataclass(frozen=True)
class Sample:
    """A valid call of an op, for the tests that run over the whole registry: operand arrays and attributes. `differentiable` is
    false where central differences would meet a kink or an integer."""

    arrays: tuple[np.ndarray, ...]
    attrs: dict[str, Any]
    differentiable: bool = True


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Op:
    name: str
    kind: Kind
    doc: str  # the formula
    infer: Callable[[tuple[TensorType, ...], Attrs], TensorType]  # the type rule; raises ShapeError or DTypeError
    ref: Callable[..., np.ndarray]  # ref(attrs, *arrays): the NumPy oracle
    backward: Callable[[Node, Tensor], Sequence[Tensor | None]]  # gradients of all inputs, None where there is none
    samples: Callable[[np.random.Generator], Iterable[Sample]]
    scalar: Callable[..., Any] | None = None  # ELEMENTWISE: scalar(builder, *values); sees `attrs` where it takes them
    reducer: str | None = None  # REDUCE: sum, prod, max, min, argmax, argmin
    pieces: Callable[[Node, tuple[Index, ...]], Sequence[Piece]] | None = None  # VIEW: where an element comes from
    expand: Callable[[Node], Tensor] | None = None  # COMPOSITE: the same value by other ops
    # VIEW: lift(node, *operands): what the node does, done to each of several in operands that are stacked along a new axis 0
    lift: Callable[..., Tensor] | None = None
    # rewrites that name this op: each takes a node of it and returns a replacement or None; exact in IEEE arithmetic
    rewrites: tuple[Callable[[Node], Node | None], ...] = ()
    cost: int = 1  # ELEMENTWISE: what one element costs, in additions
    effect: bool = False  # can fail at run time (an index check), so it is never merged into another kernel

    def __call__(self, *operands: Tensor, **attrs: Any) -> Tensor:
        from graphc.tensor import Tensor

        return Tensor(build(self, tuple(operand.node for operand in operands), attrs))

    def __repr__(self) -> str:
        return f"<op {self.name}>"


OPS: dict[str, Op] = {}

_NEEDED = {Kind.ELEMENTWISE: "scalar", Kind.REDUCE: "reducer", Kind.VIEW: "pieces", Kind.COMPOSITE: "expand"}


def declare(name: str, kind: Kind, **parts: Any) -> Op:
    """Register an op. Fails where a part is missing, so that no op can exist without its oracle, gradient and samples."""
    op = Op(name=name, kind=kind, **parts)
    needed = _NEEDED.get(kind)
    if needed is not None and getattr(op, needed) is None:
        raise TypeError(f"op {name}: an op of kind {kind.value} needs `{needed}`")
    if name in OPS:
        raise TypeError(f"op {name} is declared twice")
    if not op.doc:
        raise TypeError(f"op {name} has no formula in `doc`")
    OPS[name] = op
    return op


def build(op: Op, inputs: tuple[Node, ...], attrs: dict[str, Any]) -> Node:
    """A checked node that knows where it was declared."""
    context = provenance()
    loc = caller_location() if context.loc is None else context.loc
    try:
        type_ = op.infer(tuple(node.type for node in inputs), attrs)
        if isinstance(type_, TensorType):
            check_size(type_.shape)
    except GraphcError as error:
        raise explain(error, op.name, inputs, loc, context.scope) from None
    return Node(op, inputs, attrs, type_, loc, context.scope, context.origins)


def derive(node: Node, op: Op, inputs: tuple[Node, ...], **attrs: Any) -> Node:
    """A node that stands where `node` stood (same provenance), for rewrites and passes."""
    type_ = op.infer(tuple(operand.type for operand in inputs), attrs)
    return Node(op, inputs, attrs, type_, node.loc, node.scope, node.origins)


def explain(error: GraphcError, name: str, inputs: Sequence[Node], loc: str, scope: str) -> GraphcError:
    """The error with the operation, its operands' types and its declaration below the message."""
    if "\n" in str(error):  # already explained, by an operation inside this one
        return error
    labels = [label_of(node) or f"%{i}" for i, node in enumerate(inputs)]
    typed = "   ".join(f"{label}: {node.type}" for label, node in zip(labels, inputs, strict=True))
    where = f"\n  declared at {loc}" + (f" (module {scope})" if scope else "") if loc else ""
    return type(error)(f"{name}: {error}\n  {name} {' '.join(labels)}     {typed}{where}")


def label_of(node: Node) -> str | None:
    """The user's name for an input or a state."""
    if node.op.name == "input":
        return node.attrs["name"]
    return node.attrs["state"].name if node.op.name == "state" else None


@contextlib.contextmanager
def rule(name: str, *tensors: Tensor) -> Iterator[None]:
    """Errors raised inside are told as errors of the operation `name` on `tensors`."""
    try:
        yield
    except (ShapeError, DTypeError, InputError) as error:
        context = provenance()
        loc = caller_location() if context.loc is None else context.loc
        raise explain(error, name, [tensor.node for tensor in tensors], loc, context.scope) from None


def operands(node: Node) -> tuple[Tensor, ...]:
    """The inputs of a node as tensors, for backward functions."""
    from graphc.tensor import Tensor

    return tuple(Tensor(operand) for operand in node.inputs)


def result(node: Node) -> Tensor:
    """A node's own value as a tensor, for backward functions."""
    from graphc.tensor import Tensor

    return Tensor(node)
