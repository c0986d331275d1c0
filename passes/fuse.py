"""Graph -> Program: clusters of nodes become kernels, values that cross between them become buffers.

    %0 = contract x w     : f32[32,10]              t0: f32[32,10] arena
    %1 = add %0 (broadcast b)                ->     contraction s0 s1, epilogue: v0 + s2[a1] -> s3     (x, w, b, t0)
    %2 = max %1 {axes=(1,)}                         sweep 32 x 10, inner: max; then exp, sum; then log -> s1     (t0, t1)

An update is stored into its state by the kernel that computes it where all other readers can run before; else it goes through the arena
and is copied at the very end.
"""

from __future__ import annotations

from collections.abc import Collection

from graphc.graph import Graph, Node
from graphc.index import Index, axes_of
from graphc.kernel_verify import in_place
from graphc.op import Kind
from graphc.options import Options
from graphc.passes.access import is_free, leaves
from graphc.passes.clusters import Cluster, Clusters
from graphc.passes.dependencies import in_order
from graphc.passes.kernels import KernelBuilder
from graphc.passes.prepare import prepare
from graphc.program import Buffer, FailedCheck, Launch, Load, Program, Slot, Space, Stage, Store, Sweep

MAX_RECOMPUTED = 6  # ops behind a value that is computed again rather than stored
MAX_RECOMPUTED_COST = 8
MAX_DRAWN = 24  # the same for values of counters and scalars alone, as random ones: at any cost, they need no memory


def fuse(graph: Graph, options: Options) -> Program:
    graph, base_of = prepare(graph)
    clusters = Clusters(graph, fusing=options.fusion)
    order = clusters.all()
    kept = set(base_of.values())
    stored = _stored(clusters, order, kept)
    demoted: set[Node] = set()
    while True:
        program, wrong = _lower(graph, base_of, order, stored, demoted)
        if not wrong:
            return program
        demoted |= wrong


# --- what is stored ---


def _stored(clusters: Clusters, order: list[Cluster], kept: Collection[Node]) -> set[Node]:
    """Nodes that need memory: those asked for, and those that another kernel reads, but for cheap ones whose operands are in memory anyway."""
    readers: dict[Node, list[Cluster]] = {}
    needed: dict[Cluster, set[Node]] = {}
    solid = set(kept)
    for node, cluster in clusters.owner.items():
        for read in clusters.barriers[node]:
            solid.add(read.base)
            needed.setdefault(cluster, set()).add(read.base)
        for read in clusters.reads[node]:
            if clusters.owner.get(read.base) is not cluster:
                needed.setdefault(cluster, set()).add(read.base)
    for cluster in order:
        for base in needed.get(cluster, ()):
            readers.setdefault(base, []).append(cluster)
    stored = {node for node in clusters.owner if node in solid or node in readers}
    for node in clusters.graph.nodes:
        if node not in stored or node in solid:
            continue
        bases = _recomputable(node, stored)
        if bases is None:
            continue
        extra = max((sum(_traffic(base, node) for base in bases - needed[reader]) for reader in readers[node]), default=0)
        if extra <= node.type.nbytes:
            stored.discard(node)
            for reader in readers[node]:
                needed[reader] |= bases
                for base in bases:
                    if reader not in readers.setdefault(base, []):
                        readers[base].append(reader)
    return stored


def _traffic(base: Node, node: Node) -> int:
    """Bytes to read `base` for each element of `node`; what is much smaller stays in registers or the first cache."""
    return base.type.nbytes if 16 * base.type.size > node.type.size > 1 else 0


def _recomputable(node: Node, stored: set[Node]) -> set[Node] | None:
    """The bases in memory from which `node` is cheap to compute anywhere, or None."""
    bases: set[Node] = set()
    seen = {node}
    stack = [node]
    cost = 0
    while stack:
        one = stack.pop()
        cost += one.op.cost
        if one.op.kind is not Kind.ELEMENTWISE or one.op.effect or len(seen) > MAX_DRAWN:
            return None
        for x in one.inputs:
            for read in leaves(x, axes_of(x.type.shape)):
                base = read.base
                if base.op.kind is Kind.SOURCE or base in stored:
                    bases.add(base)
                elif base not in seen:
                    seen.add(base)
                    stack.append(base)
    cheap = cost <= MAX_RECOMPUTED_COST and len(seen) <= MAX_RECOMPUTED
    drawn = node.type.size > 1 and not any(_traffic(base, node) for base in bases)
    return bases if cheap or drawn else None


# --- buffers and launches ---


def _lower(
    graph: Graph, base_of: dict[Node, Node], order: list[Cluster], stored: set[Node], demoted: set[Node]
) -> tuple[Program, set[Node]]:
    """The program, and the states whose updates cannot be stored in place after all."""
    memory: dict[Node, Buffer] = {}
    inputs = tuple(Buffer(node.attrs["name"], node.type, Space.INPUT, node.attrs["name"]) for node in graph.inputs)
    memory.update(zip(graph.inputs, inputs, strict=True))
    states = tuple(Buffer(node.attrs["state"].name, node.type, Space.STATE, node.attrs["state"]) for node in graph.states)
    memory.update(zip(graph.states, states, strict=True))
    arrays = [node for node in graph.nodes if node.op.name == "const" and not is_free(node)]
    consts = tuple(Buffer(f"c{i}", node.type, Space.CONST, node.attrs["value"]) for i, node in enumerate(arrays))
    memory.update(zip(arrays, consts, strict=True))

    outputs = tuple(Buffer(f"out{i}", node.type, Space.OUTPUT, i) for i, node in enumerate(graph.outputs))
    targets: dict[Node, list[Buffer]] = {}
    for node, buffer in zip(graph.outputs, outputs, strict=True):
        base = base_of[node]
        targets.setdefault(base, []).append(buffer)
        memory.setdefault(base, buffer)
    in_state: dict[Node, list[Buffer]] = {}
    copies: list[tuple[Node, Buffer]] = []
    for state, value in graph.updates:
        if state in demoted:
            copies.append((base_of[value], memory[state]))
        else:
            in_state.setdefault(base_of[value], []).append(memory[state])
    read_elsewhere = _read_elsewhere(order, stored, [base for base, _ in copies])
    count = 0
    for cluster in order:
        for node in cluster.nodes:
            if node in stored and node not in memory and (node in read_elsewhere or node not in in_state):
                memory[node] = Buffer(f"t{count}", node.type, Space.ARENA)
                targets.setdefault(node, []).append(memory[node])
                count += 1
    for node, buffers in in_state.items():
        targets.setdefault(node, []).extend(buffers)

    checking = [node for node in graph.nodes if node.op.effect]
    checks = tuple(FailedCheck(node.attrs["message"], node.loc) for node in checking)
    codes = {node: i + 1 for i, node in enumerate(checking)}
    live = [cluster for cluster in order if any(node in targets or node.op.effect for node in cluster.nodes)]
    body = [KernelBuilder(cluster, memory, targets, codes).build() for cluster in live]
    wrong = _misplaced(body, [memory[state] for state, _ in graph.updates if state not in demoted])
    body += [_copy(memory[base], buffer) for base, buffer in copies]
    by_buffer = {memory[state]: state for state, _ in graph.updates}
    ordered = () if wrong else in_order(body)
    return Program(inputs, states, consts, outputs, ordered, checks, None, graph.name), {by_buffer[buffer] for buffer in wrong}


def _read_elsewhere(order: list[Cluster], stored: set[Node], also: list[Node]) -> set[Node]:
    """Stored nodes that a kernel other than their own reads."""
    owner = {node: cluster for cluster in order for node in cluster.nodes}
    found = set(also)
    for cluster in order:
        stack = [x for node in cluster.nodes for x in node.inputs]
        seen: set[Node] = set()
        while stack:
            x = stack.pop()
            if x in seen or owner.get(x) is cluster:
                continue
            seen.add(x)
            if x in stored:
                found.add(x)
            elif x.op.kind is not Kind.SOURCE:
                stack.extend(x.inputs)
    return found


def _copy(source: Buffer, target: Buffer) -> Launch:
    """A launch that copies one buffer to another of its size."""
    size, dtype = source.type.size, source.type.dtype
    at = Index.axis(0, size)
    body = (Load(0, at, dtype), Store(1, at, 0, dtype))
    slot = Slot(dtype, size)
    return Launch(Sweep((size,), (), (Stage(False, body),), (slot, slot)), (source, target), "copy")


# --- updates in place ---


def _misplaced(body: list[Launch], states: list[Buffer]) -> set[Buffer]:
    """States that some launch may not write directly: it reads other elements of them, or must run before another reader or a check."""
    writer_of = {buffer: i for i, launch in enumerate(body) for buffer in launch.writes}
    readers: dict[Buffer, list[int]] = {}
    after: list[set[int]] = [set() for _ in body]  # what must come after each launch
    for i, launch in enumerate(body):
        for buffer in launch.reads:
            readers.setdefault(buffer, []).append(i)
            if buffer in writer_of and buffer.space is not Space.STATE:
                after[writer_of[buffer]].add(i)
    checking = {i for i, launch in enumerate(body) if launch.checks}
    wrong: set[Buffer] = set()
    for buffer in states:
        writer = writer_of[buffer]
        reading = readers.get(buffer, [])
        slot = body[writer].args.index(buffer)
        before = ({*reading} - {writer}) | checking
        if writer in checking or (writer in reading and not in_place(body[writer].kernel, slot, slot)) or _reaches(after, writer, before):
            wrong.add(buffer)
        else:
            for i in before:
                after[i].add(writer)
    return wrong


def _reaches(after: list[set[int]], start: int, goals: set[int]) -> bool:
    if not goals:
        return False
    seen, stack = {start}, [start]
    while stack:
        for i in after[stack.pop()]:
            if i in goals:
                return True
            if i not in seen:
                seen.add(i)
                stack.append(i)
    return False


