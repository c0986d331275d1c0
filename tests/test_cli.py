"""The command line: what it prints, and what it says to requests that make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphc.cli import main

FILE = """
import graphc
from graphc import nn, optim
import graphc.nn.functional as F

model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
x = graphc.input("x", (5, 4))
y = model(x)
fixed = graphc.train_step((y * y).mean(), optim.SGD(model.parameters(), lr=0.1))
traced = graphc.compile(model)
number = 3

def build():
    return fixed

def double(a):
    return a + a

if __name__ == "__main__":
    raise SystemExit("this is not for the command line")
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "declared.py"
    path.write_text(FILE)
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    return code, *capsys.readouterr()


@pytest.mark.parametrize("name", ["fixed", "build", "y"])
def test_dump_lists_stages(file: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "dump", f"{file}:{name}")
    stages = out.split()
    assert code == 0 and stages[0] == "input" and {"fuse", "llvm", "asm"} <= set(stages)


def test_dump_prints_a_stage(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "update" not in run(capsys, "dump", f"{file}:fixed", "--stage", "input")[1]
    assert "update 0.weight <-" in run(capsys, "dump", f"{file}:fixed", "--stage", "autodiff")[1]
    assert run(capsys, "dump", f"{file}:fixed", "--stage", "fuse")[1].startswith("program")
    assert "define" in run(capsys, "dump", f"{file}:fixed", "--stage", "llvm")[1]


@pytest.mark.parametrize(("name", "example"), [("traced", "input=f32[2,4]"), ("model", "input=f32[2,4]"), ("double", "a=i64[]")])
def test_traced_functions_need_example_inputs(file: str, name: str, example: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "stats", f"{file}:{name}", "--input", example)
    assert code == 0 and example.replace("=", ": ") in out
    code, _, err = run(capsys, "stats", f"{file}:{name}")
    assert code == 2 and "--input x=f32[32,64]" in err


def test_stats(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "stats", f"{file}:fixed")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == [
        "inputs", "graph", "operations", "kernels", "launches", "states", "parameters", "arena", "passes",
    ]  # fmt: skip
    assert "parameters  60 bytes" in out


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("{}", "expected FILE.py:NAME"),
        ("{}:", "expected FILE.py:NAME"),
        ("nowhere.py:step", "no file 'nowhere.py'"),
        ("{}:step", "defines no 'step'; it defines model, fixed, traced"),
        ("{}:number", "is int; expected a compiled step"),
    ],
)
def test_bad_targets(file: str, target: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "dump", target.format(file))
    assert code == 2 and out == "" and message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--stage", "nonsense"), "no stage 'nonsense'; there are input, autodiff"),
        (("--input", "x"), "expected NAME=TYPE[SIZES]"),
        (("--input", "x=f16[3]"), "a type of f32, f64"),
        (("--input", "x=f32[3,]"), "sizes are fixed"),
    ],
)
def test_bad_options(file: str, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "dump", f"{file}:fixed", *arguments)
    assert code == 2 and message in err


@pytest.mark.parametrize("arguments", [(), ("frob",), ("dump",), ("stats", "a.py:b", "--stage", "fuse")])
def test_usage(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: graphc" in capsys.readouterr().err
