"""Nested lists, tuples and dicts of tensors, as users return them: taken apart into a flat list, and put together again.

flatten({"a": t, "b": [u, v]})  ->  [t, u, v], structure          structure.unflatten([1, 2, 3])  ->  {"a": 1, "b": [2, 3]}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from graphc.errors import InputError
from graphc.tensor import Tensor


@dataclass(frozen=True, slots=True)
class Structure:
    """`kind` is a leaf's None, or list, tuple, a named tuple or dict; `keys` are a dict's."""

    kind: type | None
    children: tuple[Structure, ...] = ()
    keys: tuple[Any, ...] = ()

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        if self.kind is None:
            return leaves[0]
        return self._take(iter(leaves))

    def _take(self, leaves: Iterator[Any]) -> Any:
        if self.kind is None:
            return next(leaves)
        values = [child._take(leaves) for child in self.children]
        if self.kind is dict:
            return dict(zip(self.keys, values, strict=True))
        if self.kind in (list, tuple):
            return self.kind(values)
        return self.kind(*values)

    def arranger(self, first: int = 0) -> tuple[Callable[[Sequence[Any]], Any], int]:
        """What `unflatten` does, as a function made once for many calls; of the leaves from `first` on, and how far they go."""
        if self.kind is None:
            return itemgetter(first), first + 1
        parts: list[Callable[[Sequence[Any]], Any]] = []
        last = first
        for child in self.children:
            part, last = child.arranger(last)
            parts.append(part)
        kind, keys = self.kind, self.keys
        if kind is dict and all(child.kind is None for child in self.children):
            return (lambda leaves: dict(zip(keys, leaves[first:last], strict=True))), last
        if kind is dict:
            return (lambda leaves: {key: part(leaves) for key, part in zip(keys, parts, strict=True)}), last
        if kind in (list, tuple):
            return (lambda leaves: kind([part(leaves) for part in parts])), last
        return (lambda leaves: kind(*[part(leaves) for part in parts])), last

    def leaves_of(self, value: Any, what: str) -> list[Any]:
        """The leaves, in this structure's order, of a value that has it; the entries of dicts may come in any order."""
        if self.kind is None:
            fits, parts = not isinstance(value, (list, tuple, Mapping)), []
        elif self.kind is dict:
            fits = isinstance(value, Mapping) and set(value) == set(self.keys)
            parts = [value[key] for key in self.keys] if fits else []
        else:
            parts = list(value) if isinstance(value, (list, tuple)) else []
            fits = isinstance(value, self.kind) and len(parts) == len(self.children)
        if not fits:
            raise InputError(f"{what}: its structure is not that of the outputs")
        if self.kind is None:
            return [value]
        return [leaf for child, part in zip(self.children, parts, strict=True) for leaf in child.leaves_of(part, what)]


def flatten(
    value: Any, what: str, leaf: Callable[[Any], bool] = lambda value: isinstance(value, Tensor)
) -> tuple[list[Any], Structure]:
    """The leaves of a nested value in order, and its structure; InputError for what is neither leaf nor container."""
    if leaf(value):
        return [value], Structure(None)
    keys: tuple[Any, ...]
    kind: type
    if isinstance(value, Mapping):
        parts, keys, kind = list(value.values()), tuple(value), dict
    elif isinstance(value, (list, tuple)):
        named = isinstance(value, tuple) and hasattr(value, "_fields")
        parts, keys, kind = list(value), (), type(value) if named else tuple if isinstance(value, tuple) else list
    else:
        raise InputError(f"{what}: expected a tensor, or a list, tuple or dict of them, got {type(value).__name__}")
    found: list[Any] = []
    children = []
    for part in parts:
        leaves, structure = flatten(part, what, leaf)
        found.extend(leaves)
        children.append(structure)
    return found, Structure(kind, tuple(children), keys)
