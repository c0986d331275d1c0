"""A network wired by hand: three hidden neurons that each see only what somebody thought relevant, 12 parameters in all.

    a1 = relu(θ1 x1 + θ2 x2 + θ3)       a2 = relu(θ4 x3 + θ5)       a3 = relu(θ6 x3 + θ7 x4 + θ8)
    ŷ  = θ9 a1 + θ10 a2 + θ11 a3 + θ12

Lecture notes introduce it with the price of a house: size and bedrooms make family size, the postcode walkability, postcode and
wealth the quality of schools. scikit-learn bundles no houses, so the same wiring predicts the progression of diabetes in 442
patients: x1 is the body mass index and x2 blood pressure, x3 the logarithm of serum triglycerides, x4 a cholesterol (HDL).

Its gradient is compared with the chain rule written out by hand, and what it predicts with a linear model of the same inputs.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split

import graphc
import graphc.nn.functional as F
from graphc import nn, optim


class HousingNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(graphc.manual_seed(1).uniform(0.1, 1.0, 12).astype(np.float32))

    def forward(self, x: graphc.Tensor) -> graphc.Tensor:
        x1, x2, x3, x4 = x.T
        t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12 = self.theta
        a1 = F.relu(t1 * x1 + t2 * x2 + t3)
        a2 = F.relu(t4 * x3 + t5)
        a3 = F.relu(t6 * x3 + t7 * x4 + t8)
        return t9 * a1 + t10 * a2 + t11 * a3 + t12


def gradient_by_hand(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of the mean of (ŷ - y)², by the chain rule."""
    t = np.append(0.0, theta)  # t[1] is θ1
    x1, x2, x3, x4 = x.T
    z1, z2, z3 = t[1] * x1 + t[2] * x2 + t[3], t[4] * x3 + t[5], t[6] * x3 + t[7] * x4 + t[8]
    a1, a2, a3 = np.maximum(z1, 0), np.maximum(z2, 0), np.maximum(z3, 0)
    v = 2 * (t[9] * a1 + t[10] * a2 + t[11] * a3 + t[12] - y) / len(y)
    v1, v2, v3 = v * t[9] * (z1 > 0), v * t[10] * (z2 > 0), v * t[11] * (z3 > 0)
    columns = [v1 * x1, v1 * x2, v1, v2 * x3, v2, v3 * x3, v3 * x4, v3, v * a1, v * a2, v * a3, v]
    return np.array([column.sum() for column in columns])


def main(epochs: int = 300) -> dict[str, float]:
    data = load_diabetes(scaled=False)
    chosen = [data.feature_names.index(name) for name in ("bmi", "bp", "s5", "s3")]
    x, x_test, y, y_test = train_test_split(data.data[:, chosen], data.target, test_size=0.25, random_state=0)
    mean, deviation = x.mean(0), x.std(0)
    x, x_test = ((part - mean) / deviation for part in (x, x_test))
    centre, scale = y.mean(), y.std()
    y, y_test = (y - centre) / scale, (y_test - centre) / scale
    x32, y32 = x.astype(np.float32), y.astype(np.float32)

    model = HousingNetwork()
    given, target = graphc.input("x", x.shape), graphc.input("y", y.shape)
    derived = graphc.compile(graphc.grad(F.mse_loss(model(given), target), model.theta))(x=x32, y=y32)
    by_hand = gradient_by_hand(model.theta.numpy().astype(np.float64), x, y)
    difference = float(np.abs(derived - by_hand).max())

    opt = optim.Adam(model.parameters(), lr=0.01)
    step = graphc.train_step(lambda x, y: F.mse_loss(model(x), y), opt)
    step.run({"x": x32, "y": y32}, epochs=epochs, batch_size=32, shuffle=True, progress=False)
    predict = graphc.compile(model)

    def error(prediction: np.ndarray) -> float:
        return float(scale * np.sqrt(np.mean((prediction - y_test) ** 2)))

    ours, linear = error(predict(x_test.astype(np.float32))), error(LinearRegression().fit(x, y).predict(x_test))
    constant = error(np.zeros(len(y_test)))
    print("theta " + " ".join(f"{value:.3f}" for value in model.theta.numpy()))
    print(f"first gradient differs from the one by hand by {difference:.1e}")
    print(f"root mean squared error on {len(y_test)} held-out patients:")
    print(f"  network {ours:.1f}, linear model {linear:.1f}, the mean of the others {constant:.1f}")
    return {"error": ours, "linear": linear, "constant": constant, "gradient_error": difference}


if __name__ == "__main__":
    main()
