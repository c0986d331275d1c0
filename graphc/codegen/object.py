"""A Program as relocatable object bytes and a manifest: all that a runtime needs to run it, here or in another process.

    {"entry": "step", "arena_bytes": 4096, "worker_scratch": 0, "inputs": [{"name": "x", "dtype": "f32", "shape": [32, 64]}],
     "states": [...], "consts": [...], "outputs": [...], "updated": [0, 2], "checks": [{"message": "...", "loc": "..."}], ...}

Equal kernels are emitted once. The object has one exported symbol, the entry, and no undefined ones but memcpy and memset.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.codegen import llvm
from graphc.codegen.builder import Function, Module
from graphc.codegen.entry import argument_bytes, emit_entry
from graphc.codegen.kernel import KernelCode
from graphc.codegen.target import Target
from graphc.errors import GraphcError
from graphc.kernel import Contraction, Kernel, Scatter, Sweep
from graphc.nesting import launches
from graphc.program import Buffer, Program, Space
from graphc.types import SHORT_NAMES

Emitter = Callable[[Module, Target, Kernel, int], KernelCode]

ENTRY = "step"
MANIFEST_VERSION = 1
_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class CompiledObject:
    """`manifest` is plain data (dicts, lists, strings, integers): it goes to JSON and back unchanged."""

    object: bytes
    manifest: dict[str, Any]
    packed: bytes  # the module's text before optimisation, by zlib

    @property
    def llvm(self) -> str:
        return zlib.decompress(self.packed).decode()

    def assembly(self) -> str:
        return llvm.emit_assembly(self.llvm, Target(**self.manifest["target"]))


def compile_program(program: Program, target: Target, emit: Emitter | None = None) -> CompiledObject:
    """`emit` stands in for `emit_kernel`, for kernels written by hand."""
    module = llvm.new_module(target)
    codes: dict[Kernel, KernelCode] = {}
    for launch in launches(program.body):
        if launch.kernel not in codes:
            codes[launch.kernel] = (emit or emit_kernel)(module, target, launch.kernel, len(codes))
    offsets, arena_bytes = _arena(program)
    # behind the planned arena: the launches' shared scratch, then their arguments
    shared_bytes = _aligned(max((code.shared_scratch for code in codes.values()), default=0))
    args_offset = arena_bytes + shared_bytes
    emit_entry(module, target, program, codes, offsets, arena_bytes, args_offset, ENTRY)
    for fn in module.functions:
        if fn.name != ENTRY:
            fn.linkage = "internal"
        if "nounwind" not in fn.attributes:  # without it every function brings unwind tables
            fn.attributes = f"nounwind {fn.attributes}".rstrip()
        if _only_calls(fn):  # nothing to optimise, and LLVM's loop passes cost a third of a millisecond each time
            fn.attributes += " noinline optnone"
    text = str(module)
    manifest = {
        **describe(program),
        "arena_bytes": args_offset + argument_bytes(program),
        "worker_scratch": max((code.worker_scratch for code in codes.values()), default=0),
        "kernels": len(codes),
        "launches": sum(1 for _ in launches(program.body)),
        "parallel": any(phase.units > phase.grain for code in codes.values() for phase in code.phases),
        "target": dataclasses.asdict(target),
    }
    return CompiledObject(llvm.emit_object(text, target), manifest, zlib.compress(text.encode(), 1))


def describe(program: Program) -> dict[str, Any]:
    """What the manifest says of the program itself, names and messages included: all that the machine code does not decide."""
    return {
        "version": MANIFEST_VERSION,
        "name": program.name,
        "entry": ENTRY,
        "inputs": _external(program.inputs),
        "states": _external(program.states),
        "consts": _external(program.consts),
        "outputs": _external(program.outputs),
        "updated": _updated(program),
        "checks": [{"message": check.message, "loc": check.loc} for check in program.checks],
    }


def emit_kernel(module: Module, target: Target, kernel: Kernel, number: int) -> KernelCode:
    """A distinct kernel, named by its form and order: sweep_0, contract_1, ..."""
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


def _only_calls(fn: Function) -> bool:
    """Whether a function has one block, which calls others."""
    calls = any(line.startswith("  call void @") and "@llvm." not in line for line in fn.lines)
    return calls and not any(line.endswith(":") for line in fn.lines)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _external(buffers: Sequence[Buffer]) -> list[dict[str, Any]]:
    return [{"name": b.name, "dtype": SHORT_NAMES[b.type.dtype], "shape": list(b.type.shape)} for b in buffers]


def _updated(program: Program) -> list[int]:
    """Positions of the states that the program writes."""
    written = {buffer for launch in launches(program.body) for buffer in launch.writes}
    return [position for position, state in enumerate(program.states) if state in written]
