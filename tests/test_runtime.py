"""Object bytes -> running steps: the entry, the manifest, executables, exclusion of states, errors. Kernels are handmade."""

from __future__ import annotations

import ctypes
import json
import struct
import threading
from collections.abc import Callable
from functools import cache

import handmade
import numpy as np
import pytest
from handmade import binary, buffer, build, launch, load, store

from graphc.codegen import llvm
from graphc.codegen.object import CompiledObject
from graphc.codegen.target import host_target, level_target
from graphc.errors import InputError, ShapeError
from graphc.program import FailedCheck, Program, Space
from graphc.runtime import jit, pointer
from graphc.runtime.executable import Executable

N = 64


def run_of(compiled: CompiledObject, *states: np.ndarray, **options) -> Executable:
    return Executable(compiled.manifest, compiled.object, states, **options)


def two_step_program() -> tuple[Program, list[handmade.Handmade]]:
    """o = (x + y) * w, then w += x; the first kernel is launched twice."""
    add, mul = handmade.handmade(3, [2], binary("fadd"), N), handmade.handmade(3, [2], binary("fmul"), N)
    x, y = buffer("x", N, Space.INPUT), buffer("y", N, Space.INPUT)
    w, o, t = buffer("w", N, Space.STATE), buffer("o", N, Space.OUTPUT), buffer("t", N, Space.ARENA)
    return Program((x, y), (w,), (), (o,), (launch(add, x, y, t), launch(mul, t, w, o), launch(add, w, x, w))), [add, mul]


def test_a_program_runs_and_updates_its_state_in_place():
    compiled = build(*two_step_program())
    w, x, y = np.full(N, 2, np.float32), np.arange(N, dtype=np.float32), np.ones(N, np.float32)
    step = run_of(compiled, w)
    (o,) = step([x, y])
    assert np.array_equal(o, (x + y) * 2) and np.array_equal(w, x + 2)
    (again,) = step([x, y])
    assert again is not o and np.array_equal(again, (x + y) * (x + 2))


def test_equal_kernels_are_emitted_once_and_the_manifest_is_plain_data():
    compiled = build(*two_step_program())
    assert compiled.manifest["kernels"] == 2 and compiled.manifest["launches"] == 3
    assert compiled.llvm.count("define internal") == 2
    assert compiled.manifest["updated"] == [0]
    assert json.loads(json.dumps(compiled.manifest)) == compiled.manifest
    assert "sweep_0" in compiled.assembly()


def elf_symbols(data: bytes) -> tuple[set[str], set[str]]:
    """(global defined, undefined) symbols of a 64-bit little-endian ELF object."""
    assert data[:6] == b"\x7fELF\x02\x01"
    table, count = struct.unpack_from("<Q", data, 0x28)[0], struct.unpack_from("<H", data, 0x3C)[0]
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, table + 64 * i) for i in range(count)]
    defined, undefined = set(), set()
    for _, kind, _, _, offset, size, link, _, _, entry in sections:
        if kind != 2:  # SHT_SYMTAB
            continue
        names = sections[link][4]
        for at in range(offset + entry, offset + size, entry):
            name, info, _, section, _, _ = struct.unpack_from("<IBBHQQ", data, at)
            text = data[names + name : data.index(b"\0", names + name)].decode()
            if section == 0:
                undefined.add(text)
            elif info >> 4:  # not local
                defined.add(text)
    return defined, undefined


def fills_by_memset() -> tuple[Program, list[handmade.Handmade]]:
    def body(fn, p, i):
        fn.module.declare("llvm.memset.p0.i64", "void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
        fn.do(f"call void @llvm.memset.p0.i64(ptr {p[0]}, i8 0, i64 %end, i1 false)")

    fill = handmade.handmade(1, [0], body, N)
    o = buffer("o", N, Space.OUTPUT)
    return Program((), (), (), (o,), (launch(fill, o),)), [fill]


def test_an_object_exports_its_entry_and_needs_only_memcpy_and_memset():
    if not host_target().triple.endswith("linux-gnu"):
        pytest.skip("reads ELF")
    assert elf_symbols(build(*two_step_program()).object) == ({"step"}, set())
    compiled = build(*fills_by_memset())
    assert elf_symbols(compiled.object) == ({"step"}, {"memset"})
    assert run_of(compiled)([])[0].view(np.uint8)[:N].sum() == 0  # and it is linked


@pytest.mark.parametrize("level", ["x86-64-v2", "x86-64-v3", "aarch64"])
def test_objects_for_other_machines(level):
    compiled = build(*two_step_program(), level_target(level, "Linux"))
    assert struct.unpack_from("<H", compiled.object, 18)[0] == (183 if level == "aarch64" else 62)
    assert elf_symbols(compiled.object) == ({"step"}, set())


def checking_program() -> tuple[Program, list[handmade.Handmade]]:
    """Fails with the value of x[0] where that is not 0; then w += x."""

    def check(fn, p, i):
        bad = fn.op(f"fptosi float {load(fn, 'float', p[0], 0)} to i64")
        with fn.when(fn.op(f"icmp ne i64 {bad}, 0")):
            store(fn, "i64", "1", p[-1], 0)
            store(fn, "i64", bad, p[-1], 1)

    test, add = handmade.handmade(1, [], check, 1, checks=True), handmade.handmade(3, [2], binary("fadd"), N)
    x, w = buffer("x", N, Space.INPUT), buffer("w", N, Space.STATE)
    failed = FailedCheck("take: index {value} is out of range [0, 1) {of x}", "model.py:7")
    return Program((x,), (w,), (), (), (launch(test, x), launch(add, w, x, w)), (failed,)), [test, add]


def test_a_failed_check_stops_the_call_and_the_next_one_runs():
    w, x = np.zeros(N, np.float32), np.ones(N, np.float32)
    step = run_of(build(*checking_program()), w)
    x[0] = 5
    with pytest.raises(InputError, match=r"index 5 is out of range \[0, 1\) {of x}\n  declared at model.py:7"):
        step([x])
    assert not w.any()
    x[0] = 0
    step([x])
    assert np.array_equal(w, x)


@cache
def _float_library() -> jit.Library:
    module = llvm.new_module(host_target())
    for name in ("stmxcsr", "ldmxcsr"):
        module.declare(f"llvm.x86.sse.{name}", f"void @llvm.x86.sse.{name}(ptr)")
        fn = module.function(f"do_{name}", [("ptr", "word")])
        fn.do(f"call void @llvm.x86.sse.{name}(ptr %word)")
        fn.ret()
    return jit.load(llvm.emit_object(str(module), host_target()), ["do_stmxcsr", "do_ldmxcsr"])


def float_control() -> tuple[Callable[[], int], Callable[[int], None]]:
    """(get, set) of this thread's MXCSR."""
    library, word = _float_library(), ctypes.c_uint32()
    calls = [ctypes.CFUNCTYPE(None, ctypes.c_void_p)(library.address(f"do_{name}")) for name in ("stmxcsr", "ldmxcsr")]

    def get() -> int:
        calls[0](ctypes.addressof(word))
        return word.value

    def put(value: int) -> None:
        word.value = value
        calls[1](ctypes.addressof(word))

    return get, put


def test_denormals_are_kept_and_the_callers_control_word_comes_back():
    if not host_target().triple.startswith("x86_64"):
        pytest.skip("sets MXCSR")
    mul = handmade.handmade(3, [2], binary("fmul"), N)
    x, y, o = buffer("x", N, Space.INPUT), buffer("y", N, Space.INPUT), buffer("o", N, Space.OUTPUT)
    step = run_of(build(Program((x, y), (), (), (o,), (launch(mul, x, y, o),)), [mul]))
    small, half = np.full(N, np.finfo(np.float32).tiny, np.float32), np.full(N, 0.5, np.float32)
    get, put = float_control()
    before = get()
    try:
        put(0x1F80 | 0x8040 | 0x6000)  # flush to zero, denormals are zero, round towards zero
        (o,) = step([small, half])
        after = get()
    finally:
        put(before)
    assert after & 0xFFC0 == 0x1F80 | 0x8040 | 0x6000
    assert np.array_equal(o, small * half) and o.all()


def test_inputs_that_share_memory_with_an_updated_state_are_read_from_a_copy():
    add = handmade.handmade(
        3,
        [2],
        lambda fn, p, i: store(
            fn,
            "float",
            fn.op(f"fadd float {load(fn, 'float', p[0], fn.op(f'sub i64 {N - 1}, {i}'))}, {load(fn, 'float', p[1], i)}"),
            p[2],
            i,
        ),
        N,
    )
    x, w = buffer("x", N, Space.INPUT), buffer("w", N, Space.STATE)
    state = np.arange(2 * N, dtype=np.float32)[:N].copy()
    step = run_of(build(Program((x,), (w,), (), (), (launch(add, x, w, w),)), [add]), state)
    before = state.copy()
    step([state.view()])  # w[i] += w[N - 1 - i], reversed: wrong if read while written
    assert np.array_equal(state, before[::-1] + before)


def test_out_reuses_arrays_and_may_share_memory_with_an_input():
    reverse = handmade.handmade(
        2, [1], lambda fn, p, i: store(fn, "float", load(fn, "float", p[0], fn.op(f"sub i64 {N - 1}, {i}")), p[1], i), N
    )
    x, o = buffer("x", N, Space.INPUT), buffer("o", N, Space.OUTPUT)
    step = run_of(build(Program((x,), (), (), (o,), (launch(reverse, x, o),)), [reverse]))
    data, out = np.arange(N, dtype=np.float32), np.empty(N, np.float32)
    assert step([data], [out])[0] is out and np.array_equal(out, data[::-1])
    expected = data[::-1].copy()
    assert step([data], [data])[0] is data and np.array_equal(data, expected)
    with pytest.raises(ShapeError, match=r"out\[0\]: expected a writable, C-contiguous f32\[64\], got shape \(32,\)"):
        step([data], [out[:32]])
    with pytest.raises(InputError, match="got one that is not"):
        step([data], [np.empty(2 * N, np.float32)[::2]])


def test_arrays_at_any_address_and_the_slow_way_to_addresses(monkeypatch):
    step = run_of(build(*two_step_program()), np.ones(N, np.float32))
    for offset in range(4):
        x, y = np.arange(N + 4, dtype=np.float32)[offset : offset + N], np.ones(N, np.float32)
        expected = (x + y) * step.states[0]
        assert np.array_equal(step([x, y])[0], expected)
        monkeypatch.setattr(pointer, "DIRECT", False)


def test_state_and_constant_arrays_must_fit_the_manifest():
    compiled = build(*two_step_program())
    with pytest.raises(InputError, match=r"state w: expected a C-contiguous float32\[64\]"):
        run_of(compiled, np.ones(N))
    with pytest.raises(InputError, match="expected 1 states, got 0"):
        run_of(compiled)


def in_threads(count: int, work) -> None:
    failures = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "deadlock"
    assert not failures, failures[0]


def test_calls_without_updates_run_at_once_each_with_its_own_arena():
    add, mul = handmade.handmade(3, [2], binary("fadd"), N), handmade.handmade(3, [2], binary("fmul"), N)
    x, o, t = buffer("x", N, Space.INPUT), buffer("o", N, Space.OUTPUT), buffer("t", N, Space.ARENA)
    step = run_of(build(Program((x,), (), (), (o,), (launch(add, x, x, t), launch(mul, t, t, o))), [add, mul]))

    def work(number: int) -> None:
        data = np.full(N, number, np.float32)
        for _ in range(500):
            assert (step([data])[0] == 4 * number * number).all()

    in_threads(6, work)


def test_a_step_with_updates_excludes_readers_and_writers_of_its_states():
    size = 50_000
    add, copy = (
        handmade.handmade(3, [2], binary("fadd"), size),
        handmade.handmade(2, [1], lambda fn, p, i: store(fn, "float", load(fn, "float", p[0], i), p[1], i), size),
    )
    x, o = buffer("x", size, Space.INPUT), buffer("o", size, Space.OUTPUT)
    w, v = buffer("w", size, Space.STATE), buffer("v", size, Space.STATE)
    first, second = np.zeros(size, np.float32), np.zeros(size, np.float32)
    one = np.ones(size, np.float32)
    write_first = run_of(build(Program((x,), (w,), (), (), (launch(add, w, x, w),)), [add]), first)
    write_second = run_of(build(Program((x,), (w,), (), (), (launch(add, w, x, w),)), [add]), second)
    write_both = run_of(build(Program((x,), (w, v), (), (), (launch(add, w, x, w), launch(add, v, x, v))), [add]), second, first)
    read = run_of(build(Program((), (w,), (), (o,), (launch(copy, w, o),)), [copy]), first)

    def work(number: int) -> None:
        for _ in range(100):
            if number == 0:
                write_first([one])
            elif number == 1:
                write_second([one])
            elif number == 2:
                write_both([one])
            else:
                (seen,) = read([])
                assert (seen == seen[0]).all()

    in_threads(6, work)
    assert (first == 200).all() and (second == 200).all()


def test_a_program_without_launches():
    assert run_of(build(Program((), (), (), (), ()), []))([]) == []
