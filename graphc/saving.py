"""Saving and loading what steps and optimizers hold, as safetensors, whole or not at all.

    graphc.save("run.safetensors", step)                     graphc.load("run.safetensors", step)
    graphc.save("gan.safetensors", {"g": step_g, "d": step_d, "opt": opt})

Keys are the states' names, made unique in order of first appearance (a step's optimizer first: its parameters and
hyper-parameters), below the name in the dict and a slash. A step of a traced function that has not been called is traced by
`load` for the arguments that the saved one was first called with, so that its states are known. Where that is not possible
(other arguments by now), values of states that its optimizer does not know wait for its first trace.

A state of several parts is in the file for each, and the metadata says which keys are the same: so one part's first trace does
not undo what training of another has made of it since.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphcError, InputError, ShapeError
from graphc.executable import Executable
from graphc.optim import Optimizer
from graphc.tensor import State
from graphc.types import SHORT_NAMES, TensorType, as_dtype

EPOCHS = "#epochs_done"


@dataclass
class Pending:
    """Loaded values of states that no trace of a part has met yet."""

    values: dict[str, np.ndarray]
    prefix: str
    same: Mapping[str, str]  # keys of states that an earlier key holds, and that key
    met: dict[str, State]  # what the parts of this load have met, by first key

    def first_key(self, key: str) -> str:
        return self.same.get(self.prefix + key, self.prefix + key)

    def entries(self) -> dict[str, State | np.ndarray]:
        """The values; the state itself where another part has met it."""
        return {key: self.met.get(self.first_key(key), value) for key, value in self.values.items()}

    def take(self, named: Mapping[str, State]) -> None:
        """Give states that are met for the first time their values."""
        met = set(self.met.values())
        fresh = [(key, named[key], value) for key, value in self.values.items() if key in named and named[key] not in met]
        _assignment(fresh)()
        self.meet(named)
        self.values = {key: value for key, value in self.values.items() if key not in named}

    def meet(self, named: Mapping[str, State]) -> None:
        for key, state in named.items():
            self.met.setdefault(self.first_key(key), state)


def save(path: str | os.PathLike[str], what: Any) -> None:
    """Write the states of a step, an executable or an optimizer, or of a dict of several, to a safetensors file, atomically."""
    from safetensors.numpy import save as encode

    arrays: dict[str, np.ndarray] = {}
    first: dict[State, str] = {}
    same: dict[str, str] = {}
    for prefix, part in _parts(what).items():
        for key, value in _entries(part).items():
            if isinstance(value, State):
                if first.setdefault(value, prefix + key) != prefix + key:
                    same[prefix + key] = first[value]
                value = value.array
            arrays[prefix + key] = np.asarray(value, order="C")
    notes = {"same": same, "arguments": {prefix: _arguments(part) for prefix, part in _parts(what).items() if _arguments(part)}}
    path = os.fspath(path)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".", prefix=os.path.basename(path) + ".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(encode(arrays, {name: json.dumps(value) for name, value in notes.items() if value} or None))
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
    same, arguments = _note(data, "same"), _note(data, "arguments")
    left = dict(arrays)
    plans = []
    # names may hold slashes: what lies below "a/b" is not a part of "a"
    for prefix, part in sorted(_parts(what).items(), key=lambda item: -len(item[0])):
        mine = {key[len(prefix) :]: left.pop(key) for key in list(left) if key.startswith(prefix)}
        _introduce(part, arguments.get(prefix))
        plans.append((part, mine, prefix, _check(part, mine)))
    if left:
        raise InputError(f"load: nothing here is named {', '.join(sorted(left)[:5])}")
    met: dict[str, State] = {}
    for part, mine, prefix, commit in plans:
        commit()
        if not isinstance(part, Optimizer):
            part.epochs_done = int(mine.pop(EPOCHS, np.int64(0)))
            loaded = _named(_known(part))
            part._pending = Pending({key: value for key, value in mine.items() if key not in loaded}, prefix, same, met)
            part._pending.meet(loaded)


def _note(data: bytes, name: str) -> dict[str, Any]:
    """From the metadata of a file that has been decoded."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    try:
        found = json.loads(header.get("__metadata__", {}).get(name, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _arguments(part: Any) -> list[tuple[str, str, list[int]]]:
    """The types for which a function was first traced."""
    first = next(iter(part._traced), (*part._introduced.items(),)) if isinstance(part, Executable) else ()
    return [(name, SHORT_NAMES[one.dtype], list(one.shape)) for name, one in first]


def _introduce(part: Any, arguments: Any) -> None:
    """Trace a function that was not called yet, for the arguments in a file, so that its states are known."""
    if isinstance(part, Optimizer) or part._function is None or part.states() or not arguments:
        return
    try:
        types = {name: TensorType(as_dtype(dtype), tuple(shape)) for name, dtype, shape in arguments}
        part.introduce(types)
    except (GraphcError, TypeError, ValueError):
        return  # the function has changed, or what is written there; the first call will say what is wrong


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


def _entries(part: Any) -> dict[str, State | np.ndarray]:
    if isinstance(part, Optimizer):
        return dict(part.state_dict())
    waiting = part._pending.entries() if part._pending else {}
    return {**waiting, **_named(_known(part)), EPOCHS: np.asarray(getattr(part, "epochs_done", 0), np.int64)}


def _check(part: Any, arrays: Mapping[str, np.ndarray]) -> Callable[[], None]:
    """What makes the assignments, and cannot fail; raises before any is made."""
    if isinstance(part, Optimizer):
        return part.prepare_load(arrays)
    epochs = arrays.get(EPOCHS)
    if epochs is not None and (epochs.shape != () or epochs.dtype.kind != "i"):
        raise InputError(f"load: {EPOCHS} is not a count of epochs")
    named = _named(_known(part))
    traced = part._function is None or bool(part._traced)
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
    part._pending.take(_named(_known(part, states)))
