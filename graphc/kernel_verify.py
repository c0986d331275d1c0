"""What holds of every Kernel by itself. `verify_kernel` checks:

 1. slots and values that an instruction names exist; a value is defined before its use
 2. stages: values of an element stay in their stage, or may be read by later stages of elements where lanes run along the row;
    a row's values may be read by later stages, a reduction's result by later stages only; instructions of a row use outer
    axes only; the operands of a contraction read their own axes
 3. axes have the extents of the kernel
 4. element types: of loads and stores their slot's, of ops what the op's type rule gives, of indices and checks integer
 5. loads and stores stay inside their slot, wherever their predicate holds (gathered offsets are checked by the graph's checks)
 6. parallel stores are disjoint: each store maps points to elements one to one, and two stores never meet
 7. a contraction's epilogue has neither reductions nor checks; a scatter's slots have the sizes of its extents

Bounds and disjointness are decided by intervals and strides, else by looking at every point (at a sample in a large space).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from graphc.errors import GraphcError, VerifyError
from graphc.index import Axis, Index, Where
from graphc.kernel import (
    Apply,
    Check,
    Const,
    Contraction,
    Coordinate,
    Instr,
    Kernel,
    Load,
    Reduce,
    Scatter,
    Slot,
    Store,
    Sweep,
    instructions,
)
from graphc.op import Kind
from graphc.program_text import format_access, format_instr
from graphc.space import bounds_under, exact_bounds, injective, values_at_sample
from graphc.types import SHORT_NAMES, TensorType

REDUCERS = ("sum", "prod", "max", "min", "argmax", "argmin")


def verify_kernel(kernel: Kernel) -> None:
    """Raises VerifyError, with the instruction at fault, where an invariant of the list above is broken."""
    if isinstance(kernel, Sweep):
        _verify_sweep(kernel)
    elif isinstance(kernel, Contraction):
        _verify_contraction(kernel)
    else:
        _verify_scatter(kernel)


def _verify_sweep(kernel: Sweep) -> None:
    if kernel.vector not in ("outer", "inner") or (kernel.vector == "inner" and not kernel.inner):
        raise VerifyError(f"lanes cannot run along {kernel.vector!r} axes of a sweep with {len(kernel.inner)} inner axes")
    extents = kernel.outer + kernel.inner
    rows: dict[int, np.dtype] = {}
    elements: dict[int, np.dtype] = {}
    position = 0
    stores: list[tuple[Store, tuple[int, ...]]] = []
    for stage in kernel.stages:
        space = extents if stage.inner else kernel.outer
        scope = _Scope(kernel.slots, space, dict(rows), dict(elements) if stage.inner and kernel.vector == "inner" else {})
        for instr in stage.body:
            scope.verify(instr, position)
            if isinstance(instr, Reduce):
                if not stage.inner:
                    raise scope.fail(instr, position, "a reduction stands in a stage of rows")
                rows[position] = instr.dtype
            elif isinstance(instr, Store):
                stores.append((instr, space))
            else:
                scope.values[position] = instr.dtype
                (elements if stage.inner else rows)[position] = instr.dtype
            position += 1
    _verify_stores(stores)


def _verify_contraction(kernel: Contraction) -> None:
    extents = kernel.batch + kernel.m + kernel.n + kernel.k
    first_n = len(kernel.batch) + len(kernel.m)
    first_k = first_n + len(kernel.n)
    n_axes, m_axes = set(range(first_n, first_k)), set(range(len(kernel.batch), first_n))
    for name, operand, others in (("lhs", kernel.lhs, n_axes), ("rhs", kernel.rhs, m_axes)):
        line = f"\n  {name} {format_access(operand)}"
        used = operand.offset.axes().union(*(condition.index.axes() for condition in operand.where))
        if used & others:
            raise VerifyError(f"{name} varies along an axis of the other operand{line}")
        if operand.gather:
            raise VerifyError(f"{name} is gathered; an operand has no values to gather by{line}")
        if operand.dtype != kernel.dtype:
            raise VerifyError(f"{name} has type {operand.dtype.name}, the sum {kernel.dtype.name}{line}")
        _Scope(kernel.slots, extents, {}, {}).verify(operand, 0)
    space = extents[:first_k]
    scope = _Scope(kernel.slots, space, {}, {0: kernel.dtype})
    for position, instr in enumerate(kernel.epilogue, 1):
        if isinstance(instr, (Reduce, Check)):
            raise scope.fail(instr, position, f"a {type(instr).__name__.lower()} stands in an epilogue")
        scope.verify(instr, position)
        if not isinstance(instr, Store):
            scope.values[position] = instr.dtype
    _verify_stores([(instr, space) for instr in kernel.epilogue if isinstance(instr, Store)])


def _verify_scatter(kernel: Scatter) -> None:
    if len(kernel.slots) != 3:
        raise VerifyError(f"a scatter has three slots, not {len(kernel.slots)}")
    index, update, result = kernel.slots
    sizes = (kernel.count, kernel.outer * kernel.count * kernel.inner, kernel.outer * kernel.size * kernel.inner)
    if (index.size, update.size, result.size) != sizes:
        raise VerifyError(f"a scatter's slots hold {(index.size, update.size, result.size)} elements, its extents say {sizes}")
    if index.dtype.kind != "i" or update.dtype != result.dtype or update.dtype.kind == "b":
        raise VerifyError(f"a scatter of {update.dtype.name} into {result.dtype.name} at {index.dtype.name}")


class _Scope:
    """What an instruction may name: slots, axes, values of the row, and values of the point."""

    def __init__(self, slots: Sequence[Slot], extents: tuple[int, ...], rows: dict[int, np.dtype], values: dict[int, np.dtype]):
        self.slots = slots
        self.extents = extents
        self.rows = rows
        self.values = values

    def fail(self, instr: Instr, position: int, message: str) -> VerifyError:
        return VerifyError(f"{message}\n  {format_instr(instr, position)}")

    def verify(self, instr: Instr, position: int) -> None:
        try:
            self.check(instr)
        except GraphcError as error:
            raise self.fail(instr, position, str(error)) from None

    def check(self, instr: Instr) -> None:
        if isinstance(instr, Load):
            self.slot(instr.slot, instr.dtype)
            for value, _ in instr.gather:
                self.integer(value)
            for one in (instr.offset, *(condition.index for condition in instr.where)):
                self.index(one)
            if not instr.gather:
                self.bounds(instr.offset, instr.where, instr.slot)
        elif isinstance(instr, Store):
            self.slot(instr.slot, instr.dtype)
            if self.value(instr.value) != instr.dtype:
                raise VerifyError(f"v{instr.value} has another element type, {self.value(instr.value).name}")
            self.index(instr.offset)
            self.bounds(instr.offset, (), instr.slot)
        elif isinstance(instr, Coordinate):
            self.index(instr.index)
            self.same(instr.dtype, np.dtype(np.int64))
        elif isinstance(instr, Apply):
            self.apply(instr)
        elif isinstance(instr, Reduce):
            if instr.reducer not in REDUCERS:
                raise VerifyError(f"no such reducer: {instr.reducer!r}")
            operand = self.value(instr.arg)
            self.same(instr.dtype, np.dtype(np.int64) if instr.reducer.startswith("arg") else operand)
        elif isinstance(instr, Check):
            self.integer(instr.value)
            self.same(instr.dtype, self.value(instr.value))
        elif not isinstance(instr, Const):
            raise VerifyError(f"not an instruction: {instr!r}")

    def apply(self, instr: Apply) -> None:
        if instr.op.kind is not Kind.ELEMENTWISE:
            raise VerifyError(f"{instr.op.name} is not an elementwise op")
        types = tuple(TensorType(self.value(arg), ()) for arg in instr.args)
        try:
            result = instr.op.infer(types, dict(instr.attrs))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise VerifyError(f"{instr.op.name}: the type rule fails: {error}") from None
        self.same(instr.dtype, result.dtype)

    def same(self, given: np.dtype, expected: np.dtype) -> None:
        if given != expected:
            raise VerifyError(f"the element type is {SHORT_NAMES[given]}, should be {SHORT_NAMES[expected]}")

    def value(self, number: int) -> np.dtype:
        dtype = self.values.get(number, self.rows.get(number))
        if dtype is None:
            raise VerifyError(f"v{number} is not defined here")
        return dtype

    def integer(self, number: int) -> None:
        if self.value(number).kind != "i":
            raise VerifyError(f"v{number} is not an integer")

    def slot(self, number: int, dtype: np.dtype) -> None:
        if not 0 <= number < len(self.slots):
            raise VerifyError(f"there is no slot s{number}")
        self.same(dtype, self.slots[number].dtype)

    def index(self, index: Index) -> None:
        for axis in _axes(index):
            if not 0 <= axis.number < len(self.extents):
                raise VerifyError(f"axis {axis} cannot be used here")
            if axis.extent != self.extents[axis.number]:
                raise VerifyError(f"axis {axis} runs to {axis.extent}, in this kernel to {self.extents[axis.number]}")

    def bounds(self, offset: Index, where: Where, slot: int) -> None:
        size = self.slots[slot].size
        found = bounds_under(offset, where, self.extents)
        if found is not None and (found[0] < 0 or found[1] >= size):
            found = exact_bounds(offset, where, self.extents)
        if found is not None and (found[0] < 0 or found[1] >= size):
            raise VerifyError(f"offsets {found[0]} to {found[1]} leave s{slot}, which has {size} elements")


def _axes(index: Index) -> Iterator[Axis]:
    for atom, _ in index.terms:
        if isinstance(atom, Axis):
            yield atom
        else:
            yield from _axes(atom.of)


def _verify_stores(stores: Sequence[tuple[Store, tuple[int, ...]]]) -> None:
    for store, extents in stores:
        if not injective(store.offset, extents):
            raise VerifyError(f"two points store to one element\n  {format_instr(store, 0)}")
    for (a, a_extents), (b, b_extents) in combinations(stores, 2):
        if a.slot == b.slot and _meet(a.offset, a_extents, b.offset, b_extents):
            raise VerifyError(f"two stores go to one element\n  {format_instr(a, 0)}\n  {format_instr(b, 0)}")


def _meet(a: Index, a_extents: tuple[int, ...], b: Index, b_extents: tuple[int, ...]) -> bool:
    first, second = bounds_under(a, (), a_extents), bounds_under(b, (), b_extents)
    if first is None or second is None or first[1] < second[0] or second[1] < first[0]:
        return False
    return bool(np.intersect1d(values_at_sample(a, a_extents), values_at_sample(b, b_extents)).size)


def in_place(kernel: Kernel, read: int, written: int, found: Accesses | None = None) -> bool:
    """Whether the memory of slot `written` may be that of slot `read` (they may be one slot): each point then loads only the
    element that it stores itself, and before it does. `found` is `accesses(kernel)`, for those who ask often."""
    if isinstance(kernel, Scatter) or (isinstance(kernel, Contraction) and read in (kernel.lhs.slot, kernel.rhs.slot)):
        return False
    loads, stores = accesses(kernel) if found is None else found
    return all(
        load.offset == store.offset and not load.gather and load_at < store_at
        for load_at, load in loads.get(read, ())
        for store_at, store in stores.get(written, ())
    )


Accesses = tuple[dict[int, list[tuple[int, Load]]], dict[int, list[tuple[int, Store]]]]


def accesses(kernel: Kernel) -> Accesses:
    """The loads and the stores of each slot, with their positions; of a contraction, those of its epilogue."""
    loads: dict[int, list[tuple[int, Load]]] = {}
    stores: dict[int, list[tuple[int, Store]]] = {}
    for at, instr in enumerate(kernel.epilogue if isinstance(kernel, Contraction) else instructions(kernel)):
        if isinstance(instr, Load):
            loads.setdefault(instr.slot, []).append((at, instr))
        elif isinstance(instr, Store):
            stores.setdefault(instr.slot, []).append((at, instr))
    return loads, stores
