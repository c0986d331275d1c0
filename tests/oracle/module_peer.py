"""One module in graphc, compiled, and in PyTorch with the same state dict: outputs, gradients of inputs and parameters, then
several optimizer steps: losses, parameters, buffers.

Errors are relative to the largest element of the tensor compared. A gradient that is 0 but for rounding (a key's bias in
attention, what comes before a batch norm) is measured by the largest of all gradients, a loss by the mean size of the outputs
that it sums.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch_peer import cotangent, torch

import graphc
from graphc import nn, optim

LIMITS = {"float32": 2e-5, "float64": 1e-9}
FOUND: dict[tuple[str, str], list[float]] = defaultdict(list)  # (module, dtype) -> the error of each configuration

Call = Callable[..., Any]


def _plain_call(module: Any, *xs: Any) -> Any:
    return module(*xs)


def same(
    mine: nn.Module,
    peer: Any,
    *arrays: np.ndarray,
    call: Call = _plain_call,
    peer_call: Call | None = None,
    training: bool = True,
    steps: int = 20,
    lr: float = 0.02,
    name: str | None = None,
    limit: float | None = None,
) -> None:
    """`call(module, *xs)` returns a tensor or a tuple of tensors and None; the peer's is given where it differs."""
    perturb(peer)
    assert list(mine.state_dict()) == list(peer.state_dict())
    mine.load_state_dict(peer.state_dict())
    mine.train(training)
    peer.train(training)
    dtype = next(str(a.dtype) for a in arrays if a.dtype.kind == "f") if _floats(arrays) else str(next(mine.parameters()).dtype)
    theirs = peer_call or call
    worst = max(_outputs(mine, peer, arrays, call, theirs), _steps(mine, peer, arrays, call, theirs, steps, lr))
    FOUND[name or type(peer).__name__, dtype].append(worst)
    assert worst <= (LIMITS[dtype] if limit is None else limit)


def perturb(peer: Any) -> None:
    """Parameters and statistics away from 0 and 1, which would hide mistakes."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, value in peer.state_dict().items():
            if value.is_floating_point():
                value += 0.1 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
                if key.endswith("running_var"):
                    value.abs_().add_(0.5)


def _floats(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [array for array in arrays if array.dtype.kind == "f"]


def _many(result: Any) -> list[Any]:
    return [y for y in (result if isinstance(result, tuple) else (result,)) if y is not None]


def _weighted(ys: Sequence[Any], constant: Callable[[np.ndarray], Any]) -> Any:
    """A loss that every output enters with weights of its own, and quadratically, so that steps have curvature."""
    total = None
    for y in ys:
        weight = cotangent(tuple(y.shape))
        one = (y * constant(weight)).mean() + 0.1 * (y * y).mean()
        total = one if total is None else total + one
    return total


def _outputs(mine: nn.Module, peer: Any, arrays: Sequence[np.ndarray], call: Call, peer_call: Call) -> float:
    xs = [graphc.input(f"x{i}", array.shape, array.dtype) for i, array in enumerate(arrays)]
    with graphc.random.fresh_streams():
        ys = _many(call(mine, *xs))
    wrt = [*(x for x in xs if x.dtype.kind == "f"), *mine.parameters()]
    gradients = graphc.grad(_weighted(ys, lambda w: graphc.constant(w, ys[0].dtype)), wrt) if wrt else []
    inputs = {x.name: array for x, array in zip(xs, arrays, strict=True)}
    got = graphc.compile([*ys, *gradients])(**_reached([*ys, *gradients], inputs))
    txs = [torch.tensor(array, requires_grad=array.dtype.kind == "f") for array in arrays]
    buffers = {key: value.clone() for key, value in peer.named_buffers()}
    tys = _many(peer_call(peer, *txs))
    twrt = [*(x for x in txs if x.requires_grad), *peer.parameters()]
    loss = _weighted(tys, lambda w: torch.tensor(w, dtype=tys[0].dtype))
    found = torch.autograd.grad(loss, twrt, allow_unused=True) if twrt else []
    tgradients = [torch.zeros_like(x) if g is None else g for x, g in zip(twrt, found, strict=True)]
    for key, value in peer.named_buffers():
        value.copy_(buffers[key])
    expected = [t.detach().numpy() for t in (*tys, *tgradients)]
    assert len(ys) == len(tys)
    whole = max((_size(g) for g in expected[len(tys) :]), default=0.0)
    zeros = [i >= len(tys) and _size(b) < 1e-5 * whole for i, b in enumerate(expected)]
    return max(error(a, b, whole if zero else 0) for a, b, zero in zip(got, expected, zeros, strict=True))


def _reached(outputs: Sequence[graphc.Tensor], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    from graphc.graph import topological

    names = {node.attrs["name"] for node in topological(t.node for t in outputs) if node.op.name == "input"}
    return {name: array for name, array in inputs.items() if name in names}


def _steps(mine: nn.Module, peer: Any, arrays: Sequence[np.ndarray], call: Call, peer_call: Call, steps: int, lr: float) -> float:
    """The largest error of losses, parameters and buffers over several steps of gradient descent with momentum."""
    if not steps or not list(mine.parameters()):
        return 0.0
    xs = [graphc.input(f"x{i}", array.shape, array.dtype) for i, array in enumerate(arrays)]
    with graphc.random.fresh_streams():
        ys = _many(call(mine, *xs))
    loss = _weighted(ys, lambda w: graphc.constant(w, ys[0].dtype))
    step = graphc.train_step(loss, optim.SGD(mine.parameters(), lr=lr, momentum=0.9))
    inputs = _reached([loss], {x.name: array for x, array in zip(xs, arrays, strict=True)})
    opt = torch.optim.SGD(peer.parameters(), lr=lr, momentum=0.9)
    txs = [torch.tensor(array) for array in arrays]
    worst = 0.0
    for _ in range(steps):
        value = step(**inputs)
        opt.zero_grad()
        tys = _many(peer_call(peer, *txs))
        tloss = _weighted(tys, lambda w, dtype=tys[0].dtype: torch.tensor(w, dtype=dtype))
        tloss.backward()
        opt.step()
        worst = max(worst, error(value, tloss.detach().numpy(), max(float(y.detach().abs().mean()) for y in tys)))
    state = mine.state_dict()
    return max([worst, *(error(state[key], value.numpy(), 0) for key, value in peer.state_dict().items())])


def _size(b: np.ndarray) -> float:
    return float(np.abs(b).max()) if b.size else 0.0


def error(a: np.ndarray, b: np.ndarray, scale: float) -> float:
    """The largest difference over the largest element."""
    assert a.shape == b.shape and a.dtype == b.dtype, (a.shape, a.dtype, b.shape, b.dtype)
    assert np.array_equal(np.isnan(a), np.isnan(b))
    if not b.size:
        return 0.0
    return float(np.nanmax(np.abs(a.astype("f8") - b))) / max(_size(np.nan_to_num(b)), scale, 1e-30)
