"""Driving a training step over a data set.

The order of an epoch is `numpy.random.Generator(PCG64([seed, epoch])).permutation(rows)`, `epoch` counting the epochs that the
step has done since it was made; without `shuffle`, rows stay in order. The last batch is smaller where rows do not divide.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.arrays import as_array
from graphc.compiler import check_seed
from graphc.errors import InputError
from graphc.seeding import initial_seed

if TYPE_CHECKING:
    from graphc.training import TrainStep


def run(
    step: TrainStep,
    data: Mapping[str, Any],
    *,
    epochs: int,
    batch_size: int | None,
    shuffle: bool,
    seed: int | None,
    drop_last: bool,
    progress: bool,
    on_epoch: Callable[[int, dict[str, float]], Any] | None,
) -> dict[str, list[float]]:
    """Train for `epochs` passes over `data`, and return the mean of the loss, and of every scalar output, for each epoch.

    data: arrays by input name, equal in rows. batch_size: rows per step; by default what the step's inputs declare, or all.
    shuffle, seed: see above; the default seed is that of `graphc.manual_seed`. drop_last: leave out a last batch not full.
    progress: a tqdm bar where tqdm is installed, else a line per epoch. on_epoch(epoch, logs): called after each; True stops.

    The states end bitwise as if `step` had been called in a loop.
    """
    arrays, rows = _checked(data)
    for option, flag in (("shuffle", shuffle), ("drop_last", drop_last), ("progress", progress)):
        if not isinstance(flag, (bool, np.bool_)):
            raise InputError(f"run: {option} is True or False, not {flag!r}")
    if on_epoch is not None and not callable(on_epoch):
        raise InputError(f"run: on_epoch is a function of the epoch and its logs, not {on_epoch!r}")
    checked = check_seed(seed)
    entropy = initial_seed() if checked is None else checked
    fixed = None if step._function is not None else _declared_rows(step)
    size = batch_size if batch_size is not None else (fixed if fixed is not None else rows)
    for option, count, least in (("epochs", epochs, 0), ("batch_size", size, 1)):
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < least:
            raise InputError(f"run: {option} is an integer of at least {least}, not {count!r}")
    if fixed is not None and size != fixed:
        raise InputError(
            f"run: batch_size {size} for a step declared for {fixed} rows; give train_step a function to run at several sizes"
        )
    if fixed is not None and rows % size and not drop_last:
        raise InputError(
            f"run: {rows} rows do not divide into batches of {size}; use drop_last=True, or give train_step a function, "
            "which is traced for each size"
        )
    starts = range(0, rows - size + 1 if drop_last else rows, size)
    if not len(starts):
        raise InputError(f"run: no batch of {size} in {rows} rows")
    history: dict[str, list[float]] = {"loss": []}
    with _reporter(progress, epochs, len(starts)) as (report, hidden):
        for _ in range(epochs):
            order = None
            if shuffle:
                order = np.random.Generator(np.random.PCG64([entropy, step.epochs_done])).permutation(rows)
            totals: dict[str, float] = {}
            seen = 0
            for start in starts:
                stop = min(start + size, rows)
                if order is None:
                    batch = {name: array[start:stop] for name, array in arrays.items()}
                else:
                    batch = {name: array[order[start:stop]] for name, array in arrays.items()}
                for name, value in _scalars(step(**batch)).items():
                    totals[name] = totals.get(name, 0.0) + value * (stop - start)
                seen += stop - start
                report(None, {"loss": totals["loss"] / seen})
            step.epochs_done += 1
            logs = {name: total / seen for name, total in totals.items()}
            for name, value in logs.items():
                history.setdefault(name, []).append(value)
            epoch = step.epochs_done
            report(epoch, logs)
            if on_epoch is not None:
                with hidden():
                    verdict = on_epoch(epoch, logs)
                if isinstance(verdict, (bool, np.bool_)) and verdict:
                    break
    return history


def _checked(data: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], int]:
    if not isinstance(data, Mapping) or not data:
        raise InputError("run: data is a dict of arrays by input name")
    # lists take the types that a call would give them
    arrays = {k: value if isinstance(value, np.ndarray) else as_array(value, None, f"run: {k}") for k, value in data.items()}
    for name, array in arrays.items():
        if array.ndim == 0:
            raise InputError(f"run: {name} has no rows; data is cut along the first axis")
    rows = {name: len(array) for name, array in arrays.items()}
    if len(set(rows.values())) > 1:
        raise InputError("run: arrays differ in rows: " + ", ".join(f"{name} {count}" for name, count in rows.items()))
    if not all(rows.values()):
        raise InputError("run: the arrays have no rows")
    return arrays, next(iter(rows.values()))


def _declared_rows(step: TrainStep) -> int | None:
    sizes = {node.type.shape[0] for node in step.graph.inputs if node.type.shape}
    return sizes.pop() if len(sizes) == 1 else None


def _scalars(result: Any) -> dict[str, float]:
    """The loss, and every scalar output by its name in a dict of outputs."""
    loss, outputs = result if isinstance(result, tuple) else (result, None)
    found = {"loss": float(loss)}
    if isinstance(outputs, Mapping):
        found.update(
            (str(name), float(value)) for name, value in outputs.items() if isinstance(value, np.ndarray) and value.ndim == 0
        )
    return found


Report = Callable[[int | None, Mapping[str, float]], None]
Hidden = Callable[[], contextlib.AbstractContextManager[Any]]


@contextlib.contextmanager
def _reporter(progress: bool, epochs: int, batches: int) -> Iterator[tuple[Report, Hidden]]:
    """A function told of every batch (epoch None) and every finished epoch, and a context in which others may print."""
    if not progress:
        yield (lambda epoch, logs: None), contextlib.nullcontext
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield _print_epoch, contextlib.nullcontext
        return
    with tqdm(total=epochs * batches, unit="step", mininterval=0.2) as bar:

        def report(epoch: int | None, logs: Mapping[str, float]) -> None:
            if epoch is None:
                bar.update()
            else:
                bar.set_postfix({"epoch": epoch, **{name: f"{value:.4g}" for name, value in logs.items()}}, refresh=False)

        yield report, tqdm.external_write_mode


def _print_epoch(epoch: int | None, logs: Mapping[str, float]) -> None:
    if epoch is not None:
        print(f"epoch {epoch}: " + ", ".join(f"{name} {value:.4g}" for name, value in logs.items()), flush=True)
