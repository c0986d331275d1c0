"""Keys of the cache: a digest of everything that the machine code of a Program depends on, and of nothing else.

    program_key(program, target)   ->   "5f0c..."

The program enters by structure: kernels by value, buffers by type, space and place. Names, labels, messages and provenance do
not. Options act through the program, so they need no part of their own. Beside it stand the versions of graphc and LLVM, the
target, and the digest of graphc's own source files: a developer never meets code of the compiler of a minute ago.

Whatever this file does not know how to write down exactly has no key, and is compiled each time.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import importlib.util
import os
import struct
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np

from graphc.kernel import Const
from graphc.op import Op
from graphc.program import Buffer, Program

_IMPORTED = time.time()
_PACKAGES = ("graphc", "graphc.passes", "graphc.runtime")  # the last two may lie in other places
_UNWRITTEN = frozenset({"label", "name", "loc", "checks"})  # fields that code does not depend on


class NoKey(Exception):
    """The message says what stands in the way."""


def program_key(program: Program, target: Any) -> str:
    """The key of a program's object for a target; raises NoKey."""
    writer = _Writer(program)
    for field in dataclasses.fields(program):
        if field.name not in _UNWRITTEN and field.name != "arena":
            writer.write(getattr(program, field.name))
    writer.write(program.arena.size if program.arena is not None else None)  # the offsets stand with the buffers
    return _digest("program", target, writer)


def support_key(target: Any) -> str:
    """The key of the object that all steps share; raises NoKey."""
    return _digest("support", target, _Writer(None))


def _digest(what: str, target: Any, writer: _Writer) -> str:
    from llvmlite import __version__, binding

    import graphc

    writer.write((what, graphc.__version__, sources(), __version__, tuple(binding.llvm_version_info), target))
    return hashlib.sha256("".join(writer.parts).encode()).hexdigest()


# --- graphc itself ---


def sources() -> str:
    """The digest of graphc's source files; raises NoKey where this process may not be running them."""
    files = sorted({file for name in _PACKAGES for folder in _folders(name) for file in _modules(folder, name)})
    if not files:
        raise NoKey("graphc is installed without its source files")
    if max(modified for _, _, modified in files) > _IMPORTED:
        raise NoKey("graphc's source files have changed since it was imported")
    return _contents(tuple((name, path) for name, path, _ in files))


def _folders(package: str) -> Iterable[str]:
    spec = importlib.util.find_spec(package)
    return (spec.submodule_search_locations if spec is not None else None) or ()


def _modules(folder: str, name: str) -> Iterable[tuple[str, str, float]]:
    with os.scandir(folder) as found:
        for file in found:
            if file.name.endswith(".py"):
                yield f"{name}.{file.name}", file.path, file.stat().st_mtime
            elif file.name != "__pycache__" and file.is_dir():
                yield from _modules(file.path, f"{name}.{file.name}")


@cache
def _contents(files: tuple[tuple[str, str], ...]) -> str:
    digest = hashlib.sha256()
    for name, path in files:
        with open(path, "rb") as file:
            text = file.read()
        digest.update(f"{name} {len(text)}\n".encode())
        digest.update(text)
    return digest.hexdigest()


# --- values ---


class _Writer:
    """Writes values down so that two have one text exactly if code generation cannot tell them apart."""

    def __init__(self, program: Program | None):
        self.parts: list[str] = []
        self.offsets = program.arena.offsets if program is not None and program.arena is not None else {}
        self.buffers: dict[Buffer, int] = {}

    def write(self, value: Any) -> None:
        rule = _RULES.get(type(value)) or _rule(type(value))
        rule(self, value)

    def _int(self, value: int | bool | None) -> None:
        self.parts.append(f"{value},")

    def _str(self, value: str) -> None:
        self.parts.append(f"{len(value)}'{value}")

    def _float(self, value: float) -> None:
        self.parts.append(f"#{struct.pack('<d', value).hex()}")

    def _tuple(self, values: Iterable[Any]) -> None:
        self.parts.append("(")
        for value in values:
            self.write(value)
        self.parts.append(")")

    def _enum(self, value: enum.Enum) -> None:
        self.parts.append(f"{type(value).__name__}.{value.name},")

    def _dtype(self, value: np.dtype) -> None:
        self.parts.append(f"<{value.str}>")

    def _array(self, value: np.ndarray | np.generic) -> None:
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise NoKey(f"no exact text for an array of {array.dtype}")
        self.parts.append(f"<{array.dtype.str}{array.shape}{array.tobytes().hex()}>")

    def _const(self, value: Const) -> None:
        self.parts.append(f"<{value.dtype.str}{value.bits.hex()}>")

    def _op(self, value: Op) -> None:
        rule = value.scalar or value.ref
        if not rule.__module__.startswith("graphc."):
            raise NoKey(f"op {value.name} is declared outside graphc")
        self._str(value.name)

    def _buffer(self, value: Buffer) -> None:
        number = self.buffers.get(value)
        if number is not None:
            self.parts.append(f"b{number},")
            return
        self.buffers[value] = len(self.buffers)
        self._tuple(("new", value.type, value.space, self.offsets.get(value)))


Rule = Callable[[_Writer, Any], None]

_RULES: dict[type, Rule] = {
    int: _Writer._int, bool: _Writer._int, type(None): _Writer._int, str: _Writer._str, float: _Writer._float,
    tuple: _Writer._tuple, Const: _Writer._const, Op: _Writer._op, Buffer: _Writer._buffer,
}  # fmt: skip


def _rule(kind: type) -> Rule:
    """The rule of a type, found once."""
    if issubclass(kind, enum.Enum):
        _RULES[kind] = _Writer._enum
    elif issubclass(kind, np.dtype):
        _RULES[kind] = _Writer._dtype
    elif issubclass(kind, (np.ndarray, np.generic)):
        _RULES[kind] = _Writer._array
    elif dataclasses.is_dataclass(kind):
        _RULES[kind] = _fields(kind)
    else:
        raise NoKey(f"no exact text for a {kind.__name__}")
    return _RULES[kind]


def _fields(kind: Any) -> Rule:
    """The rule of a dataclass."""
    names = tuple(field.name for field in dataclasses.fields(kind) if field.name not in _UNWRITTEN)

    def rule(writer: _Writer, value: Any) -> None:
        writer.parts.append(f"{kind.__name__}(")
        for name in names:
            writer.write(getattr(value, name))
        writer.parts.append(")")

    return rule
