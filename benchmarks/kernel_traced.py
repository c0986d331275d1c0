"""The cases in graphc and in JAX, which compile one formula: nearly all of their functions are named and behave as NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.kernel_cases import DROPPED, TABLE_ROWS, Case


def formula(xp: Any, case: Case, *xs: Any) -> Any:
    """What a case computes, but for `special` ones."""
    x = xs[0]
    if case.family == "contraction":
        a, b = xs
        a = xp.swapaxes(a, -1, -2) if case.variant.endswith("tn") else a
        return xp.matmul(a, xp.swapaxes(b, -1, -2) if case.variant.endswith("nt") else b)
    if case.family == "chain":
        x, y = xs
        return xp.maximum(x * y + 0.5 * x - y, 0.25 * y)
    if case.family == "softmax":
        e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
        return e / xp.sum(e, axis=-1, keepdims=True)
    if case.family == "softmax backward":
        p, v = xs
        return p * (v - xp.sum(p * v, axis=-1, keepdims=True))
    if case.family == "layer_norm":
        d = x - xp.mean(x, axis=-1, keepdims=True)
        return d / xp.sqrt(xp.mean(d * d, axis=-1, keepdims=True) + 1e-5)
    if case.family == "layer_norm backward":
        x, v, mean, inverse = xs
        z = (x - mean) * inverse
        return inverse * (v - xp.mean(v, axis=-1, keepdims=True) - z * xp.mean(v * z, axis=-1, keepdims=True))
    if case.family.endswith("_sum"):
        return xp.sum(x, axis={"column_sum": 0, "row_sum": 1, "full_sum": None}[case.family])
    if case.family == "argmax":
        return xp.argmax(x, axis=1)
    if case.family == "transpose":
        return xp.permute_dims(x, tuple(map(int, case.variant.split())))
    if case.family == "math" and case.variant != "pow":
        return getattr(xp, case.variant)(x)
    raise ValueError(f"no formula for {case.name}")


def graphc_runner(case: Case, arrays: list[np.ndarray], threads: int) -> tuple[Callable[[], Any], Any]:
    """A call with `out=`, and the executable behind it."""
    import graphc
    import graphc.nn.functional as F

    tensors = [graphc.input(f"x{i}", array.shape, array.dtype) for i, array in enumerate(arrays)]
    if case.family == "adam":
        parameter = graphc.nn.Parameter(arrays[0])
        optimizer = graphc.optim.Adam([parameter])
        updates = optimizer.updates([tensors[1]])
        step = graphc.compile([], inputs=tensors[1:2], updates=updates, threads=threads)
        for name, array in zip(("exp_avg", "exp_avg_sq"), arrays[2:], strict=True):
            optimizer.moments[parameter][name].assign(array)

        def run() -> list[np.ndarray]:
            step(arrays[1])
            return [parameter.numpy()]

        return run, step
    special: dict[str, Callable[..., Any]] = {
        "conv2d": lambda x, w: F.conv2d(x, w, padding=case.shape[-1] // 2),
        "gather": lambda rows, table: graphc.take(table, rows, axis=0),
        "scatter_add": lambda rows, v: graphc.scatter_add(rows, v, TABLE_ROWS),
        "dropout": lambda x: F.dropout(x, DROPPED),
        "math": lambda x, y=None: graphc.power(x, y) if case.variant == "pow" else formula(graphc, case, x),
    }
    result = special.get(case.family, lambda *xs: formula(graphc, case, *xs))(*tensors)
    compiled = graphc.compile(result, inputs=tensors, threads=threads)
    out = compiled(*arrays)
    return lambda: compiled(*arrays, out=out), compiled


def jax_runner(case: Case, arrays: list[np.ndarray]) -> Callable[[], Any]:
    """A jitted call, to the end of its work. JAX writes into fresh arrays; Adam's state is donated."""
    import jax

    jax.config.update("jax_enable_x64", case.dtype == "float64")
    import jax.numpy as jnp

    held = [jnp.asarray(array) for array in arrays]
    if case.family == "adam":

        def update(p: Any, g: Any, m: Any, v: Any, count: Any) -> Any:
            count = count + 1
            m, v = m + 0.1 * (g - m), 0.999 * v + 0.001 * (g * g)
            a, b = 1 - 0.9**count, 1 - 0.999**count
            return p - 1e-3 * (m / a) / (jnp.sqrt(v / b) + 1e-8), m, v, count

        step = jax.jit(update, donate_argnums=(0, 2, 3, 4))
        state = [held[0], held[2], held[3], jnp.zeros((), jnp.int32)]

        def run() -> Any:
            state[:] = step(state[0], held[1], *state[1:])
            return [state[0].block_until_ready()]

        return run
    if case.family == "dropout":

        def drop(x: Any, key: Any) -> Any:
            key, used = jax.random.split(key)
            return jnp.where(jax.random.bernoulli(used, 1 - DROPPED, x.shape), x / (1 - DROPPED), 0), key

        dropping, keys = jax.jit(drop), [jax.random.key(0)]

        def draw() -> Any:
            out, keys[0] = dropping(held[0], keys[0])
            return out.block_until_ready()

        return draw
    special = {
        "conv2d": lambda x, w: jax.lax.conv(x, w, (1, 1), "SAME"),
        "gather": lambda rows, table: table[rows],
        "scatter_add": lambda rows, v: jnp.zeros((TABLE_ROWS, v.shape[1]), v.dtype).at[rows].add(v),
    }
    if case.family == "math":
        named = {"sigmoid": jax.nn.sigmoid, "erf": jax.lax.erf, "pow": jnp.power}
        special["math"] = named.get(case.variant) or getattr(jnp, case.variant)
    compiled = jax.jit(special.get(case.family, lambda *xs: formula(jnp, case, *xs)))
    return lambda: compiled(*held).block_until_ready()
