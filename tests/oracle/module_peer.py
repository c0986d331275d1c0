"""One module in graphc, compiled, and in PyTorch with the same state dict: outputs, gradients of inputs and parameters, then
several optimizer steps: losses, parameters, buffers, and the state dict back into PyTorch.

A configuration is compiled once: a training step that also returns outputs and gradients. Its first call gives these, and all
calls give losses and the trained state.

Errors are relative to the largest element of the tensor compared. A gradient that is 0 but for rounding (a key's bias in
attention, what comes before a batch norm) is measured by the largest of all gradients, a loss by the mean size of the outputs
that it sums, at the step so far where that is largest: a single output may pass through 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from found import record
from torch_peer import cotangent, torch

import graphc
from graphc import nn, optim
from graphc.graph import topological

LIMITS = {"float32": 2e-5, "float64": 1e-9}

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
    perturbed: bool = True,
) -> None:
    """`call(module, *xs)` returns a tensor or a tuple of tensors and None; the peer's is given where it differs."""
    if perturbed:
        perturb(peer)
    assert list(mine.state_dict()) == list(peer.state_dict())
    assert [key for key, _ in mine.named_parameters()] == [key for key, _ in peer.named_parameters()]
    mine.load_state_dict(peer.state_dict())
    mine.train(training)
    peer.train(training)
    dtype = next(str(a.dtype) for a in arrays if a.dtype.kind == "f") if _floats(arrays) else str(next(mine.parameters()).dtype)
    worst = _compared(mine, peer, arrays, call, peer_call or call, steps, lr)
    record(name or f"nn.{type(peer).__name__}", dtype, worst)
    assert worst <= (LIMITS[dtype] if limit is None else limit)
    peer.load_state_dict({key: torch.from_numpy(value) for key, value in mine.state_dict().items()})


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


def _compared(
    mine: nn.Module, peer: Any, arrays: Sequence[np.ndarray], call: Call, peer_call: Call, steps: int, lr: float
) -> float:
    """The largest error of outputs, gradients, losses, parameters and buffers."""
    xs = [graphc.input(f"x{i}", array.shape, array.dtype) for i, array in enumerate(arrays)]
    with graphc.random.fresh_streams():
        ys = _many(call(mine, *xs))
    loss = _weighted(ys, lambda w: graphc.constant(w, ys[0].dtype))
    parameters = list(mine.parameters())
    gradients = graphc.grad(loss, [*(x for x in xs if x.dtype.kind == "f"), *parameters])
    trained = bool(steps and parameters)
    step: Any
    if trained:
        step = graphc.train_step(loss, optim.SGD(parameters, lr, momentum=0.9), outputs=[*ys, *gradients], threads=1)
    else:
        compiled = graphc.compile([loss, *ys, *gradients], threads=1)
        step = lambda **inputs: (lambda values: (values[0], values[1:]))(compiled(**inputs))  # noqa: E731
    inputs = _reached([loss, *ys, *gradients], {x.name: array for x, array in zip(xs, arrays, strict=True)})
    theirs, targets = list(peer.parameters()), [torch.tensor(array, requires_grad=array.dtype.kind == "f") for array in arrays]
    opt = torch.optim.SGD(theirs, lr=lr, momentum=0.9) if trained else None
    wrt = [*(x for x in targets if x.requires_grad), *theirs]
    worst = scale = 0.0
    for count in range(steps if trained else 1):
        value, outputs = step(**inputs)
        tys = _many(peer_call(peer, *targets))
        tloss = _weighted(tys, lambda w, dtype=tys[0].dtype: torch.tensor(w, dtype=dtype))
        found = torch.autograd.grad(tloss, wrt, allow_unused=True) if wrt else []
        tgradients = [torch.zeros_like(x) if g is None else g for x, g in zip(wrt, found, strict=True)]
        scale = max([scale, *(float(y.detach().abs().mean()) for y in tys)])
        worst = max(worst, error(value, tloss.detach().numpy(), scale))
        if not count:
            worst = max(worst, _first(outputs, [t.detach().numpy() for t in tys], [t.detach().numpy() for t in tgradients]))
        if opt is not None:
            for parameter, gradient in zip(theirs, tgradients[len(tgradients) - len(theirs) :], strict=True):
                parameter.grad = gradient
            opt.step()
    if not trained:
        return worst
    state = mine.state_dict()
    return max([worst, *(error(state[key], value.numpy(), 0) for key, value in peer.state_dict().items())])


def _first(got: Sequence[np.ndarray], outputs: Sequence[np.ndarray], gradients: Sequence[np.ndarray]) -> float:
    whole = max((_size(g) for g in gradients), default=0.0)
    expected = [*outputs, *gradients]
    zeros = [i >= len(outputs) and _size(b) < 1e-5 * whole for i, b in enumerate(expected)]
    return max(error(a, b, whole if zero else 0) for a, b, zero in zip(got, expected, zeros, strict=True))


def _reached(outputs: Sequence[graphc.Tensor], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = {node.attrs["name"] for node in topological(t.node for t in outputs) if node.op.name == "input"}
    return {name: array for name, array in inputs.items() if name in names}


def _size(b: np.ndarray) -> float:
    return float(np.abs(b).max()) if b.size else 0.0


def error(a: np.ndarray, b: np.ndarray, scale: float) -> float:
    """The largest difference over the largest element."""
    assert a.shape == b.shape and a.dtype == b.dtype, (a.shape, a.dtype, b.shape, b.dtype)
    assert np.array_equal(np.isnan(a), np.isnan(b))
    if not b.size:
        return 0.0
    same_infinities = np.isinf(b) & (a == b)
    difference = np.where(same_infinities, 0, np.abs(a.astype("f8") - np.where(same_infinities, 0, b)))
    difference[same_infinities] = 0
    finite = np.where(np.isfinite(b), b, 0)
    return float(np.nanmax(difference, initial=0.0)) / max(_size(finite), scale, 1e-30)
