"""An executable: object bytes, a manifest, and the arrays it works on; one native call per step.

    step = Executable(manifest, object_bytes, states=[w, b], consts=[], threads=None, support=provider)
    (loss,) = step.attempt((x, y))        None, and nothing done, where an array is not taken as it is
    (loss,) = step([x, y])                arrays may share memory with states and with one another

Both take the arrays to write outputs to as `out`. Inputs of a call proper come validated (`graphc.runtime.binding`): C-contiguous
arrays of the manifest's types, in its order. States are the arrays that live between calls, the same objects for as long as this
executable lives; those in `manifest["updated"]` are written in place. A failed call changes nothing.

An attempt is one call of native code (graphc/codegen/calls.py), which looks at the arrays and enters their addresses. Steps run
without the interpreter's lock: to write an array meanwhile in another thread is as wrong here as it is with NumPy.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from graphc.errors import InputError
from graphc.runtime import jit, pointer, pool
from graphc.runtime.arena import ERROR_CODE, ERROR_VALUE, FIRST_EXTERNAL, SPEC, Frame, maker
from graphc.runtime.binding import check_outputs
from graphc.runtime.locks import holding, locks_of
from graphc.runtime.pointer import address, span
from graphc.runtime.python import call_of
from graphc.runtime.specification import Specification
from graphc.runtime.support import Provider, library
from graphc.types import DTYPES, TensorType

_KEPT_FRAMES = 8  # more calls than this at one time make their own
_ENTRY = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)  # releases the interpreter's lock


class Executable:
    def __init__(
        self,
        manifest: Mapping[str, Any],
        object_bytes: bytes,
        states: Sequence[np.ndarray] = (),
        consts: Sequence[np.ndarray] = (),
        threads: int | None = None,
        support: Provider | None = None,
    ):
        self.manifest = manifest
        self.states = _checked(states, manifest["states"], "state")
        self.consts = _checked(consts, manifest["consts"], "constant")
        self.support = library(support) if support is not None else None
        workers = pool.worker_count(threads) if manifest["parallel"] and self.support is not None else 1
        self._pool = pool.shared(workers, self.support) if workers > 1 and self.support is not None else None
        self._object = jit.load(object_bytes, [manifest["entry"]])
        self.entry = self._object.address(manifest["entry"])
        self._entry = _ENTRY(self.entry)
        self.inputs = [_type_of(spec) for spec in manifest["inputs"]]
        self.outputs = [_type_of(spec) for spec in manifest["outputs"]]
        self._shapes = [type_.shape for type_ in self.outputs]
        self._dtypes = [type_.dtype for type_ in self.outputs]
        self._makers = list(map(maker, self._shapes, self._dtypes))
        self._only = self._makers[0] if len(self._makers) == 1 else None
        self._first_state = FIRST_EXTERNAL + len(self.inputs)
        self.first_output = self._first_state + len(self.states) + len(self.consts)
        self._free: list[Frame] = []
        updated = set(manifest["updated"])
        written = [array for i, array in enumerate(self.states) if i in updated]
        read = [array for i, array in enumerate(self.states) if i not in updated]
        self._written = [span(array) for array in written if array.nbytes]
        self._held = [span(array) for array in self.states]
        self._locks, self._writes = locks_of(self.states), bool(written)
        self._sole_lock = self._locks[0] if len(self._locks) == 1 else None
        self._call = None
        if self.support is not None and pointer.DIRECT:
            self._specification = Specification(self.entry, self.inputs, self.outputs, self.first_output, written, read)
            self._call = call_of(self.support)

    @property
    def workers(self) -> int:
        """Threads that a call may use, the caller's included."""
        return self._pool.workers if self._pool is not None else 1

    def attempt(self, inputs: tuple[Any, ...], out: tuple[Any, ...] | None = None) -> tuple[np.ndarray, ...] | None:
        """Run once where every array has the right type and layout and shares no memory that is written. The outputs are fresh
        arrays, or those of `out`."""
        if out is None:
            out = (self._only(),) if self._only else tuple([make() for make in self._makers])
        lock = self._sole_lock
        if lock is None:
            if not self._locks:
                return self._take(inputs, out)
            with self.guarded():
                return self._take(inputs, out)
        # what `guarded` does, written out for one lock
        if self._writes:
            with lock.turn:
                if lock.readers:
                    lock.wait_for_readers()
                return self._take(inputs, out)
        token = object()
        try:
            with lock.turn:
                lock.readers.add(token)
            return self._take(inputs, out)
        finally:
            lock.leave(token)

    def _take(self, inputs: tuple[Any, ...], out: tuple[Any, ...]) -> tuple[np.ndarray, ...] | None:
        if self._call is None:
            return None
        try:
            frame = self._free.pop()
        except IndexError:
            frame = self.new_frame()
        found = self._call(frame.array, inputs, out)
        if found is False:
            self.fail(frame)
        if len(self._free) < _KEPT_FRAMES:
            self._free.append(frame)
        return found

    def __call__(self, inputs: Sequence[np.ndarray], out: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """Run once. The outputs are fresh arrays, or those of `out`, which must fit exactly."""
        if len(inputs) != len(self.inputs):
            raise InputError(f"expected {len(self.inputs)} inputs, got {len(inputs)}")
        found = self.attempt(tuple(inputs), None if out is None else tuple(out))
        if found is not None:
            return list(found)
        if out is None:
            outputs = [make() for make in self._makers]
        else:
            check_outputs(out, self._shapes, self._dtypes)
            for position, array in enumerate(out):
                if _touches(array, self._written):
                    raise InputError(f"out[{position}]: shares memory with a state that the call updates")
            # An array of `out` that shares memory with something the call reads is filled after the call.
            held = [*self._held, *map(span, inputs)]
            outputs = [np.empty_like(array) if _touches(array, held) else array for array in out]
        with self.guarded():
            self._run(inputs, outputs)
        if out is None:
            return outputs
        for array, output in zip(out, outputs, strict=True):
            if output is not array:
                array[...] = output
        return list(out)

    def _run(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        # An input that shares memory with a state that this call writes is read from a copy.
        inputs = [array.copy() if _touches(array, self._written) else array for array in inputs]
        frame = self.take_frame()
        for first, arrays in ((FIRST_EXTERNAL, inputs), (self.first_output, outputs)):
            for slot, array in enumerate(arrays, first):
                frame.fields[slot] = address(array)
        if self._entry(frame.address):
            self.fail(frame)
        self.keep(frame)

    # --- what a call needs, also for `graphc.runtime.driving` ---

    def guarded(self) -> contextlib.AbstractContextManager[None]:
        """No other call writes the states that this one reads, or reads those that it writes."""
        return holding(self._locks, self._writes)

    def writes(self, memory: tuple[int, int]) -> bool:
        """Whether some of these bytes, given as first and end, are of a state that a call writes."""
        return any(memory[0] < end and start < memory[1] for start, end in self._written)

    def take_frame(self) -> Frame:
        try:
            return self._free.pop()
        except IndexError:
            return self.new_frame()

    def keep(self, frame: Frame) -> None:
        """For the next call."""
        if len(self._free) < _KEPT_FRAMES:
            self._free.append(frame)

    def new_frame(self) -> Frame:
        manifest = self.manifest
        workers, parallel, handle = 1, 0, 0
        if self._pool is not None:
            workers, parallel, handle = self._pool.workers, self._pool.parallel, self._pool.handle
        externals = self.first_output + len(self.outputs) - FIRST_EXTERNAL
        frame = Frame(externals, manifest["arena_bytes"], manifest["worker_scratch"], workers, parallel, handle)
        if self._call is not None:
            frame.fields[SPEC] = self._specification.address
        for slot, array in enumerate((*self.states, *self.consts), self._first_state):
            frame.fields[slot] = address(array)
        return frame

    def fail(self, frame: Frame) -> NoReturn:
        """Raise what a failed check has to say."""
        code, value = frame.fields[ERROR_CODE], frame.fields[ERROR_VALUE]
        self.keep(frame)
        check = self.manifest["checks"][code - 1]
        where = f"\n  declared at {check['loc']}" if check["loc"] else ""
        raise InputError(check["message"].replace("{value}", str(value)) + where)


def _touches(array: np.ndarray, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether a contiguous array shares memory with one of the spans."""
    start, end = span(array)
    return any(start < other_end and other_start < end for other_start, other_end in spans)


def _type_of(spec: Mapping[str, Any]) -> TensorType:
    return TensorType(DTYPES[spec["dtype"]], tuple(spec["shape"]))


def _checked(arrays: Sequence[np.ndarray], specs: Sequence[Mapping[str, Any]], what: str) -> tuple[np.ndarray, ...]:
    """The arrays, once it is certain that native code may read them as the manifest says."""
    if len(arrays) != len(specs):
        raise InputError(f"expected {len(specs)} {what}s, got {len(arrays)}")
    for array, spec in zip(arrays, specs, strict=True):
        expected = (DTYPES[spec["dtype"]], tuple(spec["shape"]))
        if (array.dtype, array.shape) != expected or not (array.flags.c_contiguous and array.flags.aligned):
            raise InputError(
                f"{what} {spec['name']}: expected a C-contiguous {expected[0].name}{list(expected[1])}, "
                f"got {array.dtype.name}{list(array.shape)}"
            )
    return tuple(arrays)
