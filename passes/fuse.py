"""Graph -> Program: clusters of nodes become kernels, values that cross between them become buffers.

    %0 = contract x w     : f32[32,10]              t0: f32[32,10] arena
    %1 = add %0 (broadcast b)                ->     contraction s0 s1, epilogue: v0 + s2[a1] -> s3     (x, w, b, t0)
    %2 = max %1 {axes=(1,)}                         sweep 32 x 10, inner: max; then exp, sum; then log -> s1     (t0, t1)

An update is stored into its state by the kernel that computes it where all other readers can run before; else it goes through the
arena and is copied at the very end.
"""

from __future__ import annotations

from graphc.graph import Graph, Node
from graphc.index import Index
from graphc.kernel import Load, Slot, Stage, Store, Sweep
from graphc.kernel_verify import in_place
from graphc.op import Kind
from graphc.options import Options
from graphc.passes.cluster import Cluster
from graphc.passes.clusters import Clusters
from graphc.passes.dependencies import in_order
from graphc.passes.loops import Lowering
from graphc.passes.prepare import prepare
from graphc.passes.storing import stored_nodes
from graphc.program import Buffer, Launch, Loop, Program, Space


def fuse(graph: Graph, options: Options) -> Program:
    graph, base_of = prepare(graph)
    clusters = Clusters(graph, fusing=options.fusion)
    order = clusters.all()
    kept = set(base_of.values())
    stored = stored_nodes(clusters, order, kept)
    demoted: set[Node] = set()
    while True:
        program, wrong = _lower(graph, base_of, order, stored, demoted, Lowering(options))
        if not wrong:
            return program
        demoted |= wrong


# --- buffers and launches ---


def _lower(
    graph: Graph, base_of: dict[Node, Node], order: list[Cluster], stored: set[Node], demoted: set[Node], lowering: Lowering
) -> tuple[Program, set[Node]]:
    """The program, and the states whose updates cannot be stored in place after all."""
    memory: dict[Node, Buffer] = {}
    inputs = tuple(Buffer(node.attrs["name"], node.type, Space.INPUT, node.attrs["name"]) for node in graph.inputs)
    memory.update(zip(graph.inputs, inputs, strict=True))
    states = tuple(Buffer(node.attrs["state"].name, node.type, Space.STATE, node.attrs["state"]) for node in graph.states)
    memory.update(zip(graph.states, states, strict=True))
    lowering.enter(graph, memory)

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
    lowering.make_buffers(
        order, memory, targets, lambda node: node in stored and (node in read_elsewhere or node not in in_state)
    )
    for node, buffers in in_state.items():
        targets.setdefault(node, []).extend(buffers)

    live = [cluster for cluster in order if cluster.is_live(targets)]
    body = [lowering.launch(cluster, memory, targets) for cluster in live]
    wrong = _misplaced(body, [memory[state] for state, _ in graph.updates if state not in demoted])
    body += [_copy(memory[base], buffer) for base, buffer in copies]
    by_buffer = {memory[state]: state for state, _ in graph.updates}
    ordered = () if wrong else in_order(body)
    return Program(inputs, states, tuple(lowering.consts), outputs, ordered, tuple(lowering.checks), None, graph.name), {
        by_buffer[buffer] for buffer in wrong
    }


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


def _misplaced(body: list[Launch | Loop], states: list[Buffer]) -> set[Buffer]:
    """States that some launch may not write directly: it reads other elements of them, or must run before another reader or a
    check."""
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
        before = ({*reading} - {writer}) | checking
        if writer in checking or (writer in reading and not _in_place(body[writer], buffer)) or _reaches(after, writer, before):
            wrong.add(buffer)
        else:
            for i in before:
                after[i].add(writer)
    return wrong


def _in_place(launch: Launch | Loop, buffer: Buffer) -> bool:
    """Whether a launch may overwrite a buffer that it reads; a loop writes no state."""
    if isinstance(launch, Loop):
        return False
    slot = launch.args.index(buffer)
    return in_place(launch.kernel, slot, slot)


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
