"""Every example runs, as a file and as a module, and finds what it should."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
threadpoolctl = pytest.importorskip("threadpoolctl")

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


@pytest.fixture(autouse=True)
def one_thread_in_scikit_learn() -> Iterator[None]:
    """Its products are small, and threads that wait for one another on a busy machine make seconds of milliseconds."""
    with threadpoolctl.threadpool_limits(1):
        yield


def example(name: str) -> dict[str, Any]:
    """What a file defines, run afresh."""
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))


def test_linear_regression_reaches_the_closed_form():
    found = example("linear_regression")["main"](steps=4000)
    assert found["slope_error"] < 1e-9
    assert found["error"] < 1e-3
    assert found["gradient_error"] < 1e-12
    assert found["r2"] == pytest.approx(0.5177, abs=1e-4)  # of least squares, in every textbook that uses this data


def test_logistic_regression_reaches_scikit_learns_solution():
    found = example("logistic_regression")["main"](steps=1500)
    assert found["error"] < 1e-3
    assert found["gradient_error"] < 1e-13
    assert found["accuracy"] == found["reference"] > 0.94


def test_softmax_regression_comes_close_to_the_optimum():
    found = example("softmax_regression")["main"](epochs=60)
    assert found["optimum"] - 1e-6 < found["objective"] < found["optimum"] + 1e-3
    assert found["gradient_error"] < 1e-6
    assert found["accuracy"] > 0.95


def test_poisson_regression_reaches_scikit_learns_solution():
    found = example("poisson_regression")["main"](steps=3000)
    assert found["error"] < 1e-5
    assert found["gradient_error"] < 1e-12
    assert 0.3 < found["Chins"] < found["Situps"] < 0.6


def test_the_housing_network_learns():
    found = example("housing_network")["main"](epochs=150)
    assert found["gradient_error"] < 1e-5
    assert found["error"] < 1.05 * found["linear"] < 0.9 * found["constant"]


def test_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    digits = example("digits")
    found = digits["main"](dumps=tmp_path, progress=False)
    assert found["accuracy"] >= 0.96
    printed = capsys.readouterr().out
    assert len(re.findall(r"^epoch +\d+ +loss \d\.\d{4}$", printed, re.M)) == 20
    dumps = sorted(tmp_path.iterdir())
    stages = digits["step"].stages
    assert [path.stem.split("-", 1)[1] for path in dumps] == list(stages)
    text = {stage: path.read_text() for stage, path in zip(stages, dumps, strict=True)}
    assert "x: f32[32,64]" in text["input"]  # of the full batch, not of the last one
    assert "contract x 0.weight" in text["autodiff"] and "examples/digits.py:" in text["autodiff"]
    assert "contraction" in text["program"] and "arena of" in text["program"]
    assert "define " in text["llvm"]
    assert len(digits["step"]._traced) == 2  # 32 rows, and 29


def test_digits_gives_the_same_bits_again():
    first, second = (example("digits") for _ in range(2))
    for run in (first, second):
        run["step"].run({"x": run["x_train"], "y": run["y_train"]}, epochs=2, batch_size=32, shuffle=True, progress=False)
    for ours, theirs in zip(first["model"].parameters(), second["model"].parameters(), strict=True):
        assert np.array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("command", [["examples/linear_regression.py"], ["-m", "examples.linear_regression"]])
def test_examples_run_from_the_command_line(command: list[str]):
    result = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert result.returncode == 0, result.stderr
    assert "least squares" in result.stdout


def test_the_readme_lists_every_example():
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "README.md").read_text(), re.M)
    assert sorted(set(rows) & set(EXAMPLES)) == EXAMPLES


def test_every_example_has_a_main_and_a_test():
    here = "".join(path.read_text() for path in Path(__file__).parent.glob("test_examples*.py"))
    for name in EXAMPLES:
        assert f'example("{name}")' in here
