"""LLVM IR as text, one function at a time. Text, because printing strings is several times faster than building objects, and
because what is emitted can be read.

    fn = Function("sweep_0", [("ptr", "args"), ("i64", "begin"), ("i64", "end")])
    with fn.loop("%begin", "%end", carried=[("float", "0.0")]) as loop:
        x = fn.op("load float, ptr %p")
        loop.next(fn.op(f"fadd float {loop.carried[0]}, {x}"))
    total = loop.results[0]
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass
class Loop:
    index: str  # the i64 induction variable
    carried: list[str]  # values of this iteration
    results: list[str] = field(default_factory=list)  # values after the loop, readable once it is closed
    _next: list[str] = field(default_factory=list)

    def next(self, *values: str) -> None:
        """State the carried values of the next iteration."""
        self._next = list(values)


class Module:
    """Functions and declarations of one object file."""

    def __init__(self, triple: str, data_layout: str):
        self.triple = triple
        self.data_layout = data_layout
        self.functions: list[Function] = []
        self._declarations: dict[str, str] = {}
        self._globals: list[str] = []

    def declare(self, name: str, signature: str) -> None:
        """Make sure `name` is declared, as in declare("llvm.sqrt.v4f32", "<4 x float> @llvm.sqrt.v4f32(<4 x float>)")."""
        self._declarations[name] = f"declare {signature}"

    def add_global(self, text: str) -> None:
        if text not in self._globals:
            self._globals.append(text)

    def function(self, name: str, params: Sequence[tuple[str, str]], result: str = "void", attributes: str = "") -> Function:
        fn = Function(self, name, params, result, attributes)
        self.functions.append(fn)
        return fn

    def __str__(self) -> str:
        head = [f'target datalayout = "{self.data_layout}"', f'target triple = "{self.triple}"']
        parts = head + self._globals + list(self._declarations.values()) + [str(fn) for fn in self.functions]
        return "\n".join(parts) + "\n"


class Function:
    def __init__(self, module: Module, name: str, params: Sequence[tuple[str, str]], result: str, attributes: str = ""):
        self.module = module
        self.name = name
        self.result = result
        self.attributes = attributes
        self.linkage = ""  # "internal" for what only this module calls
        self.params = list(params)
        self.lines: list[str] = []
        self.block = "entry"  # label of the block being written
        self._count = 0

    def fresh(self, hint: str = "v") -> str:
        self._count += 1
        return f"%{hint}{self._count}"

    def op(self, text: str, hint: str = "v") -> str:
        """Emit an instruction with a result; returns its name."""
        name = self.fresh(hint)
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Emit an instruction without a result."""
        self.lines.append(f"  {text}")

    def label(self, hint: str) -> str:
        self._count += 1
        return f"{hint}{self._count}"

    def start(self, label: str) -> None:
        """Begin a block; the one before must have been ended by a branch."""
        self.lines.append(f"{label}:")
        self.block = label

    def jump(self, label: str) -> None:
        self.do(f"br label %{label}")

    def branch(self, condition: str, yes: str, no: str) -> None:
        self.do(f"br i1 {condition}, label %{yes}, label %{no}")

    @contextlib.contextmanager
    def loop(self, start: str, stop: str, step: int | str = 1, carried: Sequence[tuple[str, str]] = ()) -> Iterator[Loop]:
        """for (i = start; i < stop; i += step), signed; `carried` are (type, initial value) pairs. The trip count may be zero."""
        before, head, body, done = self.block, self.label("head"), self.label("body"), self.label("done")
        self.jump(head)
        self.start(head)
        loop = Loop(self.fresh("i"), [self.fresh("c") for _ in carried])
        at = len(self.lines)  # phis go here once the end of the body is known
        inside = self.op(f"icmp slt i64 {loop.index}, {stop}")
        self.branch(inside, body, done)
        self.start(body)
        yield loop
        after = self.op(f"add nsw i64 {loop.index}, {step}")
        last = self.block
        self.jump(head)
        if len(loop._next) != len(carried):
            raise AssertionError(f"loop in {self.name} carries {len(carried)} values, got {len(loop._next)}")
        phis = [f"  {loop.index} = phi i64 [ {start}, %{before} ], [ {after}, %{last} ]"]
        for name, (type_, initial), following in zip(loop.carried, carried, loop._next, strict=True):
            phis.append(f"  {name} = phi {type_} [ {initial}, %{before} ], [ {following}, %{last} ]")
        self.lines[at:at] = phis
        self.start(done)
        loop.results = loop.carried

    @contextlib.contextmanager
    def when(self, condition: str) -> Iterator[None]:
        """Run the body only where the i1 `condition` holds. Values made inside are not visible outside."""
        yes, after = self.label("then"), self.label("after")
        self.branch(condition, yes, after)
        self.start(yes)
        yield
        self.jump(after)
        self.start(after)

    def ret(self, value: str = "") -> None:
        self.do(f"ret {self.result} {value}".rstrip())

    def __str__(self) -> str:
        params = ", ".join(f"{type_} %{name}" for type_, name in self.params)
        head = f"define {self.linkage} {self.result} @{self.name}({params}) {self.attributes} {{\nentry:\n"
        return head + "\n".join(self.lines) + "\n}\n"


def float_literal(value: float, bits: int) -> str:
    """An exact LLVM constant. LLVM writes f32 constants as the f64 of the same value, NaN payloads included."""
    if bits == 64:
        return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    as_f32 = struct.unpack("<f", struct.pack("<f", value))[0]
    return f"0x{struct.unpack('<Q', struct.pack('<d', as_f32))[0]:016X}"


def splat(literal: str, element: str, lanes: int) -> str:
    """A vector constant with every lane equal; a plain literal for one lane."""
    if lanes == 1:
        return literal
    return "<" + ", ".join([f"{element} {literal}"] * lanes) + ">"
