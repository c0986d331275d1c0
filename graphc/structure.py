"""Nested lists, tuples and dicts of tensors, as users return them: taken apart into a flat list, and put together again.

flatten({"a": t, "b": [u, v]})  ->  [t, u, v], structure          structure.unflatten([1, 2, 3])  ->  {"a": 1, "b": [2, 3]}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.errors import InputError
from graphc.tensor import Tensor


@dataclass(frozen=True, slots=True)
class Structure:
    """`kind` is a leaf's None, or list, tuple or dict; `keys` are a dict's."""

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
        return tuple(values) if self.kind is tuple else values


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
        parts, keys, kind = list(value), (), tuple if isinstance(value, tuple) else list
    else:
        raise InputError(f"{what}: expected a tensor, or a list, tuple or dict of them, got {type(value).__name__}")
    found: list[Any] = []
    children = []
    for part in parts:
        leaves, structure = flatten(part, what, leaf)
        found.extend(leaves)
        children.append(structure)
    return found, Structure(kind, tuple(children), keys)
