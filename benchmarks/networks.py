"""The measured networks, written once: graphc.nn has PyTorch's names, so `build(model, nn, F)` makes them for either.

JAX has no modules; `run_jax.py` states the same functions over arrays, in the same order of parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.models import Model


def build(model: Model, nn: Any, F: Any) -> Any:
    """The network of a model; `nn` and `F` are graphc's or PyTorch's."""

    class Block(nn.Module):
        """x + L(GELU(L(LN x))), or LN(x + ReLU(L(ReLU L x)))."""

        def __init__(self, width: int, hidden: int):
            super().__init__()
            self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, hidden), nn.Linear(hidden, width)

        def forward(self, x: Any) -> Any:
            if model.kind == "resnet":
                return self.norm(x + F.relu(self.down(F.relu(self.up(x)))))
            return x + self.down(F.gelu(self.up(self.norm(x))))

    class Attention(nn.Module):
        """x + L(attention of the heads of LN x), each position seeing itself and what came before."""

        def __init__(self, width: int, heads: int):
            super().__init__()
            self.heads = heads
            self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)

        def forward(self, x: Any) -> Any:
            n, length, width = x.shape
            qkv = self.qkv(self.norm(x)).reshape(n, length, 3, self.heads, width // self.heads)
            q, k, v = (qkv[:, :, i].swapaxes(1, 2) for i in range(3))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return x + self.out(y.swapaxes(1, 2).reshape(n, length, width))

    class GPT(nn.Module):
        """Embeddings of tokens and positions, blocks of attention and feed-forward, LN, and logits for each token."""

        def __init__(self, tokens: int, width: int, hidden: int):
            super().__init__()
            self.tokens, self.positions = nn.Embedding(tokens, width), nn.Embedding(model.length, width)
            pairs = ((Attention(width, model.heads), Block(width, hidden)) for _ in range(model.blocks))
            self.blocks = nn.Sequential(*(part for pair in pairs for part in pair))
            self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, tokens)

        def forward(self, x: Any) -> Any:
            z = self.blocks(self.tokens(x) + self.positions.weight)
            return self.out(self.norm(z)).reshape(-1, self.out.out_features)

    class VAE(nn.Module):
        def __init__(self, pixels: int, hidden: int, code: int):
            super().__init__()
            self.code = code
            self.encoder = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * code))
            self.decoder = nn.Sequential(nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, pixels))

        def forward(self, x: Any, noise: Any) -> tuple[Any, Any, Any]:
            """Logits of the pixels, and mean and log-variance of the code."""
            found = self.encoder(x)
            mean, log_variance = found[:, : self.code], found[:, self.code :]
            return self.decoder(mean + (0.5 * log_variance).exp() * noise), mean, log_variance

    class Conv1d(nn.Module):
        """Convolutions with ReLU, the mean over positions, and a linear map."""

        def __init__(self, *widths: int):
            super().__init__()
            pairs = pairwise(widths[:-1])
            convolutions = (nn.Conv1d(a, b, model.kernel, padding=model.kernel // 2) for a, b in pairs)
            self.convolutions = nn.ModuleList(list(convolutions))
            self.out = nn.Linear(*widths[-2:])

        def forward(self, x: Any) -> Any:
            for convolution in self.convolutions:
                x = F.relu(convolution(x))
            return self.out(x.mean(-1))

    class Sequence(nn.Module):
        """An embedding, a recurrent layer, and logits for each token."""

        def __init__(self, tokens: int, embedding: int, hidden: int):
            super().__init__()
            self.embedding = nn.Embedding(tokens, embedding)
            self.layer = (nn.LSTM if model.kind == "lstm" else nn.GRU)(embedding, hidden, batch_first=True)
            self.out = nn.Linear(hidden, tokens)

        def forward(self, x: Any) -> Any:
            return self.out(self.layer(self.embedding(x))[0]).reshape(-1, self.out.out_features)

    def mlp(*widths: int) -> Any:
        layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*layers[:-1])

    def blocks(width: int, hidden: int, classes: int) -> Any:
        return nn.Sequential(*(Block(width, hidden) for _ in range(model.blocks)), nn.Linear(width, classes))

    def cnn2d(a: int, b: int, c: int, d: int, classes: int) -> Any:
        """conv-BN-ReLU-pool twice, conv-ReLU, the mean over positions, and a linear map."""
        return nn.Sequential(
            nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(b, c, 3, padding=1), nn.BatchNorm2d(c), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(c, d, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(d, classes),
        )  # fmt: skip

    kinds = {"mlp": mlp, "ln_gelu": blocks, "resnet": blocks, "conv1d": Conv1d, "cnn2d": cnn2d, "vae": VAE, "gpt": GPT}
    return kinds.get(model.kind, Sequence)(*model.widths)


def loss_of(model: Model, net: Any, x: Any, y: Any, F: Any, normal: Callable[[tuple[int, ...]], Any]) -> Any:
    """Cross-entropy; of a VAE the bound, -log p(x | z) + KL(q(z | x) || N(0, 1)), with z drawn afresh in every step."""
    if model.kind != "vae":
        return F.cross_entropy(net(x), y)
    logits, mean, log_variance = net(x, normal((model.batch, model.widths[-1])))
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
    return (F.binary_cross_entropy_with_logits(logits, x, reduction="sum") + divergence) / model.batch


def initialize(net: Any, model: Model, assign: Callable[[Any, np.ndarray], Any]) -> None:
    """The same values whoever computes: matrices and kernels are drawn in order, biases are 0, scales 1."""
    draw = model.draw()
    for name, parameter in net.named_parameters():
        shape = tuple(parameter.shape)
        constant = np.full(shape, name.endswith("weight"), np.float32)
        assign(parameter, draw(shape) if len(shape) > 1 else constant)
