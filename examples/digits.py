"""Handwritten digits: a two-layer classifier of scikit-learn's 1,797 real images, trained by one native call per step.

`make demo` runs this file. Every stage of the compilation, from the declared graph to assembly, is written to ./out/digits/.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

BATCH = 32

images, labels = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(
    (images / 16).astype(np.float32), labels.astype(np.int32), train_size=0.8, stratify=labels, random_state=0
)

graphc.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
opt = optim.Adam(model.parameters(), lr=3e-3)
# A function rather than a tensor, because 1,437 rows leave a last batch of 29: it is traced and compiled once for each size.
step = graphc.train_step(lambda x, y: F.cross_entropy(model(x), y), opt).build(x=x_train[:BATCH], y=y_train[:BATCH])
predict = graphc.compile(model)


def main(epochs: int = 20, dumps: str | Path = "out/digits", progress: bool = True) -> dict[str, float]:
    print(model)

    def report(epoch: int, logs: dict[str, float]) -> None:
        print(f"epoch {epoch:2}   loss {logs['loss']:.4f}")

    start = time.perf_counter()
    data = {"x": x_train, "y": y_train}
    history = step.run(data, epochs=epochs, batch_size=BATCH, shuffle=True, progress=progress, on_epoch=report)
    seconds = time.perf_counter() - start
    accuracy = float(np.mean(predict(x_test).argmax(axis=1) == y_test))

    print(f"{len(x_train)} images, {epochs} epochs in {seconds:.2f} s; accuracy on {len(x_test)} held-out images {accuracy:.4f}")
    microseconds = step_time()
    print(f"a step of {BATCH} images, forward, backward and Adam's update: {microseconds:.1f} us")
    memory = step.memory
    print(f"arena {memory.arena_bytes:,} bytes, lower bound {memory.lower_bound_bytes:,}")
    files = write_dumps(Path(dumps))
    print(f"stages: {', '.join(step.stages)}: {files} files in {dumps}")
    return {"loss": history["loss"][-1], "accuracy": accuracy, "step_us": microseconds, "arena_bytes": memory.arena_bytes}


def step_time(calls: int = 1000) -> float:
    """Median of single calls, in microseconds; they go on training."""
    batch = {"x": x_train[:BATCH], "y": y_train[:BATCH]}
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        step(**batch)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def write_dumps(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for position, stage in enumerate(step.stages):
        (folder / f"{position:02}-{stage}.txt").write_text(step.dump(stage))
    return len(step.stages)


if __name__ == "__main__":
    main()
