"""Linear regression by gradient descent, against the closed form, on scikit-learn's diabetes data (442 patients).

    one feature (body mass index), no intercept      w = xᵀy / xᵀx
    ten features and an intercept                    the least-squares solution

The loss is the mean of ½(ŷ - y)²; its gradient, derived by graphc, is compared with (ŷ - y) x written out by hand.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_diabetes

import graphc
import graphc.nn.functional as F
from graphc import nn, optim


def fit(features: np.ndarray, target: np.ndarray, bias: bool, lr: float, steps: int) -> tuple[nn.Linear, float]:
    """Full-batch gradient descent from zero; the model, and the largest difference of its first gradient from the one by hand."""
    rows, count = features.shape
    model = nn.Linear(count, 1, bias=bias, dtype="float64")
    nn.init.zeros_(model.weight)
    if bias:
        nn.init.zeros_(model.bias)
    x = graphc.input("x", features.shape, "float64")
    y = graphc.input("y", (rows, 1), "float64")
    loss = 0.5 * F.mse_loss(model(x), y)

    gradient = graphc.compile(graphc.grad(loss, model.weight), inputs=[x, y])(features, target)
    residual = features @ model.weight.numpy().T - target
    difference = np.abs(gradient - residual.T @ features / rows).max()

    step = graphc.train_step(loss, optim.SGD(model.parameters(), lr=lr, momentum=0.9))
    for _ in range(steps):
        step(x=features, y=target)
    return model, float(difference)


def main(steps: int = 10_000) -> dict[str, float]:
    data = load_diabetes(scaled=False)
    features = (data.data - data.data.mean(0)) / data.data.std(0)
    target = data.target[:, None]
    centred = target - target.mean()

    body_mass = features[:, 2:3]
    model, slope_gradient = fit(body_mass, centred, bias=False, lr=0.1, steps=500)
    slope = float(model.weight.numpy()[0, 0])
    exact = float((body_mass.T @ centred)[0, 0] / (body_mass.T @ body_mass)[0, 0])
    print(f"one feature:   w = {slope:.8f}; closed form xᵀy / xᵀx = {exact:.8f}; gradient off by {slope_gradient:.1e}")

    model, gradient = fit(features, target, bias=True, lr=0.1, steps=steps)
    with_ones = np.hstack([features, np.ones((len(features), 1))])
    solution = np.linalg.lstsq(with_ones, target, rcond=None)[0][:, 0]
    fitted = np.append(model.weight.numpy()[0], model.bias.numpy())
    error = float(np.abs(fitted - solution).max())
    for name, ours, theirs in zip([*data.feature_names, "intercept"], fitted, solution, strict=True):
        print(f"  {name:<9} {ours:12.6f}   least squares {theirs:12.6f}")
    residual = target[:, 0] - with_ones @ fitted
    r2 = float(1 - residual @ residual / (centred[:, 0] @ centred[:, 0]))
    print(f"ten features:  R² = {r2:.4f}; largest difference from least squares {error:.1e}; gradient off by {gradient:.1e}")
    return {"slope_error": abs(slope - exact), "error": error, "gradient_error": max(gradient, slope_gradient), "r2": r2}


if __name__ == "__main__":
    main()
