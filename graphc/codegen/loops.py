"""Loops that run at least once: the test is at the bottom, so a body without branches is one basic block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from graphc.codegen.builder import Function, Loop


@contextlib.contextmanager
def repeat(fn: Function, start: str, stop: str, step: int = 1, carried: Sequence[tuple[str, str]] = ()) -> Iterator[Loop]:
    """i = start; do ... while ((i += step) < stop); `carried` are (type, initial value) pairs, as in `Function.loop`."""
    before, body, done = fn.block, fn.label("body"), fn.label("done")
    fn.jump(body)
    fn.start(body)
    loop = Loop(fn.fresh("i"), [fn.fresh("c") for _ in carried])
    following: list[str] = []
    loop.next = lambda *values: following.extend(values)  # type: ignore[method-assign]
    at = len(fn.lines)  # phis go here once the end of the body is known
    yield loop
    after = fn.op(f"add nsw i64 {loop.index}, {step}")
    last = fn.block
    fn.branch(fn.op(f"icmp slt i64 {after}, {stop}"), body, done)
    phis = [f"  {loop.index} = phi i64 [ {start}, %{before} ], [ {after}, %{last} ]"]
    for name, (type_, initial), value in zip(loop.carried, carried, following, strict=True):
        phis.append(f"  {name} = phi {type_} [ {initial}, %{before} ], [ {value}, %{last} ]")
    fn.lines[at:at] = phis
    fn.start(done)
    loop.results = following
