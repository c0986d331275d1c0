"""A variational autoencoder of scikit-learn's handwritten digits; digits that it makes up go to out/vae.png.

    μ, log σ² = encoder(x)      z = μ + exp(½ log σ²) ε,  ε ~ N(0, 1)      p = sigmoid(decoder(z))
    loss = -log Binomial(k; 16, p), summed over the pixels  +  ½ Σ (μ² + σ² - 1 - log σ²)

A pixel k counts the black ones of a square of 4 x 4 finer pixels, hence the distribution. The loss is an upper bound of the
negative log-likelihood, in nats an image; on held-out images it is compared with pixels that are independent, each with its
own histogram. ε is drawn inside the native step, and for the gradient again, from the same counter.
"""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

write_png = runpy.run_path(str(Path(__file__).parent / "shared" / "png.py"))["write_png"]
CODE = 16
LOG_CHOICES = np.log([math.comb(16, k) for k in range(17)]).astype(np.float32)


def log_choices(x: graphc.Tensor) -> graphc.Tensor:
    """log of 16 over k for pixels x = k/16."""
    return graphc.take(graphc.constant(LOG_CHOICES), graphc.astype(graphc.round(16 * x), "int32"))


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 256), nn.SiLU(), nn.Linear(256, 2 * CODE))
        self.decoder = nn.Sequential(nn.Linear(CODE, 256), nn.SiLU(), nn.Linear(256, 64))

    def forward(self, x: graphc.Tensor) -> tuple[graphc.Tensor, graphc.Tensor]:
        """Means over the images of the two parts of the loss: reconstruction, and divergence from the prior."""
        mean, log_variance = graphc.split(self.encoder(x), 2, axis=1)
        z = mean + graphc.exp(0.5 * log_variance) * graphc.random.normal(mean.shape)
        reconstruction = 16 * F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum") - log_choices(x).sum()
        divergence = 0.5 * (mean**2 + graphc.exp(log_variance) - 1 - log_variance).sum()
        return reconstruction / x.shape[0], divergence / x.shape[0]

    def sample(self, count: int) -> graphc.Tensor:
        return F.sigmoid(self.decoder(graphc.random.normal((count, CODE))))


def main(epochs: int = 200, png: str | Path = "out/vae.png") -> dict[str, float]:
    images = (load_digits().data / 16).astype(np.float32)
    x, x_test = train_test_split(images, test_size=0.25, random_state=0)

    graphc.manual_seed(0)
    model = VAE()
    opt = optim.AdamW(model.parameters(), lr=optim.cosine(3e-3, epochs * -(-len(x) // 64)), weight_decay=0.02)

    def objective(x: graphc.Tensor) -> tuple[graphc.Tensor, dict[str, graphc.Tensor]]:
        reconstruction, divergence = model(x)
        return reconstruction + divergence, {"reconstruction": reconstruction, "divergence": divergence}

    step = graphc.train_step(objective, opt)
    history = step.run({"x": x}, epochs=epochs, batch_size=64, shuffle=True, progress=False)

    bound = graphc.compile(lambda x: sum(model(x)))
    value = float(np.mean([bound(x_test) for _ in range(20)]))  # each call draws afresh
    frequency = np.array([np.mean(x * 16 == k, axis=0) for k in range(17)]) * len(x) + 1  # one more of each than were seen
    seen = np.take_along_axis(frequency / (len(x) + 17), (x_test * 16).astype(int), axis=0)
    independent = float(-np.log(seen).sum(1).mean())
    sampled = graphc.compile(lambda: model.sample(100))()
    write_png(png, sampled.reshape(100, 8, 8), 10)
    last = {name: values[-1] for name, values in history.items()}
    parts = f"reconstruction {last['reconstruction']:.2f}, divergence {last['divergence']:.2f}"
    print(f"last epoch: {last['loss']:.2f} nats an image: {parts}")
    print(f"{len(x_test)} held-out images: at most {value:.2f} nats; independent pixels {independent:.2f}")
    print(f"100 digits that nobody wrote: {png}")
    return {"bound": value, "independent": independent, "spread": float(sampled.std(0).mean() / x_test.std(0).mean())}


if __name__ == "__main__":
    main()
