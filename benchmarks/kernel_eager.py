"""The cases in NumPy and PyTorch, function by function, into arrays made beforehand wherever they take `out=`.

None stands for a case that a framework has no function for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.kernel_cases import DROPPED, TABLE_ROWS, Case

Run = Callable[[], Any] | None


def numpy_runner(case: Case, arrays: list[np.ndarray]) -> Run:
    x, *rest = arrays
    if case.family == "contraction":
        a = x.swapaxes(-1, -2) if case.variant.endswith("tn") else x
        b = rest[0].swapaxes(-1, -2) if case.variant.endswith("nt") else rest[0]
        out = np.matmul(a, b)
        return lambda: np.matmul(a, b, out=out)
    if case.family == "math":
        return numpy_math(case.variant, arrays)
    if case.family in ("column_sum", "row_sum", "full_sum"):
        axis = {"column_sum": 0, "row_sum": 1, "full_sum": None}[case.family]
        out = np.asarray(np.sum(x, axis))
        return lambda: np.sum(x, axis, out=out)
    if case.family == "argmax":
        places = np.empty(len(x), np.intp)
        return lambda: np.argmax(x, 1, out=places)
    if case.family == "transpose":
        turned = x.transpose(tuple(map(int, case.variant.split())))
        out = np.ascontiguousarray(turned)

        def transpose() -> np.ndarray:
            np.copyto(out, turned)
            return out

        return transpose
    if case.family == "gather":
        out = np.empty((len(x), rest[0].shape[1]), np.float32)
        return lambda: np.take(rest[0], x, 0, out=out, mode="clip")  # in the default mode NumPy copies `out` first
    if case.family == "scatter_add":
        sums = np.empty((TABLE_ROWS, rest[0].shape[1]), np.float32)

        def scatter() -> np.ndarray:
            sums.fill(0)
            np.add.at(sums, x, rest[0])
            return sums

        return scatter
    out, t = np.empty_like(x), np.empty_like(x)
    composed: dict[str, Callable[..., np.ndarray]] = {
        "chain": numpy_chain, "softmax": numpy_softmax, "softmax backward": numpy_softmax_backward,
        "layer_norm": numpy_layer_norm, "layer_norm backward": numpy_layer_norm_backward,
    }  # fmt: skip
    if case.family in composed:
        return lambda: composed[case.family](out, t, *arrays)
    if case.family == "adam":
        return numpy_adam(t, *arrays)
    if case.family == "dropout":
        rng = np.random.default_rng(0)

        def drop() -> np.ndarray:
            rng.random(out=t, dtype=np.float32)
            np.greater_equal(t, DROPPED, out=t)
            np.multiply(t, np.float32(1 / (1 - DROPPED)), out=t)
            return np.multiply(x, t, out=out)

        return drop
    return None


def numpy_math(name: str, arrays: list[np.ndarray]) -> Run:
    x, out = arrays[0], np.empty_like(arrays[0])
    if name == "sigmoid":

        def sigmoid() -> np.ndarray:
            np.exp(np.negative(x, out=out), out=out)
            return np.reciprocal(np.add(out, 1, out=out), out=out)

        return sigmoid
    function = getattr(np, {"pow": "power"}.get(name, name), None)
    return function and (lambda: function(*arrays, out=out))


def numpy_chain(out: np.ndarray, t: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    np.add(np.multiply(x, y, out=out), np.multiply(x, 0.5, out=t), out=out)
    np.subtract(out, y, out=out)
    return np.maximum(out, np.multiply(y, 0.25, out=t), out=out)


def numpy_softmax(out: np.ndarray, t: np.ndarray, x: np.ndarray) -> np.ndarray:
    np.exp(np.subtract(x, x.max(-1, keepdims=True), out=out), out=out)
    return np.divide(out, out.sum(-1, keepdims=True), out=out)


def numpy_softmax_backward(out: np.ndarray, t: np.ndarray, p: np.ndarray, v: np.ndarray) -> np.ndarray:
    total = np.multiply(p, v, out=t).sum(-1, keepdims=True)
    return np.multiply(p, np.subtract(v, total, out=out), out=out)


def numpy_layer_norm(out: np.ndarray, t: np.ndarray, x: np.ndarray) -> np.ndarray:
    np.subtract(x, x.mean(-1, keepdims=True), out=out)
    variance = np.multiply(out, out, out=t).mean(-1, keepdims=True)
    return np.divide(out, np.sqrt(variance + np.float32(1e-5)), out=out)


def numpy_layer_norm_backward(
    out: np.ndarray, t: np.ndarray, x: np.ndarray, v: np.ndarray, mean: np.ndarray, inverse: np.ndarray
) -> np.ndarray:
    z = np.multiply(np.subtract(x, mean, out=out), inverse, out=out)
    np.multiply(z, np.multiply(v, z, out=t).mean(-1, keepdims=True), out=out)
    np.subtract(np.subtract(v, v.mean(-1, keepdims=True), out=t), out, out=out)
    return np.multiply(inverse, out, out=out)


def numpy_adam(t: np.ndarray, p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray) -> Run:
    p, m, v, u, count = p.copy(), m.copy(), v.copy(), np.empty_like(t), [0]

    def update() -> list[np.ndarray]:
        count[0] += 1
        np.add(m, np.multiply(np.subtract(g, m, out=t), 0.1, out=t), out=m)
        np.add(np.multiply(v, 0.999, out=v), np.multiply(np.multiply(g, g, out=t), 0.001, out=t), out=v)
        np.add(np.sqrt(np.multiply(v, 1 / (1 - 0.999 ** count[0]), out=t), out=t), 1e-8, out=t)
        np.divide(np.multiply(m, 1e-3 / (1 - 0.9 ** count[0]), out=u), t, out=t)
        np.subtract(p, t, out=p)
        return [p]

    return update


def torch_runner(case: Case, arrays: list[np.ndarray], threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    x, *rest = (torch.from_numpy(array.copy()) for array in arrays)
    out = torch.empty(0, dtype=x.dtype)

    def into(function: Callable[..., Any], *operands: Any) -> Run:
        found = function(*operands)  # the first call gives `out` its size
        return lambda: function(*operands, out=found)

    if case.family == "contraction":
        a = x.mT if case.variant.endswith("tn") else x
        return into(torch.matmul, a, rest[0].mT if case.variant.endswith("nt") else rest[0])
    if case.family == "conv2d":
        return lambda: torch.nn.functional.conv2d(x, rest[0], padding=case.shape[-1] // 2)
    if case.family == "math":
        return into({"erf": torch.special.erf, "pow": torch.pow}.get(case.variant) or getattr(torch, case.variant), x, *rest)
    if case.family == "chain":
        y, t = rest[0], torch.empty_like(x)
        out = torch.empty_like(x)

        def chain() -> Any:
            torch.add(torch.mul(x, y, out=out), torch.mul(x, 0.5, out=t), out=out)
            torch.sub(out, y, out=out)
            return torch.maximum(out, torch.mul(y, 0.25, out=t), out=out)

        return chain
    aten = torch.ops.aten
    if case.family == "softmax":
        return lambda: torch.softmax(x, -1)
    if case.family == "softmax backward":
        return lambda: aten._softmax_backward_data(rest[0], x, -1, x.dtype)
    if case.family == "layer_norm":
        return lambda: aten.native_layer_norm(x, x.shape[-1:], None, None, 1e-5)[0]
    if case.family == "layer_norm backward":
        v, mean, inverse = rest
        wanted = [True, False, False]
        return lambda: aten.native_layer_norm_backward(v, x, x.shape[-1:], mean, inverse, None, None, wanted)[0]
    if case.family in ("column_sum", "row_sum"):
        return into(torch.sum, x, 0 if case.family == "column_sum" else 1)
    if case.family == "full_sum":
        return lambda: torch.sum(x)
    if case.family == "argmax":
        return into(torch.argmax, x, 1)
    if case.family == "transpose":
        turned = x.permute(tuple(map(int, case.variant.split())))
        out = turned.contiguous()
        return lambda: out.copy_(turned)
    if case.family == "gather":
        return into(torch.index_select, rest[0], 0, x)
    if case.family == "scatter_add":
        sums = torch.empty(TABLE_ROWS, rest[0].shape[1])
        return lambda: sums.zero_().index_add_(0, x, rest[0])
    if case.family == "adam":
        gradient, first, second = rest
        parameter = torch.nn.Parameter(x)
        parameter.grad = gradient
        optimizer = torch.optim.Adam([parameter], fused=True)
        optimizer.state[parameter] = {"step": torch.zeros(()), "exp_avg": first, "exp_avg_sq": second}
        return lambda: (optimizer.step(), [parameter.detach()])[1]
    return lambda: torch.dropout(x, DROPPED, True)
