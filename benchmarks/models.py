"""The models that are measured, as plain data that every framework builds from: layers, batch, optimizer. FLOPs count the
contractions of
forward and backward, two for each multiply-add; the gradient with respect to the data is not computed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Model:
    kind: str  # mlp, ln_gelu, resnet, conv1d, cnn2d, lstm, gru
    batch: int
    # from the input to the classes; of a sequence (tokens, embedding, hidden); of blocks (width, hidden, classes)
    widths: tuple[int, ...]
    optimizer: str  # sgd, momentum, adam
    blocks: int = 0
    size: tuple[int, ...] = ()  # of each channel of a data point
    kernel: int = 0
    length: int = 0  # of a sequence of tokens, each with a target of its own

    @property
    def flops(self) -> float:
        if self.length:
            tokens, embedding, hidden = self.widths
            gates = {"lstm": 4, "gru": 3}[self.kind]
            return 6.0 * self.batch * self.length * (gates * hidden * (embedding + hidden) + hidden * tokens)
        if self.size:
            size, total = math.prod(self.size), 0
            for i, (a, b) in enumerate(zip(self.widths[:-2], self.widths[1:-1], strict=True)):
                total += (2 if i == 0 else 3) * size * self.kernel ** len(self.size) * a * b
                size //= 4 if self.kind == "cnn2d" else 1
            return 2.0 * self.batch * (total + 3 * self.widths[-2] * self.widths[-1])
        if self.kind == "mlp":
            pairs = list(zip(self.widths, self.widths[1:], strict=False))
            return 2.0 * self.batch * (3 * sum(a * b for a, b in pairs) - pairs[0][0] * pairs[0][1])
        width, hidden, classes = self.widths
        # the first contraction needs no gradient of the data where nothing trainable lies before it
        first = 0 if self.kind == "ln_gelu" else width * hidden
        return 2.0 * self.batch * (3 * (self.blocks * 2 * width * hidden + width * classes) - first)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        if self.length:
            tokens = rng.integers(0, self.widths[0], (2, self.batch, self.length)).astype(np.int32)
            return tokens[0], tokens[1].reshape(-1)
        x = rng.standard_normal((self.batch, self.widths[0], *self.size), np.float32)
        return x, rng.integers(0, self.widths[-1], self.batch).astype(np.int32)


MODELS = {
    "mlp_tiny": Model("mlp", 32, (64, 32, 10), "sgd"),
    "mlp_784": Model("mlp", 128, (784, 512, 512, 10), "momentum"),
    "mlp_ln_gelu": Model("ln_gelu", 256, (512, 2048, 10), "adam", blocks=2),
    "resnet_s": Model("resnet", 64, (256, 256, 10), "adam", blocks=8),
    "conv1d": Model("conv1d", 32, (16, 64, 64, 64, 10), "adam", size=(256,), kernel=5),
    "cnn2d": Model("cnn2d", 64, (3, 32, 64, 64, 10), "momentum", size=(32, 32), kernel=3),
    "lstm": Model("lstm", 32, (96, 128, 128), "adam", length=64),
    "gru": Model("gru", 32, (96, 128, 128), "adam", length=64),
}
