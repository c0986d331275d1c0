"""Reading through views: which stored values a node reads, and at which positions.

`leaves(x, index)` follows views from `x` down to the nodes that hold or compute elements, carrying the index map along:

    %1 = transpose %0 {perm=(1, 0)}     leaves(%1, (a0, a1))  ->  [Read(%0, (a1, a0))]
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from graphc.graph import Node
from graphc.index import Index, Where, axes_of, flatten, unflatten
from graphc.op import Kind
from graphc.rewriting import splat
from graphc.types import row_major_strides


@dataclass(frozen=True, slots=True)
class Read:
    """The element `index` of `base` where `where` holds, else `fill`; which is None where views disagree about it."""

    base: Node
    index: tuple[Index, ...]
    where: Where = ()
    fill: Any = 0

    @property
    def flat(self) -> Index:
        shape = self.base.type.shape
        return flat_of(shape) if self.index is axes_of(shape) else flatten(self.index, row_major_strides(shape))


def is_free(node: Node) -> bool:
    """Whether a value costs nothing to make anywhere: counters and constants of one element."""
    return node.op.name == "iota" or splat(node) is not None


def leaves(node: Node, index: tuple[Index, ...]) -> list[Read]:
    """The reads behind `node` at `index`; free values are left out."""
    found: list[Read] = []
    stack = [Read(node, index)]
    while stack:
        read = stack.pop()
        if is_free(read.base):
            continue
        if read.base.op.kind is not Kind.VIEW:
            found.append(read)
            continue
        pieces = list(read.base.op.pieces(read.base, read.index))  # type: ignore[misc]
        for piece in reversed(pieces):
            fill = read.fill
            if piece.where:
                # beside other pieces, which may be free and left out, there is no one value
                value = read.base.attrs.get("value", 0) if len(pieces) == 1 else None
                fill = value if not read.where or value == fill else None
            stack.append(Read(read.base.inputs[piece.operand], piece.index, read.where + piece.where, fill))
    return found


def whole(node: Node) -> Node | None:
    """The stored node whose memory, read in order, is `node`: `node` itself, or what it is a mere reshape of. None where elements
    move, repeat or vanish."""
    read = leaves(node, axes_of(node.type.shape))
    if len(read) != 1 or read[0].where or read[0].base.type.size != node.type.size:
        return None
    return read[0].base if read[0].flat == flat_of(node.type.shape) else None


@lru_cache(maxsize=4096)
def flat_of(shape: tuple[int, ...]) -> Index:
    """The row-major position, as a function of the axes of `shape`."""
    return flatten(axes_of(shape), row_major_strides(shape))


def recoordinate(flat: Index, shape: tuple[int, ...]) -> tuple[Index, ...] | None:
    """The coordinates in `shape` of a flat position; None where they need a division."""
    index = unflatten(flat, shape)
    return index if all(one.is_affine for one in index) else None
