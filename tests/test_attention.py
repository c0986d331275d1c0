"""Attention and transformer layers: compiled values against NumPy's in f64, masks, cached generation, mistakes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numeric import check_gradients

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

RNG = np.random.default_rng(0)


def softmax(x: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        e = np.nan_to_num(np.exp(x - x.max(-1, keepdims=True)))
    return e / np.maximum(e.sum(-1, keepdims=True), 1e-300)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, keep: Any = True, bias: Any = 0.0) -> np.ndarray:
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]) + bias
    return softmax(np.where(keep, scores, -np.inf)) @ v


def compiled(f: Any, *arrays: np.ndarray, **options: Any) -> Any:
    return graphc.compile(f, **options)(*arrays)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-14)])
@pytest.mark.parametrize("shape", [(5, 3), (4, 5, 3), (2, 3, 5, 3), (2, 1, 3, 5, 3)], ids=str)
def test_scaled_dot_product(shape: tuple[int, ...], dtype: str, tolerance: float) -> None:
    q, k, v = (RNG.normal(size=(*shape[:-2], n, w)).astype(dtype) for n, w in ((shape[-2], shape[-1]), (7, shape[-1]), (7, 4)))
    keep = RNG.random((*shape[:-1], 7)) < 0.5
    keep[..., 1, :] = False  # a query that sees nothing
    bias = RNG.normal(size=(shape[-2], 7)).astype(dtype)
    causal = np.tril(np.ones((shape[-2], 7), bool))
    wide = [x.astype("f8") for x in (q, k, v)]
    for mask, is_causal, expected in (
        (None, False, attention(*wide)),
        (None, True, attention(*wide, keep=causal)),
        (keep, False, attention(*wide, keep=keep)),
        (bias, False, attention(*wide, bias=bias)),
    ):
        found = compiled(lambda q, k, v, m=mask, c=is_causal: F.scaled_dot_product_attention(q, k, v, m, is_causal=c), q, k, v)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    scaled = compiled(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.5), q, k, v)
    expected = softmax(wide[0] @ wide[1].swapaxes(-1, -2) / 2) @ wide[2]
    np.testing.assert_allclose(scaled, expected, rtol=4 * tolerance, atol=tolerance)


def test_gradients_of_first_and_second_order() -> None:
    q, k, v = RNG.normal(size=(2, 3)), RNG.normal(size=(3, 3)), RNG.normal(size=(3, 2))
    check_gradients(F.scaled_dot_product_attention, q, k, v)
    check_gradients(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), q, k, v, order=1)
    keep = np.array([[True, False, True], [False, False, False]])
    check_gradients(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, keep), q, k, v, order=1)
    check_gradients(lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m), q, k, v, RNG.normal(size=(2, 3)), order=1)


def test_broadcast_batches_and_grouped_heads() -> None:
    q, k, v = RNG.normal(size=(2, 6, 5, 4)), RNG.normal(size=(2, 1, 7, 4)), RNG.normal(size=(7, 3))
    expected = attention(q, k, v)
    np.testing.assert_allclose(compiled(F.scaled_dot_product_attention, q, k, v), expected, rtol=1e-12, atol=1e-13)
    k, v = RNG.normal(size=(2, 2, 7, 4)), RNG.normal(size=(2, 2, 7, 3))
    found = compiled(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True), q, k, v)
    np.testing.assert_allclose(found, attention(q, k.repeat(3, 1), v.repeat(3, 1)), rtol=1e-12, atol=1e-13)


def test_dropped_weights_keep_their_mean_and_their_gradient() -> None:
    """Attention is linear in the values, so its output is the gradient's product with them; both use one mask."""
    q, k, v = (graphc.constant(RNG.normal(size=s)) for s in ((2, 40, 4), (2, 30, 4), (2, 30, 8)))
    x = graphc.input("x", (2, 30, 8), "float64")
    y = F.scaled_dot_product_attention(q, k, x, dropout_p=0.4)
    values = RNG.normal(size=(2, 30, 8))
    out, gradient = graphc.compile([y, graphc.grad(y.sum(), x)], seed=1)(x=values)
    np.testing.assert_allclose((gradient * values).sum(), out.sum(), rtol=1e-10)
    plain = graphc.compile(F.scaled_dot_product_attention(q, k, v))()
    draws = graphc.compile(F.scaled_dot_product_attention(q, k, v, dropout_p=0.4))
    mean = np.mean([draws() for _ in range(400)], axis=0)
    assert np.abs(mean - plain).max() < 0.15 and not np.array_equal(draws(), plain)
    scores = graphc.input("s", (40, 30), "float64")
    dropped = F.scaled_dot_product_attention(q[0], k[0], v[0], scores, dropout_p=0.4)
    weights = RNG.normal(size=(40, 8))
    loss = (dropped * weights).sum()
    run = graphc.compile([loss, graphc.grad(loss, scores)], seed=2)
    at = RNG.normal(size=(40, 30))
    _, slope = run(s=at)
    direction = RNG.normal(size=(40, 30))
    ends = [graphc.compile([loss], seed=2)(s=at + e * direction)[0] for e in (1e-5, -1e-5)]
    np.testing.assert_allclose((slope * direction).sum(), (ends[0] - ends[1]) / 2e-5, rtol=1e-6)


def test_multihead_attention() -> None:
    mha = nn.MultiheadAttention(6, 2, batch_first=True, dtype="float64")
    nn.init.normal_(mha.in_proj_bias)
    q, k = RNG.normal(size=(3, 4, 6)), RNG.normal(size=(3, 5, 6))
    w, b = mha.in_proj_weight.array, mha.in_proj_bias.array

    def heads(x: np.ndarray, part: int) -> np.ndarray:
        y = x @ w[6 * part : 6 * part + 6].T + b[6 * part : 6 * part + 6]
        return y.reshape(3, -1, 2, 3).transpose(0, 2, 1, 3)

    padding = np.arange(5) >= np.array([[5], [3], [1]])
    mixed = attention(heads(q, 0), heads(k, 1), heads(k, 2), keep=~padding[:, None, None]).transpose(0, 2, 1, 3).reshape(3, 4, 6)
    expected = mixed @ mha.out_proj.weight.array.T + mha.out_proj.bias.array
    found, weights = compiled(lambda q, k: mha(q, k, k, padding), q, k)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert weights.shape == (3, 4, 5) and not weights[1, :, 3:].any()
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-12)
    each = compiled(lambda q, k: mha(q, k, k, padding, average_attn_weights=False)[1], q, k)
    np.testing.assert_allclose(each.mean(1), weights, rtol=1e-12)
    assert mha(*(graphc.constant(x) for x in (q, k, k)), need_weights=False)[1] is None


def test_no_query_sees_what_comes_after() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=True)
    run = graphc.compile(lambda x: layer(x, is_causal=True))
    x = RNG.normal(size=(1, 6, 8)).astype("f4")
    late = x.copy()
    late[:, 4:] += 1
    a, b = run(x), run(late)
    assert np.array_equal(a[:, :4], b[:, :4]) and not np.array_equal(a[:, 4:], b[:, 4:])
    mask = graphc.compile(nn.Transformer.generate_square_subsequent_mask(3))()
    assert mask.tolist() == [[0, -math.inf, -math.inf], [0, 0, -math.inf], [0, 0, 0]]


def test_dropout_of_a_layer_follows_the_mode_and_differs_between_layers() -> None:
    stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.5), 2)
    x = RNG.normal(size=(5, 3, 8)).astype("f4")
    evaluated = graphc.compile(stack)
    assert np.array_equal(evaluated(x), evaluated(x))
    trained = graphc.compile(stack, training=True)
    assert not np.array_equal(trained(x), trained(x))
    streams = [node.attrs["stream"] for node in trained.graph.nodes if node.op.name == "philox"]
    assert len(streams) == len(set(streams)) == 8


class Decoder(nn.Module):
    """A causal language model, and one cached step of it: its keys and values are rows of states."""

    def __init__(self, vocabulary: int, width: int, heads: int, layers: int):
        super().__init__()
        self.heads = heads
        self.embed = nn.Embedding(vocabulary, width)
        self.positions = nn.SinusoidalPositions(width)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width))
        for parameter in self.body.parameters():
            nn.init.normal_(parameter, 0.3, 0.5)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Any) -> graphc.Tensor:
        return self.head(self.body(self.positions(self.embed(tokens)), is_causal=True))

    def step(self, token: Any, position: Any, caches: list[tuple[graphc.State, graphc.State]]) -> tuple[Any, dict[Any, Any]]:
        """Scores after `token` (N, 1) at `position`, and the caches (N, T, E) with its row written."""
        x = self.positions(self.embed(token), position)
        updates = {}
        for layer, (keys, values) in zip(self.body.layers, caches, strict=True):
            mha, z = layer.self_attn, layer.norm1(x)
            q, k, v = graphc.split(F.linear(z, mha.in_proj_weight, mha.in_proj_bias), 3, axis=-1)
            steps = graphc.arange(keys.shape[1])
            here = (steps == position).reshape(1, -1, 1)
            written = [graphc.where(here, new, old) for new, old in ((k, keys), (v, values))]
            updates.update(zip((keys, values), written, strict=True))
            q, k, v = (y.reshape(y.shape[0], y.shape[1], self.heads, -1).swapaxes(1, 2) for y in (q, *written))
            mixed = F.scaled_dot_product_attention(q, k, v, (steps <= position).reshape(1, -1))
            x = x + mha.out_proj(mixed.swapaxes(1, 2).reshape(*x.shape))
            x = x + layer.linear2(layer.activation(layer.linear1(layer.norm2(x))))
        return self.head(self.body.norm(x))[:, 0], updates


def test_greedy_decoding_with_a_cache_equals_recomputation() -> None:
    graphc.manual_seed(0)  # weights for which it says more than what it was given
    n, steps, width = 2, 12, 8
    model = Decoder(11, width, 2, 2)
    empty = np.zeros((n, steps, width), "f4")
    caches = [(graphc.state(f"keys{i}", empty), graphc.state(f"values{i}", empty)) for i in range(2)]
    token, position = graphc.input("token", (n, 1), "int64"), graphc.input("position", (), "int64")
    with nn.evaluating():
        scores, updates = model.step(token, position, caches)
    cached = graphc.compile(scores, inputs=[token, position], updates=updates)
    whole = graphc.compile(model)
    tokens = np.array([[3], [7]])
    for i in range(steps):
        row = cached(tokens[:, -1:], i)
        full = whole(np.pad(tokens, ((0, 0), (0, steps - 1 - i))))[:, i]  # what comes after is not seen
        np.testing.assert_allclose(row, full, rtol=1e-4, atol=1e-5)
        assert np.array_equal(row.argmax(-1), full.argmax(-1))
        tokens = np.concatenate([tokens, row.argmax(-1)[:, None]], axis=1)
    assert len({*tokens.reshape(-1)}) > 2


def test_a_language_model_learns_to_copy() -> None:
    model = Decoder(5, 16, 2, 1)
    for parameter in model.body.parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
    rows = RNG.integers(0, 5, (64, 1))
    tokens = (rows + np.arange(9)) % 5
    x, y = graphc.input("x", (64, 8), "int64"), graphc.input("y", (64, 8), "int64")
    loss = F.cross_entropy(model(x).reshape(-1, 5), y.reshape(-1))
    step = graphc.train_step(loss, optim.Adam(model.parameters(), lr=1e-2))
    losses = [float(step(x=tokens[:, :-1], y=tokens[:, 1:])) for _ in range(60)]
    assert losses[-1] < 0.05 < losses[0]


def test_a_blocks_training_step_copies_once_at_most_and_computes_no_product_twice() -> None:
    block = nn.TransformerEncoderLayer(32, 4, 64, 0.1, "gelu", batch_first=True, norm_first=True)
    x = graphc.input("x", (4, 16, 32))
    step = graphc.train_step((block(x, is_causal=True) ** 2).mean(), optim.Adam(block.parameters()))
    kernels = [line for line in step.dump("program").splitlines() if line.lstrip().split(":")[0].isdigit()]
    assert sum("contraction" in kernel for kernel in kernels) == 4 * 3 + 2 + 4  # linear maps; scores and values, forward and back
    # at most that which joins the gradients of query, key and value
    assert sum("# copy" in kernel for kernel in kernels) <= 1


def test_the_text_of_attention_can_be_read_back_and_differentiated() -> None:
    q = graphc.input("q", (2, 3, 4))
    y = F.gelu(F.scaled_dot_product_attention(q, q, q, is_causal=True))
    graph = graphc.graph.Graph((q.node,), (y.node,))
    again = graphc.parse(str(graph))
    assert str(again) == str(graph)
    assert graphc.grad(graphc.Tensor(again.outputs[0]).sum(), graphc.Tensor(again.inputs[0])).shape == (2, 3, 4)


def test_nothing_to_attend_to() -> None:
    q, k = np.ones((2, 3, 4), "f4"), np.ones((2, 0, 4), "f4")
    assert np.array_equal(compiled(F.scaled_dot_product_attention, q, k, k), np.zeros((2, 3, 4)))
    assert compiled(F.scaled_dot_product_attention, q[:0], q[:0], q[:0]).shape == (0, 3, 4)


def test_mistakes_name_the_argument() -> None:
    q = graphc.input("q", (2, 5, 6))
    mha = nn.MultiheadAttention(6, 2, batch_first=True)
    for make, message in (
        (lambda: nn.MultiheadAttention(6, 4), "MultiheadAttention: embed_dim=6 must be divisible by num_heads=4"),
        (lambda: nn.MultiheadAttention(6, 2, dropout=2), "MultiheadAttention: dropout must be"),
        (lambda: nn.MultiheadAttention(6, 2, add_bias_kv=True), "MultiheadAttention: add_bias_kv=True is not supported"),
        (lambda: nn.MultiheadAttention(6, 2, add_zero_attn=True), "MultiheadAttention: add_zero_attn=True is not supported"),
        (lambda: nn.MultiheadAttention(6, 2, kdim=0), "MultiheadAttention: kdim must be an integer"),
        (lambda: F.scaled_dot_product_attention(q, q, q, np.ones((5, 5), bool), is_causal=True), "attn_mask must be None where"),
        (lambda: F.scaled_dot_product_attention(q, q, q, dropout_p=-1), "dropout_p must be"),
        (lambda: nn.TransformerEncoderLayer(6, 2, activation="tanh"), "activation must be 'relu', 'gelu' or a function"),
        (lambda: nn.TransformerDecoderLayer(6, 2, dropout=-1), "dropout must be"),
        (lambda: nn.TransformerEncoder(mha, -1), "TransformerEncoder: num_layers must be"),
        (lambda: nn.TransformerDecoder("layer", 1), "TransformerDecoder: expected a module to repeat, got str"),
    ):
        with pytest.raises(graphc.InputError, match=message):
            make()
    for make, message in (
        (lambda: mha(q, q, graphc.input("v", (2, 4, 6))), "MultiheadAttention: key and value differ in length, 5 != 4"),
        (lambda: mha(q, q, graphc.input("v", (2, 5, 7))), "the value has 7 features, expected 6"),
        (lambda: mha(q, q[0], q[0]), "query, key and value must have 2 axes or 3"),
        (lambda: mha(q, q[:1], q[:1]), "differ in batch size"),
        (lambda: mha(q, q, q, attn_mask=np.ones((4, 5), bool)), r"attn_mask must have shape \(5, 5\) or \(4, 5, 5\)"),
        (lambda: mha(q, q, q, np.ones(5, bool)), r"key_padding_mask must have shape \(2, 5\), got \(5,\)"),
        (lambda: F.scaled_dot_product_attention(q, q, q, np.ones((4, 5))), "attn_mask of shape .* does not broadcast"),
        (lambda: F.scaled_dot_product_attention(q, q[..., :3], q), "query and key differ in their last axis, 6 != 3"),
        (lambda: F.scaled_dot_product_attention(q, q, q[:, :4]), "key and value differ in length, 5 != 4"),
        (lambda: F.scaled_dot_product_attention(q, q[0], q[0], enable_gqa=True), "enable_gqa needs"),
        (lambda: nn.Transformer(6, 2, 1, 1)(q, graphc.input("t", (2, 4, 5))), "Transformer: src and tgt must have rank alike"),
    ):
        with pytest.raises(graphc.ShapeError, match=message):
            make()
    for mask in (np.ones((5, 5), "i8"), graphc.input("m", (5, 5), "int32")):
        with pytest.raises(graphc.DTypeError, match="attn_mask must be boolean or float"):
            F.scaled_dot_product_attention(q, q, q, mask)
        with pytest.raises(graphc.DTypeError, match="attn_mask must be boolean or float"):
            mha(q, q, q, attn_mask=mask)
