"""The short way of a call: the `Native` that answered the last call of its form is tried before names and types are looked at.

A form is a number of positional arguments and the names of the others, in order. It decides which value is which input; so native
code, which compares types, shapes and layouts (`graphc.runtime`), is all that a call of a known form needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.arrays import as_array
from graphc.errors import InputError
from graphc.types import DTYPES

if TYPE_CHECKING:
    from graphc.compiler import Native
    from graphc.tracing import Declared

MISSED: Any = object()
_TYPE_NUMBERS = {dtype.num for dtype in DTYPES.values()}


class Form:
    """What answers calls of one form: `attempt` takes the inputs' values in the order that `pick` brings them into."""

    __slots__ = ("declared", "native", "_arrange", "_attempt", "_pick", "_structure")

    def __init__(self, declared: Declared, native: Native, pick: Callable[[Any], Any] | None):
        self.declared, self.native = declared, native
        self._attempt, self._pick = native.executable.attempt, pick
        self._structure = declared.structure if declared.structure.kind is not None else None
        self._arrange, _ = declared.structure.arranger()

    def answer(self, values: tuple[Any, ...], out: Any) -> Any:
        """The result of a call; MISSED, and nothing was done, unless native code takes the values as they are."""
        if self._pick is not None:
            values = self._pick(values)
        structure = self._structure
        if out is None:
            found = self._attempt(values)
            if found is None:
                return MISSED
            return self._arrange(found)
        if structure is not None:
            outs = tuple(structure.leaves_of(out, "out"))
        elif type(out) is np.ndarray:
            outs = (out,)
        else:
            return MISSED
        return MISSED if self._attempt(values, outs) is None else out

    def arrays(self, values: tuple[Any, ...]) -> dict[str, np.ndarray]:
        """A call's values by input name, in the order of `Arguments.arrays` and of the types that it gives them."""
        if self._pick is not None:
            values = self._pick(values)
        pairs = zip(self.native.signature.names, values, strict=True)
        return {name: value if _is_plain(value) else as_array(value, None, f"input {name}") for name, value in pairs}


def _is_plain(value: Any) -> bool:
    """Whether `as_array` would return the value itself."""
    return type(value) is np.ndarray and value.dtype.num in _TYPE_NUMBERS and value.dtype.isnative and value.flags.c_contiguous


def form_key(count: int, names: Iterable[str]) -> Any:
    """A form: so many values by position, then these by name. `Executable.__call__` has it written out."""
    names = tuple(names)
    return (count, *names) if names else count


def learn(
    forms: dict[Any, Form],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    names: Sequence[str],
    declared: Declared,
    native: Native,
) -> None:
    """A call was answered by `native`; `names` are those of its inputs, in the order of positional arguments."""
    if any(value is None for value in (*args, *kwargs.values())):  # no input, so another call of this form may have more of them
        return
    given, wanted = (*names[: len(args)], *kwargs), native.signature.names
    if sorted(given) == sorted(wanted):  # else some were left to their defaults
        pick = None if given == wanted else itemgetter(*map(given.index, wanted))
        forms[form_key(len(args), kwargs)] = Form(declared, native, pick)


def by_name(args: Sequence[Any], kwargs: Mapping[str, Any], native: Native, positional: bool) -> dict[str, Any]:
    """The positional arguments of a call of a step with declared inputs, by their names."""
    signature = native.signature
    if not positional:
        raise InputError(f"inputs are given by name ({signature}); positional ones need compile(..., inputs=[...])")
    if len(args) > len(signature.names):
        raise InputError(f"expected {len(signature.names)} inputs ({signature}), got {len(args)}")
    values = dict(zip(signature.names, args, strict=False))
    for name in values:
        if name in kwargs:
            raise InputError(f"input {name} is given twice")
    return values
