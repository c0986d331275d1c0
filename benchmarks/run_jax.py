"""`python -m benchmarks.run_jax MODEL THREADS`: one measurement of JAX, the whole step in one jit with donated state."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.models import MODELS, Model
from benchmarks.timing import report

Params = Any


Draw = Callable[[tuple[int, ...]], np.ndarray]


def linear(draw: Draw, a: int, b: int) -> tuple[jax.Array, jax.Array]:
    return jnp.asarray(draw((b, a))), jnp.zeros(b)


def scale(width: int) -> tuple[jax.Array, jax.Array]:
    return jnp.ones(width), jnp.zeros(width)


def parameters(model: Model) -> Params:
    """In the order in which the modules of the other frameworks have them."""
    draw = model.draw()
    if model.kind == "mlp":
        return [linear(draw, a, b) for a, b in pairwise(model.widths)]
    if model.kind == "vae":
        a, b, c = model.widths
        return [linear(draw, *pair) for pair in ((a, b), (b, 2 * c), (c, b), (b, a))]
    if model.kind == "gpt":
        tokens, width, hidden = model.widths
        tables = [jnp.asarray(draw((size, width))) for size in (tokens, model.length)]
        blocks = [
            (scale(width), linear(draw, width, 3 * width), linear(draw, width, width))
            + (scale(width), linear(draw, width, hidden), linear(draw, hidden, width))
            for _ in range(model.blocks)
        ]
        return tables, blocks, scale(width), linear(draw, width, tokens)
    if model.length:
        tokens, embedding, hidden = model.widths
        gates = {"lstm": 4, "gru": 3}[model.kind] * hidden
        table = jnp.asarray(draw((tokens, embedding)))
        return table, linear(draw, embedding, gates), linear(draw, hidden, gates), linear(draw, hidden, tokens)
    if model.size:
        shapes = [(b, a, *(model.kernel,) * len(model.size)) for a, b in pairwise(model.widths[:-1])]
        layers = [(jnp.asarray(draw(shape)), jnp.zeros(shape[0]), scale(shape[0])) for shape in shapes]
        return layers, linear(draw, *model.widths[-2:])
    width, hidden, classes = model.widths
    blocks = [(scale(width), linear(draw, width, hidden), linear(draw, hidden, width)) for _ in range(model.blocks)]
    return blocks, linear(draw, width, classes)


def apply(layer: tuple[jax.Array, jax.Array], x: jax.Array) -> jax.Array:
    return x @ layer[0].T + layer[1]


def norm(x: jax.Array, scales: tuple[jax.Array, jax.Array]) -> jax.Array:
    mean = x.mean(-1, keepdims=True)
    var = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + 1e-5) * scales[0] + scales[1]


def convolution(x: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
    y = jax.lax.conv_general_dilated(x, weight, (1,) * (x.ndim - 2), "SAME")
    return y + bias.reshape(-1, *(1,) * (x.ndim - 2))


def batch_norm(x: jax.Array, scales: tuple[jax.Array, jax.Array]) -> jax.Array:
    """In training, without the running statistics."""
    mean = x.mean((0, 2, 3), keepdims=True)
    var = ((x - mean) ** 2).mean((0, 2, 3), keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + 1e-5) * scales[0].reshape(-1, 1, 1) + scales[1].reshape(-1, 1, 1)


def convolve(model: Model, params: Params, x: jax.Array) -> jax.Array:
    layers, last = params
    for i, (weight, bias, scales) in enumerate(layers):
        x = convolution(x, weight, bias)
        pools = model.kind == "cnn2d" and i + 1 < len(layers)
        x = jax.nn.relu(batch_norm(x, scales) if pools else x)
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


def attend(model: Model, x: jax.Array, qkv: Params, out: Params) -> jax.Array:
    n, length, width = x.shape
    q, k, v = jnp.moveaxis(apply(qkv, x).reshape(n, length, 3, model.heads, -1), 2, 0)
    y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    return apply(out, y.reshape(n, length, width))


def gelu_block(x: jax.Array, scales: Params, up: Params, down: Params) -> jax.Array:
    return x + apply(down, jax.nn.gelu(apply(up, norm(x, scales)), approximate=False))


def transform(model: Model, params: Params, tokens: jax.Array) -> jax.Array:
    (table, positions), blocks, last_scales, last = params
    x = table[tokens] + positions
    for scales, qkv, out, *rest in blocks:
        x = gelu_block(x + attend(model, norm(x, scales), qkv, out), *rest)
    return apply(last, norm(x, last_scales)).reshape(-1, model.widths[0])


def forward(model: Model, params: Params, x: jax.Array) -> jax.Array:
    if model.kind == "mlp":
        for layer in params[:-1]:
            x = jax.nn.relu(apply(layer, x))
        return apply(params[-1], x)
    if model.kind == "gpt":
        return transform(model, params, x)
    if model.length:
        return sequence(model, params, x)
    if model.size:
        return convolve(model, params, x)
    blocks, last = params
    for scales, up, down in blocks:
        if model.kind == "ln_gelu":
            x = gelu_block(x, scales, up, down)
        else:
            x = norm(x + jax.nn.relu(apply(down, jax.nn.relu(apply(up, x)))), scales)
    return apply(last, x)


def bound(model: Model, params: Params, x: jax.Array, count: jax.Array) -> jax.Array:
    """The loss of a VAE, with noise that depends on the number of the step."""
    first, second, third, fourth = params
    mean, log_variance = jnp.split(apply(second, jax.nn.relu(apply(first, x))), 2, 1)
    noise = jax.random.normal(jax.random.fold_in(jax.random.key(0), count), mean.shape)
    logits = apply(fourth, jax.nn.relu(apply(third, mean + jnp.exp(0.5 * log_variance) * noise)))
    reconstruction = (jnp.maximum(logits, 0) - logits * x + jnp.log1p(jnp.exp(-jnp.abs(logits)))).sum()
    return (reconstruction + 0.5 * (mean**2 + jnp.exp(log_variance) - 1 - log_variance).sum()) / model.batch


def main() -> None:
    model = MODELS[sys.argv[1]]
    xb, yb = model.data()
    start = time.perf_counter()
    params = parameters(model)

    def loss_of(params: Params, x: jax.Array, y: jax.Array, state: Params) -> jax.Array:
        if model.kind == "vae":
            return bound(model, params, x, state[0])
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
        loss, grads = jax.value_and_grad(loss_of)(params, x, y, state)
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
