"""Object bytes -> function addresses, with LLVM's ORC JIT. Only this file of the runtime touches llvmlite, and only in functions.

Nothing is compiled here: loading an object takes about 0.1 ms. Objects may use memcpy and memset and nothing else from outside.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llvmlite import binding

_serial = itertools.count()
_creating = threading.Lock()


class Library:
    """A loaded object. Its code stays mapped for as long as this lives."""

    __slots__ = ("_tracker",)

    def __init__(self, tracker: binding.ResourceTracker):
        self._tracker = tracker

    def address(self, symbol: str) -> int:
        return self._tracker[symbol]


def load(data: bytes, symbols: Sequence[str]) -> Library:
    """Map an object into the process; `symbols` are those whose addresses are wanted."""
    from llvmlite import binding

    builder = binding.JITLibraryBuilder().add_object_img(data)
    for name in ("memcpy", "memset"):
        builder.import_symbol(name, libc_address(name))
    for name in symbols:
        builder.export_symbol(name)
    with _creating:
        return Library(builder.link(_jit(), f"graphc_{next(_serial)}"))


def libc_address(name: str) -> int:
    """Where a function of the C library lies in this process."""
    address = ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value
    if address is None:
        raise OSError(f"the C library has no {name}")
    return address


@cache
def _jit() -> binding.LLJIT:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.create_lljit_compiler(use_jit_link=True)
