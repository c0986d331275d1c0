"""Polynomial regression whose degree is chosen by cross-validation, on 569 real tumours: from the mean radius, the mean area.

    ŷ = w_0 + w_1 x + ... + w_K x^K          loss = mean of (ŷ - y)² + λ ‖w‖²

Both were measured on outlines in images, so geometry says what to expect: area grows with the square of the radius. Degree 1
is far off, degree 2 right, and a higher degree gains nothing that the spread between folds would not explain; of the degrees
within one standard error of the best the lowest is taken. Every fit is compared with the closed form (XᵀX/n + λI)⁻¹ Xᵀy/n.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import KFold, train_test_split

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

DEGREES = (0, 1, 2, 3, 4, 5)
PENALTY = 1e-4


def powers(x: np.ndarray, degree: int) -> np.ndarray:
    """[1, x, ..., x^degree] of x standardised, and divided so that few values exceed 1."""
    return (x[:, None] / 4.0) ** np.arange(degree + 1)


def closed_form(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.linalg.solve(x.T @ x / len(x) + PENALTY * np.eye(x.shape[1]), x.T @ y / len(x))


class Polynomial:
    """The polynomials of one degree. Its step is compiled once for each size of a fold, however often it is fitted."""

    def __init__(self, degree: int, steps: int):
        self.degree, self.steps = degree, steps
        self.model = nn.Linear(degree + 1, 1, bias=False, dtype="float64")
        weight = self.model.weight
        opt = optim.SGD([weight], lr=0.3, momentum=0.98, nesterov=True)
        self.step = graphc.train_step(lambda x, y: F.mse_loss(self.model(x)[:, 0], y) + PENALTY * (weight**2).sum(), opt)

    def fit(self, x: np.ndarray, y: np.ndarray) -> float:
        """Descend from zero, and say how far from the closed form that ends, relative to its largest weight."""
        nn.init.zeros_(self.model.weight)
        given = powers(x, self.degree)
        for _ in range(self.steps):
            self.step(x=given, y=y)
        exact = closed_form(given, y)
        return float(np.abs(self.model.weight.numpy()[0] - exact).max() / np.abs(exact).max())

    def error(self, x: np.ndarray, y: np.ndarray) -> float:
        return float(np.sqrt(np.mean((powers(x, self.degree) @ self.model.weight.numpy()[0] - y) ** 2)))


def main(steps: int = 4000, folds: int = 5) -> dict[str, float]:
    data = load_breast_cancer()
    columns = {name: data.data[:, i] for i, name in enumerate(data.feature_names)}
    radius, area = columns["mean radius"], columns["mean area"]
    x, x_test, y, y_test = train_test_split(radius, area, test_size=0.2, random_state=0)
    mean, deviation, scale = x.mean(), x.std(), y.std()
    x, x_test, y, y_test = (x - mean) / deviation, (x_test - mean) / deviation, y / scale, y_test / scale

    candidates = [Polynomial(degree, steps) for degree in DEGREES]
    errors = np.empty((len(candidates), folds))
    for fold, (train, valid) in enumerate(KFold(folds, shuffle=True, random_state=0).split(x)):
        for row, candidate in enumerate(candidates):
            candidate.fit(x[train], y[train])
            errors[row, fold] = candidate.error(x[valid], y[valid])
    means, spreads = errors.mean(1), errors.std(1, ddof=1) / np.sqrt(folds)
    best = int(means.argmin())
    chosen = next(row for row in range(len(means)) if means[row] <= means[best] + spreads[best])

    print(f"root mean squared error in {folds} folds, in units of the images' area:")
    for row, (value, spread) in enumerate(zip(means * scale, spreads * scale, strict=True)):
        print(f"  degree {DEGREES[row]}   {value:7.2f} ± {spread:.2f}{'   chosen' if row == chosen else ''}")
    difference = candidates[chosen].fit(x, y)
    error = candidates[chosen].error(x_test, y_test) * scale
    r2 = 1 - (error / scale) ** 2 / y_test.var()
    print(f"degree {DEGREES[chosen]} on {len(y_test)} held-out tumours: error {error:.2f}, R² {r2:.4f}")
    print(f"its weights differ from the closed form by {difference:.1e} of the largest")
    return {"degree": DEGREES[chosen], "error": error, "r2": r2, "difference": difference}


if __name__ == "__main__":
    main()
