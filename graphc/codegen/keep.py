"""Values of a row that outlive their stage, made explicit: a store to the worker's scratch where they are computed, a load where
a later stage reads them.

    each element: v2 = exp v1;  v3 = reduce sum v2        v2 = exp v1; store s3[a1] = v2; v4 = reduce sum v2
    each element: v5 = mul v2 v4                     ->   v5 = load s3[a1]; v6 = mul v5 v4

Scratch slots follow the kernel's own and hold one row, so they stay in the first cache.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.index import Index, axes_of, flatten
from graphc.kernel import Apply, Check, Instr, Load, Reduce, Slot, Stage, Store, Sweep, operands
from graphc.types import row_major_strides


def keep(kernel: Sweep) -> Sweep:
    """The kernel with a slot more for each value that a later stage of elements reads."""
    kept = _kept(kernel)
    if not kept:
        return kernel
    at = flatten(axes_of(kernel.inner, len(kernel.outer)), row_major_strides(kernel.inner))
    points = 1
    for extent in kernel.inner:
        points *= extent
    slots = list(kernel.slots)
    slot_of: dict[int, int] = {}
    for number, instr in kept.items():
        slot_of[number] = len(slots)
        slots.append(Slot(instr.dtype, points))
    return replace(kernel, stages=_spelled_out(kernel, kept, slot_of, at), slots=tuple(slots))


def _kept(kernel: Sweep) -> dict[int, Instr]:
    """The element values that are read outside their stage."""
    born: dict[int, tuple[int, Instr]] = {}
    found: dict[int, Instr] = {}
    number = 0
    for position, stage in enumerate(kernel.stages):
        for instr in stage.body:
            for operand in operands(instr):
                if operand in born and born[operand][0] != position:
                    found[operand] = born[operand][1]
            if stage.inner and not isinstance(instr, (Store, Reduce)):
                born[number] = position, instr
            number += 1
    return found


def _spelled_out(kernel: Sweep, kept: dict[int, Instr], slot_of: dict[int, int], at: Index) -> tuple[Stage, ...]:
    stages: list[Stage] = []
    new: dict[int, int] = {}  # the number of each old value, in the stage at hand
    number = count = 0
    for stage in kernel.stages:
        body: list[Instr] = []
        here: set[int] = set(range(number, number + len(stage.body)))
        for wanted in dict.fromkeys(operand for instr in stage.body for operand in operands(instr)):
            if wanted in kept and wanted not in here:
                new[wanted] = count + len(body)
                body.append(Load(slot_of[wanted], at, kept[wanted].dtype))
        for instr in stage.body:
            new[number] = count + len(body)
            body.append(_renumbered(instr, new))
            if number in kept:
                body.append(Store(slot_of[number], at, new[number], instr.dtype))
            number += 1
        stages.append(Stage(stage.inner, tuple(body)))
        count += len(body)
    return tuple(stages)


def _renumbered(instr: Instr, new: dict[int, int]) -> Instr:
    if isinstance(instr, Apply):
        return replace(instr, args=tuple(new[arg] for arg in instr.args))
    if isinstance(instr, Load):
        return replace(instr, gather=tuple((new[value], stride) for value, stride in instr.gather)) if instr.gather else instr
    if isinstance(instr, (Store, Check)):
        return replace(instr, value=new[instr.value])
    return replace(instr, arg=new[instr.arg]) if isinstance(instr, Reduce) else instr
