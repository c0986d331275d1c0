"""Program: its text, its oracle, and one test for each invariant of its verifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import graphc.ops  # noqa: F401 - fills the registry
from graphc.errors import InputError, VerifyError
from graphc.index import Index, Range
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
    Stage,
    Store,
    Sweep,
)
from graphc.kernel_verify import in_place, verify_kernel
from graphc.op import OPS
from graphc.program import Arena, Buffer, FailedCheck, Launch, Program, Space
from graphc.program_interp import run_program
from graphc.program_text import print_program
from graphc.program_verify import verify_program
from graphc.space import bounds_under, evaluate, exact_bounds, grid, injective
from graphc.tensor import State
from graphc.types import TensorType

F32, F64, I64 = np.dtype("f4"), np.dtype("f8"), np.dtype("i8")


def buffer(space: Space, name: str, *shape: int, dtype: np.dtype = F32, source: Any = None) -> Buffer:
    return Buffer(name, TensorType(dtype, shape), space, source)


def slots(*sizes: int, dtype: np.dtype = F32) -> tuple[Slot, ...]:
    return tuple(Slot(dtype, size) for size in sizes)


def apply(op: str, *args: int, dtype: np.dtype = F32) -> Apply:
    return Apply(OPS[op], args, dtype)


def sweep(extents: Sequence[int], body: Sequence[Instr], *sizes: int) -> Sweep:
    """A kernel without reductions."""
    return Sweep(tuple(extents), (), (Stage(False, tuple(body)),), slots(*sizes))


A0, A1 = Index.axis(0, 4), Index.axis(1, 6)
ROW = A0 * 6 + A1
X, OUT = buffer(Space.INPUT, "x", 4, 6, source="x"), buffer(Space.OUTPUT, "out", 4, 6)
T = buffer(Space.ARENA, "t", 4, 6)

# exp(x - max) / sum, a row at a time
SOFTMAX = Sweep(
    (4,),
    (6,),
    (
        Stage(True, (Load(0, ROW, F32), Reduce("max", 0, F32))),
        Stage(True, (Load(0, ROW, F32), apply("sub", 2, 1), apply("exp", 3), Reduce("sum", 4, F32))),
        Stage(True, (Load(0, ROW, F32), apply("sub", 6, 1), apply("exp", 7), apply("div", 8, 5), Store(1, ROW, 9, F32))),
    ),
    slots(24, 24),
    "inner",
)
COPY = sweep((4, 6), (Load(0, ROW, F32), Store(1, ROW, 0, F32)), 24, 24)
PROGRAM = Program((X,), (), (), (OUT,), (Launch(SOFTMAX, (X, OUT), "softmax"),))
RNG = np.random.default_rng(0)
ARRAY = RNG.standard_normal((4, 6)).astype(np.float32)


def program(*body: Launch, **changes: Any) -> Program:
    return replace(PROGRAM, body=body, **changes)


# --- the oracle ---


def test_softmax() -> None:
    verify_program(PROGRAM)
    (out,), states = run_program(PROGRAM, {"x": ARRAY})
    e = np.exp(ARRAY - ARRAY.max(1, keepdims=True))
    np.testing.assert_allclose(out, e / e.sum(1, keepdims=True), rtol=1e-6)
    assert states == {}


def test_text() -> None:
    assert print_program(PROGRAM) == (
        "program main {\n"
        "  input x: f32[4,6]\n"
        "  output out: f32[4,6]\n"
        "\n"
        "  0: sweep outer(a0<4) inner(a1<6) vector inner   # softmax\n"
        "    s0 = x f32*24   s1 = out f32*24\n"
        "    each element:\n"
        "      v0 = load s0[6*a0 + a1] : f32\n"
        "      v1 = reduce max v0 : f32\n"
        "    each element:\n"
        "      v2 = load s0[6*a0 + a1] : f32\n"
        "      v3 = sub v2 v1 : f32\n"
        "      v4 = exp v3 : f32\n"
        "      v5 = reduce sum v4 : f32\n"
        "    each element:\n"
        "      v6 = load s0[6*a0 + a1] : f32\n"
        "      v7 = sub v6 v1 : f32\n"
        "      v8 = exp v7 : f32\n"
        "      v9 = div v8 v5 : f32\n"
        "      store s1[6*a0 + a1] = v9\n"
        "}\n"
    )


def contraction(m: int = 4, n: int = 5, k: int = 6, epilogue: tuple[Instr, ...] | None = None) -> Contraction:
    am, an, ak = Index.axis(0, m), Index.axis(1, n), Index.axis(2, k)
    body = epilogue or (Load(2, an, F32), apply("add", 0, 1), Store(3, am * n + an, 2, F32))
    return Contraction(
        (), (m,), (n,), (k,), Load(0, am * k + ak, F32), Load(1, an * k + ak, F32), body, slots(m * k, n * k, n, m * n), F32
    )


def test_contraction_with_bias() -> None:
    w, b = RNG.standard_normal((5, 6)).astype(np.float32), RNG.standard_normal(5).astype(np.float32)
    states = (buffer(Space.STATE, "w", 5, 6, source=State(w)), buffer(Space.STATE, "b", 5, source=State(b)))
    out = buffer(Space.OUTPUT, "out", 4, 5)
    whole = Program((X,), states, (), (out,), (Launch(contraction(), (X, *states, out), "linear"),))
    verify_program(whole)
    np.testing.assert_allclose(run_program(whole, {"x": ARRAY})[0][0], ARRAY @ w.T + b, rtol=1e-5, atol=1e-6)
    text = print_program(whole)
    assert "contraction batch() m(a0<4) n(a1<5) k(a2<6) : f32" in text and "lhs s0[6*a0 + a2]" in text
    assert "v1 = load s2[a1] : f32" in text


def test_padding_and_gather() -> None:
    """Predicates: x padded by one on the left of each row, and rows of x chosen by an index."""
    column = Index.axis(1, 7)
    padded = Load(0, A0 * 6 + column - 1, F32, (Range(column, 1, 7),), -1.0)
    kernel = sweep((4, 7), (padded, Store(1, A0 * 7 + column, 0, F32)), 24, 28)
    out = buffer(Space.OUTPUT, "out", 4, 7)
    whole = program(Launch(kernel, (X, out)), outputs=(out,))
    verify_program(whole)
    assert "load s0[6*a0 + a1 + -1] where 1 <= a1 < 7 else -1.0" in print_program(whole)
    assert np.array_equal(run_program(whole, {"x": ARRAY})[0][0], np.pad(ARRAY, ((0, 0), (1, 0)), constant_values=-1))

    index = buffer(Space.CONST, "rows", 4, dtype=I64, source=np.array([3, 0, 0, 2]))
    body = (Load(1, A0, I64), Load(0, A1, F32, gather=((0, 6),)), Store(2, ROW, 1, F32))
    kernel = Sweep((4, 6), (), (Stage(False, body),), (*slots(24), Slot(I64, 4), *slots(24)))
    whole = program(Launch(kernel, (X, index, OUT)), consts=(index,))
    verify_program(whole)
    assert "load s0[a1 + 6*v0]" in print_program(whole)
    assert np.array_equal(run_program(whole, {"x": ARRAY})[0][0], ARRAY[[3, 0, 0, 2]])


def test_scatter() -> None:
    index = buffer(Space.CONST, "rows", 4, dtype=I64, source=np.array([1, 0, 1, 1]))
    out = buffer(Space.OUTPUT, "out", 3, 6)
    kernel = Scatter(1, 4, 6, 3, (Slot(I64, 4), *slots(24, 18)))
    whole = program(Launch(kernel, (index, X, out)), consts=(index,), outputs=(out,))
    verify_program(whole)
    expected = np.zeros((3, 6), np.float32)
    np.add.at(expected, [1, 0, 1, 1], ARRAY)
    assert np.array_equal(run_program(whole, {"x": ARRAY})[0][0], expected)


@pytest.mark.parametrize(("reducer", "expected"), [("sum", 0), ("prod", 1)])
def test_empty_reductions(reducer: str, expected: float) -> None:
    x, out = buffer(Space.INPUT, "x", 4, 0, source="x"), buffer(Space.OUTPUT, "out", 4)
    stages = (Stage(True, (Load(0, Index.axis(0, 4), F32), Reduce(reducer, 0, F32))), Stage(False, (Store(1, A0, 1, F32),)))
    whole = Program((x,), (), (), (out,), (Launch(Sweep((4,), (0,), stages, slots(0, 4)), (x, out)),))
    verify_program(whole)
    assert run_program(whole, (np.zeros((4, 0), np.float32),))[0][0].tolist() == [expected] * 4


def test_argmax_takes_the_first_nan() -> None:
    x, out = buffer(Space.INPUT, "x", 2, 3, source="x"), buffer(Space.OUTPUT, "out", 2, dtype=I64)
    row = Index.axis(0, 2)
    stages = (
        Stage(True, (Load(0, row * 3 + Index.axis(1, 3), F32), Reduce("argmax", 0, I64))),
        Stage(False, (Store(1, row, 1, I64),)),
    )
    whole = Program((x,), (), (), (out,), (Launch(Sweep((2,), (3,), stages, (*slots(6), Slot(I64, 2))), (x, out)),))
    verify_program(whole)
    assert run_program(whole, (np.array([[1, 2, 2], [3, np.nan, np.nan]], np.float32),))[0][0].tolist() == [1, 1]


STATE = buffer(Space.STATE, "w", 4, 6, source=State(ARRAY, name="w"))
NEGATE = sweep((4, 6), (Load(0, ROW, F32), apply("neg", 0), Store(0, ROW, 1, F32)), 24)
CHECK = Sweep((4,), (), (Stage(False, (Load(0, Index.axis(0, 4), I64), Check(0, 0, 9, -100, 1, I64))),), (Slot(I64, 4),))
INDEX = buffer(Space.INPUT, "i", 4, dtype=I64, source="i")


def test_updates_in_place_and_checks_first() -> None:
    whole = Program(
        (INDEX,), (STATE,), (), (), (Launch(CHECK, (INDEX,)), Launch(NEGATE, (STATE,))), (FailedCheck("no row {value}"),)
    )
    verify_program(whole)
    _, states = run_program(whole, {"i": np.array([0, -100, 8, 1])})
    assert np.array_equal(states[STATE], -ARRAY) and np.array_equal(STATE.source.array, ARRAY)
    with pytest.raises(InputError, match="no row 9"):
        run_program(whole, {"i": np.array([0, 9, 0, 0])})


def test_a_faulty_memory_plan_shows() -> None:
    other = buffer(Space.ARENA, "u", 4, 6)
    double = sweep((4, 6), (Load(0, ROW, F32), apply("add", 0, 0), Store(1, ROW, 1, F32)), 24, 24)
    add = sweep((4, 6), (Load(0, ROW, F32), Load(1, ROW, F32), apply("add", 0, 1), Store(2, ROW, 2, F32)), 24, 24, 24)
    whole = program(Launch(COPY, (X, T)), Launch(double, (T, other)), Launch(add, (T, other, OUT)))
    for offset, size in ((128, 256), (0, 128)):
        planned = replace(whole, arena=Arena({T: 0, other: offset}, size, size))
        (out,), _ = run_program(planned, {"x": ARRAY})
        assert np.allclose(out, 3 * ARRAY) == (offset == 128)
        if offset:
            verify_program(planned)
        else:
            with pytest.raises(VerifyError, match="launch 1: u: .* overlaps t: .*, which launch 2 still uses"):
                verify_program(planned)


def test_unwritten_memory_is_nan() -> None:
    whole = program(Launch(COPY, (T, OUT)))
    assert np.isnan(run_program(whole, {"x": ARRAY})[0][0]).all()


def test_random_index_expressions_evaluate_exactly() -> None:
    """Bounds never exclude a value that occurs, and bounds under a predicate are no wider than without."""
    for _ in range(200):
        extents = tuple(int(n) for n in RNG.integers(1, 6, 3))
        axes = [Index.axis(i, n) for i, n in enumerate(extents)]
        flat = sum((axis * int(RNG.integers(-4, 5)) for axis in axes), Index()) + int(RNG.integers(-3, 4))
        index = flat // int(RNG.integers(1, 5)) * 3 + (flat + 7) % int(RNG.integers(1, 6)) + axes[0]
        where = (Range(flat, int(RNG.integers(-4, 1)), int(RNG.integers(1, 6))),)
        exact, wide = exact_bounds(index, where, extents), bounds_under(index, where, extents)
        values = np.broadcast_to(evaluate(index, grid(extents)), extents)
        brute = [index.substitute({i: Index((), int(p)) for i, p in enumerate(point)}).const for point in np.ndindex(*extents)]
        assert values.reshape(-1).tolist() == brute
        assert injective(index, extents) == (len(set(brute)) == len(brute))
        if exact is not None:
            assert wide is not None and wide[0] <= exact[0] and exact[1] <= wide[1]


# --- the verifier ---


def refuses(kernel: Kernel, message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        verify_kernel(kernel)


def refuses_program(whole: Program, message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        verify_program(whole)


LOAD, STORE = Load(0, ROW, F32), Store(1, ROW, 0, F32)


def test_kernel_1_slots_and_values_exist() -> None:
    refuses(sweep((4, 6), (LOAD, replace(STORE, slot=2)), 24, 24), "there is no slot s2\n  store s2")
    refuses(sweep((4, 6), (apply("neg", 1), LOAD), 24, 24), r"v1 is not defined here\n  v0 = neg v1")


def test_kernel_2_values_of_elements_stay_in_their_stage() -> None:
    first = Stage(True, (LOAD, Reduce("sum", 0, F32)))
    row = Index.axis(0, 4)
    good = Sweep((4,), (6,), (first, Stage(False, (Store(1, row, 1, F32),))), slots(24, 4))
    verify_kernel(good)
    refuses(replace(good, stages=(first, Stage(False, (Store(1, row, 0, F32),)))), "v0 is not defined here")
    refuses(replace(good, stages=(Stage(True, (*first.body, apply("neg", 1))),)), "v1 is not defined here")
    refuses(
        replace(good, stages=(Stage(False, (Load(0, row, F32), Reduce("sum", 0, F32))),)), "a reduction stands in a stage of rows"
    )
    refuses(replace(good, stages=(Stage(False, (LOAD,)),)), "axis a1 cannot be used here")
    refuses(replace(contraction(), lhs=Load(0, Index.axis(1, 5), F32)), "lhs varies along an axis of the other operand")


def test_kernel_3_axes_have_the_kernels_extents() -> None:
    refuses(sweep((4, 5), (LOAD, STORE), 24, 24), "axis a1 runs to 6, in this kernel to 5")


def test_kernel_4_element_types() -> None:
    refuses(sweep((4, 6), (replace(LOAD, dtype=F64),), 24), "the element type is f64, should be f32")
    refuses(sweep((4, 6), (LOAD, apply("exp", 0, dtype=F64)), 24), "the element type is f64, should be f32")
    refuses(sweep((4, 6), (Coordinate(A0), apply("exp", 0)), 24), "needs float operands, got i64")
    refuses(sweep((4, 6), (LOAD, apply("sum", 0)), 24), "sum is not an elementwise op")
    refuses(sweep((4, 6), (Coordinate(A0), Store(0, ROW, 0, F32)), 24), "v0 has another element type, int64")
    refuses(sweep((4, 6), (LOAD, Load(0, A1, F32, gather=((0, 6),))), 24), "v0 is not an integer")


def test_kernel_5_accesses_stay_inside() -> None:
    refuses(sweep((4, 6), (replace(LOAD, offset=ROW + 1),), 24), "offsets 1 to 24 leave s0, which has 24 elements\n  v0 = load")
    refuses(sweep((4, 6), (LOAD, replace(STORE, offset=ROW - 1)), 24, 24), "offsets -1 to 22 leave s1")
    guarded = replace(LOAD, offset=ROW + 1, where=(Range(ROW, 0, 23),))
    verify_kernel(sweep((4, 6), (guarded,), 24))
    refuses(sweep((4, 6), (replace(guarded, where=(Range(ROW, 0, 24),)),), 24), "offsets 1 to 24 leave s0")
    # a predicate that intervals cannot use: decided by enumeration
    verify_kernel(sweep((4, 6), (replace(LOAD, offset=ROW + ROW % 5, where=(Range(ROW % 5, 0, 1),)),), 24))


def test_kernel_6_parallel_stores_are_disjoint() -> None:
    value = Const(1.0, F32)
    refuses(sweep((4, 6), (value, Store(0, A0, 0, F32)), 24), "two points store to one element\n  store s0")
    refuses(sweep((4, 6), (value, Store(0, A0 + A1, 0, F32)), 24), "two points store to one element")
    verify_kernel(sweep((4, 6), (value, Store(0, A1 * 4 + A0, 0, F32)), 24))
    verify_kernel(sweep((4, 6), (value, Store(0, A0 * -6 + 18 + A1, 0, F32)), 24))
    verify_kernel(sweep((4, 6), (value, Store(0, (ROW + 5) % 24, 0, F32)), 24))
    halves = (value, Store(0, ROW * 2, 0, F32), Store(0, ROW * 2 + 1, 0, F32))
    verify_kernel(sweep((4, 6), halves, 48))
    refuses(sweep((4, 6), (*halves, Store(0, ROW, 0, F32)), 48), "two stores go to one element")


def test_kernel_7_contractions_and_scatters() -> None:
    refuses(contraction(epilogue=(Reduce("sum", 0, F32),)), "a reduce stands in an epilogue")
    refuses(Scatter(1, 4, 6, 3, (Slot(I64, 4), *slots(24, 17))), r"hold \(4, 24, 17\) elements, its extents say \(4, 24, 18\)")


def test_program_1_slots_match_buffers() -> None:
    refuses_program(program(Launch(COPY, (X,))), "launch 0: 1 buffers are bound to 2 slots")
    refuses_program(
        program(Launch(COPY, (X, buffer(Space.ARENA, "t", 5)))), r"launch 0: s1 is 24 elements of float32, bound to t: f32\[5\]"
    )
    refuses_program(program(Launch(COPY, (X, OUT)), inputs=()), "x: .* is used but not listed")
    refuses_program(program(Launch(COPY, (X, OUT)), outputs=(OUT, OUT)), "is listed twice")
    refuses_program(program(Launch(COPY, (X, OUT)), outputs=(X,)), "is listed as output")


def test_program_2_inputs_are_not_written() -> None:
    refuses_program(program(Launch(NEGATE, (X,))), "launch 0: x: .* is written")


def test_program_3_writing_over_what_is_read() -> None:
    column = Index.axis(0, 4)
    shift = sweep((4,), (Load(0, (column + 1) % 4, F32), Store(0, column, 0, F32)), 4)
    state = buffer(Space.STATE, "s", 4, source=State(np.zeros(4, np.float32)))
    refuses_program(
        Program((), (state,), (), (), (Launch(shift, (state,)),)), "is written over s: .*, which other points may still read"
    )
    assert in_place(NEGATE, 0, 0)
    late = (Stage(False, (Const(0.0, F32), Store(0, column, 0, F32))), Stage(False, (Load(0, column, F32),)))
    assert not in_place(Sweep((4,), (), late, slots(4)), 0, 0)
    assert not in_place(contraction(), 0, 3) and not in_place(contraction(), 2, 3)
    refuses_program(
        program(Launch(sweep((4, 6), (Const(0.0, F32), Store(0, ROW, 0, F32), Store(1, ROW, 0, F32)), 24, 24), (OUT, OUT))),
        "both are written",
    )


def test_program_4_memory_is_written_before_it_is_read() -> None:
    refuses_program(program(Launch(COPY, (T, OUT))), "launch 0: t: .* is read before all of it is written")
    half = sweep((2, 6), (Const(0.0, F32), Store(0, Index.axis(0, 2) * 6 + A1, 0, F32)), 24)
    refuses_program(program(Launch(half, (T,)), Launch(COPY, (T, OUT))), "launch 1: t: .* is read before all of it is written")
    refuses_program(program(Launch(half, (OUT,))), "only 12 of 24 elements are written")


def test_program_5_states_are_written_last() -> None:
    whole = program(Launch(NEGATE, (STATE,)), Launch(COPY, (STATE, OUT)), states=(STATE,))
    refuses_program(whole, "launch 1: w: .* is used after it was updated by launch 0")
    verify_program(program(*reversed(whole.body), states=(STATE,)))


def test_program_6_checks_come_before_updates() -> None:
    launches = (Launch(NEGATE, (STATE,)), Launch(CHECK, (INDEX,)))
    whole = Program((INDEX,), (STATE,), (), (), launches, (FailedCheck("no"),))
    refuses_program(whole, "launch 0: w: .* is updated before the checks of launch 1 have passed")


def test_program_7_checks_are_listed() -> None:
    refuses_program(Program((INDEX,), (), (), (), (Launch(CHECK, (INDEX,)),)), "launch 0: check 1 is not among the program's 0")


def test_program_8_the_arena() -> None:
    body = (Launch(COPY, (X, T)), Launch(COPY, (T, OUT)))
    for arena, message in (
        (Arena({}, 128, 96), "t: .* has no place in the arena"),
        (Arena({T: 32}, 128, 96), "t: .* at 32 does not fit an arena of 128 bytes aligned to 64"),
        (Arena({T: 64}, 128, 96), "does not fit"),
    ):
        refuses_program(program(*body, arena=arena), message)
    other = buffer(Space.ARENA, "u", 4, 6)
    chain = (Launch(COPY, (X, T)), Launch(COPY, (T, other)), Launch(COPY, (other, OUT)))
    verify_program(program(*chain, arena=Arena({T: 0, other: 0}, 128, 128)))
    flip = sweep((4, 6), (Load(0, A0 * 6 - A1 + 5, F32), Store(1, ROW, 0, F32)), 24, 24)
    chain = (chain[0], Launch(flip, (T, other)), chain[2])
    verify_program(program(*chain, arena=Arena({T: 0, other: 128}, 256, 256)))
    refuses_program(program(*chain, arena=Arena({T: 0, other: 0}, 128, 128)), "launch 1: u: .* is written over t: ")
