"""How a thread of the pool sleeps on a word, and how it is woken.

    void park(ptr pool, ptr word, i32 value)        returns once *word may differ from value
    void unpark(ptr pool, ptr word)                 wakes who sleeps on the word; one thread at most does

On a futex under Linux, else on the pool's mutex and condition variable.
"""

from __future__ import annotations

from graphc.codegen.builder import Module
from graphc.codegen.words import at, load, read

# In the pool's header, in bytes; see graphc/codegen/pool_layout.py.
SYSCALL, LOCK, UNLOCK, COND_WAIT, BROADCAST = range(48, 88, 8)
MUTEX, CONDITION = 256, 384


def emit_futex(module: Module, number: int) -> None:
    """@park: return once *word may differ from value. @unpark: wake who sleeps on the word (one thread at most does)."""
    fn = module.function("park", [("ptr", "pool"), ("ptr", "word"), ("i32", "value")])
    syscall, value = load(fn, "ptr", "%pool", SYSCALL), fn.op("zext i32 %value to i64")
    wait = f"i64 {number}, ptr %word, i64 128, i64 {value}, ptr null, ptr null, i64 0"  # 128: FUTEX_WAIT, private
    fn.do(f"call i64 (i64, ...) {syscall}({wait})")
    fn.ret()
    fn = module.function("unpark", [("ptr", "pool"), ("ptr", "word")])
    syscall = load(fn, "ptr", "%pool", SYSCALL)
    fn.do(f"call i64 (i64, ...) {syscall}(i64 {number}, ptr %word, i64 129, i64 1, ptr null, ptr null, i64 0)")  # FUTEX_WAKE
    fn.ret()


def emit_condition(module: Module) -> None:
    """The same with one mutex and one condition variable for all words. The word is written before @unpark takes the mutex and
    read by @park under it, so no wake-up is lost."""
    fn = module.function("park", [("ptr", "pool"), ("ptr", "word"), ("i32", "value")])
    mutex, condition = at(fn, "%pool", MUTEX), at(fn, "%pool", CONDITION)
    lock, unlock, wait = (load(fn, "ptr", "%pool", offset) for offset in (LOCK, UNLOCK, COND_WAIT))
    fn.do(f"call i32 {lock}(ptr {mutex})")
    fn.jump("test")
    fn.start("test")
    same = fn.op(f"icmp eq i32 {read(fn, 'i32', '%word', 0, 'seq_cst')}, %value")
    fn.branch(same, "wait", "leave")
    fn.start("wait")
    fn.do(f"call i32 {wait}(ptr {condition}, ptr {mutex})")
    fn.jump("test")
    fn.start("leave")
    fn.do(f"call i32 {unlock}(ptr {mutex})")
    fn.ret()
    fn = module.function("unpark", [("ptr", "pool"), ("ptr", "word")])
    mutex, condition = at(fn, "%pool", MUTEX), at(fn, "%pool", CONDITION)
    for offset, operand in ((LOCK, mutex), (UNLOCK, mutex), (BROADCAST, condition)):
        fn.do(f"call i32 {load(fn, 'ptr', '%pool', offset)}(ptr {operand})")
    fn.ret()
