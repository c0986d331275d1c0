"""Poisson regression of real counts: the chin-ups, sit-ups and jumps of the 20 men in scikit-learn's linnerud data, from their
weight, waist and pulse.

    rate ŷ = exp(x wᵀ + b),      loss = mean of ŷ - y (x wᵀ + b)

Three regressions share one step: the output has a column for each exercise. They are measured against scikit-learn's
PoissonRegressor; the gradient is compared with (ŷ - y) x written out by hand. Twenty men are few, so the fit is described (by the
share of the deviance that it explains), and nothing is predicted.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_linnerud
from sklearn.linear_model import PoissonRegressor

import graphc
import graphc.nn.functional as F
from graphc import nn, optim


def main(steps: int = 6000) -> dict[str, float]:
    data = load_linnerud()
    counts = data.data  # the exercises; linnerud calls the measures of the men its "target"
    features = (data.target - data.target.mean(0)) / data.target.std(0)
    rows = len(counts)

    graphc.manual_seed(0)
    model = nn.Linear(3, 3, dtype="float64")
    model.weight.assign(np.zeros((3, 3)))
    model.bias.assign(np.log(counts.mean(0)))  # the best constant rates: what is explained is measured from here
    x = graphc.input("x", features.shape, "float64")
    y = graphc.input("y", counts.shape, "float64")
    log_rate = model(x)
    loss = F.poisson_nll_loss(log_rate, y, log_input=True)

    gradient = graphc.compile(graphc.grad(loss, model.weight), inputs=[x, y])(features, counts)
    difference = np.abs(gradient - (counts.mean(0) - counts).T @ features / (3 * rows)).max()

    rate = graphc.compile(graphc.exp(log_rate))
    constant = rate(x=features)
    step = graphc.train_step(loss, optim.Adam(model.parameters(), lr=optim.cosine(0.01, steps)))
    for _ in range(steps):
        step(x=features, y=counts)
    fitted = rate(x=features)

    largest = 0.0
    explained = {}
    for column, exercise in enumerate(data.feature_names):
        reference = PoissonRegressor(alpha=0, tol=1e-10, max_iter=10_000).fit(features, counts[:, column])
        ours = model.weight.numpy()[column]
        largest = max(largest, float(np.abs(ours - reference.coef_).max()))
        share = 1 - deviance(counts[:, column], fitted[:, column]) / deviance(counts[:, column], constant[:, column])
        explained[exercise] = float(share)
        effects = ", ".join(f"{name} x {np.exp(weight):.3f}" for name, weight in zip(data.target_names, ours, strict=True))
        print(f"{exercise:<7} per standard deviation of {effects}; explains {share:.1%} of the deviance")
    print(f"largest difference from scikit-learn's weights {largest:.1e}; gradient off by {difference:.1e}")
    return {"error": largest, "gradient_error": float(difference), **explained}


def deviance(counts: np.ndarray, rates: np.ndarray) -> float:
    return float(2 * np.sum(counts * np.log(counts / rates) - counts + rates))


if __name__ == "__main__":
    main()
