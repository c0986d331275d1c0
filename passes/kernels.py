"""From a cluster to a kernel: scalar instructions over the points of its domain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.cost import label_sizes
from graphc.graph import Node
from graphc.index import Index, Where, axes_of, flatten, known_under, unflatten
from graphc.kernel import (
    Apply,
    Check,
    Const,
    Contraction,
    Coordinate,
    Instr,
    Kernel,
    Load,
    Reduce,
    Scatter,
    Slot,
    Stage,
    Store,
    Sweep,
)
from graphc.op import OPS, Kind
from graphc.passes.access import leaves
from graphc.passes.cluster import Cluster
from graphc.passes.collapse import across_short_rows, collapse
from graphc.passes.contraction import roles
from graphc.program import Buffer, Launch
from graphc.rewriting import splat
from graphc.types import bool_, int64, row_major_strides

WORTH_KEEPING = 8  # additions: a row's values that cost as much are kept for later stages
MAX_KEPT = 8192  # elements of a row: it must stay in the first cache
IDENTITIES = ("copy", "stop_gradient")  # ops without a scalar instruction


class KernelBuilder:
    """Builds one launch. `memory` says where to read a node's elements, `targets` where to store those of the cluster's."""

    def __init__(self, cluster: Cluster, memory: dict[Node, Buffer], targets: dict[Node, list[Buffer]], checks: dict[Node, int]):
        self.cluster = cluster
        self.members = set(cluster.nodes)
        self.memory = memory
        self.targets = targets
        self.checks = checks
        # what is stored as a piece of something larger, which begins so far along the axis
        self.pieces: dict[Node, list[tuple[Node, int]]] = {}
        for whole in cluster.assembled:
            start = 0
            for piece in whole.inputs[0].inputs if whole in targets else ():
                self.pieces.setdefault(piece, []).append((whole, start))
                start += piece.type.shape[whole.inputs[0].attrs["axis"]]
        self.args: dict[Buffer, int] = {}
        self.body: list[Instr] = []
        self.stores: list[Store] = []
        self.count = 0
        self.memo: dict[Any, int] = {}  # values of the stage being built, and row values
        self.keeping = False  # whether rows are short enough to keep values from stage to stage
        self.element: tuple[Index, ...] = ()  # the point of the domain's shape
        self.kept: tuple[Index, ...] = ()
        self.places: dict[tuple[tuple[int, ...], bool], tuple[Index, ...]] = {}  # of a shape, at row level or not

    def build(self) -> Launch:
        head = self.cluster.nodes[0]
        if head.op.kind is Kind.SCATTER:
            kernel: Kernel = self._scatter(head)
        elif self.cluster.contract:
            kernel = self._contraction(head)
        else:
            kernel = across_short_rows(collapse(self._sweep()))
        names = [node.op.name for node in self.cluster.nodes if node.op.name not in IDENTITIES]
        label = "+".join(names[:8]) + ("+..." if len(names) > 8 else "") or "copy"
        return Launch(kernel, tuple(self.args), label)

    # --- values ---

    def _emit(self, instr: Instr) -> int:
        self.body.append(instr)
        self.count += 1
        return self.count - 1

    def _slot(self, buffer: Buffer) -> int:
        return self.args.setdefault(buffer, len(self.args))

    def value(self, node: Node, index: tuple[Index, ...], where: Where = ()) -> int:
        """The number of the value of `node` at `index`; anything, but safely, where `where` fails."""
        key = node if node in self.memo else (node, index, where)
        if key not in self.memo:
            self.memo[key] = self._make(node, index, where)
        return self.memo[key]

    def _make(self, node: Node, index: tuple[Index, ...], where: Where) -> int:
        constant = splat(node)
        if constant is not None:
            return self._emit(Const(constant.item(), node.type.dtype))
        if node.op.name == "iota":
            return self._as(self._emit(Coordinate(index[0])), int64, node.type.dtype)
        if self._in_memory(node):
            return self._load(node, index, where, 0)
        if node.op.kind is Kind.VIEW:
            return self._view(node, index, where)
        return self._compute(node, index, where)

    def _in_memory(self, node: Node) -> bool:
        return node in self.memory and node not in self.members

    def _load(self, node: Node, index: tuple[Index, ...], where: Where, fill: Any) -> int:
        offset = known_under(flatten(index, node.type.strides), where)
        return self._emit(Load(self._slot(self.memory[node]), offset, node.type.dtype, where, fill))

    def _as(self, value: int, source: np.dtype, dtype: np.dtype) -> int:
        return value if source == dtype else self._emit(Apply(OPS["cast"], (value,), dtype, (("dtype", dtype),)))

    def _view(self, node: Node, index: tuple[Index, ...], where: Where) -> int:
        pieces = node.op.pieces(node, index)  # type: ignore[misc]
        fill = node.attrs.get("value", 0)
        if len(pieces) == 1:
            (piece,) = pieces
            operand = node.inputs[piece.operand]
            if not piece.where:
                return self.value(operand, piece.index, where)
            if self._in_memory(operand) and not where:
                return self._load(operand, piece.index, piece.where, fill)
        # pieces of a view without a value leave nothing out, so the first may stand for what the others are not
        result = self._emit(Const(fill, node.type.dtype)) if "value" in node.attrs or not pieces else None
        for piece in pieces:
            inside = self.value(node.inputs[piece.operand], piece.index, where + piece.where)
            if piece.where and result is not None:
                inside = self._emit(Apply(OPS["where"], (self._holds(piece.where), inside, result), node.type.dtype))
            result = inside
        assert result is not None
        return result

    def _holds(self, where: Where) -> int:
        """A bool value: whether the conjunction holds."""
        result = None
        for condition in where:
            at = self._emit(Coordinate(condition.index))
            least, most = condition.index.bounds()
            tests = []
            if condition.high == condition.low + 1:
                tests.append(self._emit(Apply(OPS["eq"], (at, self._emit(Const(condition.low, int64))), bool_)))
            else:
                if least < condition.low:
                    tests.append(self._emit(Apply(OPS["le"], (self._emit(Const(condition.low, int64)), at), bool_)))
                if most >= condition.high or not tests:
                    tests.append(self._emit(Apply(OPS["lt"], (at, self._emit(Const(condition.high, int64))), bool_)))
            for test in tests:
                result = test if result is None else self._emit(Apply(OPS["and"], (result, test), bool_))
        assert result is not None
        return result

    def _compute(self, node: Node, index: tuple[Index, ...], where: Where = ()) -> int:
        """The instruction of a node whose operands are read at `index`."""
        op, dtype = node.op, node.type.dtype
        if op.kind is Kind.GATHER:
            return self._gather(node, index, where)
        args = tuple(self.value(x, index, where) for x in node.inputs)
        if op.effect:
            attrs = node.attrs
            return self._emit(Check(args[0], attrs["low"], attrs["high"], attrs["ignore"], self.checks[node], dtype))
        if op.name in IDENTITIES:
            return args[0]
        return self._emit(Apply(op, args, dtype, tuple(sorted(node.attrs.items()))))

    def _gather(self, node: Node, index: tuple[Index, ...], where: Where) -> int:
        x, positions = node.inputs
        axis, rank = node.attrs["axis"], positions.type.rank
        at = self.value(positions, index[axis : axis + rank], where)
        (read,) = leaves(x, axes_of(x.type.shape))
        stride = read.flat.stride(axis) or 0
        point = (*index[:axis], Index(), *index[axis + rank :])
        offset = read.flat.substitute(dict(enumerate(point)))
        return self._emit(Load(self._slot(self.memory[read.base]), offset, node.type.dtype, where, 0, ((at, stride),)))

    # --- points ---

    def _at(self, node: Node, row: bool) -> tuple[Index, ...]:
        """Where `node` stands at the current point."""
        key = node.type.shape, row
        if key not in self.places:
            point, shape = (self.kept, self.cluster.kept) if row else (self.element, self.cluster.shape)
            self.places[key] = unflatten(flatten(point, row_major_strides(shape)), node.type.shape)
        return self.places[key]

    def _place(self, node: Node, row: bool, store: bool = True) -> None:
        """Compute a node of the cluster at the current point, and store it if it has memory."""
        self.memo[node] = self._compute(node, self._at(node, row))
        if store:
            self._store(node, row)

    def _store(self, node: Node, row: bool) -> None:
        for buffer in self.targets.get(node, ()):
            offset = flatten(self._at(node, row), node.type.strides)
            self.stores.append(Store(self._slot(buffer), offset, self.memo[node], node.type.dtype))
        for whole, start in self.pieces.get(node, ()):
            index = list(self._at(node, row))
            axis = whole.inputs[0].attrs["axis"]
            index[axis] = index[axis] + start
            for buffer in self.targets[whole]:
                offset = flatten(index, whole.type.strides)
                self.stores.append(Store(self._slot(buffer), offset, self.memo[node], node.type.dtype))

    def _is_stored(self, node: Node) -> bool:
        return node in self.targets or node in self.pieces

    def _flush(self) -> tuple[Instr, ...]:
        """Close a stage: its stores come last, so that no load sees what the same point has just written."""
        for store in self.stores:
            self._emit(store)
        body, self.body, self.stores = tuple(self.body), [], []
        return body

    def _slots(self) -> tuple[Slot, ...]:
        return tuple(Slot(buffer.type.dtype, buffer.type.size) for buffer in self.args)

    # --- the three forms ---

    def _sweep(self) -> Sweep:
        cluster = self.cluster
        axes = cluster.axes or ()
        kept = [axis for axis in range(len(cluster.shape)) if axis not in axes]
        number = {axis: i for i, axis in enumerate([*kept, *axes])}
        self.element = tuple(Index.axis(number[axis], size) for axis, size in enumerate(cluster.shape))
        self.kept = tuple(self.element[axis] for axis in kept)
        outer, inner = (tuple(cluster.shape[axis] for axis in some) for some in (kept, axes))
        wide = [axis for axis, size in enumerate(cluster.shape) if size != 1]
        along = "inner" if axes and (not wide or wide[-1] in axes) else "outer"
        # rows of one element lose their axes, and with them the lanes along them, in `collapse`
        self.keeping = along == "inner" and 1 < math.prod(inner) <= MAX_KEPT
        stages = self._stages() if cluster.axes is not None else self._flat()
        return Sweep(outer, inner, stages, self._slots(), along)

    def _flat(self) -> tuple[Stage, ...]:
        self.kept = self.element
        for node in self._needed():
            self._place(node, False)
        return (Stage(False, self._flush()),)

    def _needed(self) -> list[Node]:
        """The nodes that a store or a check needs. Others are computed again by their readers."""
        inside = {node: _bases(node, self.members) for node in self.cluster.nodes}
        wanted = _closure([node for node in self.cluster.nodes if self._is_stored(node) or node.op.effect], inside, set())
        return [node for node in self.cluster.nodes if node in wanted]

    def _stages(self) -> tuple[Stage, ...]:
        """Row stage 0, element stage 0, row stage 1, ...: a reduction made in element stage k can be read from row stage k +
        1 on."""
        cluster = self.cluster
        inside = {node: _bases(node, self.members) for node in cluster.nodes}
        wanted = set(self._needed())
        nodes = [node for node in cluster.nodes if node in wanted]
        level: dict[Node, int] = {}
        for node in nodes:
            behind = max((level[base] for base in inside[node]), default=0)
            level[node] = behind + 1 if node.op.kind is Kind.REDUCE else behind
        kept: dict[Node, int] = {}  # values that later stages read rather than compute again
        stages: list[Stage] = []
        for now in range(max(level.values()) + 1):
            for node in nodes:
                if node in cluster.row and level[node] == now:
                    if node.op.kind is Kind.REDUCE:
                        self._store(node, True)
                    else:
                        self._place(node, True)
            stages.append(Stage(False, self._flush()))
            rows = dict(self.memo)
            reductions = [node for node in nodes if node.op.kind is Kind.REDUCE and level[node] == now + 1]
            stored = [node for node in nodes if node not in cluster.row and level[node] == now and self._is_stored(node)]
            needed = _closure([*reductions, *stored], inside, cluster.row | kept.keys())
            made: dict[Node, int] = {}
            for node in nodes:
                if node in reductions:
                    x = node.inputs[0]
                    arg = self.value(x, self.element)
                    made[node] = self._emit(Reduce(node.op.reducer or "", arg, node.type.dtype))
                elif node in needed and node not in cluster.row and node not in kept:
                    self._place(node, False, store=node in stored)
                    if self.keeping and node.op.cost >= WORTH_KEEPING:
                        kept[node] = self.memo[node]
            stages.append(Stage(True, self._flush()))
            self.memo = {**rows, **made, **kept}
        return tuple(stage for stage in stages if stage.body)

    def _contraction(self, node: Node) -> Contraction:
        role = roles(node)
        sizes = label_sizes(node)
        groups = (role.batch, role.m, role.n, role.k)
        at = {label: Index.axis(i, sizes[label]) for i, label in enumerate("".join(groups))}
        operands = []
        for number in (role.lhs, role.rhs):
            operand = node.inputs[number]
            (read,) = leaves(operand, tuple(at[label] for label in role.labels[number]))
            operands.append(Load(self._slot(self.memory[read.base]), read.flat, operand.type.dtype, read.where, read.fill))
        self.element = self.kept = tuple(at[label] for label in role.out)
        self.memo[node], self.count = 0, 1
        self._store(node, False)
        for other in self._needed():
            if other is not node:
                self._place(other, False)
        epilogue = self._flush()
        batch, m, n, k = (tuple(sizes[label] for label in group) for group in groups)
        lhs, rhs = operands
        return Contraction(batch, m, n, k, lhs, rhs, epilogue, self._slots(), node.type.dtype)

    def _scatter(self, node: Node) -> Scatter:
        index, updates = node.inputs
        axis, rank = node.attrs["axis"], index.type.rank
        for x in (index, updates):
            (read,) = leaves(x, axes_of(x.type.shape))
            self._slot(self.memory[read.base])
        self._slot(self.targets[node][0])
        shape = updates.type.shape
        outer, count, inner = (
            int(np.prod(part, dtype=np.int64)) for part in (shape[:axis], shape[axis : axis + rank], shape[axis + rank :])
        )
        return Scatter(outer, count, inner, node.attrs["size"], self._slots())


def _bases(node: Node, members: set[Node]) -> list[Node]:
    """The nodes of the cluster that `node` reads."""
    found, stack = [], list(node.inputs)
    while stack:
        x = stack.pop()
        if x in members:
            found.append(x)
        elif x.op.kind is Kind.VIEW:
            stack.extend(x.inputs)
    return found


def _closure(roots: list[Node], inside: dict[Node, list[Node]], row: set[Node]) -> set[Node]:
    """The element-level nodes of the cluster that `roots` need, roots included."""
    found, stack = set(roots), list(roots)
    while stack:
        for base in inside[stack.pop()]:
            if base not in found and base not in row:
                found.add(base)
                stack.append(base)
    return found
