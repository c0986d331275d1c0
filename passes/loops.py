"""From a scan to a loop of launches.

    %3 = scan h0 x w {body=step(c0, x0, w0), ...}       loop 50 trips                        # scan
    %4 = get %3 {index=0}                        ->       c0: f32[32,8] = t0[256*(t % 2)]      (read)
                                                          o0: f32[32,8] = t0[256*((t + 1) % 2)]  (written)
                                                          x0: f32[32,4] = x[128*t]
                                                          first:        copy h0 to t0
                                                          each trip t:  contraction (x0, w, ...), ...

A carry alternates between two places, so that a trip reads the old value while it writes the new one; the last trip writes
the first place, where readers after the loop find it. Stacked results and sequences are walked through in place. What every
trip sees whole is read where it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from graphc.graph import Graph, Node
from graphc.index import Index
from graphc.kernel import Const, Instr, Load, Slot, Stage, Store, Sweep
from graphc.op import Kind
from graphc.options import Options
from graphc.passes.access import is_free, whole
from graphc.passes.cluster import Cluster
from graphc.passes.clusters import Clusters
from graphc.passes.dependencies import in_order
from graphc.passes.kernels import KernelBuilder
from graphc.passes.prepare import prepare
from graphc.passes.storing import stored_nodes
from graphc.program import Buffer, FailedCheck, Launch, Loop, Part, Space
from graphc.rewriting import splat
from graphc.types import TensorType

Memory = dict[Node, Buffer]


@dataclass
class Lowering:
    """What all levels of nested loops share: the checks and constants met so far, and names for buffers."""

    options: Options
    checks: list[FailedCheck] = field(default_factory=list)
    codes: dict[Node, int] = field(default_factory=dict)
    consts: list[Buffer] = field(default_factory=list)
    count: int = 0

    def buffer(self, type_: TensorType, space: Space = Space.ARENA) -> Buffer:
        self.count += 1
        return Buffer(f"{'t' if space is Space.ARENA else 'p'}{self.count - 1}", type_, space)

    def enter(self, graph: Graph, memory: Memory) -> None:
        """Give the graph's checks their codes, and its constants memory."""
        for node in graph.nodes:
            if node.op.effect:
                where = f"{node.loc} (module {node.scope})" if node.loc and node.scope else node.loc
                self.checks.append(FailedCheck(node.attrs["message"], where))
                self.codes[node] = len(self.checks)
            elif node.op.name == "const" and not is_free(node):
                memory[node] = Buffer(f"c{len(self.consts)}", node.type, Space.CONST, node.attrs["value"])
                self.consts.append(memory[node])

    def make_buffers(
        self, order: Sequence[Cluster], memory: Memory, targets: dict[Node, list[Buffer]], wanted: Callable[[Node], bool]
    ) -> None:
        """Scratch for the wanted nodes that have no memory yet."""
        for cluster in order:
            for node in (*cluster.nodes, *cluster.assembled):
                if node not in memory and wanted(node):
                    memory[node] = self.buffer(_storage(node))
                    targets.setdefault(node, []).append(memory[node])

    def launch(self, cluster: Cluster, memory: Memory, targets: dict[Node, list[Buffer]]) -> Launch | Loop:
        if cluster.nodes[0].op.kind is Kind.SCAN:
            return self.loop(cluster, memory)
        return KernelBuilder(cluster, memory, targets, self.codes).build()

    def loop(self, cluster: Cluster, memory: Memory) -> Loop:
        scan = cluster.nodes[0]
        body, trips = scan.attrs["body"], scan.attrs["length"]
        carries, sequences = scan.attrs["carries"], scan.attrs["sequences"]
        results: list[Buffer | None] = [None] * len(body.outputs)
        for node in cluster.nodes[1:]:
            results[node.attrs["index"]] = memory.get(node)
        parts: list[Part] = []
        first: list[Launch] = []
        inside: Memory = {}
        outputs: list[Buffer] = []

        def part(type_: TensorType, of: Buffer, **place: int) -> Buffer:
            parts.append(Part(self.buffer(type_, Space.PART), of, **place))
            return parts[-1].buffer

        start, direction = (trips - 1, -1) if scan.attrs["reverse"] else (0, 1)
        for number, (inner, operand) in enumerate(zip(body.inputs, scan.inputs, strict=True)):
            size = inner.type.size
            if number < carries:
                pair = results[number] or self.buffer(paired(inner.type))
                inside[inner] = part(inner.type, pair, start=0, step=size, phase=trips % 2, period=2)
                outputs.append(part(inner.type, pair, start=0, step=size, phase=(trips + 1) % 2, period=2))
                first.append(_begin(operand, memory, pair, trips % 2 * size))
            elif number < carries + sequences:
                inside[inner] = part(inner.type, _memory_of(operand, memory), start=start * size, step=direction * size)
            else:
                inside[inner] = _memory_of(operand, memory)
        for number, node in enumerate(body.outputs[carries:], carries):
            stack = results[number] or self.buffer(scan.type.items[number])  # type: ignore[attr-defined]
            outputs.append(part(node.type, stack, start=start * node.type.size, step=direction * node.type.size))
        return Loop(trips, tuple(first), self.body(body, inside, outputs), tuple(parts), "scan")

    def body(self, graph: Graph, memory: Memory, outputs: Sequence[Buffer]) -> tuple[Launch | Loop, ...]:
        """The launches that compute `outputs`, in order. `memory` has the graph's inputs."""
        graph, base_of = prepare(graph)
        clusters = Clusters(graph, fusing=self.options.fusion)
        order = clusters.all()
        stored = stored_nodes(clusters, order, set(base_of.values()))
        self.enter(graph, memory)
        targets: dict[Node, list[Buffer]] = {}
        for node, buffer in zip(graph.outputs, outputs, strict=True):
            targets.setdefault(base_of[node], []).append(buffer)
            memory.setdefault(base_of[node], buffer)
        self.make_buffers(order, memory, targets, stored.__contains__)
        live = [cluster for cluster in order if cluster.is_live(targets)]
        return in_order([self.launch(cluster, memory, targets) for cluster in live])


def paired(type_: TensorType) -> TensorType:
    return TensorType(type_.dtype, (2, *type_.shape))


def _storage(node: Node) -> TensorType:
    """The type of a node's buffer: a carry has room for two values."""
    if node.op.kind is Kind.PROJECT and node.attrs["index"] < node.inputs[0].attrs["carries"]:
        return paired(node.type)
    return node.type


def _memory_of(operand: Node, memory: Memory) -> Buffer:
    base = whole(operand)
    assert base is not None  # `prepare` lays operands out
    return memory[base]


def _begin(operand: Node, memory: Memory, pair: Buffer, start: int) -> Launch:
    """A launch that writes the first value of a carry."""
    size, dtype = operand.type.size, operand.type.dtype
    at, room, value = Index.axis(0, size), Slot(dtype, pair.type.size), splat(operand)
    if value is not None:
        body: tuple[Instr, ...] = (Const(value.item(), dtype), Store(0, at + start, 0, dtype))
        return Launch(Sweep((size,), (), (Stage(False, body),), (room,)), (pair,), "fill")
    source = _memory_of(operand, memory)
    body = (Load(0, at, dtype), Store(1, at + start, 0, dtype))
    return Launch(Sweep((size,), (), (Stage(False, body),), (Slot(dtype, source.type.size), room)), (source, pair), "copy")
