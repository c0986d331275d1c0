"""Kernels written by hand, for tests of what carries kernels: the entry, the object, the pool, the runtime.

    double = handmade("double", 2, writes=[1], body=lambda fn, p, i: ...)     p: pointers of the slots, i: the unit

A handmade kernel is an empty Sweep that reads and writes the slots it says, and LLVM text that does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.codegen.builder import Function, Module
from graphc.codegen.kernel import KernelCode, Phase
from graphc.codegen.object import CompiledObject, compile_program
from graphc.codegen.target import Target, host_target
from graphc.index import Index
from graphc.kernel import Check, Const, Instr, Kernel, Load, Slot, Stage, Store, Sweep
from graphc.program import Buffer, Launch, Program, Space
from graphc.types import TensorType, float32, int64

Body = Callable[[Function, list[str], str], None]


@dataclass(frozen=True)
class Handmade:
    kernel: Sweep
    body: Body
    units: int
    grain: int
    worker_scratch: int = 0
    shared_scratch: int = 0
    phases: int = 1

    def emit(self, module: Module, number: int) -> KernelCode:
        names = [f"sweep_{number}" + (f"_{phase}" if phase else "") for phase in range(self.phases)]
        for name in names:
            fn = module.function(name, [("ptr", "args"), ("i64", "begin"), ("i64", "end"), ("ptr", "scratch")])
            pointers = [load(fn, "ptr", "%args", slot, "ptr") for slot in range(len(self.kernel.slots) + 2)]
            with fn.loop("%begin", "%end") as loop:
                self.body(fn, pointers, loop.index)
                loop.next()
            fn.ret()
        phases = tuple(Phase(name, self.units, self.grain) for name in names)
        return KernelCode(phases, self.worker_scratch, self.shared_scratch)


_made = 0


def handmade(
    slots: int, writes: Sequence[int], body: Body, units: int, grain: int = 2**40, checks: bool = False, **options: int
) -> Handmade:
    global _made
    _made += 1
    # a constant of its own keeps two handmade kernels apart
    instrs: list[Instr] = [Const(_made, int64)]
    instrs += [Load(slot, Index(), float32) for slot in range(slots) if slot not in writes]
    instrs += [Store(slot, Index(), 0, float32) for slot in writes]
    if checks:
        instrs.append(Check(0, 0, 1, None, 1, int64))
    kernel = Sweep((units,), (), (Stage(False, tuple(instrs)),), tuple(Slot(float32, units) for _ in range(slots)))
    return Handmade(kernel, body, units, grain, **options)


def element(fn: Function, pointer: str, index: str, type_: str) -> str:
    return fn.op(f"getelementptr {type_}, ptr {pointer}, i64 {index}")


def load(fn: Function, type_: str, pointer: str, index: str | int, step: str | None = None) -> str:
    return fn.op(f"load {type_}, ptr {element(fn, pointer, str(index), step or type_)}")


def store(fn: Function, type_: str, value: str, pointer: str, index: str | int) -> None:
    fn.do(f"store {type_} {value}, ptr {element(fn, pointer, str(index), type_)}")


def binary(op: str) -> Body:
    """slot 2 = slot 0 op slot 1, in f32, one unit an element."""

    def body(fn: Function, p: list[str], i: str) -> None:
        store(fn, "float", fn.op(f"{op} float {load(fn, 'float', p[0], i)}, {load(fn, 'float', p[1], i)}"), p[2], i)

    return body


def buffer(name: str, size: int, space: Space, dtype: np.dtype = float32) -> Buffer:
    return Buffer(name, TensorType(dtype, (size,)), space)


def launch(what: Handmade, *args: Buffer) -> Launch:
    return Launch(what.kernel, args)


def build(program: Program, kernels: Sequence[Handmade], target: Target | None = None) -> CompiledObject:
    found = {what.kernel: what for what in kernels}

    def emit(module: Module, target: Target, kernel: Kernel, number: int) -> KernelCode:
        return found[kernel].emit(module, number)

    return compile_program(program, target or host_target(), emit)
