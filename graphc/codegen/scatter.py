"""Scatter kernels: result[o, index[j], i] += update[o, j, i], in ascending j, into zeros.

    for the units [begin, end) of one (o, block of i): their destination rows are one range
      zero the range's part of the result
      for j: if index[j] lies in the range: result row += update row      vectors along i

A unit is a few destination rows; a call scans the indices once for all the rows that it was given. Calls write disjoint parts, so
no element is touched by two threads and every element gets its contributions in the same order however units are dealt. An index
outside the result adds nothing.
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
from graphc.kernel import Scatter
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
        # Whole rows if there are enough of them, since memory runs along i.
        wanted = -(-UNITS // kernel.outer)
        self.span = -(-kernel.size // min(kernel.size, wanted))  # destination rows of a unit
        self.ranges = -(-kernel.size // self.span)
        blocks = min(max(self.full // BLOCK_VECTORS, 1), -(-wanted // self.ranges))
        self.block = max(-(-self.full // blocks), 1)  # vectors
        self.blocks = max(-(-self.full // self.block), 1)
        self.units = kernel.outer * self.blocks * self.ranges

    def emit(self) -> None:
        fn, ranges = self.fn, self.ranges
        index, update, result = (self._argument(slot) for slot in range(3))
        first, last = self._split("%begin", ranges)[1], self._split(fn.op("add i64 %end, -1"), ranges)[1]
        with repeat(fn, first, fn.op(f"add i64 {last}, 1")) as group:
            base = fn.op(f"mul i64 {group.index}, {ranges}")
            low = self._clamped(fn.op(f"sub i64 %begin, {base}"))
            span = fn.op(f"sub i64 {self._clamped(fn.op(f'sub i64 %end, {base}'))}, {low}")
            block, outer = self._split(group.index, self.blocks)
            to = self._row(self._row(result, outer, self.kernel.size), low)
            self._clear(to, span, block)
            if self.kernel.count:
                self._scan(index, self._row(update, outer, self.kernel.count), to, low, span, block)

    def _clamped(self, unit: str) -> str:
        """The row that a unit of a group begins with; those beyond the group's ends are its ends."""
        unit = self.b.maximum(Value(unit, int64, 1), self.b.const(0, int64)).name
        return self._least(self.fn.op(f"mul i64 {unit}, {self.span}"), self.kernel.size)

    def _scan(self, index: str, update: str, to: str, low: str, span: str, block: str) -> None:
        fn = self.fn
        with repeat(fn, "0", str(self.kernel.count)) as j:
            row = fn.op(f"sub i64 {self._index(index, j.index)}, {low}")
            with fn.when(fn.op(f"icmp ult i64 {row}, {span}")):
                self._add(self._row(update, j.index), self._row(to, row), block)

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

    def _clear(self, rows: str, count: str, block: str) -> None:
        fn = self.fn
        if self.blocks == 1:
            size = fn.op(f"mul i64 {count}, {self.kernel.inner * self.dtype.itemsize}")
            fn.module.declare("@llvm.memset.p0.i64", "void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
            fn.do(f"call void @llvm.memset.p0.i64(ptr {rows}, i8 0, i64 {size}, i1 false)")
            return
        zero = self.b.splat(self.b.const(0, self.dtype), self.lanes)
        with repeat(fn, "0", count) as row:
            at = self._row(rows, row.index)
            self._vectors(block, lambda i, mask: memory.store(self.b, zero, self._at(at, i), mask))

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
