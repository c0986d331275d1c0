"""Training steps: loss -> gradients -> optimizer's updates, one graph, one native call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import graphc.functions as fn
from graphc.autodiff import gradients_where_any
from graphc.errors import DTypeError, InputError, ShapeError
from graphc.executable import Executable
from graphc.graph import warn
from graphc.implied import implied_updates
from graphc.op import rule
from graphc.optim import Optimizer
from graphc.structure import Structure, flatten
from graphc.tensor import State, Tensor
from graphc.tracing import Declared, make_graph
from graphc.types import is_float

if TYPE_CHECKING:
    from graphc.options import Options

Transform = Callable[[list[Tensor]], Iterable[Tensor]]

_NO_PATH = "paths through stop_gradient, comparisons and integers do not count"


class TrainStep(Executable):
    """A compiled training step. A call returns the loss before the update; with outputs, (loss, outputs)."""

    opt: Optimizer
    epochs_done: int = 0

    def run(
        self,
        data: Mapping[str, Any],
        *,
        epochs: int = 1,
        batch_size: int | None = None,
        shuffle: bool = False,
        seed: int | None = None,
        drop_last: bool = False,
        progress: bool = True,
        on_epoch: Callable[[int, dict[str, float]], Any] | None = None,
    ) -> dict[str, list[float]]:
        """Train on arrays by input name, in batches of rows; see `graphc.running.run`."""
        from graphc.running import run

        return run(
            self,
            data,
            epochs=epochs,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
            progress=progress,
            on_epoch=on_epoch,
        )


def train_step(
    loss: Any,
    opt: Optimizer,
    *,
    outputs: Any = None,
    transform: Transform | None = None,
    accumulate: int = 1,
    threads: int | None = None,
    seed: int | None = None,
    options: Options | None = None,
) -> TrainStep:
    """Compile one training step of `opt` on `loss`: forward, backward and update as one native call.

    loss: a scalar Tensor, or a function that returns one (or (loss, outputs)), traced in training mode for each signature. Where
        all floating states that it reads are float32, its float64 arrays count as float32 ones (`graphc.precision`).
    outputs: tensors to return beside the loss, where the loss is a Tensor.
    transform: maps the list of gradients to a list, as `optim.clip_grad_norm(1.0)` does.
    accumulate: average the gradients of so many calls, then update once.

    A parameter that requires a gradient but that the loss does not depend on, or only through `stop_gradient`, comparisons or
    integers, is left alone, with a warning: no weight decay, no momentum (PyTorch's `grad` is None).
    """
    if isinstance(accumulate, bool) or not isinstance(accumulate, (int, np.integer)) or accumulate < 1:
        raise InputError(f"accumulate is a positive integer, not {accumulate!r}")
    if transform is not None and not callable(transform):
        raise InputError(f"transform is a function of the list of gradients, not {transform!r}")
    if not isinstance(opt, Optimizer):
        raise InputError(f"opt is an optimizer of graphc.optim, not {type(opt).__name__}")
    traced = callable(loss) and not isinstance(loss, Tensor)
    if traced and outputs is not None:
        raise InputError("outputs: a loss function returns its outputs beside the loss, as (loss, outputs)")
    if not traced and not isinstance(loss, Tensor):
        raise InputError(f"loss is a scalar tensor or a function that returns one, not {type(loss).__name__}")
    accumulators: dict[State, State] = {}
    counter: list[State] = []

    def declare(result: Any, given: Sequence[Tensor] | None) -> Declared:
        value, extra = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
        if not isinstance(value, Tensor):
            raise InputError(f"the loss function must return a scalar tensor, or (loss, outputs), not {type(value).__name__}")
        extra = outputs if extra is None else extra
        leaves, structure = flatten(extra, "outputs") if extra is not None else ([], Structure(tuple))
        returned = Structure(tuple, (Structure(None), structure)) if extra is not None else Structure(None)
        gradients = _gradients(value, opt)
        if accumulate > 1:
            updates = _accumulated(gradients, opt, transform, int(accumulate), accumulators, counter)
        else:
            updates = opt.updates(_transformed(gradients, transform))
        updates = {**implied_updates([value, *leaves]), **updates}
        forward = make_graph([value, *leaves], {}, given, "loss")
        return Declared(make_graph([value, *leaves], updates, given, "train"), returned, {"input": forward})

    step = TrainStep(loss, declare, False, True, threads, seed, options)
    step.opt = opt
    return step


def _gradients(loss: Tensor, opt: Optimizer) -> list[tuple[State, Tensor]]:
    with rule("train_step", loss):
        if loss.shape != ():
            raise ShapeError(f"the loss must be a scalar, got {loss.type}; reduce it first, with .mean() or .sum()")
        if not is_float(loss.dtype):
            raise DTypeError(f"the loss must be a float, got {loss.type}")
    parameters = opt.parameters()
    found = gradients_where_any([loss], parameters, [fn.ones_like(loss)])
    trained = [(parameter, gradient) for parameter, gradient in zip(parameters, found, strict=True) if gradient is not None]
    idle = [parameter for parameter, gradient in zip(parameters, found, strict=True) if gradient is None]
    if idle and trained:
        names = ", ".join(parameter.name for parameter in idle)
        what = "it" if len(idle) == 1 else "them"
        warn(f"the loss does not depend on {names}; the step leaves {what} alone ({_NO_PATH})")
    if not trained and not idle:
        raise InputError("none of the optimizer's parameters requires a gradient; requires_grad_() says that they do")
    if not trained:
        raise InputError(f"the loss depends on none of the optimizer's parameters ({_NO_PATH})")
    return trained


def _transformed(gradients: list[tuple[State, Tensor]], transform: Transform | None) -> list[tuple[State, Tensor]]:
    if transform is None:
        return gradients
    result: Any = transform([gradient for _, gradient in gradients])
    result = list(result) if isinstance(result, Iterable) and not isinstance(result, Tensor) else []
    if len(result) != len(gradients):
        raise InputError(f"transform must return a list of {len(gradients)} gradients")
    pairs = []
    for (parameter, _), gradient in zip(gradients, result, strict=True):
        if not isinstance(gradient, Tensor) or gradient.type != parameter.type:
            raise InputError(f"transform returned {gradient!r} as the gradient of {parameter.name}: {parameter.type}")
        pairs.append((parameter, gradient))
    return pairs


def _accumulated(
    gradients: list[tuple[State, Tensor]],
    opt: Optimizer,
    transform: Transform | None,
    count: int,
    accumulators: dict[State, State],
    counter: list[State],
) -> dict[State, Tensor]:
    """Updates that add up gradients, and take effect on every `count`-th call with their mean."""
    if not counter:
        counter.append(State(0, name="accumulate.calls", dtype="int64"))
    calls = counter[0]
    due = calls == count - 1
    updates: dict[State, Tensor] = {}
    means = []
    for parameter, gradient in gradients:
        if parameter not in accumulators:
            accumulators[parameter] = State(np.zeros(parameter.shape, parameter.dtype), name=f"accumulate.{parameter.name}")
        total = accumulators[parameter] + gradient
        updates[accumulators[parameter]] = fn.where(due, 0, total)
        means.append((parameter, total / float(count)))
    for state, value in opt.updates(_transformed(means, transform)).items():
        updates[state] = fn.where(due, value, state)
    updates[calls] = fn.where(due, 0, calls + 1)
    return updates
