"""The short way of a call: what kind of call was last answered by what is tried at once, before names and types are looked at.

    forms = Forms()
    found = forms.attempt(args, kwargs, out)      MISSED, and nothing done, unless native code takes the values as they are
    forms.learn(args, kwargs, names, declared, native)

A form is a number of positional arguments and the names of the others, in order. It decides which value is which input, so native
code, which compares types, shapes and layouts (`graphc.runtime`), is all that a call of a known form needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import InputError

if TYPE_CHECKING:
    from graphc.compiler import Native
    from graphc.tracing import Declared

MISSED: Any = object()


class Forms:
    __slots__ = ("_known", "_natives")

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], tuple[Callable[..., Any], Callable[[Any], Any] | None, Any]] = {}
        self._natives: dict[tuple[Any, ...], tuple[Declared, Native]] = {}

    def attempt(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> Any:
        known = self._known.get((len(args), *kwargs))
        if known is None:
            return MISSED
        run, pick, structure = known
        values = (*args, *kwargs.values())
        if pick is not None:
            values = pick(values)
        if out is None:
            found = run(values)
            if found is None:
                return MISSED
            return found[0] if structure is None else structure.unflatten(found)
        if structure is None and type(out) is np.ndarray:
            return MISSED if run(values, (out,)) is None else out
        if structure is None:
            return MISSED
        return MISSED if run(values, tuple(structure.leaves_of(out, "out"))) is None else out

    def learn(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], names: Sequence[str], declared: Declared, native: Native
    ) -> None:
        """A call of this form was answered by `native`; `names` are those of its inputs in the order of positional arguments."""
        given, wanted = (*names[: len(args)], *kwargs), native.signature.names
        if sorted(given) != sorted(wanted):
            return
        pick = None if given == wanted else itemgetter(*map(given.index, wanted))
        structure = declared.structure if declared.structure.kind is not None else None
        self._known[len(args), *kwargs] = native.executable.attempt, pick, structure
        self._natives[len(args), *kwargs] = declared, native

    def latest(self, names: Iterable[str]) -> tuple[Declared, Native] | None:
        """What answered the last call that gave these names."""
        return self._natives.get((0, *names))


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
