"""Logistic regression on scikit-learn's breast cancer data (569 tumours, 30 measurements), against scikit-learn's own solver.

    loss = mean of softplus(z) - y z  +  ‖w‖² / (2 C n),      z = x wᵀ + b

which is LogisticRegression's objective divided by C n. The penalty is a term of the loss like any other; the gradient that graphc
derives from both is compared with (sigmoid(z) - y) x + w / (C n) written out by hand.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

C = 1.0  # scikit-learn's: the inverse of the penalty's strength


def main(steps: int = 4000) -> dict[str, float]:
    data = load_breast_cancer()
    x_train, x_test, y_train, y_test = train_test_split(data.data, data.target, random_state=0, stratify=data.target)
    mean, deviation = x_train.mean(0), x_train.std(0)
    x_train, x_test = (x_train - mean) / deviation, (x_test - mean) / deviation
    rows, count = x_train.shape

    graphc.manual_seed(0)
    model = nn.Linear(count, 1, dtype="float64")
    x = graphc.input("x", x_train.shape, "float64")
    y = graphc.input("y", (rows,), "float64")
    z = model(x)[:, 0]
    loss = F.binary_cross_entropy_with_logits(z, y) + (model.weight**2).sum() / (2 * C * rows)

    gradients = graphc.compile(graphc.grad(loss, [model.weight, model.bias]))
    weight_gradient, bias_gradient = gradients(x=x_train, y=y_train)
    w, b = model.weight.numpy()[0], model.bias.numpy()[0]
    residual = 1 / (1 + np.exp(-(x_train @ w + b))) - y_train
    by_hand = residual @ x_train / rows + w / (C * rows)
    difference = max(np.abs(weight_gradient[0] - by_hand).max(), abs(bias_gradient[0] - residual.mean()))

    step = graphc.train_step(loss, optim.SGD(model.parameters(), lr=0.5, momentum=0.95, nesterov=True))
    value = 0.0
    for _ in range(steps):
        value = float(step(x=x_train, y=y_train))

    # The same weights serve any number of rows: a function is traced for the sizes it is called with.
    probability = graphc.compile(lambda x: graphc.sigmoid(model(x))[:, 0])
    accuracy = float(np.mean((probability(x_test) > 0.5) == y_test))
    reference = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(x_train, y_train)
    theirs = float(reference.score(x_test, y_test))
    error = float(np.abs(model.weight.numpy() - reference.coef_).max())
    print(f"loss {value:.6f} after {steps} steps; first gradient differs from the one by hand by {difference:.1e}")
    print(f"largest weight {np.abs(w).max():.4f}; largest difference from scikit-learn's weights {error:.1e}")
    print(f"accuracy on {len(x_test)} held-out tumours {accuracy:.4f}; scikit-learn's {theirs:.4f}")
    return {"accuracy": accuracy, "error": error, "gradient_error": float(difference), "reference": theirs}


if __name__ == "__main__":
    main()
