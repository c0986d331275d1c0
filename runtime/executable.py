"""An executable: object bytes, a manifest, and the arrays it works on; one native call per step.

    step = Executable(manifest, object_bytes, states=[w, b], consts=[], threads=None, pool_object=provider)
    loss, = step([x, y])

Inputs come validated (`graphc.runtime.binding`): C-contiguous arrays of the manifest's types, in its order. States are the arrays
that live between calls, the same objects for as long as this executable lives; those in `manifest["updated"]` are written in
place. A failed call changes nothing.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import InputError
from graphc.runtime import jit, pool
from graphc.runtime.arena import ERROR_VALUE, FIRST_EXTERNAL, Frame
from graphc.runtime.binding import check_outputs
from graphc.runtime.locks import guard
from graphc.runtime.pointer import DIRECT, OFFSET, address, at
from graphc.types import DTYPES

_KEPT_FRAMES = 8  # more calls than this at one time make their own
_SIGNATURE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)  # releases the GIL


class Executable:
    def __init__(
        self,
        manifest: Mapping[str, Any],
        object_bytes: bytes,
        states: Sequence[np.ndarray] = (),
        consts: Sequence[np.ndarray] = (),
        threads: int | None = None,
        pool_object: Callable[[], bytes] | None = None,
    ):
        self.manifest = manifest
        self.states = _checked(states, manifest["states"], "state")
        self.consts = _checked(consts, manifest["consts"], "constant")
        workers = pool.worker_count(threads) if manifest["parallel"] and pool_object is not None else 1
        self._pool = pool.shared(workers, pool_object) if workers > 1 and pool_object is not None else None
        self._library = jit.load(object_bytes, [manifest["entry"]])
        self._entry = _SIGNATURE(self._library.address(manifest["entry"]))
        self._inputs = len(manifest["inputs"])
        self._first_state = FIRST_EXTERNAL + self._inputs
        self._first_output = self._first_state + len(self.states) + len(self.consts)
        self._output_shapes = [tuple(spec["shape"]) for spec in manifest["outputs"]]
        self._output_dtypes = [DTYPES[spec["dtype"]] for spec in manifest["outputs"]]
        self._free: list[Frame] = []
        self._held = [_span(array) for array in self.states]
        updated = [self.states[position] for position in manifest["updated"]]
        self._guard = guard(self.states, bool(updated)) if self.states else None
        spans = sorted((address(array), address(array) + array.nbytes) for array in updated if array.nbytes)
        self._starts = [start for start, _ in spans]
        self._ends = [end for _, end in spans]

    @property
    def workers(self) -> int:
        """Threads that a call may use, the caller's included."""
        return self._pool.workers if self._pool is not None else 1

    def __call__(self, inputs: Sequence[np.ndarray], out: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """Run once. The outputs are fresh arrays, or those of `out`, which must fit exactly."""
        if len(inputs) != self._inputs:
            raise InputError(f"expected {self._inputs} inputs, got {len(inputs)}")
        if out is None:
            outputs = list(map(np.empty, self._output_shapes, self._output_dtypes))
            self._run(inputs, outputs)
            return outputs
        check_outputs(out, self._output_shapes, self._output_dtypes)
        # An array of `out` that shares memory with something the call reads is filled after the call.
        held = self._held
        if inputs:
            held = held + list(map(_span, inputs))
        outputs = []
        for array in out:
            start, end = _span(array)
            clear = True
            for other_start, other_end in held:
                if start < other_end and other_start < end:
                    clear = False
            outputs.append(array if clear else np.empty_like(array))
        self._run(inputs, outputs)
        for array, output in zip(out, outputs, strict=True):
            if output is not array:
                array[...] = output
        return list(out)

    def _run(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        # One function, no helpers: for a small model this is a good part of the step.
        guard = self._guard
        if guard is not None:
            guard[0]()
        try:
            try:
                frame = self._free.pop()
            except IndexError:
                frame = self._new_frame()
            fields, starts, kept = frame.fields, self._starts, []
            slot = FIRST_EXTERNAL
            for array in inputs:
                pointer = at(id(array) + OFFSET).value if DIRECT else array.ctypes.data
                if starts:
                    # An input that shares memory with a state that this call writes is read from a copy.
                    before = bisect_left(starts, pointer + array.nbytes)
                    if before and self._ends[before - 1] > pointer:
                        kept.append(array.copy())
                        pointer = address(kept[-1])
                fields[slot] = pointer
                slot += 1
            slot = self._first_output
            for array in outputs:
                fields[slot] = at(id(array) + OFFSET).value if DIRECT else array.ctypes.data
                slot += 1
            code = self._entry(frame.address)
            value = fields[ERROR_VALUE] if code else 0
            if len(self._free) < _KEPT_FRAMES:
                self._free.append(frame)
            if code:
                self._fail(code, value)
        finally:
            if guard is not None:
                guard[1]()

    def _new_frame(self) -> Frame:
        manifest = self.manifest
        workers, parallel, handle = 1, 0, 0
        if self._pool is not None:
            workers, parallel, handle = self._pool.workers, self._pool.parallel, self._pool.handle
        externals = self._first_output + len(self._output_shapes) - FIRST_EXTERNAL
        frame = Frame(externals, manifest["arena_bytes"], manifest["worker_scratch"], workers, parallel, handle)
        for slot, array in enumerate((*self.states, *self.consts), self._first_state):
            frame.fields[slot] = address(array)
        return frame

    def _fail(self, code: int, value: int) -> None:
        check = self.manifest["checks"][code - 1]
        where = f"\n  declared at {check['loc']}" if check["loc"] else ""
        raise InputError(check["message"].replace("{value}", str(value)) + where)


def _span(array: np.ndarray) -> tuple[int, int]:
    """First byte and end of a contiguous array."""
    start = at(id(array) + OFFSET).value if DIRECT else array.ctypes.data
    return start, start + array.nbytes


def _checked(arrays: Sequence[np.ndarray], specs: Sequence[Mapping[str, Any]], what: str) -> tuple[np.ndarray, ...]:
    """The arrays, once it is certain that native code may read them as the manifest says."""
    if len(arrays) != len(specs):
        raise InputError(f"expected {len(specs)} {what}s, got {len(arrays)}")
    for array, spec in zip(arrays, specs, strict=True):
        expected = (DTYPES[spec["dtype"]], tuple(spec["shape"]))
        if (array.dtype, array.shape) != expected or not (array.flags.c_contiguous and array.flags.aligned):
            raise InputError(f"{what} {spec['name']}: expected a C-contiguous {expected[0].name}{list(expected[1])}, "
                             f"got {array.dtype.name}{list(array.shape)}")
    return tuple(arrays)
