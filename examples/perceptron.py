"""The perceptron on scikit-learn's breast cancer data (569 tumours, 30 measurements, labels y = ±1), one tumour per step.

    z = w x + b        loss = max(0, -y z)

A step of stochastic gradient descent with rate 1 on this loss is Rosenblatt's rule, "where the sign is wrong, add y x to w
and y to b": the weights are compared with those of the rule in five lines of NumPy after every epoch. The plane keeps moving
long after it has become a good one, so the mean of the weights over all steps is used as well: the averaged perceptron.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.model_selection import train_test_split

import graphc
import graphc.nn.functional as F
from graphc import nn, optim


def rule(w: np.ndarray, b: float, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """An epoch of the perceptron rule."""
    for row, label in zip(x, y, strict=True):
        if label * (w @ row + b) <= 0:
            w, b = w + label * row, b + label
    return w, b


def main(epochs: int = 20) -> dict[str, float]:
    data = load_breast_cancer()
    x, x_test, y, y_test = train_test_split(
        data.data, 2.0 * data.target - 1, test_size=0.25, random_state=0, stratify=data.target
    )
    mean, deviation = x.mean(0), x.std(0)
    x, x_test = (x - mean) / deviation, (x_test - mean) / deviation

    model = nn.Linear(30, 1, dtype="float64")
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    given, label = graphc.input("x", (1, 30), "float64"), graphc.input("y", (1,), "float64")
    opt = optim.SGD(model.parameters(), lr=1.0)
    step = graphc.train_step(F.perceptron_loss(model(given)[:, 0], label), opt)

    w, b, difference = np.zeros(30), 0.0, 0.0
    average, steps = np.zeros(31), 0
    for epoch in range(1, epochs + 1):
        order = np.random.default_rng(epoch).permutation(len(y))
        mistakes = 0
        for i in order:
            mistakes += step(x=x[i : i + 1], y=y[i : i + 1]) > 0
            average += np.append(model.weight.numpy()[0], model.bias.numpy())
            steps += 1
        w, b = rule(w, b, x[order], y[order])
        difference = max(difference, float(np.abs(model.weight.numpy()[0] - w).max()), abs(float(model.bias.numpy()[0]) - b))
        if epoch in (1, 2, 5, 10, epochs):
            print(f"epoch {epoch:2}   {mistakes:3} mistakes in {len(y)} tumours")
    last = float(np.mean(np.sign(x_test @ w + b) == y_test))
    predicted = np.sign(x_test @ average[:30] + average[30])
    accuracy = float(np.mean(predicted == y_test))
    precision, recall, f1, _ = precision_recall_fscore_support(y_test, predicted, pos_label=-1, average="binary")
    print(f"weights and those of the rule by hand differ by {difference:.1e}")
    print(f"accuracy on {len(y_test)} held-out tumours: last weights {last:.4f}, averaged weights {accuracy:.4f}")
    print(f"malignant tumours: precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f}; confusions (true by predicted)")
    print(confusion_matrix(y_test, predicted))
    return {"accuracy": accuracy, "last": last, "difference": difference, "f1": float(f1)}


if __name__ == "__main__":
    main()
