"""Contractions: shapes, layouts, types and maps of operands, at every feature level of x86-64; and how tiles look as code."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np
import pytest
from contraction_native import LAYOUTS, RUNNABLE, Case, check, check_einsums, contraction, draw, einsum_case, shapes

from graphc.codegen import llvm
from graphc.codegen.blocking import MOST_SHARED, block
from graphc.codegen.contract_plan import plan_job
from graphc.codegen.microkernel import most_rows, row_vectors, tile_function
from graphc.codegen.orientation import oriented
from graphc.codegen.registers import lanes_of
from graphc.codegen.target import LEVELS, level_target
from graphc.index import Index, Range, unflatten
from graphc.kernel import Contraction, Load, Slot, Store
from graphc.types import bool_, float32, float64, int32, int64

ODD = [1, 3, 17, 33, 47, 100]


# --- plain products ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", LAYOUTS)
def test_odd_shapes(spec: str) -> None:
    check_einsums([spec], shapes(*itertools.product(ODD, ODD, [1, 17, 47])))


@pytest.mark.parametrize("level", RUNNABLE)
@pytest.mark.parametrize("dtype", [float32, float64, int32, int64, bool_], ids=str)
def test_levels_and_types(level: str, dtype: np.dtype) -> None:
    check_einsums(LAYOUTS, shapes((1, 1, 1), (5, 7, 9), (33, 47, 17), (16, 64, 32)), dtype, [level])


@pytest.mark.parametrize("dtype", [float32, float64, int32, bool_], ids=str)
def test_random_shapes(dtype: np.dtype) -> None:
    rng = np.random.default_rng(1)
    specs = [*LAYOUTS, "bik,bjk->bij", "bki,bkj->ibj", "kbi,bjk->ijb", "ick,kjc->ij"]
    for level in RUNNABLE:
        chosen = []
        for spec in specs:
            sizes = {label: int(rng.choice([1, 2, 5, 8, 13, 31, 32, 36, 49, 65, 130])) for label in "ij"}
            chosen.append((spec, sizes | {"k": int(rng.integers(1, 700)), "b": 2, "c": 3}))
        cases, wants = zip(*(einsum_case(spec, sizes, dtype) for spec, sizes in chosen), strict=True)
        check(cases, [level], wants)


@pytest.mark.parametrize("dtype", [float32, float64, int32], ids=str)
@pytest.mark.parametrize("level", RUNNABLE)
def test_partial_registers(level: str, dtype: np.dtype) -> None:
    """Every number of columns in the last register, beside several panels, and blocks of depth that end anywhere."""
    odd = [(m, n, k) for n in range(33, 49) for m, k in ((8, 3), (47 - n % 8, 30 + n % 7))]
    check_einsums(LAYOUTS, shapes(*odd, (9, 71, 1100), (10, 69, 1100)), dtype, [level])


@pytest.mark.parametrize("level", RUNNABLE)
@pytest.mark.parametrize("dtype", [float32, float64, int32], ids=str)
def test_few_rows_or_columns(level: str, dtype: np.dtype) -> None:
    """One row, and products along k of blocks of every height and width."""
    few = [(m, n, k) for m in (1, 5, 8, 13, 16) for n, k in ((300, 200), (7, 530), (10, 515))]
    check_einsums(LAYOUTS, shapes(*few, *((n, m, k) for m, n, k in few)), dtype, [level])


def test_long_depth_goes_in_blocks() -> None:
    check_einsums(LAYOUTS, shapes((30, 40, 2500), (3, 5, 5000)))


def test_several_units() -> None:
    check_einsums(LAYOUTS, shapes((150, 200, 120)), levels=RUNNABLE)


@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_operands_that_lie_badly_are_packed(dtype: np.dtype) -> None:
    """Steps of k a page apart, and many of them."""
    sizes = dict(i=140, j=270, k=1000)
    for level in RUNNABLE:
        target = level_target(level)
        flat = oriented(contraction("ki,kj->ij", sizes, dtype), target)
        job = plan_job(target, flat, block(flat, target))
        assert (job.a_source, job.b_source) == ("packed", "packed")
    check_einsums(["ki,kj->ij", "ik,kj->ij"], [sizes], dtype, RUNNABLE)


@pytest.mark.parametrize("empty", "ijkb")
def test_empty_axes(empty: str) -> None:
    check_einsums(["bik,bjk->bij"], [{**dict(i=5, j=20, k=3, b=2), empty: 0}])


def test_batches_and_groups() -> None:
    sizes = dict(b=3, h=2, i=5, j=20, k=7, d=16, c=2)
    specs = ["bik,bjk->bij", "bik,bkj->bij", "bki,bkj->bij", "bhik,bhjk->bhij", "bik,jk->bij", "bik,bij->kj", "bkhi,bjhi->bhkj"]
    specs += [
        "bhij,bjhd->bihd",
        "bijc,kcij->bk",
        "ibk,khd->bihd",
        "bik,hdk->bhid",
        "k,kj->j",
        "ik,k->i",
        "k,k->",
        "i,j->ij",
        "bi,bi->b",
    ]
    check_einsums(specs, [sizes])


def test_nan_and_infinity_propagate() -> None:
    cases = []
    for spec, sizes in itertools.product(LAYOUTS, shapes((33, 37, 19), (4, 100, 5))):
        (kernel, arrays), _ = einsum_case(spec, sizes)
        arrays[0][::97], arrays[1][::89], arrays[0][5::101] = np.nan, np.inf, -np.inf
        cases.append((kernel, arrays))
    check(cases)


# --- operands with maps of their own -------------------------------------------------------------------------------------------


def mapped(
    m: int, n: int, k: int, lhs: Load, rhs: Load, sizes: Sequence[int], store: Index | None = None, dtype: np.dtype = float32
) -> Case:
    """Axes 0 m, 1 n, 2 k."""
    store = Index.axis(0, m) * n + Index.axis(1, n) if store is None else store
    slots = tuple(Slot(dtype, size) for size in sizes)
    kernel = Contraction((), (m,), (n,), (k,), lhs, rhs, (Store(2, store, 0, dtype),), slots, dtype)
    rng = np.random.default_rng(m + n + k)
    return kernel, [draw(rng, size, dtype) for size in sizes]


def test_strides_and_offsets() -> None:
    m, n, k = 20, 37, 21
    i, j, p = (Index.axis(axis, size) for axis, size in enumerate((m, n, k)))
    check([
        mapped(m, n, k, Load(0, i * 45 + p * 2 + 3, float32), Load(1, j * 64 + p * 3 + 1, float32), (1000, 2500, m * n)),
        mapped(m, n, k, Load(0, i * -21 + p + 399, float32), Load(1, j * -1 + p * 40 + 36, float32), (420, 840, m * n)),
        mapped(m, n, k, Load(0, p, float32), Load(1, j, float32), (k, n, m * n)),
        mapped(m, n, k, Load(0, i, float32), Load(1, p, float32), (m, k, m * n)),
        mapped(m, n, k, Load(0, i * k + p, float32), Load(1, j * k + p, float32), (m * k, n * k, 2 * m * n), i * 2 + j * 40 + 1),
    ])  # fmt: skip


def test_padded_rows_and_offsets() -> None:
    """Memory that ends with the last element: panels read in place up to their last column, one row, products along k."""
    cases = []
    for m, n, k in ((20, 37, 21), (9, 44, 300), (1, 150, 40), (10, 33, 1100)):
        i, j, p = (Index.axis(axis, size) for axis, size in enumerate((m, n, k)))
        lefts = (i * (k + 5) + p + 3, (m - 1) * (k + 5) + k + 3), (p * (m + 7) + i + 1, (k - 1) * (m + 7) + m + 1)
        rights = (p * (n + 9) + j + 5, (k - 1) * (n + 9) + n + 5), (j * (k + 3) + p + 2, (n - 1) * (k + 3) + k + 2)
        for (left, left_size), (right, right_size) in itertools.product(lefts, rights):
            for dtype in (float32, float64):
                store, size = i * (n + 1) + j + 2, (m - 1) * (n + 1) + n + 2
                sizes = (left_size, right_size, size)
                cases.append(mapped(m, n, k, Load(0, left, dtype), Load(1, right, dtype), sizes, store, dtype))
    check(cases, RUNNABLE)


def test_predicates_fill() -> None:
    """A padded, shifted right operand and a triangular left one, whose memory ends where the predicate does."""
    m, n, k = 20, 37, 33
    i, j, p = (Index.axis(axis, size) for axis, size in enumerate((m, n, k)))
    cases = []
    for along_k in (True, False):
        inner = j * 30 + (p - 2) if along_k else (p - 2) * 37 + j
        padded = Load(1, inner, float32, (Range(p, 2, 32),), 0.5)
        triangle = Load(0, i * 33 + p, float32, (Range(p - i, -32, 5),), 0.0)
        cases.append(mapped(m, n, k, triangle, padded, (m * k, 37 * 30, m * n)))
    check(cases, RUNNABLE)


def convolution(batch: int, channels: int, size: int, outputs: int, kernel: int, pad: int) -> Case:
    """images (batch, channels, size, size) with weights (outputs, channels, kernel, kernel), as a contraction over windows."""
    after = size + 2 * pad - kernel + 1
    image, y, x, o, c, dy, dx = (Index.axis(a, e) for a, e in enumerate((batch, after, after, outputs, channels, kernel, kernel)))
    row, column = y + dy - pad, x + dx - pad
    window = Load(
        0, ((image * channels + c) * size + row) * size + column, float32, (Range(row, 0, size), Range(column, 0, size))
    )
    weight = Load(1, ((o * channels + c) * kernel + dy) * kernel + dx, float32)
    store = Store(2, ((image * outputs + o) * after + y) * after + x, 0, float32)
    sizes = (batch * channels * size * size, outputs * channels * kernel * kernel, batch * outputs * after * after)
    groups = ((), (batch, after, after), (outputs,), (channels, kernel, kernel))
    rng = np.random.default_rng(0)
    return Contraction(*groups, window, weight, (store,), tuple(Slot(float32, s) for s in sizes), float32), [
        draw(rng, s, float32) for s in sizes
    ]


def test_windows() -> None:
    check(
        [
            convolution(2, 3, 9, 5, 3, 1),
            convolution(1, 2, 16, 4, 3, 1),
            convolution(3, 1, 8, 20, 5, 2),
            convolution(2, 3, 7, 5, 1, 0),
        ],
        RUNNABLE,
    )


def test_windows_as_the_right_operand() -> None:
    kernel, arrays = convolution(2, 3, 8, 5, 3, 1)
    order = unflatten_groups(kernel)
    check([(order, arrays)])


def unflatten_groups(kernel: Contraction) -> Contraction:
    """The same contraction with its operands exchanged."""
    axes = len(kernel.m), len(kernel.n)
    extents = kernel.m + kernel.n
    moved = {a: Index.axis(axes[1] + a, extents[a]) for a in range(axes[0])}
    moved |= {axes[0] + a: Index.axis(a, extents[axes[0] + a]) for a in range(axes[1])}

    def load(one: Load) -> Load:
        where = tuple(Range(r.index.substitute(moved), r.low, r.high) for r in one.where)
        return Load(one.slot, one.offset.substitute(moved), one.dtype, where, one.fill)

    store = kernel.epilogue[0]
    assert isinstance(store, Store)
    epilogue = (Store(store.slot, store.offset.substitute(moved), 0, store.dtype),)
    return Contraction((), kernel.n, kernel.m, kernel.k, load(kernel.rhs), load(kernel.lhs), epilogue, kernel.slots, kernel.dtype)


def test_reshaped_operands() -> None:
    """Quotients and remainders that no stride expresses: k counts through a transposed view."""
    m, n, k = 18, 24, 35
    i, j, p = (Index.axis(axis, size) for axis, size in enumerate((m, n, k)))
    outer, inner = unflatten(p, (7, 5))
    left = Load(0, i * k + inner * 7 + outer, float32)
    first, second = unflatten(j, (4, 6))
    right = Load(1, (second * 4 + first) * k + p, float32)
    check([mapped(m, n, k, left, right, (m * k, n * k, m * n))], RUNNABLE)


# --- the code itself -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_no_spills_in_the_inner_loop(level: str, dtype: np.dtype) -> None:
    """No tile that blocking can choose touches the stack between the loop's label and its branch, and each has all its
    multiply-adds there."""
    target = level_target(level)
    module = llvm.new_module(target)
    sums = {}
    widths = (1, 2, 3, 4, row_vectors(target))
    for vectors, shared_by, masked in itertools.product(widths, (1, MOST_SHARED), (False, True)):
        if vectors > 1 or shared_by == 1:
            rows = most_rows(target, vectors)
            name = tile_function(module, target, dtype, rows, vectors, masked, shared_by)
            sums[name] = rows * (vectors - 1) - (-rows // shared_by)
    for function in module.functions:
        function.linkage = ""
    assembly = llvm.emit_assembly(str(module), target)
    for name, count in sums.items():
        body = assembly[assembly.index(f"\n{name}:") : assembly.index(f"-{name}\n")]
        multiply_add = "fmla" if level == "aarch64" else "vfmadd" if target.has_fma else "mul"
        # Masked stores without masks are branches, and some of these jump back.
        loops = [loop for loop in inner_loops(body) if any(multiply_add in line for line in loop)]
        assert len(loops) == 1, name
        assert sum(multiply_add in line for line in loops[0]) == count, name
        assert not [line for line in loops[0] if "%rsp" in line or "[sp" in line], name


def inner_loops(assembly: str) -> list[list[str]]:
    """The lines of each innermost loop: from a label to a branch back to it."""
    lines = [line.strip() for line in assembly.splitlines()]
    labels = {line[:-1]: at for at, line in enumerate(lines) if re.fullmatch(r"\.?L\w+:", line)}
    spans = []
    for at, line in enumerate(lines):
        jump = re.match(r"(?:j\w+|b|b\.\w+|t?cbn?z .*,)\s+(\.?L\w+)", line)
        if jump and labels.get(jump[1], at) < at:
            spans.append((labels[jump[1]], at))
    innermost = [a for a in spans if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in spans)]
    return [lines[first : last + 1] for first, last in innermost]


def test_blocks_cover_the_space() -> None:
    """Panels, tiles and blocks cover every row and column once, whatever the shape."""
    for level, (m, n, k) in itertools.product(LEVELS, itertools.product([1, 2, 13, 64, 500, 3000], repeat=3)):
        target = level_target(level)
        flat = oriented(contraction("ik,jk->ij", dict(i=m, j=n, k=k)), target)
        blocks, m, n = block(flat, target), flat.m, flat.n
        lanes = lanes_of(target, np.dtype(np.float32))
        columns = (blocks.panels - 1) * blocks.width
        assert columns < n <= columns + blocks.last_width < n + lanes
        assert blocks.m_block % blocks.rows == 0
        assert blocks.k_block % lanes == 0 or blocks.k_blocks == 1
        assert blocks.k_part % lanes == 0 or blocks.k_parts == 1
        assert (blocks.m_blocks - 1) * blocks.m_block < m <= blocks.m_blocks * blocks.m_block
        assert (blocks.n_blocks - 1) * blocks.n_block < blocks.panels <= blocks.n_blocks * blocks.n_block
        assert (blocks.k_parts - 1) * blocks.k_part < k <= blocks.k_parts * blocks.k_part
        assert (blocks.k_blocks - 1) * blocks.k_block < blocks.k_part <= blocks.k_blocks * blocks.k_block
        assert blocks.dots or blocks.rows <= most_rows(target, max(blocks.vectors, blocks.last_vectors))
