"""Step times beside JAX, in one run on one machine: `make bench`, or `python -m benchmarks mlp_tiny --threads 1`.

A time is the median of single calls of a whole training step (forward, backward, update), inputs in memory. JAX runs one jit of
the step with donated state and is waited for after each call. Compile time ends with the first call; graphc's includes
declaring the model. Rounds of the two alternate, so that a drift of the machine's clock meets both.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

ROUNDS, SECONDS = 5, 0.3  # of each: rounds, and seconds for one round


@dataclass(frozen=True)
class Mlp:
    batch: int
    sizes: tuple[int, ...]
    lr: float
    momentum: float


MODELS = {
    "mlp_tiny": Mlp(32, (64, 32, 10), 0.01, 0.0),
    "mlp_784": Mlp(128, (784, 512, 512, 10), 0.01, 0.9),
}


def batch_of(model: Mlp) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((model.batch, model.sizes[0])).astype(np.float32)
    return x, rng.integers(0, model.sizes[-1], model.batch).astype(np.int32)


def graphc_step(model: Mlp, threads: int | None) -> tuple[Callable[[], object], float]:
    xb, yb = batch_of(model)
    start = time.perf_counter()
    layers: list[nn.Module] = []
    for inputs, outputs in zip(model.sizes, model.sizes[1:], strict=False):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    x, y = graphc.input("x", xb.shape), graphc.input("y", yb.shape, "int32")
    opt = optim.SGD(network.parameters(), lr=model.lr, momentum=model.momentum)
    step = graphc.train_step(F.cross_entropy(network(x), y), opt, threads=threads)
    step(x=xb, y=yb)
    return lambda: step(x=xb, y=yb), time.perf_counter() - start


def jax_step(model: Mlp) -> tuple[Callable[[], object], float]:
    import jax
    import jax.numpy as jnp

    xb, yb = map(jnp.asarray, batch_of(model))
    rng = np.random.default_rng(1)
    shapes = list(zip(model.sizes, model.sizes[1:], strict=False))
    weights = [(jnp.asarray(rng.standard_normal(s) / s[0] ** 0.5, jnp.float32), jnp.zeros(s[1])) for s in shapes]
    state = weights, jax.tree.map(jnp.zeros_like, weights)

    def loss(weights: list, x: jax.Array, y: jax.Array) -> jax.Array:
        for i, (w, b) in enumerate(weights):
            x = x @ w + b if i == len(weights) - 1 else jax.nn.relu(x @ w + b)
        return -jnp.mean(jax.nn.log_softmax(x)[jnp.arange(len(y)), y])

    def update(state: tuple, x: jax.Array, y: jax.Array) -> tuple:
        weights, velocity = state
        value, gradients = jax.value_and_grad(loss)(weights, x, y)
        velocity = jax.tree.map(lambda v, g: model.momentum * v + g, velocity, gradients) if model.momentum else velocity
        direction = velocity if model.momentum else gradients
        return (jax.tree.map(lambda w, v: w - model.lr * v, weights, direction), velocity), value

    start = time.perf_counter()
    jitted = jax.jit(update, donate_argnums=0)
    state, value = jitted(state, xb, yb)
    value.block_until_ready()
    seconds = time.perf_counter() - start

    def step() -> None:
        nonlocal state
        state, value = jitted(state, xb, yb)
        value.block_until_ready()

    return step, seconds


def round_of(step: Callable[[], object]) -> list[float]:
    times = []
    end = time.perf_counter() + SECONDS
    while len(times) < 20 or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def smallest_step() -> float:
    """Seconds of the least that a step can be: one scalar parameter, no input."""
    w = nn.Parameter(np.float32(1))
    step = graphc.train_step(w * w, optim.SGD([w], lr=1e-3), threads=1)
    step()
    return statistics.median(round_of(step))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Training-step times beside JAX.")
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; all by default")
    parser.add_argument("--threads", type=int, help="graphc's threads; JAX's are set by its environment")
    arguments = parser.parse_args()
    for name in arguments.models:
        if name not in MODELS:
            parser.error(f"no model {name!r}; there are {', '.join(MODELS)}")
    with_jax = importlib.util.find_spec("jax") is not None
    print(f"smallest step: {1e6 * smallest_step():.2f} us" + ("" if with_jax else "   (JAX is not installed)"))
    print(f"{'model':<12}{'graphc':>12}{'JAX':>12}{'compile':>12}{'JAX':>12}")
    for name in arguments.models or MODELS:
        made = [graphc_step(MODELS[name], arguments.threads), *([jax_step(MODELS[name])] if with_jax else [])]
        times: list[list[float]] = [[] for _ in made]
        for _ in range(ROUNDS):
            for (step, _), found in zip(made, times, strict=True):
                found += round_of(step)
        medians = [f"{1e6 * statistics.median(found):.1f} us" for found in times] + [""] * (2 - len(made))
        compiles = [f"{seconds:.2f} s" for _, seconds in made]
        print(f"{name:<12}" + "".join(f"{cell:>12}" for cell in (*medians, *compiles)))


if __name__ == "__main__":
    main()
