"""The object that every step shares: the pool, calls from Python, and runs of many steps."""

from __future__ import annotations

from graphc.codegen import llvm
from graphc.codegen.calls import emit_calls
from graphc.codegen.pool import emit_pool
from graphc.codegen.target import Target


def support_object(target: Target) -> bytes:
    module = llvm.new_module(target)
    emit_pool(module, target)
    emit_calls(module)
    return llvm.emit_object(str(module), target)
