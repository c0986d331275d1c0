"""A generative adversarial network on scikit-learn's handwritten digits; digits that it makes to order go to out/gan.png.

    critic's loss      mean softplus(-D(x, digit)) + mean softplus(D(G(z, digit), digit))
    generator's loss   mean softplus(-D(G(z, digit), digit)),       z ~ N(0, 1)             (Goodfellow et al., 2014)

Two training steps over the same modules take turns, each with an optimizer of its own: the critic's reads the generator's
weights and leaves them alone, and the other way round. A classifier of the real images judges whether the made ones show the
digits asked for.
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
CODE = 32
BATCH = 32


class Generator(nn.Module):
    def __init__(self, width: int = 256):
        super().__init__()
        self.digit = nn.Embedding(10, CODE)
        self.net = nn.Sequential(
            nn.Linear(2 * CODE, width), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 64), nn.Tanh(),
        )  # fmt: skip

    def forward(self, digit: graphc.Tensor) -> graphc.Tensor:
        z = graphc.random.normal((digit.shape[0], CODE))
        return self.net(graphc.concat([z, self.digit(digit)], axis=1))


class Critic(nn.Module):
    """The log-odds that an image is real."""

    def __init__(self, width: int = 256):
        super().__init__()
        self.digit = nn.Embedding(10, CODE)
        self.net = nn.Sequential(
            nn.Linear(64 + CODE, width), nn.LeakyReLU(0.2), nn.Dropout(0.3),
            nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(width, 1),
        )  # fmt: skip

    def forward(self, x: graphc.Tensor, digit: graphc.Tensor) -> graphc.Tensor:
        return self.net(graphc.concat([x, self.digit(digit)], axis=1))[:, 0]


def main(epochs: int = 100, png: str | Path = "out/gan.png") -> dict[str, float]:
    images, labels = load_digits(return_X_y=True)
    images, labels = (images / 8 - 1).astype(np.float32), labels.astype(np.int32)
    x, x_test, y, y_test = train_test_split(images, labels, test_size=0.25, stratify=labels, random_state=0)

    graphc.manual_seed(0)
    generator, critic = Generator(), Critic()

    def critic_loss(x: graphc.Tensor, digit: graphc.Tensor) -> graphc.Tensor:
        return F.softplus(-critic(x, digit)).mean() + F.softplus(critic(generator(digit), digit)).mean()

    def generator_loss(digit: graphc.Tensor) -> graphc.Tensor:
        return F.softplus(-critic(generator(digit), digit)).mean()

    # the critic learns faster: where it lags behind, the generator gets away with one image for each digit
    critic_step = graphc.train_step(critic_loss, optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.999)))
    generator_step = graphc.train_step(generator_loss, optim.Adam(generator.parameters(), lr=3e-4, betas=(0.5, 0.999)))
    losses = np.zeros((epochs, 2))
    random = np.random.default_rng(0)
    for epoch in range(epochs):
        order = random.permutation(len(x))[: len(x) // BATCH * BATCH].reshape(-1, BATCH)
        for batch in order:
            losses[epoch] += critic_step(x[batch], y[batch]), generator_step(y[batch])
        losses[epoch] /= len(order)
        if epoch + 1 in (1, epochs // 3, 2 * epochs // 3, epochs):
            print(f"epoch {epoch + 1:3}   critic {losses[epoch, 0]:.3f}   generator {losses[epoch, 1]:.3f}")

    generate = graphc.compile(generator)
    digits = np.repeat(np.arange(10, dtype=np.int32), 100)
    made = generate(digits)
    judge = KNeighborsClassifier(5).fit(x, y)
    right, real = float(judge.score(made, digits)), float(judge.score(x_test, y_test))
    variety = float(np.mean([made[digits == d].std(0).mean() / x_test[y_test == d].std(0).mean() for d in range(10)]))
    write_png(png, made.reshape(10, 100, 8, 8)[:, :10].reshape(-1, 8, 8) / 2 + 0.5, 10)
    print(f"{len(made)} digits made in one call; 100 of them: {png}, a row for each digit")
    print(f"a classifier finds the digit that was asked for in {right:.3f} of them, and in {real:.3f} of held-out real images")
    print(f"deviation of a pixel among images of one digit: {variety:.2f} of that among real ones")
    return {"right": right, "real": real, "variety": variety}


if __name__ == "__main__":
    main()
