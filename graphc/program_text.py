"""Program as text, for people and golden files: deterministic, buffers first, then every launch with its kernel.

    program main {
      input x: f32[32,10]                         output out0: f32[32]
      arena t0: f32[32] at 0

      0: sweep outer(a0<32) inner(a1<10) vector inner      # max exp sum
        s0 = x f32*320   s1 = out0 f32*32
        each element:
          v0 = load s0[10*a0 + a1] : f32
          v1 = reduce max v0 : f32
        each row:
          store s1[a0] = v1
    }

A predicate stands behind `where`, with the value taken outside it behind `else`; a gathered offset is `s0[a1 + 64*v3]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from graphc.index import Index, Where
from graphc.kernel import Apply, Check, Const, Contraction, Coordinate, Instr, Kernel, Load, Reduce, Scatter, Store, Sweep
from graphc.nesting import loops
from graphc.program import Buffer, Launch, Loop, Program, Space
from graphc.text import format_value
from graphc.types import SHORT_NAMES


def print_program(program: Program) -> str:
    names = buffer_names(program)
    lines = [f"program {program.name} {{"]
    lines += [f"  {format_buffer(buffer, names, program)}" for buffer in program.buffers]
    if program.arena is not None:
        arena = program.arena
        lines.append(f"  arena of {arena.size} bytes, lower bound {arena.lower_bound}, aligned to {arena.alignment}")
    for number, check in enumerate(program.checks, 1):
        lines.append(f"  check {number}: {format_value(check.message, [])}" + (f"   @ {check.loc}" if check.loc else ""))
    for number, item in enumerate(program.body):
        lines.append("")
        lines += [f"  {line}" for line in format_item(item, str(number), names)]
    return "\n".join([*lines, "}"]) + "\n"


def buffer_names(program: Program) -> dict[Buffer, str]:
    """Names of buffers, made unique in order of first appearance."""
    names: dict[Buffer, str] = {}
    taken: dict[str, int] = {}
    parts = tuple(part.buffer for loop in loops(program.body) for part in loop.parts)
    for buffer in program.buffers + parts:
        name = buffer.name
        while name in taken:
            taken[buffer.name] += 1
            name = f"{buffer.name}_{taken[buffer.name]}"
        taken[name] = 0
        names[buffer] = name
    return names


def format_buffer(buffer: Buffer, names: dict[Buffer, str], program: Program) -> str:
    text = f"{buffer.space.value} {names[buffer]}: {buffer.type}"
    if buffer.space is Space.ARENA and program.arena is not None:
        return f"{text} at {program.arena.offsets.get(buffer, '?')}"
    if buffer.space is Space.CONST:
        return f"{text} = {format_constant(buffer.source)}"
    return text


def format_constant(array: object) -> str:
    values = np.asarray(array).reshape(-1)
    shown = ", ".join(str(value) for value in values[:4])
    return f"[{shown}{', ...' if values.size > 4 else ''}]"


def format_item(item: Launch | Loop, number: str, names: dict[Buffer, str]) -> list[str]:
    """A launch, or a loop with what it repeats."""
    if isinstance(item, Launch):
        return format_launch(item, number, names)
    lines = [f"{number}: loop {item.trips} trips" + (f"   # {item.label}" if item.label else "")]
    for part in item.parts:
        trip = f"(t + {part.phase})" if part.phase else "t"
        at = f"{part.step}*" + (f"({trip} % {part.period})" if part.period else trip)
        where = f"{names[part.whole]}[{at}{f' + {part.start}' if part.start else ''}]"
        lines.append(f"  {names[part.buffer]}: {part.buffer.type} = {where}")
    for heading, letter, items in (("  first:", "f", item.first), ("  each trip t:", "", item.body)):
        lines += [heading] if items else []
        for position, inner in enumerate(items):
            lines += [f"    {line}" for line in format_item(inner, f"{number}.{letter}{position}", names)]
    return lines


def format_launch(launch: Launch, number: int | str, names: dict[Buffer, str]) -> list[str]:
    first, *rest = format_kernel(launch.kernel)
    args = "   ".join(
        f"s{slot} = {names[buffer]} {SHORT_NAMES[part.dtype]}*{part.size}"
        for slot, (buffer, part) in enumerate(zip(launch.args, launch.kernel.slots, strict=False))
    )
    return [f"{number}: {first}" + (f"   # {launch.label}" if launch.label else ""), f"  {args}", *rest]


def format_kernel(kernel: Kernel) -> list[str]:
    """The structure of a kernel; its first line is the iteration space."""
    if isinstance(kernel, Scatter):
        space = f"outer({kernel.outer}) count({kernel.count}) inner({kernel.inner}) size({kernel.size})"
        return [f"scatter {space}", "  s2[o, s0[j], i] += s1[o, j, i]"]
    if isinstance(kernel, Contraction):
        return _contraction(kernel)
    return _sweep(kernel)


def _sweep(kernel: Sweep) -> list[str]:
    axes = _axes((("outer", kernel.outer), ("inner", kernel.inner)))
    lines = [f"sweep {axes} vector {kernel.vector}"]
    position = 0
    for stage in kernel.stages:
        lines.append("  each element:" if stage.inner else "  each row:")
        lines += [f"    {line}" for line in _body(stage.body, position)]
        position += len(stage.body)
    return lines


def _contraction(kernel: Contraction) -> list[str]:
    axes = _axes((("batch", kernel.batch), ("m", kernel.m), ("n", kernel.n), ("k", kernel.k)))
    return [
        f"contraction {axes} : {SHORT_NAMES[kernel.dtype]}",
        f"  lhs {format_access(kernel.lhs)}",
        f"  rhs {format_access(kernel.rhs)}",
        "  each result v0:",
        *(f"    {line}" for line in _body(kernel.epilogue, 1)),
    ]


def _axes(groups: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    """`outer(a0<32) inner(a1<10)`"""
    number, parts = 0, []
    for name, extents in groups:
        parts.append(f"{name}({', '.join(f'a{number + i}<{extent}' for i, extent in enumerate(extents))})")
        number += len(extents)
    return " ".join(parts)


def _body(body: Iterable[Instr], first: int) -> list[str]:
    return [format_instr(instr, position) for position, instr in enumerate(body, first)]


def format_instr(instr: Instr, position: int) -> str:
    if isinstance(instr, Store):
        return f"store s{instr.slot}[{instr.offset}] = v{instr.value}"
    return f"v{position} = {_operation(instr)} : {SHORT_NAMES[instr.dtype]}"


def _operation(instr: Instr) -> str:
    if isinstance(instr, Load):
        return f"load {format_access(instr)}"
    if isinstance(instr, Const):
        return f"const {format_value(np.asarray(instr.value, instr.dtype)[()].item(), [])}"
    if isinstance(instr, Coordinate):
        return f"index {instr.index}"
    if isinstance(instr, Apply):
        attrs = ", ".join(f"{key}={format_value(value, [])}" for key, value in instr.attrs)
        return f"{instr.op.name}{_values(instr.args)}" + (f" {{{attrs}}}" if attrs else "")
    if isinstance(instr, Reduce):
        return f"reduce {instr.reducer} v{instr.arg}"
    if isinstance(instr, Check):
        unless = "" if instr.ignore is None else f" or {instr.ignore}"
        return f"check {instr.code}: {instr.low} <= v{instr.value} < {instr.high}{unless}"
    raise TypeError(f"not an instruction with a value: {instr!r}")


def format_access(load: Load) -> str:
    """`s0[10*a0 + 64*v3] where 0 <= a0 < 3 else 0.0`"""
    parts = [] if load.gather and load.offset == Index() else [str(load.offset)]
    parts += [f"v{value}" if stride == 1 else f"{stride}*v{value}" for value, stride in load.gather]
    return f"s{load.slot}[{' + '.join(parts)}]" + (
        f" where {_where(load.where)} else {format_value(load.fill, [])}" if load.where else ""
    )


def _where(where: Where) -> str:
    return " and ".join(map(str, where))


def _values(args: Iterable[int]) -> str:
    return "".join(f" v{arg}" for arg in args)
