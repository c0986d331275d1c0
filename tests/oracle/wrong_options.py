"""Values that no option of a name takes, in whatever class or function it stands."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_COUNT: list[Any] = [-1, 0, 1.5, "a", True, (2, 2, 2)]
_WINDOW: list[Any] = [0, -1, 1.5, "a", (), (1, 2, 3), True, None]
_DIVISOR: list[Any] = [*_COUNT, 5]  # 5 divides no number of channels in the registry
_WIDTH: list[Any] = [-1, 0, 1.5, "a"]
_SIZE: list[Any] = [-1, 1.5, "a", None]
_NUMBER: list[Any] = ["a", None, [0.5]]  # PyTorch takes NaN
_WORD: list[Any] = ["foo", 3, None]
_PROBABILITY: list[Any] = [1.5, -0.1, *_NUMBER]
_AXIS: list[Any] = [7, -8, 1.5, "a"]
_EPS: list[Any] = [-1.0, "a", math.nan, [0.5]]
_ARRAY: list[Any] = [np.ones((7, 7))]

WRONG: dict[str, list[Any]] = {
    **dict.fromkeys(("in_features", "out_features", "num_features", "num_embeddings", "embedding_dim"), _SIZE),
    **dict.fromkeys(("in1_features", "in2_features", "in_channels", "out_channels", "input_size", "hidden_size"), _COUNT),
    **dict.fromkeys(("num_layers", "embed_dim", "d_model", "num_parameters"), _COUNT),
    **dict.fromkeys(("num_encoder_layers", "num_decoder_layers", "dim_feedforward"), _SIZE),
    **dict.fromkeys(("num_heads", "nhead", "num_groups", "groups"), _DIVISOR),
    "num_channels": [*_SIZE, 5],
    **dict.fromkeys(("kdim", "vdim"), _WIDTH),
    **dict.fromkeys(("kernel_size", "dilation"), _WINDOW),
    "stride": [0, -1, 1.5, "a", (), (1, 2, 3), True],
    "padding": [-1, 1.5, "foo", (), (1, 2, 3), True, None],
    "output_padding": [-1, 1.5, "a", (), (1, 2, 3), 5],
    "output_size": [0, -1, 1.5, "a", (), (1, 2, 3)],
    "divisor_override": [0, 1.5, "a", True],
    "padding_mode": ["foo", 1, None],
    **dict.fromkeys(("dropout", "dropout_p", "label_smoothing"), _PROBABILITY),
    "p": [-0.1, *_NUMBER],  # a probability, or the power of a norm
    "eps": _EPS, "layer_norm_eps": [*_EPS, None],
    "momentum": ["a", [0.5]],
    **dict.fromkeys(("negative_slope", "alpha", "init", "threshold", "min_val", "max_val", "margin"), _NUMBER),
    "beta": [*_NUMBER], "delta": [0.0, -1.0, *_NUMBER], "scale": ["a", [0.5]],
    **dict.fromkeys(("reduction", "nonlinearity", "approximate"), _WORD),
    "activation": _WORD,
    "ignore_index": [1.5, "a", None, True],
    "dim": _AXIS, "start_dim": _AXIS, "end_dim": _AXIS,
    "unflattened_size": [(), (5, 7), (-1, -1), (-2, 3), "a", (1.5, 2)],
    "normalized_shape": [(), -1, "a", (1.5,), None, (9,)],
    "padding_idx": [99, -99, 1.5, "a", True],
    "num_classes": [0, -2, 1.5, "a", True],
    "weight": _ARRAY, "pos_weight": _ARRAY, "running_mean": _ARRAY, "running_var": _ARRAY,
    "attn_mask": [np.ones((7, 7), bool), np.ones((5, 6), np.int64)],
    "dtype": ["int32", "foo", 3, np.complex64],
    "_weight": [np.ones((2, 2)), "a"],
    "max_norm": ["a", 3],
}  # fmt: skip
