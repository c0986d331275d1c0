"""The examples of one model each, at reduced size: every one runs, and finds what it should."""

from __future__ import annotations

import runpy
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
threadpoolctl = pytest.importorskip("threadpoolctl")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def one_thread_in_scikit_learn() -> Iterator[None]:
    """Its products are small, and threads that wait for one another on a busy machine make seconds of milliseconds."""
    with threadpoolctl.threadpool_limits(1):
        yield


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
    assert found["accuracy"] > 0.975 > found["linear"]


def test_the_ensemble_of_residual_networks_is_better_than_its_members():
    found = example("resnet_tabular")["main"](epochs=12)
    assert found["accuracy"] >= found["single"] > 0.94


def test_the_autoencoder_keeps_more_than_principal_components():
    found = example("autoencoder")["main"](epochs=60)
    assert found["error"] < 0.85 * found["pca_error"]
    assert found["near"] > 0.93


def test_the_variational_autoencoder_explains_held_out_digits(tmp_path: Path):
    found = example("vae")["main"](epochs=60, png=tmp_path / "vae.png")
    assert found["bound"] < found["independent"] - 5
    assert found["spread"] > 0.7
    assert pixels(tmp_path / "vae.png").shape == (400, 400)


def test_diffusion_draws_the_digits_asked_for(tmp_path: Path):
    found = example("diffusion")["main"](epochs=40, png=tmp_path / "new" / "diffusion.png")
    assert found["right"] > 0.9
    assert found["loss"] < 0.3
    assert 0.1 < pixels(tmp_path / "new" / "diffusion.png").mean() / 255 < 0.4


def test_the_adversarial_networks_make_the_digits_asked_for(tmp_path: Path):
    found = example("gan")["main"](epochs=20, png=tmp_path / "gan.png")
    assert found["right"] > 0.7
    assert found["variety"] > 0.5
    assert pixels(tmp_path / "gan.png").shape == (400, 400)


def test_the_flow_is_a_better_density_than_the_normal():
    found = example("flow")["main"](epochs=120)
    assert found["flow"] > found["normal"] + 0.2
    assert found["difference"] < 1e-5


def test_the_transformer_learns_to_write():
    found = example("char_transformer")["main"](epochs=2, limit=100_000, letters=100)
    assert found["bits"] < found["pairs"] - 0.2 < found["single"] - 0.5
    assert found["difference"] < 1e-4
    assert found["letters"] > 10


def test_dates_are_translated():
    found = example("seq2seq_dates")["main"](epochs=3, count=6000)
    assert found["accuracy"] > 0.9


def test_the_lstm_tells_code_from_prose():
    found = example("lstm_text")["main"](epochs=3, limit=6000)
    assert found["accuracy"] > found["counts"] + 0.01 > found["frequent"] + 0.1


def test_pictures(tmp_path: Path):
    images = np.zeros((4, 8, 8), np.float32)
    images[1, 0, 0], images[2, 7, 7] = 1.0, 0.5
    runpy.run_path(str(ROOT / "examples" / "shared" / "png.py"))["write_png"](tmp_path / "new" / "four.png", images, 2)
    found = pixels(tmp_path / "new" / "four.png")[::4, ::4]
    assert found.shape == (20, 20) and np.count_nonzero(found) == 2
    assert found[1, 11] == 255 and found[18, 8] == 127


def pixels(path: Path) -> np.ndarray:
    """Of a grey PNG in one chunk without filters, its checksums tested."""
    data, position, chunks = path.read_bytes(), 8, {}
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    while position < len(data):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        body = data[position + 8 : position + 8 + length]
        assert int.from_bytes(data[position + 8 + length : position + 12 + length], "big") == zlib.crc32(kind + body)
        chunks[kind] = body
        position += 12 + length
    width, height = (int.from_bytes(chunks[b"IHDR"][i : i + 4], "big") for i in (0, 4))
    return np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)[:, 1:]
