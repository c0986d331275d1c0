"""`python -m benchmarks.run_jax MODEL THREADS`: one measurement of JAX, the whole step in one jit with donated state."""

from __future__ import annotations

import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.models import MODELS, Model
from benchmarks.timing import report

Params = Any


def linear(rng: np.random.Generator, a: int, b: int) -> tuple[jax.Array, jax.Array]:
    bound = a**-0.5
    return jnp.asarray(rng.uniform(-bound, bound, (b, a)), jnp.float32), jnp.asarray(rng.uniform(-bound, bound, b), jnp.float32)


def parameters(model: Model) -> Params:
    rng = np.random.default_rng(0)
    if model.kind == "mlp":
        return [linear(rng, a, b) for a, b in zip(model.widths, model.widths[1:], strict=False)]
    if model.length:
        tokens, embedding, hidden = model.widths
        gates = {"lstm": 4, "gru": 3}[model.kind] * hidden
        table = jnp.asarray(rng.standard_normal((tokens, embedding)), jnp.float32)
        return table, linear(rng, embedding, gates), linear(rng, hidden, gates), linear(rng, hidden, tokens)
    if model.size:
        layers = []
        for a, b in zip(model.widths[:-2], model.widths[1:-1], strict=True):
            fan = a * model.kernel ** len(model.size)
            weight = rng.uniform(-(fan**-0.5), fan**-0.5, (b, a, *(model.kernel,) * len(model.size)))
            layers.append((jnp.asarray(weight, jnp.float32), jnp.zeros(b), jnp.ones(b), jnp.zeros(b)))
        return layers, linear(rng, *model.widths[-2:])
    width, hidden, classes = model.widths
    blocks = [
        (jnp.ones(width), jnp.zeros(width), linear(rng, width, hidden), linear(rng, hidden, width)) for _ in range(model.blocks)
    ]
    return blocks, linear(rng, width, classes)


def apply(layer: tuple[jax.Array, jax.Array], x: jax.Array) -> jax.Array:
    return x @ layer[0].T + layer[1]


def norm(x: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    mean = x.mean(-1, keepdims=True)
    var = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + 1e-5) * scale + shift


def convolution(x: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
    y = jax.lax.conv_general_dilated(x, weight, (1,) * (x.ndim - 2), "SAME")
    return y + bias.reshape(-1, *(1,) * (x.ndim - 2))


def batch_norm(x: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    """In training, without the running statistics."""
    mean = x.mean((0, 2, 3), keepdims=True)
    var = ((x - mean) ** 2).mean((0, 2, 3), keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + 1e-5) * scale.reshape(-1, 1, 1) + shift.reshape(-1, 1, 1)


def convolve(model: Model, params: Params, x: jax.Array) -> jax.Array:
    layers, last = params
    for i, (weight, bias, scale, shift) in enumerate(layers):
        x = convolution(x, weight, bias)
        pools = model.kind == "cnn2d" and i + 1 < len(layers)
        x = jax.nn.relu(batch_norm(x, scale, shift) if pools else x)
        if pools:
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return apply(last, x.mean(tuple(range(2, x.ndim))))


def lstm_step(carry: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    i, f, g, o = jnp.split(x, 4, -1)
    c = jax.nn.sigmoid(f) * carry[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_step(h: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    (xr, xz, xn), (hr, hz, hn) = jnp.split(x, 3, -1), jnp.split(y, 3, -1)
    z = jax.nn.sigmoid(xz + hz)
    n = jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * hn)
    return n + z * (h - n)


def sequence(model: Model, params: Params, tokens: jax.Array) -> jax.Array:
    """The product with the input stands in front of the loop."""
    table, inner, recurrent, last = params
    xs = apply(inner, table[tokens].swapaxes(0, 1))

    def step(carry: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        if model.kind == "lstm":
            carry = lstm_step(carry, x + apply(recurrent, carry[0]))
            return carry, carry[0]
        h = gru_step(carry, x, apply(recurrent, carry))
        return h, h

    h = jnp.zeros((xs.shape[1], model.widths[2]))
    _, hs = jax.lax.scan(step, (h, h) if model.kind == "lstm" else h, xs)
    return apply(last, hs.swapaxes(0, 1)).reshape(-1, model.widths[0])


def forward(model: Model, params: Params, x: jax.Array) -> jax.Array:
    if model.kind == "mlp":
        for layer in params[:-1]:
            x = jax.nn.relu(apply(layer, x))
        return apply(params[-1], x)
    if model.length:
        return sequence(model, params, x)
    if model.size:
        return convolve(model, params, x)
    blocks, last = params
    for scale, shift, up, down in blocks:
        if model.kind == "ln_gelu":
            x = x + apply(down, jax.nn.gelu(apply(up, norm(x, scale, shift)), approximate=False))
        else:
            x = norm(x + jax.nn.relu(apply(down, jax.nn.relu(apply(up, x)))), scale, shift)
    return apply(last, x)


def main() -> None:
    model = MODELS[sys.argv[1]]
    xb, yb = model.data()
    start = time.perf_counter()
    params = parameters(model)

    def loss_of(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
        logits = forward(model, params, x)
        return (jax.nn.logsumexp(logits, axis=1) - jnp.take_along_axis(logits, y[:, None], 1)[:, 0]).mean()

    def zeros() -> Params:
        return jax.tree.map(jnp.zeros_like, params)

    def update(params: Params, state: Params, grads: Params) -> tuple[Params, Params]:
        if model.optimizer == "sgd":
            return jax.tree.map(lambda p, g: p - 1e-2 * g, params, grads), state
        if model.optimizer == "momentum":
            state = jax.tree.map(lambda m, g: 0.9 * m + g, state, grads)
            return jax.tree.map(lambda p, m: p - 1e-2 * m, params, state), state
        count, first, second = state
        count = count + 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)
        a, b = 1 - 0.9**count, 1 - 0.999**count
        params = jax.tree.map(lambda p, m, v: p - 1e-3 * (m / a) / (jnp.sqrt(v / b) + 1e-8), params, first, second)
        return params, (count, first, second)

    def train(params: Params, state: Params, x: jax.Array, y: jax.Array) -> tuple[Params, Params, jax.Array]:
        loss, grads = jax.value_and_grad(loss_of)(params, x, y)
        params, state = update(params, state, grads)
        return params, state, loss

    compiled = jax.jit(train, donate_argnums=(0, 1))
    state: Params = {"sgd": None, "momentum": zeros(), "adam": (jnp.zeros(()), zeros(), zeros())}[model.optimizer]
    held = [params, state]

    def step() -> float:
        held[0], held[1], loss = compiled(held[0], held[1], xb, yb)
        return float(loss)

    report(start, step, model.flops)


if __name__ == "__main__":
    main()
