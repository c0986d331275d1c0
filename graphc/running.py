"""Driving a training step over a data set.

The order of an epoch is `numpy.random.Generator(PCG64([seed, epoch])).permutation(rows)`, `epoch` counting the epochs that the
step has done since it was made; without `shuffle`, rows stay in order. The last batch is smaller where rows do not divide.

The first batch of a run and smaller last batches are calls of the step. Those between run in native code, which gathers their
rows and keeps their losses (`graphc.runtime.driving`); Python has its turn, for signals, progress and other threads, every 20 ms,
or after one step that takes longer. All batches are calls where the arrays do not convert to what the step was compiled for (a
label of a later batch is out of range, say: the steps before it count), or where an input has no rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.arrays import as_array
from graphc.calling import form_key
from graphc.compiler import check_seed
from graphc.errors import GraphcError, InputError
from graphc.seeding import initial_seed
from graphc.structure import Structure

if TYPE_CHECKING:
    from graphc.tracing import Declared
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

    The states end bitwise as if `step` had been called in a loop. Where the data is of other types than the step's inputs, or not
    contiguous, it is converted as a whole: once, or before every epoch where `on_epoch` might change it.
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
    driver: _Driver | None = None
    with _reporter(progress, epochs, len(starts)) as (report, hidden):
        for _ in range(epochs):
            order = None
            if shuffle:
                order = np.random.Generator(np.random.PCG64([entropy, step.epochs_done])).permutation(rows)
            if driver is None or on_epoch is not None:
                driver = _Driver(step, arrays, rows, size)
            totals: dict[str, float] = {}
            for count, stretch in driver.epoch(order, starts):
                for name, values in stretch.items():
                    total = totals.get(name, 0.0)
                    for value in values:
                        total += value * count
                    totals[name] = total
                report(None, {}, len(stretch["loss"]))
            step.epochs_done += 1
            seen = min(starts[-1] + size, rows)
            logs = {name: total / seen for name, total in totals.items()}
            for name, value in logs.items():
                history.setdefault(name, []).append(value)
            epoch = step.epochs_done
            report(epoch, logs, 0)
            if on_epoch is not None:
                with hidden():
                    verdict = on_epoch(epoch, logs)
                if isinstance(verdict, (bool, np.bool_)) and verdict:
                    break
    return history


class _Driver:
    """Takes a step over the batches of an epoch; natively once a call has shown what the step was compiled for."""

    def __init__(self, step: TrainStep, arrays: Mapping[str, np.ndarray], rows: int, size: int):
        self._step, self._arrays, self._rows, self._size = step, arrays, rows, size
        self._names: list[str] = []  # of the scalars
        self._native: Any = None
        self._tried = False

    def epoch(self, order: np.ndarray | None, starts: range) -> Iterator[tuple[int, dict[str, list[float]]]]:
        """(rows of a batch, values of the loss and other scalars by name) for each stretch of steps."""
        full = self._rows // self._size
        if self._native is not None:
            self._native.shuffle(order)
        i = 0
        while i < len(starts):
            if self._native is not None and i < full:
                i, values = self._native.run(i, full)
                yield self._size, dict(zip(self._names, values, strict=True))
                continue
            rows = slice(starts[i], min(starts[i] + self._size, self._rows))
            batch = {name: array[rows if order is None else order[rows]] for name, array in self._arrays.items()}
            found = _scalars(self._step(**batch))
            if not self._tried:
                self._tried = True
                self._look()
                if self._native is not None:
                    self._native.shuffle(order)
            i += 1
            yield rows.stop - rows.start, {name: [value] for name, value in found.items()}

    def _look(self) -> None:
        form = self._step._forms.get(form_key(0, self._arrays))
        if form is None:
            return
        data = self._arrays
        places = _scalar_places(form.declared)
        try:
            if self._step._function is not None:  # as a call does; data of graphc's types stays as it is
                data = {name: as_array(array, None, f"input {name}") for name, array in data.items()}
            self._native = form.native.driver(data, self._rows, self._size, list(places.values()))
        except GraphcError:  # a batch has a value that a call refuses: the call shall say so
            return
        self._names = list(places)


def _scalar_places(declared: Declared) -> dict[str, int]:
    """Which outputs are the loss and the other scalars, by name; as `_scalars` finds them in what a call returns."""
    structure = declared.structure
    places = {"loss": 0}
    if structure.kind is tuple and structure.children[1].kind is dict:
        position = 1
        for key, child in zip(structure.children[1].keys, structure.children[1].children, strict=True):
            if child.kind is None and declared.graph.outputs[position].type.shape == ():
                places[str(key)] = position
            position += _leaves(child)
    return places


def _leaves(structure: Structure) -> int:
    return 1 if structure.kind is None else sum(map(_leaves, structure.children))


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


Report = Callable[[int | None, Mapping[str, float], int], None]
Hidden = Callable[[], contextlib.AbstractContextManager[Any]]


@contextlib.contextmanager
def _reporter(progress: bool, epochs: int, batches: int) -> Iterator[tuple[Report, Hidden]]:
    """A function told of steps done (epoch None) and of every finished epoch, and a context in which others may print."""
    if not progress:
        yield (lambda epoch, logs, steps: None), contextlib.nullcontext
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield _print_epoch, contextlib.nullcontext
        return
    with tqdm(total=epochs * batches, unit="step", mininterval=0.2) as bar:

        def report(epoch: int | None, logs: Mapping[str, float], steps: int) -> None:
            if epoch is None:
                bar.update(steps)
            else:
                bar.set_postfix({"epoch": epoch, **{name: f"{value:.4g}" for name, value in logs.items()}}, refresh=False)

        yield report, tqdm.external_write_mode


def _print_epoch(epoch: int | None, logs: Mapping[str, float], steps: int) -> None:
    if epoch is not None:
        print(f"epoch {epoch}: " + ", ".join(f"{name} {value:.4g}" for name, value in logs.items()), flush=True)
