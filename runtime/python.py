"""The native function that takes a call's arrays (`call` of graphc/codegen/calls.py), as a built-in function of this interpreter.

Built-in functions take a tenth of the time of foreign ones. What is used of the interpreter belongs to its stable interface: the
record that describes a function, and four functions. What is known of arrays and tuples has been checked (`pointer.py`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from graphc.runtime.jit import Library
from graphc.runtime.pointer import HEADER, ITEMS

_FASTCALL = 0x80  # METH_FASTCALL


class _Method(ctypes.Structure):
    """PyMethodDef"""

    _fields_ = [("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p)]


@cache
def call_of(library: Library) -> Callable[[np.ndarray, tuple[Any, ...], tuple[Any, ...]], Any]:
    """`call` of the support object, which is loaded once and never freed."""
    api = ctypes.pythonapi
    functions = [api.Py_IncRef, api.PyEval_SaveThread, api.PyEval_RestoreThread]
    addresses = [ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions]
    table = (ctypes.c_int64 * 8)(HEADER, ITEMS, id(np.ndarray), id(None), id(False), *addresses)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(library.address("python"))(ctypes.addressof(table))
    method = _Method(b"call", library.address("call"), _FASTCALL, None)
    _kept.append(method)
    create = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(("PyCFunction_NewEx", api))
    return create(ctypes.addressof(method), None, None)


_kept: list[_Method] = []  # functions point to it
