"""Denoising diffusion on scikit-learn's handwritten digits; digits drawn to order go to out/diffusion.png.

    x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε,  ε ~ N(0, 1)           loss = mean of (ε - network(x_t, t, digit))²      (Ho et al., 2020)
    x_{t-1} = (x_t - (1 - a_t)/√(1 - ᾱ_t) network(x_t, t, digit))/√a_t + s_t ε,   from x_T ~ N(0, 1) down to x_0

t and ε are drawn inside the native step. Sampling is a compiled step as well: the images and t are states that each call updates.
A classifier of the real images judges whether the drawn ones show the digits that were asked for.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

write_png = runpy.run_path(str(Path(__file__).parent / "shared" / "png.py"))["write_png"]
TIMES = 100
SIGNAL = np.cos(np.linspace(0.02, 0.99, TIMES + 1) * np.pi / 2) ** 2  # ᾱ_0 ... ᾱ_T
ALPHA = np.append(1.0, SIGNAL[1:] / SIGNAL[:-1])
SPREAD = np.append(0.0, np.sqrt((1 - SIGNAL[:-1]) / (1 - SIGNAL[1:]) * (1 - ALPHA[1:])))  # s_t
SPREAD[1] = 0  # the last move adds no noise


def at(values: np.ndarray, t: graphc.Tensor) -> graphc.Tensor:
    return graphc.take(graphc.constant(values, "float32"), t)


class Denoiser(nn.Module):
    """The noise in x_t: an MLP with residual blocks that each see the time and the digit."""

    def __init__(self, width: int = 256, blocks: int = 3):
        super().__init__()
        self.enter, self.leave = nn.Linear(64, width), nn.Linear(width, 64)
        self.time, self.digit = nn.Embedding(TIMES + 1, width), nn.Embedding(10, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(blocks)])
        self.blocks = nn.ModuleList(
            [nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(blocks)]
        )
        times = self.time.weight.numpy()
        times[:] = graphc.compile(F.sinusoidal_positions(*times.shape))()  # near times are alike

    def forward(self, x: graphc.Tensor, t: graphc.Tensor, digit: graphc.Tensor) -> graphc.Tensor:
        about = self.time(t) + self.digit(digit)
        h = self.enter(x)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            h = h + block(norm(h) + about)
        return self.leave(h)


def sampler(model: Denoiser, digits: np.ndarray) -> tuple[graphc.Executable, graphc.State]:
    """A step from x_t to x_{t-1} of one image for each digit, and the state that holds the images."""
    x = graphc.state("x", np.random.default_rng(0).standard_normal((len(digits), 64)).astype(np.float32))
    t = graphc.state("t", np.array(TIMES, "int32"))
    noise = model(x, graphc.broadcast_to(t, digits.shape), graphc.constant(digits))
    signal, alpha = at(SIGNAL, t), at(ALPHA, t)
    mean = (x - (1 - alpha) / graphc.sqrt(1 - signal) * noise) / graphc.sqrt(alpha)
    drawn = mean + at(SPREAD, t) * graphc.random.normal(x.shape)
    return graphc.compile(t, updates={x: drawn, t: t - 1}), x


def main(epochs: int = 200, png: str | Path = "out/diffusion.png") -> dict[str, float]:
    images, labels = load_digits(return_X_y=True)
    images, labels = (images / 8 - 1).astype(np.float32), labels.astype(np.int32)
    x, x_test, y, y_test = train_test_split(images, labels, test_size=0.25, stratify=labels, random_state=0)

    graphc.manual_seed(0)
    model = Denoiser()
    steps = epochs * -(-len(x) // 64)
    opt = optim.AdamW(model.parameters(), lr=optim.cosine(2e-3, steps, warmup_steps=steps // 20), weight_decay=0.01)

    def objective(x: graphc.Tensor, digit: graphc.Tensor) -> graphc.Tensor:
        t = 1 + graphc.astype(graphc.random.uniform(digit.shape) * TIMES, "int32")
        noise = graphc.random.normal(x.shape)
        signal = at(SIGNAL, t)[:, None]
        return F.mse_loss(model(graphc.sqrt(signal) * x + graphc.sqrt(1 - signal) * noise, t, digit), noise)

    step = graphc.train_step(objective, opt)
    history = step.run({"x": x, "digit": y}, epochs=epochs, batch_size=64, shuffle=True, progress=False)
    held_out = graphc.compile(objective)
    value = float(np.mean([held_out(x_test, y_test) for _ in range(20)]))

    digits = np.repeat(np.arange(10, dtype=np.int32), 10)
    with nn.evaluating():  # a function is traced for evaluation by itself; these tensors are declared directly
        denoise, drawn = sampler(model, digits)
    while denoise() > 1:
        pass
    judge = KNeighborsClassifier(5).fit(x, y)
    right, real = float(judge.score(drawn.numpy(), digits)), float(judge.score(x_test, y_test))
    write_png(png, drawn.numpy().reshape(-1, 8, 8) / 2 + 0.5, 10)
    print(f"squared error: first epoch {history['loss'][0]:.3f}, last {history['loss'][-1]:.3f}, held out {value:.3f}")
    print(f"100 digits drawn in {TIMES} steps: {png}, a row for each digit")
    print(f"a classifier finds the digit that was asked for in {right:.2f} of them, and in {real:.3f} of held-out real images")
    return {"right": right, "real": real, "loss": value}


if __name__ == "__main__":
    main()
