"""The backward function of `scan`: a loop in the other direction over the cotangents of the carries.

    forward   c[t+1], y[t] = body(c[t], x[t], w)
    backward  vc[t], vx[t], ... = B[body](vc[t+1], vy[t]; values of trip t), beginning with the cotangent of the last carry

Three things are decided here. *What is kept*: forward values that the backward body needs become further stacked results of
the forward loop, unless they are cheap to make again from what is kept. (The longer forward loop replaces the original: the
pass `merge`.) *What leaves the loop*: the gradient of what every trip sees whole is a sum over trips; where a term is a
contraction or a sum over axes, its operands are stacked, and one contraction over (trip, batch) is done behind the loop. So
is the contraction behind the gradient of a sequence. *What stays*: other terms add up in carries of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import graphc.functions as fn
from graphc.graph import Graph, Node, topological
from graphc.lifting import can_lift, lift, lift_contraction
from graphc.op import OPS, Kind, build, derive, result
from graphc.ops import scan as ops
from graphc.rewriting import splat
from graphc.scanning import close, make_scan
from graphc.tensor import Tensor
from graphc.types import TupleType, is_float

MAX_RECOMPUTED_COST = 4  # of one op: more is kept rather than made again
MAX_RECOMPUTED = 12  # ops


@dataclass
class _Step:
    """The forward body, and B[body] over it."""

    node: Node
    body: Graph = field(init=False)
    length: int = field(init=False)
    varying: set[Node] = field(default_factory=set)  # differs from trip to trip
    dependent: set[Node] = field(default_factory=set)  # on a cotangent

    def __post_init__(self) -> None:
        self.body, self.length = self.node.attrs["body"], self.node.attrs["length"]

    @property
    def carries(self) -> tuple[Node, ...]:
        return self.body.inputs[: self.node.attrs["carries"]]

    @property
    def sequences(self) -> tuple[Node, ...]:
        return self.body.inputs[len(self.carries) : len(self.carries) + self.node.attrs["sequences"]]

    @property
    def rest(self) -> tuple[Node, ...]:
        return self.body.inputs[len(self.carries) + len(self.sequences) :]

    def mark(self, roots: Iterable[Node], cotangents: Iterable[Node]) -> tuple[Node, ...]:
        """Note what depends on what; all nodes in order."""
        order = topological([*self.body.roots, *roots])
        self.dependent = set(cotangents)
        self.varying = {*self.carries, *self.sequences, *self.dependent}
        for node in order:
            if any(operand in self.varying for operand in node.inputs):
                self.varying.add(node)
            if any(operand in self.dependent for operand in node.inputs):
                self.dependent.add(node)
        return order


def scan_gradients(node: Node, v: ops.Cotangents) -> list[Tensor | None]:
    """Gradients of all operands of a scan; None where there is none."""
    from graphc.autodiff import gradients_where_any

    step = _Step(node)
    unreached: set[Node] = set()
    count = len(step.carries)
    floats = [i for i, one in enumerate(step.carries) if is_float(one.type.dtype)]
    seen = [j for j in sorted(v) if j >= count]
    if not floats and not seen:
        return [None] * len(node.inputs)
    last = [_input(f"g{i}", step.carries[i]) for i in floats]
    slices = [_input(f"v{j}", step.body.outputs[j]) for j in seen]
    targets = [one for one in step.body.inputs if is_float(one.type.dtype)]
    ys = [result(step.body.outputs[i]) for i in (*floats, *seen)]
    found = dict(zip(targets, gradients_where_any(ys, [result(x) for x in targets], [*last, *slices]), strict=True))
    for x in step.carries:
        if x in found and found[x] is None:  # no trip passes a gradient on; the reversed loop carries zeros
            found[x] = fn.zeros_like(result(x))
            unreached.add(x)
    gradient = {x: g.node for x, g in found.items() if g is not None and (x in step.carries or splat(g.node) != 0)}
    order = step.mark(gradient.values(), [one.node for one in (*last, *slices)])
    gradients = _Reversal(step, order, gradient, floats, last, dict(zip(seen, slices, strict=True)), v).run()
    return [None if x in unreached else g for x, g in zip(step.body.inputs, gradients, strict=True)]


def _input(name: str, like: Node) -> Tensor:
    return Tensor(build(OPS["input"], (), {"name": name, "dtype": like.type.dtype, "shape": like.type.shape}))


Finish = Callable[[dict[Node, Tensor]], Tensor]


@dataclass
class _Reversal:
    step: _Step
    order: tuple[Node, ...]
    gradient: dict[Node, Node]
    floats: list[int]
    last: list[Tensor]  # the cotangents of the carries, in the body
    slices: dict[int, Tensor]  # those of stacked results
    v: ops.Cotangents
    stacks: dict[Node, None] = field(default_factory=dict)  # values of the backward body that are stacked
    sums: list[Node] = field(default_factory=list)  # values that add up in carries
    kept: dict[Node, None] = field(default_factory=dict)  # values of the forward body to stack there
    outside: dict[Node, None] = field(default_factory=dict)  # forward values needed behind the loop
    totals: dict[Node, Tensor] = field(default_factory=dict)  # what the sums came to

    def run(self) -> list[Tensor | None]:
        step = self.step
        finish = {x: self._plan_sequence(x) for x in step.sequences if x in self.gradient}
        totals = {x: self._plan_total(x) for x in step.rest if x in self.gradient}
        carried = [self.gradient[step.carries[i]] for i in self.floats]
        self._choose([*carried, *self.stacks, *self.sums])
        forward = self._extended()
        values, ends = self._loop(carried, forward)
        gradients: list[Tensor | None] = []
        for x in step.body.inputs:
            if x in step.carries:
                number = step.carries.index(x)
                gradients.append(ends[self.floats.index(number)] if number in self.floats else None)
            else:
                made = finish.get(x) or totals.get(x)
                gradients.append(None if made is None else made(values))
        return gradients

    # --- what leaves the loop ---

    def _plan_sequence(self, x: Node) -> Finish:
        """The gradient of a sequence: behind the loop where it is a view of contractions with what all trips share."""
        node = self.gradient[x]
        cone, operands = self._sinkable(node)
        for operand in operands or [node]:
            self._stack(operand)
        if operands is None:
            return lambda values: values[node]
        return lambda values: self._lift([*cone, node], values)[node]

    def _sinkable(self, node: Node) -> tuple[list[Node], list[Node] | None]:
        """The nodes to do behind the loop, and what they need stacked; None where that is not worth it."""
        cone: list[Node] = []
        operands: list[Node] = []
        stack = [node]
        while stack:
            one = stack.pop()
            if one.op.kind is Kind.CONTRACT and sum(x in self.step.varying for x in one.inputs) == 1:
                operands += [x for x in one.inputs if x in self.step.varying]
            elif one in self.step.dependent and can_lift(one) and (one.op.kind is Kind.VIEW or one.op.name == "add"):
                stack.extend(one.inputs)
            else:
                return [], None
            cone.append(one)
        return [one for one in self.order if one in set(cone)], list(dict.fromkeys(operands))

    def _plan_total(self, x: Node) -> Finish:
        """The sum over trips of a gradient, term by term."""
        terms = []
        stack = [self.gradient[x]]
        while stack:
            term = stack.pop()
            if term.op.name == "add":
                stack.extend(reversed(term.inputs))
            else:
                terms.append(self._plan_term(term))

        def total(values: dict[Node, Tensor]) -> Tensor:
            parts = [term(values) for term in terms]
            sum_ = parts[0]
            for part in parts[1:]:
                sum_ = sum_ + part
            return sum_

        return total

    def _plan_term(self, term: Node) -> Finish:
        views: list[Node] = []
        core = term
        while core.op.kind is Kind.VIEW and len(core.inputs) == 1 and not core.attrs.get("value", 0):
            views.append(core)
            core = core.inputs[0]

        def viewed(x: Tensor) -> Tensor:
            for view in reversed(views):
                x = Tensor(derive(view, view.op, (x.node,), **view.attrs))
            return x

        if core.op.kind is Kind.CONTRACT:
            varying = [x if x in self.step.varying else None for x in core.inputs]
            for x in varying:
                if x is not None:
                    self._stack(x)

            def contracted(values: dict[Node, Tensor]) -> Tensor:
                made = self._lift([x for x in core.inputs if x not in values], values)
                stacks = [None if x is None else made[x] for x in varying]
                return viewed(lift_contraction(core, stacks, [made.get(x) for x in core.inputs], keep=False))

            return contracted
        if core.op.name == "sum" and core.inputs[0] in self.step.varying:
            (x,) = core.inputs
            self._stack(x)
            axes = (0, *(axis + 1 for axis in core.attrs["axes"]))
            return lambda values: viewed(fn.sum(values[x], axis=axes))
        if term not in self.sums:
            self.sums.append(term)
        return lambda values: self.totals[term]

    def _stack(self, node: Node) -> None:
        """See that the values of a node in all trips are at hand behind the loop."""
        (self.stacks if node in self.step.dependent else self.outside)[node] = None

    def _lift(self, nodes: Iterable[Node], values: dict[Node, Tensor]) -> dict[Node, Tensor]:
        """Lift the nodes, and what they need of what all trips share."""
        first = len(self.step.carries) + len(self.step.sequences)
        same = {x: result(outer) for x, outer in zip(self.step.rest, self.step.node.inputs[first:], strict=True)}
        wanted = set(nodes)
        needed = set(wanted)
        for node in reversed(self.order):
            if node in needed and node not in values:
                needed.update(node.inputs)
        return lift([node for node in self.order if node in needed and node not in values], values, same, self.step.length)

    # --- what is kept ---

    def _choose(self, roots: Sequence[Node]) -> None:
        """Which forward values the forward loop stacks: those that the backward body reads, but for what is cheap to make
        from others."""
        needed = set(roots)
        frontier: set[Node] = set(self.outside)
        for node in reversed(self.order):
            if node in needed and node in self.step.dependent:
                for operand in node.inputs:
                    (needed if operand in self.step.dependent else frontier).add(operand)
        for root in roots:
            if root not in self.step.dependent:
                frontier.add(root)
        sequences = set(self.step.sequences)
        for node in self.order:
            if node not in frontier or node not in self.step.varying or node in sequences:
                continue
            leaves = None if node in self.outside else self._leaves(node, sequences)
            if leaves is None or sum(leaf.type.nbytes for leaf in leaves) > node.type.nbytes:
                self.kept[node] = None
            else:
                self.kept.update(dict.fromkeys(leaves))

    def _leaves(self, node: Node, sequences: set[Node]) -> list[Node] | None:
        """What would have to be kept, beyond what is, to make `node` again; None where that is dear."""
        found: dict[Node, None] = {}
        seen: set[Node] = set()
        stack = [node]
        while stack:
            one = stack.pop()
            if one in seen or one in self.kept or one in sequences or one not in self.step.varying:
                continue
            cheap = one.op.kind is Kind.VIEW or (
                one.op.kind is Kind.ELEMENTWISE and not one.op.effect and one.op.cost <= MAX_RECOMPUTED_COST
            )
            if cheap and len(seen) < MAX_RECOMPUTED:
                seen.add(one)
                stack.extend(one.inputs)
            elif one is node:
                return None
            else:
                found[one] = None
        return list(found)

    def _extended(self) -> dict[Node, Tensor]:
        """The stacks of what is kept: results of the forward loop, made longer where it does not have them."""
        step, count = self.step, len(self.step.carries)
        given = {node: i for i, node in reversed([*enumerate(step.body.outputs)][count:])}
        new = [node for node in self.kept if node not in given]
        loop = step.node
        if new:
            body = replace(step.body, outputs=(*step.body.outputs, *new), _cache={})
            types = tuple(ops.stacked(node.type, step.length) for node in new)
            loop = replace(loop, attrs={**loop.attrs, "body": body}, type=TupleType(loop.type.items + types))  # type: ignore[attr-defined,arg-type]
            given.update((node, len(step.body.outputs) + i) for i, node in enumerate(new))
        return {node: Tensor(build(ops.get, (loop,), {"index": given[node]})) for node in self.kept}

    # --- the loop ---

    def _loop(self, carried: list[Node], forward: dict[Node, Tensor]) -> tuple[dict[Node, Tensor], list[Tensor]]:
        """Builds the backward loop. Returns the values at hand behind it, and the gradients of the first carries."""
        step, operands = self.step, self.step.node.inputs
        count = len(step.carries)
        stacked: dict[Node, Tensor] = {one: result(outer) for one, outer in zip(step.sequences, operands[count:], strict=False)}
        stacked.update(forward)
        whole = dict(zip(step.rest, operands[count + len(step.sequences) :], strict=True))
        inner = {one: _input(f"x{i}", one).node for i, one in enumerate(stacked)}
        totals = [_input(f"s{i}", node) for i, node in enumerate(self.sums)]
        values = _substituted(self.order, {**inner, **whole}, [*carried, *self.sums, *self.stacks])
        grown = [total + result(values[node]) for total, node in zip(totals, self.sums, strict=True)]
        outputs = [*(values[node] for node in carried), *(one.node for one in grown), *(values[node] for node in self.stacks)]
        read = set(topological(outputs))
        slices = [(one, outer) for one, outer in stacked.items() if inner[one] in read]
        begin = [self.v[i] if i in self.v else fn.zeros_like(g) for i, g in zip(self.floats, self.last, strict=True)]
        begin += [fn.zeros_like(total) for total in totals]
        sequences = [*self.slices.values(), *(Tensor(inner[one]) for one, _ in slices)]
        given = [*(self.v[j] for j in self.slices), *(outer for _, outer in slices)]
        inputs = [one.node for one in (*self.last, *totals, *sequences)]
        outside, body = close(inputs, outputs, "back")
        results = make_scan(
            [one.node for one in (*begin, *given)] + outside,
            body,
            len(begin),
            len(given),
            step.length,
            not step.node.attrs["reverse"],
        )
        first = len(begin)
        at_hand = {**stacked, **dict(zip(self.stacks, results[first:], strict=True))}
        self.totals = dict(zip(self.sums, results[len(carried) : first], strict=True))
        return at_hand, results[: len(carried)]


def _substituted(order: Iterable[Node], new: dict[Node, Node], roots: Iterable[Node]) -> dict[Node, Node]:
    """The nodes over others: `new` says what stands for some of them."""
    order = list(order)
    needed = set(roots)
    for node in reversed(order):
        if node in needed and node not in new:
            needed.update(node.inputs)
    made = dict(new)
    for node in order:
        if node in needed and node not in made:
            made[node] = node.with_inputs(tuple(made[operand] for operand in node.inputs))
    return made
