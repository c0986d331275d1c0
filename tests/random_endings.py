"""How a random graph ends: a loss, gradients, updates of states, outputs."""

from __future__ import annotations

import numpy as np
from random_graphs import Case, Growth

import graphc
from graphc import functions as fn
from graphc.graph import topological
from graphc.tensor import State, Tensor


def finish(g: Growth) -> Case:
    c = g.choices
    floats = [t for t in g.pool if t.dtype.kind == "f" and t.node.op.name not in ("state", "input", "const")]
    gradients: dict[State, Tensor] = {}
    loss: Tensor | None = None
    if floats:
        chosen = [floats[-1], *(t for t in floats[:-1] if c.chance(30))]
        for t in chosen:
            weight = 0.5 / max(t.size, 1)
            term = fn.sum(t * weight if c.below(2) else fn.square(t) * weight).astype(floats[-1].dtype)
            loss = term if loss is None else loss + term
        reached = set(topological([loss.node]))
        trained = [s for s in g.states if s.dtype.kind == "f" and s.node in reached]
        if trained and c.below(8):
            gradients = dict(zip(trained, graphc.grad(loss, trained), strict=True))
            if c.chance(10):  # a penalty on the gradients: derivatives of derivatives
                penalty = loss + sum((fn.sum(fn.square(fn.tanh(v))).astype(loss.dtype) for v in gradients.values()), start=loss)
                gradients = dict(zip(trained, graphc.grad(penalty, trained), strict=True))
    updates = _updates(g, gradients)
    outputs = [] if loss is None else [loss]
    candidates: list[Tensor] = [*reversed(g.pool), *gradients.values(), *g.states, *g.inputs]
    for _ in range(c.below(5)):
        y = c.pick(candidates)
        how = c.below(8)
        if how == 0:
            y = y.T
        elif how == 1:
            y = y.reshape((-1,)) if y.size else y
        elif how == 2:
            y = graphc.constant(g.numbers(g.shape(1), "float32"))
        outputs.append(y)
        if how == 3:
            outputs.append(y)
    if not outputs:
        outputs.append(g.pool[-1])
    return Case(outputs, list(g.inputs), updates, g.arrays)


def _updates(g: Growth, gradients: dict[State, Tensor]) -> dict[State, Tensor]:
    c = g.choices
    updates: dict[State, Tensor] = {}
    for p, v in gradients.items():
        how = c.below(5)
        if how <= 1:
            updates[p] = p - 0.1 * v
        elif how == 2:
            m = State(g.numbers(p.shape, p.dtype.name), name=f"m{len(updates)}")
            updates[m] = 0.9 * m + v
            updates[p] = p - 0.1 * (updates[m] if c.below(2) else m)
        elif how == 3:
            m = State(np.abs(g.numbers(p.shape, p.dtype.name)), name=f"m{len(updates)}")
            updates[m] = 0.9 * m + 0.1 * v * v
            updates[p] = p - 0.1 * v / (fn.sqrt(updates[m]) + 1e-3)
    for s in g.states:
        if s in updates or c.chance(60):
            continue
        same = [t for t in (*g.states, *g.pool, *gradients.values()) if t.type == s.type]
        how = c.below(7)
        if how == 0:
            updates[s] = c.pick(same)  # another state, itself, any value
        elif how == 1 and s.ndim:
            updates[s] = fn.flip(s, axis=g.axes(s))
        elif how == 2 and s.ndim:
            updates[s] = fn.roll(s, 1, 0)
        elif how == 3:
            updates[s] = fn.where(fn.equal(s, s), c.pick(same), s)
        elif how == 4:
            turned = [t for t in same if isinstance(t, State) and t.ndim == 2 and t.shape[0] == t.shape[1]]
            updates[s] = (turned[0].T + c.pick(same)) if turned and s.dtype.kind != "b" else c.pick(same)
        elif how == 5 and s.dtype.kind != "b":
            updates[s] = s + c.pick(same)
        elif how == 6:
            updates[s] = graphc.constant(g.numbers(s.shape, s.dtype.name), s.dtype)
    return updates
