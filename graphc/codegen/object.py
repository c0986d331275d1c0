"""A Program as relocatable object bytes and a manifest: all that a runtime needs to run it, here or in another process.

    {"entry": "step", "arena_bytes": 4096, "worker_scratch": 0, "inputs": [{"name": "x", "dtype": "f32", "shape": [32, 64]}],
     "states": [...], "consts": [...], "outputs": [...], "updated": [0, 2], "checks": [{"message": "...", "loc": "..."}], ...}

Equal kernels are emitted once. The object has one exported symbol, the entry, and no undefined ones but memcpy and memset.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.codegen import llvm
from graphc.codegen.builder import Module
from graphc.codegen.entry import emit_entry
from graphc.codegen.kernel import KernelCode
from graphc.codegen.target import Target
from graphc.errors import GraphcError
from graphc.program import Buffer, Contraction, Kernel, Program, Scatter, Space, Sweep
from graphc.types import SHORT_NAMES

ENTRY = "step"
MANIFEST_VERSION = 1
_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class CompiledObject:
    """`manifest` is plain data (dicts, lists, strings, integers): it goes to JSON and back unchanged."""

    object: bytes
    manifest: dict[str, Any]
    llvm: str  # the module's text before optimisation

    def assembly(self) -> str:
        return llvm.emit_assembly(self.llvm, Target(**self.manifest["target"]))


def compile_program(program: Program, target: Target) -> CompiledObject:
    module = llvm.new_module(target)
    codes = emit_kernels(module, target, program)
    offsets, arena_bytes = _arena(program)
    shared = max((code.shared_scratch for code in codes.values()), default=0)
    emit_entry(module, target, program, codes, offsets, arena_bytes, ENTRY)
    for fn in module.functions:
        if fn.name != ENTRY:
            fn.linkage = "internal"
        if "nounwind" not in fn.attributes:  # without it every function brings unwind tables
            fn.attributes = f"nounwind {fn.attributes}".rstrip()
    text = str(module)
    manifest = {
        "version": MANIFEST_VERSION,
        "name": program.name,
        "entry": ENTRY,
        "arena_bytes": arena_bytes + _aligned(shared),
        "worker_scratch": max((code.worker_scratch for code in codes.values()), default=0),
        "inputs": _external(program.inputs),
        "states": _external(program.states),
        "consts": _external(program.consts),
        "outputs": _external(program.outputs),
        "updated": _updated(program),
        "checks": [{"message": check.message, "loc": check.loc} for check in program.checks],
        "kernels": len(codes),
        "launches": len(program.body),
        "parallel": any(phase.units > phase.grain for code in codes.values() for phase in code.phases),
        "target": dataclasses.asdict(target),
    }
    return CompiledObject(llvm.emit_object(text, target), manifest, text)


def emit_kernels(module: Module, target: Target, program: Program) -> dict[Kernel, KernelCode]:
    """Every distinct kernel once, named by its form and order: sweep_0, contract_1, ..."""
    codes: dict[Kernel, KernelCode] = {}
    for launch in program.body:
        kernel = launch.kernel
        if kernel not in codes:
            codes[kernel] = _emit_kernel(module, target, kernel, len(codes))
    return codes


def _emit_kernel(module: Module, target: Target, kernel: Kernel, number: int) -> KernelCode:
    if isinstance(kernel, Sweep):
        from graphc.codegen.sweep import emit_sweep

        return emit_sweep(module, target, kernel, f"sweep_{number}")
    if isinstance(kernel, Contraction):
        from graphc.codegen.contract import emit_contraction

        return emit_contraction(module, target, kernel, f"contract_{number}")
    if isinstance(kernel, Scatter):
        from graphc.codegen.scatter import emit_scatter

        return emit_scatter(module, target, kernel, f"scatter_{number}")
    raise GraphcError(f"no code generation for a kernel of type {type(kernel).__name__}")


def _arena(program: Program) -> tuple[Mapping[Buffer, int], int]:
    """Byte offsets of the arena's buffers and its size; one after the other where memory has not been planned."""
    if program.arena is not None:
        return program.arena.offsets, _aligned(program.arena.size)
    offsets: dict[Buffer, int] = {}
    size = 0
    for buffer in program.buffers:
        if buffer.space is Space.ARENA:
            offsets[buffer] = size
            size += _aligned(buffer.type.nbytes)
    return offsets, size


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _external(buffers: Sequence[Buffer]) -> list[dict[str, Any]]:
    return [{"name": b.name, "dtype": SHORT_NAMES[b.type.dtype], "shape": list(b.type.shape)} for b in buffers]


def _updated(program: Program) -> list[int]:
    """Positions of the states that the program writes."""
    written = {buffer for launch in program.body for buffer in launch.writes}
    return [position for position, state in enumerate(program.states) if state in written]
