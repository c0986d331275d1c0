"""ResNet-S, a residual network for tables, on scikit-learn's digits as one: 1,797 rows of 64 numbers, their order not used.

    Res(z) = z + relu(MM(relu(MM(z))))        ResNet-S(x) = MM(Res(Res(MM(x)))),      MM(z) = W z + b

The rows are split into training, validation and test. Training stops when the validation loss has not fallen for `PATIENCE`
epochs, and returns to the weights of the best epoch. Three networks, alike but for their first weights and the order of rows,
form an ensemble: the mean of their softmax outputs.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.model_selection import train_test_split

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

PATIENCE = 10


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, z: graphc.Tensor) -> graphc.Tensor:
        return z + F.relu(self.outer(F.relu(self.inner(z))))


def network(features: int, classes: int, width: int = 64) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, width), Residual(width), Residual(width), nn.Linear(width, classes))


def fit(seed: int, train: dict[str, np.ndarray], valid: dict[str, np.ndarray], epochs: int) -> tuple[nn.Module, int]:
    """A network trained until the validation loss stops falling, and how many epochs that took."""
    graphc.manual_seed(seed)
    model = network(train["x"].shape[1], 10)

    def objective(x: graphc.Tensor, y: graphc.Tensor) -> graphc.Tensor:
        return F.cross_entropy(model(x), y)

    step = graphc.train_step(objective, optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05))
    validate = graphc.compile(objective)
    best, best_epoch, weights = np.inf, 0, model.state_dict()

    def stop_early(epoch: int, logs: dict[str, float]) -> bool:
        nonlocal best, best_epoch, weights
        loss = float(validate(**valid))
        if loss < best:
            best, best_epoch, weights = loss, epoch, model.state_dict()
        return epoch - best_epoch >= PATIENCE

    history = step.run(train, epochs=epochs, batch_size=32, shuffle=True, progress=False, on_epoch=stop_early)
    model.load_state_dict(weights)
    print(f"network {seed}: stopped after {len(history['loss'])} epochs; validation loss {best:.4f} at epoch {best_epoch}")
    return model, len(history["loss"])


def main(epochs: int = 100, members: int = 3) -> dict[str, float]:
    data = load_digits()
    x, x_test, y, y_test = train_test_split(data.data, data.target, test_size=0.25, random_state=0, stratify=data.target)
    x, x_valid, y, y_valid = train_test_split(x, y, test_size=0.2, random_state=0, stratify=y)
    mean, deviation = x.mean(0), x.std(0) + 1e-6  # some columns are constant
    x, x_valid, x_test = (((part - mean) / deviation).astype(np.float32) for part in (x, x_valid, x_test))
    train, valid = ({"x": rows, "y": labels.astype(np.int32)} for rows, labels in ((x, y), (x_valid, y_valid)))

    outputs, epochs_run = [], []
    for seed in range(members):
        model, count = fit(seed, train, valid, epochs)
        predict = graphc.compile(lambda x, model=model: F.softmax(model(x), dim=1))
        outputs.append(predict(x_test))
        epochs_run.append(count)
    single = [float(np.mean(output.argmax(1) == y_test)) for output in outputs]
    predicted = np.mean(outputs, axis=0).argmax(1)
    accuracy = float(np.mean(predicted == y_test))
    precision, recall, f1, _ = precision_recall_fscore_support(y_test, predicted, average="macro")
    alone = ", ".join(f"{value:.4f}" for value in single)
    print(f"accuracy on {len(y_test)} held-out rows: {alone}; together {accuracy:.4f}")
    print(f"means over the classes: precision {precision:.4f}, recall {recall:.4f}, F1 {f1:.4f}; confusions (true by predicted)")
    print(confusion_matrix(y_test, predicted))
    return {"accuracy": accuracy, "single": float(np.mean(single)), "f1": float(f1), "epochs": float(max(epochs_run))}


if __name__ == "__main__":
    main()
