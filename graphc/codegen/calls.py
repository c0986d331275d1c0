"""Native code between Python and a step's entry, the same for every step: one call, and many steps over a data set.

    PyObject *call(PyObject *self, PyObject **args, Py_ssize_t count)        a built-in function, METH_FASTCALL

takes the frame (an array), a tuple of inputs and one of outputs; checks that each is an array such as the step was compiled
for, puts their addresses into the frame, and calls the entry without the interpreter's lock. Returns the outputs; or None, and
nothing was done, where an array will not do: another type, shape or layout, an input inside a state that the step writes, an
output that shares memory with anything else (Python then looks again, and copies or complains); or False where a check failed,
which the frame tells. Field `SPEC` of the frame points to what the step was compiled for:

    0 the entry                               4 the frame's field of the first output    8 arrays, inputs then outputs: dtype,
    1 inputs                                  5 spans of states: those written first       flags, axes, sizes, bytes
    2 outputs                                 6 how many of them are written
    3 the frame's field of the first input    7 the spans: first byte, end

    void python(ptr table)

tells `call` where things are in this interpreter, once: the fields named in `Python` below. Those of an ndarray behind its
header, data, nd, dimensions, strides, base, descr, flags, are part of NumPy's binary interface; the functions are of Python's.

    i64 drive(ptr job)

runs steps `NEXT` to `STOP` over arrays of rows and returns 0, or the code of the check that failed in step `NEXT`. It returns
early when the clock passes `DEADLINE`, after one step at least. Batch i is made of rows i * ROWS to (i + 1) * ROWS of each
array where they lie, or of those rows of `ORDER`, copied to a buffer. Scalar outputs go to cells of eight bytes, a row of them
for each step.

    0 frame    3 STOP                      6 clock's number    9 inputs      12 inputs: field of the frame, first row,
    1 entry    4 DEADLINE, nanoseconds     7 ROWS              10 scalars       bytes from row to row, bytes of a row, buffer;
    2 NEXT     5 clock_gettime             8 ORDER, or null    11 cells         then the scalars' fields of the frame
"""

from __future__ import annotations

import enum

from graphc.codegen.builder import Function, Module
from graphc.codegen.words import at


class Python(enum.IntEnum):
    HEADER = 0  # bytes of an object's; its last field is the type; in a tuple the number of items follows
    ITEMS = 1  # where those of a tuple begin
    NDARRAY = 2  # the type
    NONE = 3
    FALSE = 4
    INCREF = 5  # Py_IncRef
    SAVE = 6  # PyEval_SaveThread
    RESTORE = 7  # PyEval_RestoreThread


SPEC = 10  # of a frame
RECORD = 5  # fields of an array in a spec, and of an input in a job
INPUTS = 12  # where a job's inputs begin


def emit_calls(module: Module) -> None:
    module.declare("llvm.memcpy.p0.p0.i64", "void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
    module.add_global(f"@table = internal global [{len(Python)} x i64] zeroinitializer")
    for emit in (_emit_python, _emit_overlap, _emit_fits, _emit_enter, _emit_call, _emit_gather, _emit_drive):
        emit(module)


def _field(fn: Function, base: str, position: int, type_: str = "i64") -> str:
    return fn.op(f"load {type_}, ptr {at(fn, base, 8 * position)}")


def _element(fn: Function, base: str, index: str, type_: str = "i64") -> str:
    return fn.op(f"load {type_}, ptr {fn.op(f'getelementptr {type_}, ptr {base}, i64 {index}')}")


def _refuse_unless(fn: Function, condition: str, value: str = "false") -> None:
    """return value unless condition"""
    yes, no = fn.label("fine"), fn.label("refused")
    fn.branch(condition, yes, no)
    fn.start(no)
    fn.ret(value)
    fn.start(yes)


def _emit_python(module: Module) -> None:
    fn = module.function("python", [("ptr", "table")], "void", "nounwind")
    fn.do(f"call void @llvm.memcpy.p0.p0.i64(ptr @table, ptr %table, i64 {8 * len(Python)}, i1 false)")
    fn.ret()


def _emit_overlap(module: Module) -> None:
    """@clear(spans, count, begin, end): whether none of the spans shares a byte with [begin, end)."""
    params = [("ptr", "spans"), ("i64", "count"), ("i64", "begin"), ("i64", "end")]
    fn = module.function("clear", params, "i1", "nounwind")
    fn.linkage = "internal"
    with fn.loop("0", "%count") as loop:
        first = fn.op(f"shl i64 {loop.index}, 1")
        begin, end = _element(fn, "%spans", first), _element(fn, "%spans", fn.op(f"or i64 {first}, 1"))
        before, after = fn.op(f"icmp ule i64 {end}, %begin"), fn.op(f"icmp uge i64 {begin}, %end")
        _refuse_unless(fn, fn.op(f"or i1 {before}, {after}"))
        loop.next()
    fn.ret("true")


def _emit_fits(module: Module) -> None:
    """@fits(body, record): whether the object with these fields is an array as the record says; @axes compares shapes."""
    fn = module.function("axes", [("ptr", "found"), ("ptr", "expected"), ("i64", "count")], "i1", "nounwind")
    fn.linkage = "internal"
    with fn.loop("0", "%count") as loop:
        found, expected = (_element(fn, base, loop.index) for base in ("%found", "%expected"))
        _refuse_unless(fn, fn.op(f"icmp eq i64 {found}, {expected}"))
        loop.next()
    fn.ret("true")

    params = [("ptr", "body"), ("ptr", "record")]
    fn = module.function("fits", params, "i1", "nounwind")
    fn.linkage = "internal"
    type_ = _field(fn, "%body", -1)
    _refuse_unless(fn, fn.op(f"icmp eq i64 {type_}, {_field(fn, '@table', Python.NDARRAY)}"))
    _refuse_unless(fn, fn.op(f"icmp eq i64 {_field(fn, '%body', 5)}, {_field(fn, '%record', 0)}"))
    wanted = _field(fn, "%record", 1)
    flags = fn.op(f"zext i32 {_field(fn, '%body', 6, 'i32')} to i64")
    _refuse_unless(fn, fn.op(f"icmp eq i64 {fn.op(f'and i64 {flags}, {wanted}')}, {wanted}"))
    axes = fn.op(f"sext i32 {_field(fn, '%body', 1, 'i32')} to i64")
    _refuse_unless(fn, fn.op(f"icmp eq i64 {axes}, {_field(fn, '%record', 2)}"))
    sizes = _field(fn, "%body", 2, "ptr"), _field(fn, "%record", 3, "ptr")
    fn.ret(fn.op(f"call i1 @axes(ptr {sizes[0]}, ptr {sizes[1]}, i64 {axes})"))


def _emit_enter(module: Module) -> None:
    """@enter(into, spec, tuple, spans, first, count, against, apart): whether the items of the tuple are the arrays `first` to
    `first + count` of the spec and share no memory with so many states nor, where they must lie apart, with the arrays before
    them. Their addresses go to `into`, their spans to the others'."""
    params = [("ptr", "into"), ("ptr", "spec"), ("ptr", "tuple"), ("ptr", "spans"), ("i64", "first"), ("i64", "count")]
    fn = module.function("enter", [*params, ("i64", "against"), ("i1", "apart")], "i1", "nounwind")
    fn.linkage = "internal"
    header = _field(fn, "@table", Python.HEADER)
    size = fn.op(f"load i64, ptr {fn.op(f'getelementptr i8, ptr %tuple, i64 {header}')}")
    _refuse_unless(fn, fn.op(f"icmp eq i64 {size}, %count"))
    items = fn.op(f"getelementptr i8, ptr %tuple, i64 {_field(fn, '@table', Python.ITEMS)}")
    states, records = _field(fn, "%spec", 7, "ptr"), _field(fn, "%spec", 8, "ptr")
    with fn.loop("0", "%count") as loop:
        i = fn.op(f"add i64 {loop.index}, %first")
        array = _element(fn, items, loop.index, "ptr")
        body = fn.op(f"getelementptr i8, ptr {array}, i64 {header}")
        record = fn.op(f"getelementptr [{RECORD} x i64], ptr {records}, i64 {i}")
        _refuse_unless(fn, fn.op(f"call i1 @fits(ptr {body}, ptr {record})"))
        begin = _field(fn, body, 0)
        end = fn.op(f"add i64 {begin}, {_field(fn, record, 4)}")
        span = fn.op(f"getelementptr [2 x i64], ptr %spans, i64 {i}")
        fn.do(f"store i64 {begin}, ptr {span}")
        fn.do(f"store i64 {end}, ptr {at(fn, span, 8)}")
        _refuse_unless(fn, fn.op(f"call i1 @clear(ptr {states}, i64 %against, i64 {begin}, i64 {end})"))
        earlier = fn.op(f"select i1 %apart, i64 {i}, i64 0")
        _refuse_unless(fn, fn.op(f"call i1 @clear(ptr %spans, i64 {earlier}, i64 {begin}, i64 {end})"))
        fn.do(f"store i64 {begin}, ptr {fn.op(f'getelementptr i64, ptr %into, i64 {loop.index}')}")
        loop.next()
    fn.ret("true")


def _emit_call(module: Module) -> None:
    fn = module.function("call", [("ptr", "self"), ("ptr", "args"), ("i64", "count")], "ptr", "nounwind")
    array, inputs, outputs = (_field(fn, "%args", i, "ptr") for i in range(3))
    header = _field(fn, "@table", Python.HEADER)
    frame = fn.op(f"load ptr, ptr {fn.op(f'getelementptr i8, ptr {array}, i64 {header}')}")
    spec = _field(fn, frame, SPEC, "ptr")
    counts = [_field(fn, spec, i) for i in (1, 2)]
    held, written = _field(fn, spec, 5), _field(fn, spec, 6)
    total = fn.op("add i64 {}, {}".format(*counts))
    spans = fn.op(f"alloca [2 x i64], i64 {total}", "spans")
    none = fn.label("none")
    for items, position, first, count, rest in (
        (inputs, 3, "0", counts[0], f"i64 {written}, i1 false"),
        (outputs, 4, counts[0], counts[1], f"i64 {held}, i1 true"),
    ):
        into = fn.op(f"getelementptr i64, ptr {frame}, i64 {_field(fn, spec, position)}")
        arguments = f"ptr {into}, ptr {spec}, ptr {items}, ptr {spans}, i64 {first}, i64 {count}, {rest}"
        fine = fn.label("fine")
        fn.branch(fn.op(f"call i1 @enter({arguments})"), fine, none)
        fn.start(fine)
    state = fn.op(f"call ptr {_field(fn, '@table', Python.SAVE, 'ptr')}()")
    code = fn.op(f"call i64 {_field(fn, spec, 0, 'ptr')}(ptr {frame})")
    fn.do(f"call void {_field(fn, '@table', Python.RESTORE, 'ptr')}(ptr {state})")
    passed = fn.op(f"icmp eq i64 {code}, 0")
    found = fn.op(f"select i1 {passed}, ptr {outputs}, ptr {_field(fn, '@table', Python.FALSE, 'ptr')}")
    last = fn.block
    fn.jump("leave")
    fn.start(none)
    nothing = _field(fn, "@table", Python.NONE, "ptr")
    fn.jump("leave")
    fn.start("leave")
    result = fn.op(f"phi ptr [ {found}, %{last} ], [ {nothing}, %{none} ]")
    fn.do(f"call void {_field(fn, '@table', Python.INCREF, 'ptr')}(ptr {result})")
    fn.ret(result)


def _emit_gather(module: Module) -> None:
    """@gather(input, order, first, rows): the address of a batch of an input's rows, in place or in the input's buffer."""
    fn = module.function("gather", [("ptr", "input"), ("ptr", "order"), ("i64", "first"), ("i64", "rows")], "ptr", "nounwind")
    fn.linkage = "internal"
    source, into = (_field(fn, "%input", i, "ptr") for i in (1, 4))
    stride, size = (_field(fn, "%input", i) for i in (2, 3))
    in_place = fn.op(f"getelementptr i8, ptr {source}, i64 {fn.op(f'mul i64 %first, {stride}')}")
    _refuse_unless(fn, fn.op("icmp ne ptr %order, null"), in_place)
    rows = fn.op("getelementptr i64, ptr %order, i64 %first")
    with fn.loop("0", "%rows") as loop:
        row = fn.op(f"mul i64 {_element(fn, rows, loop.index)}, {stride}")
        to = fn.op(f"getelementptr i8, ptr {into}, i64 {fn.op(f'mul i64 {loop.index}, {size}')}")
        start = fn.op(f"getelementptr i8, ptr {source}, i64 {row}")
        fn.do(f"call void @llvm.memcpy.p0.p0.i64(ptr {to}, ptr {start}, i64 {size}, i1 false)")
        loop.next()
    fn.ret(into)


def _emit_drive(module: Module) -> None:
    fn = module.function("drive", [("ptr", "job")], "i64", "nounwind")
    frame, entry, now, order, cells = (_field(fn, "%job", i, "ptr") for i in (0, 1, 5, 8, 11))
    first, stop, deadline, clock, rows, inputs, scalars = (_field(fn, "%job", i) for i in (2, 3, 4, 6, 7, 9, 10))
    arrays = at(fn, "%job", 8 * INPUTS)
    fields = fn.op(f"getelementptr [{RECORD} x i64], ptr {arrays}, i64 {inputs}")
    time = fn.op("alloca [2 x i64]", "time")
    clock32 = fn.op(f"trunc i64 {clock} to i32")
    with fn.loop(first, stop) as steps:
        begin = fn.op(f"mul i64 {steps.index}, {rows}")
        with fn.loop("0", inputs) as loop:
            record = fn.op(f"getelementptr [{RECORD} x i64], ptr {arrays}, i64 {loop.index}")
            batch = fn.op(f"call ptr @gather(ptr {record}, ptr {order}, i64 {begin}, i64 {rows})")
            slot = fn.op(f"getelementptr i64, ptr {frame}, i64 {_field(fn, record, 0)}")
            fn.do(f"store ptr {batch}, ptr {slot}")
            loop.next()
        place = fn.op(f"mul i64 {fn.op(f'sub i64 {steps.index}, {first}')}, {scalars}")
        row = fn.op(f"getelementptr i64, ptr {cells}, i64 {place}")
        with fn.loop("0", scalars) as loop:
            slot = fn.op(f"getelementptr i64, ptr {frame}, i64 {_element(fn, fields, loop.index)}")
            fn.do(f"store ptr {fn.op(f'getelementptr i64, ptr {row}, i64 {loop.index}')}, ptr {slot}")
            loop.next()
        code = fn.op(f"call i64 {entry}(ptr {frame})")
        fn.do(f"store i64 {steps.index}, ptr {at(fn, '%job', 16)}")
        _refuse_unless(fn, fn.op(f"icmp eq i64 {code}, 0"), code)
        fn.do(f"store i64 {fn.op(f'add i64 {steps.index}, 1')}, ptr {at(fn, '%job', 16)}")
        fn.do(f"call i32 {now}(i32 {clock32}, ptr {time})")
        seconds = fn.op(f"mul i64 {_field(fn, time, 0)}, 1000000000")
        elapsed = fn.op(f"add i64 {seconds}, {_field(fn, time, 1)}")
        _refuse_unless(fn, fn.op(f"icmp slt i64 {elapsed}, {deadline}"), "0")
        steps.next()
    fn.ret("0")
