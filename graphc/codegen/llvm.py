"""LLVM: the text of a module -> relocatable object bytes. Only this file of codegen touches llvmlite, and only inside functions.

Code is position independent with the small code model, so that the same bytes are loaded by the JIT, kept on disk and linked
into a library. The pass pipeline is short on purpose: on the ten kernels of a small training step it takes 4 ms, LLVM's own O1
pipeline 43 ms, and the step runs at the same speed, since emission itself (41 ms) hoists loop invariants and strength-reduces
addresses. Emission costs about 1 ms for each loop and next to nothing for straight-line vector code.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from graphc.codegen.builder import Module
from graphc.codegen.target import Target
from graphc.errors import GraphcError

if TYPE_CHECKING:
    from llvmlite import binding

PASSES = ("sroa", "instruction_combine", "simplify_cfg")


@cache
def _machine(target: Target) -> binding.TargetMachine:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    try:
        backend = binding.Target.from_triple(target.triple)
    except RuntimeError:  # not the host's: initialising all of them takes some milliseconds
        binding.initialize_all_targets()
        binding.initialize_all_asmprinters()
        backend = binding.Target.from_triple(target.triple)
    return backend.create_target_machine(cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel="small")


@cache
def data_layout(target: Target) -> str:
    return str(_machine(target).target_data)


def new_module(target: Target) -> Module:
    return Module(target.triple, data_layout(target))


def _optimised(text: str, target: Target) -> binding.ModuleRef:
    from llvmlite import binding

    try:
        module = binding.parse_assembly(text)
        module.verify()
    except RuntimeError as error:
        raise GraphcError(f"the generated LLVM text is not valid (a bug in graphc): {error}") from None
    options = binding.create_pipeline_tuning_options(speed_level=1)
    builder = binding.create_pass_builder(_machine(target), options)
    manager = binding.create_new_function_pass_manager()
    for name in PASSES:
        getattr(manager, f"add_{name}_pass")()
    for function in module.functions:
        if not function.is_declaration:
            manager.run(function, builder)
    return module


def emit_object(text: str, target: Target) -> bytes:
    """The relocatable object file of a module."""
    return _machine(target).emit_object(_optimised(text, target))


def emit_assembly(text: str, target: Target) -> str:
    """What `emit_object` emits, for reading."""
    return _machine(target).emit_assembly(_optimised(text, target))
