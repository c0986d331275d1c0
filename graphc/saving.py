"""Saving and loading what steps and optimizers hold, as safetensors, whole or not at all.

    graphc.save("run.safetensors", step)                     graphc.load("run.safetensors", step)
    graphc.save("gan.safetensors", {"g": step_g, "d": step_d, "opt": opt})

Keys are the states' names, made unique in order of first appearance (a step's optimizer first: its parameters and
hyper-parameters), below the name in the dict and a slash. A step of a traced function that has not been called knows those of
its optimizer only; values for other states wait for its first trace.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, InputError, ShapeError
from graphc.executable import Executable
from graphc.optim import Optimizer
from graphc.tensor import State

EPOCHS = "#epochs_done"


def save(path: str | os.PathLike[str], what: Any) -> None:
    """Write the states of a step, an executable or an optimizer, or of a dict of several, to a safetensors file, atomically."""
    from safetensors.numpy import save as encode

    arrays: dict[str, np.ndarray] = {}
    for prefix, part in _parts(what).items():
        for key, value in _arrays(part).items():
            arrays[prefix + key] = np.asarray(value, order="C")
    path = os.fspath(path)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".", prefix=os.path.basename(path) + ".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(encode(arrays))
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def load(path: str | os.PathLike[str], what: Any) -> None:
    """Read a file that `save` wrote back into the same step, optimizer or dict of them, in place. Nothing changes where a key is
    missing or unknown, or a shape or type differs; the error lists all that is wrong."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as decode

    with open(path, "rb") as file:
        data = file.read()
    try:
        arrays = decode(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"load: {os.fspath(path)} is not a safetensors file: {error}") from None
    left = dict(arrays)
    plans = []
    # names may hold slashes: what lies below "a/b" is not a part of "a"
    for prefix, part in sorted(_parts(what).items(), key=lambda item: -len(item[0])):
        mine = {key[len(prefix) :]: left.pop(key) for key in list(left) if key.startswith(prefix)}
        plans.append((part, mine, _check(part, mine)))
    if left:
        raise InputError(f"load: nothing here is named {', '.join(sorted(left)[:5])}")
    for part, mine, commit in plans:
        commit()
        if not isinstance(part, Optimizer):
            part.epochs_done = int(mine.pop(EPOCHS, np.int64(0)))
            loaded = _named(_known(part))
            part._pending = {key: value for key, value in mine.items() if key not in loaded}


def _parts(what: Any) -> dict[str, Any]:
    if isinstance(what, Mapping):
        parts = {f"{name}/": part for name, part in what.items()}
    else:
        parts = {"": what}
    for part in parts.values():
        if not isinstance(part, (Executable, Optimizer)):
            raise InputError(f"expected a step, an executable, an optimizer or a dict of them, got {type(part).__name__}")
    return parts


def _known(part: Executable, met: Iterable[State] = ()) -> list[State]:
    """The states of an executable: those that its optimizer has before the first trace, those of its graphs, and `met`."""
    opt = getattr(part, "opt", None)
    optimized: list[State] = []
    if opt is not None:
        optimized = [*opt.all_parameters(), *(state for group in opt.param_groups for state in group.states.values())]
    return list(dict.fromkeys([*optimized, *part.states(), *met]))


def _named(states: Iterable[State]) -> dict[str, State]:
    """States by unique name: the first of a name keeps it, the next are name_1, name_2, ..."""
    named: dict[str, State] = {}
    for state in states:
        name, count = state.name, 0
        while name in named:
            count += 1
            name = f"{state.name}_{count}"
        named[name] = state
    return named


def _arrays(part: Any) -> dict[str, np.ndarray]:
    if isinstance(part, Optimizer):
        return dict(part.state_dict())
    arrays = {name: state.array for name, state in _named(_known(part)).items()}
    return {**part._pending, **arrays, EPOCHS: np.asarray(getattr(part, "epochs_done", 0), np.int64)}


def _check(part: Any, arrays: Mapping[str, np.ndarray]) -> Callable[[], None]:
    """What makes the assignments, and cannot fail; raises before any is made."""
    if isinstance(part, Optimizer):
        return part.prepare_load(arrays)
    epochs = arrays.get(EPOCHS)
    if epochs is not None and (epochs.shape != () or epochs.dtype.kind != "i"):
        raise InputError(f"load: {EPOCHS} is not a count of epochs")
    named = _named(_known(part))
    traced = bool(part.states())
    missing = [key for key in named if key not in arrays]
    unknown = [key for key in arrays if key not in named and key != EPOCHS]
    if missing or (unknown and traced):
        faults = ([f"missing {', '.join(missing[:5])}"] if missing else []) + (
            [f"unknown {', '.join(unknown[:5])}"] if unknown and traced else []
        )
        raise InputError(f"load: the file does not fit: {'; '.join(faults)}")
    return _assignment([(key, state, arrays[key]) for key, state in named.items()])


def _assignment(triples: Sequence[tuple[str, State, np.ndarray]]) -> Callable[[], None]:
    for key, state, value in triples:
        _fits(key, state, value)

    def commit() -> None:
        for _, state, value in triples:
            np.copyto(state.array, value)

    return commit


def _fits(key: str, state: State, value: np.ndarray) -> None:
    if value.shape != state.shape:
        raise ShapeError(f"load: {key} has shape {value.shape}, expected {state.type}")
    if value.dtype != state.dtype:
        raise DTypeError(f"load: {key} is {value.dtype.name}, expected {state.type}")


def apply_pending(part: Executable, states: Iterable[State]) -> None:
    """Give states met for the first time the values that were loaded for them."""
    named = _named(_known(part, states))
    _assignment([(key, named[key], value) for key, value in part._pending.items() if key in named])()
    part._pending = {key: value for key, value in part._pending.items() if key not in named}
