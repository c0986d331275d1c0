"""The cache of compiled objects: what hits, what must not, and that nothing but whole files of its own is ever loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import cache, compiler, fingerprint, nn, optim
from graphc.cache import Entry, Store, open_store
from graphc.codegen.object import compile_program
from graphc.codegen.target import host_target, level_target
from graphc.graph import Graph
from graphc.op import OPS
from graphc.passes.pipeline import run_passes

KEY = "k" * 64
ENTRY = Entry({"arena_bytes": 64, "parallel": False}, b"packed", b"object" * 1000)


sources = fingerprint.sources


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor at work on graphc's files meanwhile would change keys."""
    monkeypatch.setattr(fingerprint, "sources", lambda: "as they are")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache is on, in a directory of the test's own; this is where its files lie."""
    monkeypatch.setenv("GRAPHC_CACHE", "1")
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "objects"


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def small_step(name: str = "x", width: int = 8, **options: object) -> graphc.TrainStep:
    model = nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, 3))
    x, y = graphc.input(name, (5, 6)), graphc.input("y", (5,), "int32")
    return graphc.train_step(F.cross_entropy(model(x), y), optim.SGD(model.parameters(), lr=0.1), threads=1, **options)  # type: ignore[arg-type]


# --- hits ---


def test_a_second_step_is_the_same_bytes(folder: Path) -> None:
    first, second = small_step(), small_step()
    assert first.compiled_from == "compiler" and second.compiled_from == "cache"
    assert first.cache_note == second.cache_note == ""
    one, two = first._native._object, second._native._object  # type: ignore[union-attr]
    assert (one.object, one.manifest) == (two.object, two.manifest)
    for stage in ("llvm", "asm", "program"):
        assert first.dump(stage) == second.dump(stage)


PROCESS = """
import sys, numpy as np, graphc
from graphc import nn, optim
import graphc.nn.functional as F
graphc.manual_seed(3)
model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
step = graphc.train_step(lambda x, y: F.cross_entropy(model(x), y), optim.Adam(model.parameters(), lr=1e-2), threads=2)
rng = np.random.default_rng(0)
for _ in range(3):
    loss = step(rng.standard_normal((128, 64), np.float32), rng.integers(0, 10, 128))
print(step.compiled_from, loss.tobytes().hex(), model[0].weight.numpy().sum(dtype="f8").hex())
"""


def test_a_second_process_hits_and_computes_the_same_bits(folder: Path) -> None:
    def run(**environment: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", PROCESS], env={**os.environ, **environment}, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    (cold, *bits), (warm, *same), (off, *without) = run(), run(), run(GRAPHC_CACHE="0")
    assert (cold, warm, off) == ("compiler", "cache", "compiler") and bits == same == without


def test_names_do_not_matter_and_are_the_users_own(folder: Path) -> None:
    first, second = small_step("x"), small_step("pixels")
    assert (first.compiled_from, second.compiled_from) == ("compiler", "cache")
    x, y = np.ones((5, 6), np.float32), np.zeros(5, np.int32)
    first(x=x, y=y), second(pixels=x, y=y)
    with pytest.raises(graphc.InputError, match="pixels"):
        second(x=x, y=y)


def test_a_check_that_fails_tells_of_this_declaration(folder: Path) -> None:
    losses = []
    for _ in range(2):
        step = small_step()
        losses.append(step)
        with pytest.raises(graphc.InputError, match="7") as error:
            step(x=np.ones((5, 6), np.float32), y=np.full(5, 7, np.int32))
        assert Path(__file__).name in str(error.value)
    assert [step.compiled_from for step in losses] == ["compiler", "cache"]


# --- keys ---


WITH_SAMPLES = [op for op in OPS.values() if next(iter(op.samples(np.random.default_rng(0))), None) is not None]


def key_of(executable: object, inputs: list[graphc.Tensor] | None = None, level: str = "x86-64-v3") -> str:
    """The key of an executable, or of tensors, without compiling them."""
    if not isinstance(executable, graphc.Executable):
        leaves = list(executable) if isinstance(executable, (list, tuple)) else [executable]
        graph = Graph(tuple(x.node for x in inputs or ()), tuple(y.node for y in leaves))
        return fingerprint.program_key(run_passes(graph, graphc.Options())[-1].ir, level_target(level))
    return fingerprint.program_key(executable.program, level_target(level))


def test_what_changes_code_changes_the_key() -> None:
    x, y = graphc.input("x", (4, 6)), graphc.input("y", (4, 6), "float64")
    made = {
        "sum": graphc.compile(x + x),
        "difference": graphc.compile(x - x),
        "type": graphc.compile(y + y),
        "shape": graphc.compile(graphc.input("x", (4, 7)) + 1.0),
        "constant": graphc.compile(x + 1.0),
        "another": graphc.compile(x + 2.0),
        "zero": graphc.compile(x * 0.0),
        "negative zero": graphc.compile(x * -0.0),
        "transposed": graphc.compile(x.T + 1.0),
        "fused": graphc.compile(graphc.exp(graphc.sum(graphc.tanh(x), axis=1))),
        "unfused": graphc.compile(graphc.exp(graphc.sum(graphc.tanh(x), axis=1)), options=graphc.Options(fusion=False)),
    }
    keys = {name: key_of(executable) for name, executable in made.items()}
    assert len(set(keys.values())) == len(keys), keys
    levels = {key_of(made["fused"], level=level) for level in ("x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64")}
    assert len(levels) == 4


def test_the_arena_and_the_order_of_buffers_are_part_of_the_key() -> None:
    program = small_step().program
    arena = program.arena
    assert arena is not None and arena.offsets
    moved = dataclasses.replace(arena, offsets={buffer: offset + 64 for buffer, offset in arena.offsets.items()})
    changed = [
        dataclasses.replace(program, arena=None),
        dataclasses.replace(program, arena=moved),
        dataclasses.replace(program, arena=dataclasses.replace(arena, size=arena.size + 64)),
        dataclasses.replace(program, states=program.states[::-1]),
        dataclasses.replace(program, body=program.body[::-1]),
        dataclasses.replace(program, body=program.body[:-1]),
    ]
    keys = {fingerprint.program_key(one, host_target()) for one in [program, *changed]}
    assert len(keys) == 1 + len(changed)
    same = dataclasses.replace(program, name="other", checks=())
    assert fingerprint.program_key(same, host_target()) in keys


def test_keys_are_those_of_other_processes() -> None:
    """No hash of Python's, which differs from process to process, and no address has a part in a key."""
    code = f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import test_cache as t; "
    code += "t.fingerprint.sources = lambda: 'as they are'; print(t.key_of(t.small_step()))"
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == key_of(small_step()) + "\n"


def test_the_version_and_the_sources_are_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    step = small_step()
    keys = {key_of(step)}
    monkeypatch.setattr(graphc, "__version__", "0.0.0")
    keys.add(key_of(step))
    monkeypatch.setattr(fingerprint, "sources", lambda: "other")
    keys.add(key_of(step))
    assert len(keys) == 3


def test_sources_are_all_modules_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).resolve().parents[1]
    places = {"graphc": "graphc", "graphc.passes": "passes", "graphc.runtime": "runtime"}
    modules = [fingerprint._modules(folder, name) for name in places for folder in fingerprint._folders(name)]
    found = {module for some in modules for module, _, _ in some}
    files = [(name, path.relative_to(root / place)) for name, place in places.items() for path in (root / place).rglob("*.py")]
    assert found == {".".join([name, *path.parts]) for name, path in files}
    (tmp_path / "one.py").write_text("x = 1")
    monkeypatch.setattr(fingerprint, "_folders", lambda package: [str(tmp_path)] if package == "graphc" else [])
    before = fingerprint._contents((("one", str(tmp_path / "one.py")),))
    (tmp_path / "one.py").write_text("x = 2")
    fingerprint._contents.cache_clear()
    assert fingerprint._contents((("one", str(tmp_path / "one.py")),)) != before
    with pytest.raises(fingerprint.NoKey, match="changed since it was imported"):
        sources()
    (tmp_path / "one.py").unlink()
    with pytest.raises(fingerprint.NoKey, match="without its source files"):
        sources()


def test_every_op_has_a_key() -> None:
    """The first sample of each, and its gradient; different ops have different keys."""
    keys: dict[str, str] = {}
    for op in WITH_SAMPLES:
        sample = next(iter(op.samples(np.random.default_rng(0))))
        operands = [graphc.input(f"x{i}", array.shape, array.dtype) for i, array in enumerate(map(np.asarray, sample.arrays))]
        y = op(*operands, **sample.attrs)
        keys[op.name] = key_of(y, operands)
        floats = [x for x in operands if x.dtype.kind == "f"]
        if floats and y.dtype.kind == "f":
            key_of(graphc.grad(y.sum(), floats), operands)
    assert len(set(keys.values())) > 0.8 * len(keys)  # some are others by another name, or of samples that mean the same


def test_a_loop_has_a_key() -> None:
    x = graphc.input("x", (7, 4))

    def total(length: int, reverse: bool = False) -> str:
        last, each = graphc.scan(lambda c, x: (graphc.tanh(c + x), c * x), graphc.zeros((4,)), x[:length], reverse=reverse)
        return key_of([last, each], [x])

    keys = [total(7), total(6), total(7, reverse=True)]
    assert len(set(keys)) == 3 and total(7) == keys[0]


def test_what_has_no_exact_text_has_no_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = small_step().program
    before = files(folder)
    odd = dataclasses.replace(program, body=(*program.body, object()))  # type: ignore[arg-type]
    with pytest.raises(fingerprint.NoKey, match="no exact text for a object"):
        fingerprint.program_key(odd, host_target())

    def refuse(*_: object) -> str:
        raise fingerprint.NoKey("because")

    monkeypatch.setattr(compiler, "program_key", refuse)
    for _ in range(2):
        step = small_step()
        assert (step.compiled_from, step.cache_note) == ("compiler", "because")
    assert files(folder) == before


# --- files ---


def test_an_entry_comes_back(folder: Path) -> None:
    store = open_store()
    assert store.off == "" and store.load(KEY) is None
    assert store.save(KEY, ENTRY) and store.load(KEY) == ENTRY
    assert [path.name for path in files(folder)] == [KEY]
    assert folder.stat().st_mode & 0o777 == 0o700 and (folder / KEY).stat().st_mode & 0o777 == 0o600


def test_every_flipped_byte_and_every_cut_is_noticed(folder: Path) -> None:
    store = open_store()
    store.save(KEY, Entry({"a": 1}, b"text", b"code"))
    whole = (folder / KEY).read_bytes()
    damaged = [whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :] for at in range(len(whole))]
    damaged += [whole[:at] for at in range(len(whole))] + [whole + b"\0", b"", b"\0" * len(whole)]
    for data in damaged:
        (folder / KEY).write_bytes(data)
        assert store.load(KEY) is None and not (folder / KEY).exists()


def test_an_entry_under_anothers_name_is_not_loaded(folder: Path) -> None:
    store = open_store()
    other = "o" * 64
    store.save(KEY, ENTRY)
    os.rename(folder / KEY, folder / other)
    assert store.load(other) is None and files(folder) == []


def test_an_entry_of_another_format_is_not_loaded(folder: Path) -> None:
    store = open_store()
    manifest = json.dumps({}).encode()
    for lengths in ((len(manifest), 0, 0), (len(manifest), 0, 9), (1 << 63, 1, 1)):
        rest = KEY.encode() + cache._LENGTHS.pack(*lengths) + manifest
        (folder / KEY).write_bytes(cache._MAGIC + hashlib.sha256(rest).digest() + rest)
        assert (store.load(KEY) is not None) == (lengths == (len(manifest), 0, 0))


def test_a_damaged_file_is_compiled_again_and_replaced(folder: Path) -> None:
    first = small_step()
    first.build()
    (path,) = files(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] + bytes(100))
    again = small_step()
    assert again.compiled_from == "compiler" and path.read_bytes() == whole
    x, y = np.ones((5, 6), np.float32), np.zeros(5, np.int32)
    assert np.isfinite(again(x=x, y=y)) and small_step().compiled_from == "cache"


def test_symbolic_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    store = open_store()
    store.save(KEY, ENTRY)
    os.rename(folder / KEY, tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", folder / KEY)
    assert store.load(KEY) is None
    assert store.save(KEY, ENTRY) and store.load(KEY) == ENTRY and not (folder / KEY).is_symlink()


def test_the_least_recently_used_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store()
    keys = [str(i) * 64 for i in range(5)]
    for age, key in enumerate(keys):
        store.save(key, ENTRY)
        os.utime(folder / key, (1000 + age, 1000 + age))
    assert store.load(keys[0]) == ENTRY  # now the latest
    size = (folder / keys[0]).stat().st_size
    monkeypatch.setattr(cache, "MAX_BYTES", 3 * size)
    store.save(KEY, ENTRY)
    assert {path.name for path in files(folder)} == {KEY, keys[0], keys[4]}


def test_what_an_interrupted_process_left_is_removed(folder: Path) -> None:
    store = open_store()
    for name, age in ((".old", 7200), (".new", 0)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    store.save(KEY, ENTRY)
    assert [path.name for path in files(folder)] == [".new", KEY]


def test_many_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers, readers and eviction at the same time, in threads and forked processes: whole entries or none."""
    keys = [f"{i:064}" for i in range(6)]
    entries = {key: Entry({"key": key}, key.encode(), os.urandom(20_000)) for key in keys}
    monkeypatch.setattr(cache, "MAX_BYTES", 70_000)
    wrong: list[str] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        store = open_store()
        for _ in range(60):
            key = keys[rng.integers(len(keys))]
            if rng.random() < 0.5:
                store.save(key, entries[key])
            elif store.load(key) not in (None, entries[key]):
                wrong.append(key)

    children = []
    for seed in range(2):
        child = os.fork()
        if not child:
            work(seed)
            os._exit(len(wrong))
        children.append(child)
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0] and wrong == []
    assert not [path for path in files(folder) if path.name.startswith(".")]


# --- where, and where not ---


def test_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_CACHE", "1")
    monkeypatch.delenv("GRAPHC_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    usual = {"linux": ".cache", "darwin": "Library/Caches"}
    for platform, place in usual.items():
        monkeypatch.setattr(sys, "platform", platform)
        assert open_store().path == tmp_path / "home" / place / "graphc" / "objects"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert open_store().path == tmp_path / "home" / ".cache" / "graphc" / "objects"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert open_store().path == tmp_path / "xdg" / "graphc" / "objects"
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path / "own"))
    assert open_store().path == tmp_path / "own" / "objects"
    monkeypatch.setenv("GRAPHC_CACHE", "0")
    assert open_store() == Store(None, "GRAPHC_CACHE=0")


def test_turned_off_nothing_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_CACHE", "0")
    step = small_step()
    assert (step.compiled_from, step.cache_note) == ("compiler", "GRAPHC_CACHE=0") and not folder.parent.exists()


def test_a_directory_that_is_open_to_others_is_not_used(folder: Path) -> None:
    small_step().build()
    folder.chmod(0o750)
    step = small_step()
    assert step.compiled_from == "compiler" and step.cache_note == f"{folder} is open to others"
    folder.chmod(0o700)
    assert small_step().compiled_from == "cache"


def test_a_directory_that_changes_hands_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store()
    assert store.save(KEY, ENTRY)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert store.load(KEY) is None and not store.save(KEY, ENTRY)
    assert open_store() == Store(None, f"{folder} belongs to another user")


def test_a_link_in_place_of_the_directory_is_not_used(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    assert open_store().path is None and "cannot be used" in open_store().off


@pytest.mark.parametrize("place", ["/proc/nothing", "/dev/null/x"])
def test_a_directory_that_cannot_be_made_is_not_used(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_CACHE", "1")
    monkeypatch.setenv("GRAPHC_CACHE_DIR", place)
    step = small_step()
    assert step.compiled_from == "compiler" and step.cache_note.startswith(f"{place}/objects cannot be used")


def test_a_full_disk_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    step = small_step()
    assert step.compiled_from == "compiler" and files(folder) == []
    assert open_store().save(KEY, ENTRY) is False


def test_a_directory_removed_meanwhile_is_no_error(folder: Path) -> None:
    store = open_store()
    folder.rmdir()
    assert store.load(KEY) is None and store.save(KEY, ENTRY) is False


def test_what_is_kept_of_the_manifest_is_what_the_machine_code_decides(folder: Path) -> None:
    step = small_step()
    compiled = compile_program(step.program, host_target())
    (path,) = files(folder)
    entry = open_store().load(path.name)
    assert entry is not None and entry.object == compiled.object
    assert {**compiled.manifest, **entry.manifest} == compiled.manifest
    assert set(entry.manifest) == {"arena_bytes", "worker_scratch", "kernels", "launches", "parallel", "target"}
