"""Scatter kernels: result[o, index[j], i] += update[o, j, i], in ascending j, into zeros.

    for unit = (o, range of destination rows, block of i):
      zero the unit's part of the result
      for j: if index[j] lies in the range: result row += update row      vectors along i

Units write disjoint parts and each scans every index, so no element is touched by two threads and every element gets its
contributions in the same order however units are dealt. An index outside the result adds nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.codegen import memory
from graphc.codegen.builder import Function, Module
from graphc.codegen.kernel import KernelCode, Phase
from graphc.codegen.loops import repeat
from graphc.codegen.memory import STORAGE
from graphc.codegen.scalar import LaneBuilder
from graphc.codegen.sweep import PARAMS
from graphc.codegen.target import Target
from graphc.codegen.values import Value
from graphc.program import Scatter
from graphc.types import int64

UNITS = 16  # wanted: enough for the threads of most machines
BLOCK_VECTORS = 4  # least width of a block of i
PARALLEL_WORK = 16384  # additions of vectors that are worth another thread
STRAIGHT = 8  # vectors of a row that are written without a loop


def emit_scatter(module: Module, target: Target, kernel: Scatter, name: str) -> KernelCode:
    fn = module.function(name, PARAMS, attributes="nounwind")
    units, grain = 0, 1
    if 0 not in (kernel.outer, kernel.size, kernel.inner):
        emitter = _Emitter(fn, target, kernel)
        emitter.emit()
        units = emitter.units
        work = kernel.outer * (kernel.count + kernel.size) * kernel.inner
        grain = max(PARALLEL_WORK * emitter.lanes * units // work, 1)
    fn.ret()
    return KernelCode((Phase(name, units, grain),))


class _Emitter:
    def __init__(self, fn: Function, target: Target, kernel: Scatter):
        self.fn = fn
        self.kernel = kernel
        self.b = LaneBuilder(fn, target)
        self.dtype = kernel.slots[2].dtype
        self.lanes = min(target.lanes(self.dtype.itemsize), 1 << (kernel.inner - 1).bit_length())
        self.full, self.tail = divmod(kernel.inner, self.lanes)
        wanted = -(-UNITS // kernel.outer)
        blocks = min(max(self.full // BLOCK_VECTORS, 1), wanted)
        self.block = max(-(-self.full // blocks), 1)  # vectors
        self.blocks = max(-(-self.full // self.block), 1)
        self.span = -(-kernel.size // -(-wanted // self.blocks))  # destination rows
        self.ranges = -(-kernel.size // self.span)
        self.units = kernel.outer * self.ranges * self.blocks

    def emit(self) -> None:
        fn, kernel = self.fn, self.kernel
        index, update, result = (self._argument(slot) for slot in range(3))
        with repeat(fn, "%begin", "%end") as unit:
            block, rest = self._split(unit.index, self.blocks)
            part, outer = self._split(rest, self.ranges)
            low = fn.op(f"mul i64 {part}, {self.span}")
            span = self._least(fn.op(f"sub i64 {kernel.size}, {low}"), self.span)
            update = self._row(update, outer, kernel.count)
            result = self._row(self._row(result, outer, kernel.size), low)
            with repeat(fn, "0", span) as row:
                self._clear(self._row(result, row.index), block)
            if kernel.count:
                with repeat(fn, "0", str(kernel.count)) as j:
                    target = fn.op(f"sub i64 {self._index(index, j.index)}, {low}")
                    with fn.when(fn.op(f"icmp ult i64 {target}, {span}")):
                        self._add(self._row(update, j.index), self._row(result, target), block)

    def _argument(self, position: int) -> str:
        at = self.fn.op(f"getelementptr ptr, ptr %args, i64 {position}")
        return self.fn.op(f"load ptr, ptr {at}, align 8", "slot")

    def _split(self, flat: str, by: int) -> tuple[str, str]:
        """(flat mod by, flat // by)"""
        return ("0", flat) if by == 1 else (self.fn.op(f"urem i64 {flat}, {by}"), self.fn.op(f"udiv i64 {flat}, {by}"))

    def _least(self, x: str, limit: int) -> str:
        return self.b.minimum(Value(x, int64, 1), self.b.const(limit, int64)).name

    def _row(self, pointer: str, number: str, rows: int = 1) -> str:
        """`number` times `rows` rows further on."""
        return self._at(pointer, self.fn.op(f"mul i64 {number}, {rows * self.kernel.inner}"))

    def _at(self, pointer: str, elements: str) -> str:
        return self.fn.op(f"getelementptr {STORAGE[self.dtype]}, ptr {pointer}, i64 {elements}")

    def _index(self, pointer: str, j: str) -> str:
        dtype = self.kernel.slots[0].dtype
        at = self.fn.op(f"getelementptr {STORAGE[dtype]}, ptr {pointer}, i64 {j}")
        return self.b.cast(memory.load(self.b, dtype, 1, at), int64).name

    def _clear(self, row: str, block: str) -> None:
        zero = self.b.splat(self.b.const(0, self.dtype), self.lanes)
        self._vectors(block, lambda at, mask: memory.store(self.b, zero, self._at(row, at), mask))

    def _add(self, source: str, target: str, block: str) -> None:
        def add(at: str, mask: Value | None) -> None:
            x, y = (memory.load(self.b, self.dtype, self.lanes, self._at(row, at), mask) for row in (target, source))
            memory.store(self.b, self.b.add(x, y), self._at(target, at), mask)

        self._vectors(block, add)

    def _vectors(self, block: str, body: Callable[[str, Value | None], None]) -> None:
        """`body` at every vector of a block; the last block ends with the lanes that fill no vector."""
        fn, lanes = self.fn, self.lanes
        tail = memory.live_mask(self.tail, lanes) if self.tail else None
        end = self.full * lanes
        if self.blocks == 1:
            if self.full <= STRAIGHT:
                for vector in range(self.full):
                    body(str(vector * lanes), None)
            else:
                with repeat(fn, "0", str(end), lanes) as loop:
                    body(loop.index, None)
            if tail:
                body(str(end), tail)
            return
        start = fn.op(f"mul i64 {block}, {self.block * lanes}")
        stop = self._least(fn.op(f"add i64 {start}, {self.block * lanes}"), end)
        with repeat(fn, start, stop, lanes) as loop:
            body(loop.index, None)
        if tail:
            with fn.when(fn.op(f"icmp eq i64 {block}, {self.blocks - 1}")):
                body(str(end), tail)
