"""Softmax regression on scikit-learn's wine data (178 wines of three growers, 13 measurements), in mini-batches.

    loss = mean of log Σ exp(z) - z_y,      z = x Wᵀ + b

Adam with a learning rate that warms up, then falls along a cosine, inside the native step; weight decay is a term of the loss.
The exact optimum, from scikit-learn's solver, is what it is measured against; the gradient of the first batch is compared with
(softmax(z) - e_y) x written out by hand.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

BATCH = 16
DECAY = 0.01  # λ in ½ λ ‖W‖²


def gradient_error(model: nn.Linear, x: np.ndarray, y: np.ndarray) -> float:
    """Largest difference between graphc's gradient of the cross-entropy and (softmax(z) - e_y) x / n."""
    given, labels = graphc.input("given", x.shape), graphc.input("labels", y.shape, "int32")
    derived = graphc.compile(graphc.grad(F.cross_entropy(model(given), labels), model.weight))(given=x, labels=y)
    z = x @ model.weight.numpy().T + model.bias.numpy()
    softmax = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return float(np.abs(derived - (softmax - np.eye(3)[y]).T @ x / len(x)).max())


def main(epochs: int = 200, progress: bool = False) -> dict[str, float]:
    data = load_wine()
    x, x_test, y, y_test = train_test_split(data.data, data.target, test_size=0.3, random_state=0, stratify=data.target)
    mean, deviation = x.mean(0), x.std(0)
    x, x_test = ((part - mean).astype(np.float32) / deviation.astype(np.float32) for part in (x, x_test))
    y, y_test = y.astype(np.int32), y_test.astype(np.int32)

    graphc.manual_seed(0)
    model = nn.Linear(x.shape[1], 3)
    steps = epochs * -(-len(x) // BATCH)
    opt = optim.Adam(model.parameters(), lr=optim.cosine(0.05, steps, warmup_steps=steps // 20))

    def objective(x: graphc.Tensor, y: graphc.Tensor) -> graphc.Tensor:
        return F.cross_entropy(model(x), y) + 0.5 * DECAY * (model.weight**2).sum()

    step = graphc.train_step(objective, opt)
    predict = graphc.compile(model)
    difference = gradient_error(model, x[:BATCH], y[:BATCH])
    history = step.run({"x": x, "y": y}, epochs=epochs, batch_size=BATCH, shuffle=True, progress=progress)

    value = float(graphc.compile(objective)(x, y))
    reference = LogisticRegression(C=1 / (DECAY * len(x)), tol=1e-10, max_iter=10_000).fit(x, y)
    probability = reference.predict_proba(x)[np.arange(len(y)), y]
    optimum = float(-np.log(probability).mean() + 0.5 * DECAY * (reference.coef_**2).sum())
    accuracy = float(np.mean(predict(x_test).argmax(1) == y_test))
    print(f"mean loss: first epoch {history['loss'][0]:.4f}, last {history['loss'][-1]:.4f}")
    print(f"objective on all {len(x)} wines {value:.6f}; scikit-learn's optimum {optimum:.6f}; gradient off by {difference:.1e}")
    print(f"accuracy on {len(x_test)} held-out wines {accuracy:.4f}; scikit-learn's {reference.score(x_test, y_test):.4f}")
    return {"accuracy": accuracy, "objective": value, "optimum": optimum, "gradient_error": difference}


if __name__ == "__main__":
    main()
