"""Modules that hold modules."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

import numpy as np

from graphc.errors import InputError
from graphc.nn.module import Module


def _modules(owner: Module, given: Iterable[Any]) -> list[Module]:
    if not isinstance(given, Iterable):
        raise InputError(f"{type(owner).__name__}: expected modules, got {type(given).__name__}")
    many = list(given)
    for module in many:
        if not isinstance(module, Module):
            raise InputError(f"{type(owner).__name__}: expected modules, got {type(module).__name__}")
    return many


class _Listed(Module):
    """Submodules registered under "0", "1", ...: what Sequential and ModuleList have in common."""

    def _at(self, index: Any) -> int:
        count = len(self._modules)
        if isinstance(index, (bool, np.bool_)) or not isinstance(index, (int, np.integer)):
            raise InputError(f"{type(self).__name__}: an index is an integer or a slice, not {index!r}")
        if not -count <= index < count:
            raise IndexError(f"{type(self).__name__}: index {index} is out of range for {count} modules")
        return int(index) % count

    def _replace_all(self, modules: Iterable[Any]) -> None:
        many = _modules(self, modules)
        self._modules.clear()
        for i, module in enumerate(many):
            self.add_module(str(i), module)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> _Listed: ...
    def __getitem__(self, index: Any) -> Any:
        modules = list(self)
        if isinstance(index, slice):
            part = type(self).__new__(type(self))
            part.training = self._training
            part._take(list(self._modules.items())[index])
            return part
        return modules[self._at(index)]

    def _take(self, named: list[tuple[str, Any]]) -> None:
        """Become a slice of another, numbered from 0."""
        self._replace_all(module for _, module in named)

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(list(self._modules)[self._at(index)], module)

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self)
        del modules[index if isinstance(index, slice) else self._at(index)]
        self._replace_all(modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(list(self._modules.values()))  # type: ignore[arg-type]

    def append(self, module: Module) -> Any:
        """Add a module at the end; returns self."""
        return self.extend([module])

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end; returns self."""
        for module in _modules(self, modules):
            free = itertools.count(len(self))
            self.add_module(next(name for name in map(str, free) if name not in self._modules), module)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Add a module before `index`."""
        modules = list(self)
        modules.insert(index, module)
        self._replace_all(modules)
        return self


class Sequential(_Listed):
    """Modules applied one after another: `Sequential(a, b)` or `Sequential(OrderedDict(first=a, second=b))`."""

    def __init__(self, *args: Any):
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            self._replace_all(args)

    def _take(self, named: list[tuple[str, Any]]) -> None:
        self._modules.update(named)  # a slice keeps the names, as in PyTorch

    def extend(self, sequential: Iterable[Module]) -> Any:
        return super().extend(sequential)

    def forward(self, input: Any) -> Any:
        for module in self:
            input = module(input)
        return input


class ModuleList(_Listed):
    """A list of modules; each is called by its owner."""

    def __init__(self, modules: Iterable[Module] | None = None):
        super().__init__()
        self._replace_all(modules or ())

    def __iadd__(self, modules: Iterable[Module]) -> ModuleList:
        return self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])


class ModuleDict(Module):
    """Modules by name; each is called by its owner."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None):
        super().__init__()
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add or replace modules."""
        for name, module in modules.items() if isinstance(modules, Mapping) else modules:
            self.add_module(name, module)

    def __getitem__(self, name: str) -> Module:
        if name not in self._modules:
            raise KeyError(f"ModuleDict has no module {name!r}")
        return self._modules[name]  # type: ignore[return-value]

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        self.pop(name)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._modules))

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def pop(self, key: str) -> Module:
        """Remove and return a module."""
        module = self[key]
        delattr(self, key)
        return module

    def clear(self) -> None:
        self._modules.clear()

    def keys(self) -> Iterator[str]:
        return iter(self)

    def values(self) -> Iterator[Module]:
        return (self[name] for name in self)

    def items(self) -> Iterator[tuple[str, Module]]:
        return ((name, self[name]) for name in self)
