"""The models that are measured, as plain data that every framework builds from: layers, batch, optimizer.

FLOPs count the contractions of forward and backward, two for each multiply-add, and what must be done of them: the gradient with
respect to the data is not computed, and causal attention multiplies half a square.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Model:
    kind: str  # mlp, ln_gelu, resnet, conv1d, cnn2d, lstm, gru, gpt, vae
    batch: int
    # from the input to the classes; of a sequence (tokens, embedding, hidden); of blocks (width, hidden, classes); of a VAE
    # (pixels, hidden, code)
    widths: tuple[int, ...]
    optimizer: str  # sgd, momentum, adam
    blocks: int = 0
    size: tuple[int, ...] = ()  # of each channel of a data point
    kernel: int = 0
    length: int = 0  # of a sequence of tokens, each with a target of its own
    heads: int = 0
    long: bool = False  # measured only where it is asked for

    @property
    def flops(self) -> float:
        a, b, c = self.widths[:3]
        if self.kind == "gpt":
            block = 4 * b * b + 2 * b * c + (self.length + 1) * b  # projections, feed-forward, both products of attention
            return 6.0 * self.batch * self.length * (self.blocks * block + a * b)
        if self.length:
            return 6.0 * self.batch * self.length * ({"lstm": 4, "gru": 3}[self.kind] * c * (b + c) + c * a)
        if self.kind == "vae":
            return 2.0 * self.batch * (3 * (2 * a * b + 3 * b * c) - a * b)
        if self.size:
            size, total = math.prod(self.size), 0
            for i, (low, high) in enumerate(pairwise(self.widths[:-1])):
                total += (2 if i == 0 else 3) * size * self.kernel ** len(self.size) * low * high
                size //= 4 if self.kind == "cnn2d" else 1
            return 2.0 * self.batch * (total + 3 * self.widths[-2] * self.widths[-1])
        if self.kind == "mlp":
            return 2.0 * self.batch * (3 * sum(low * high for low, high in pairwise(self.widths)) - a * b)
        # the first contraction needs no gradient of the data where nothing trainable lies before it
        first = 0 if self.kind == "ln_gelu" else a * b
        return 2.0 * self.batch * (3 * (self.blocks * 2 * a * b + a * c) - first)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        if self.length:
            tokens = rng.integers(0, self.widths[0], (2, self.batch, self.length)).astype(np.int32)
            return tokens[0], tokens[1].reshape(-1)
        if self.kind == "vae":
            return rng.random((self.batch, self.widths[0]), np.float32), np.zeros(0, np.int32)
        x = rng.standard_normal((self.batch, self.widths[0], *self.size), np.float32)
        return x, rng.integers(0, self.widths[-1], self.batch).astype(np.int32)

    def draw(self) -> Callable[[tuple[int, ...]], np.ndarray]:
        """Makes the initial weights, one after the other: uniform, by the number of inputs."""
        rng = np.random.default_rng(1)

        def weight(shape: tuple[int, ...]) -> np.ndarray:
            bound = math.prod(shape[1:]) ** -0.5
            return rng.uniform(-bound, bound, shape).astype(np.float32)

        return weight


MODELS = {
    "mlp_tiny": Model("mlp", 32, (64, 32, 10), "sgd"),
    "mlp_784": Model("mlp", 128, (784, 512, 512, 10), "momentum"),
    "mlp_ln_gelu": Model("ln_gelu", 256, (512, 2048, 10), "adam", blocks=2),
    "resnet_s": Model("resnet", 64, (256, 256, 10), "adam", blocks=8),
    "conv1d": Model("conv1d", 32, (16, 64, 64, 64, 10), "adam", size=(256,), kernel=5),
    "cnn2d": Model("cnn2d", 64, (3, 32, 64, 64, 10), "momentum", size=(32, 32), kernel=3),
    "lstm": Model("lstm", 32, (96, 128, 128), "adam", length=64),
    "gru": Model("gru", 32, (96, 128, 128), "adam", length=64),
    "gpt": Model("gpt", 16, (96, 128, 512), "adam", blocks=2, length=64, heads=4),
    "gpt_l": Model("gpt", 8, (256, 256, 1024), "adam", blocks=4, length=256, heads=8, long=True),
    "vae": Model("vae", 128, (784, 400, 20), "adam"),
}
