"""A convolutional network on scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, against models that see no neighbourhoods.

    [Conv 3 x 3 - BatchNorm - ReLU - MaxPool 2 x 2] twice, 1 to 16 to 32 channels, then one linear layer

A linear model of the pixels is the lower mark. Batch normalization trains on each batch's statistics, and predicts with the
running ones that the step has updated.
"""

from __future__ import annotations

import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

BATCH = 32


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.25), nn.Linear(32 * 2 * 2, 10),
    )  # fmt: skip


def main(epochs: int = 30, progress: bool = False) -> dict[str, float]:
    images, labels = load_digits(return_X_y=True)
    x = (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    x, x_test, y, y_test = train_test_split(x, labels.astype(np.int32), test_size=0.25, stratify=labels, random_state=0)

    graphc.manual_seed(0)
    model = network()
    print(model)
    steps = epochs * -(-len(x) // BATCH)
    opt = optim.AdamW(model.parameters(), lr=optim.cosine(5e-3, steps, warmup_steps=steps // 10), weight_decay=0.01)
    step = graphc.train_step(lambda x, y: F.cross_entropy(model(x), y), opt)
    start = time.perf_counter()
    step.build(x=x[:BATCH], y=y[:BATCH])
    compiled = time.perf_counter() - start
    history = step.run({"x": x, "y": y}, epochs=epochs, batch_size=BATCH, shuffle=True, progress=progress)
    seconds = time.perf_counter() - start - compiled

    predicted = graphc.compile(model)(x_test).argmax(1)
    accuracy = float(np.mean(predicted == y_test))
    flat, flat_test = x.reshape(len(x), 64), x_test.reshape(len(x_test), 64)
    with threadpool_limits(1):  # in products so small, threads wait for one another
        linear = LogisticRegression(max_iter=5000).fit(flat, y).score(flat_test, y_test)
    print(f"compiled in {compiled:.1f} s; {epochs} epochs of {len(x)} images in {seconds:.1f} s; loss {history['loss'][-1]:.4f}")
    print(f"accuracy on {len(y_test)} held-out images {accuracy:.4f}; logistic regression on the pixels {linear:.4f}")
    confusions = confusion_matrix(y_test, predicted)
    np.fill_diagonal(confusions, 0)
    print("taken for another: " + (", ".join(f"{i} for {j}" for i, j in np.argwhere(confusions)) or "none"))
    return {"accuracy": accuracy, "linear": float(linear), "loss": history["loss"][-1]}


if __name__ == "__main__":
    main()
