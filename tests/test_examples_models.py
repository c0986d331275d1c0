"""The examples of one model each, at reduced size: every one runs, and finds what it should."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn")

ROOT = Path(__file__).resolve().parents[1]


def example(name: str) -> dict[str, Any]:
    """What a file defines, run afresh."""
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))


def test_cross_validation_finds_that_area_is_quadratic_in_radius():
    found = example("polynomial_regression")["main"](steps=1500)
    assert found["degree"] == 2
    assert found["difference"] < 1e-6
    assert found["r2"] > 0.99


def test_the_perceptron_follows_its_rule():
    found = example("perceptron")["main"](epochs=3)
    assert found["difference"] < 1e-12
    assert found["accuracy"] > 0.93


def test_the_convolutional_network_beats_a_linear_model():
    found = example("cnn_digits")["main"](epochs=8)
    assert found["accuracy"] > 0.98 > found["linear"]


def test_the_ensemble_of_residual_networks_is_better_than_its_members():
    found = example("resnet_tabular")["main"](epochs=12)
    assert found["accuracy"] >= found["single"] > 0.94
