"""LLVM: the text of a module -> relocatable object bytes. Only this file of codegen touches llvmlite, and only inside functions.

Code is position independent with the small code model, so that the same bytes are loaded by the JIT, kept on disk and linked
into a library. The pass pipeline is short on purpose. Measured on elementwise kernels: sroa + instcombine + simplifycfg take
0.13 ms a kernel and LLVM's own O1 function pipeline 1.2 ms, for the same inner loops: emission itself (about 2 ms) hoists loop
invariants and strength-reduces addresses.
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

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    return binding.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel="small"
    )


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


def optimised_text(text: str, target: Target) -> str:
    """The LLVM text after the passes, for reading."""
    return str(_optimised(text, target))
