"""Dead code elimination: updates that write a state's own value, and what loops make or carry for nobody (`prune.py`).

    graph f() state(w: f32[3], n: f32[]) {
      return w    update w <- w, n <- w
->
    graph f() state(w: f32[3], n: f32[]) {
      return w    update n <- w

Other dead code cannot be said in this IR: the nodes of a graph are those that its outputs and updates need, so what nothing
reads is gone as soon as nothing reads it. Checks are kept because rewrites keep them under a root (`checks.py`), and inputs
because the caller passes them, read or not.
"""

from __future__ import annotations

from graphc.graph import Graph
from graphc.options import Options
from graphc.passes.prune import prune


def dce(graph: Graph, options: Options) -> Graph:
    """Drops updates without effect; the graph itself where there are none."""
    graph = prune(graph)
    updates = tuple((state, value) for state, value in graph.updates if state is not value)
    return graph if len(updates) == len(graph.updates) else Graph(graph.inputs, graph.outputs, updates, graph.name)
