"""Configurations of the classes of `graphc.nn`, with constructor arguments and inputs.

Every constructor option takes a value other than its default at least once: `test_registry.py` sees to it. Larger grids of the
classes with many options stand in the files that test them alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from case import Case, distributions, labels, positive, signs, some_ignored, unit

ROW, IMAGE = (2, 3, 13), (2, 3, 9, 8)
PAIR = [(4, 3), (4, 3)]
W3 = np.array([0.5, 1.5, 1.0])
SEVERAL = [Case(), Case(inputs=[(2, 3, 19)])]
SINGLE = {"float64": 2e-6}  # PyTorch keeps the 1/6 of hardsigmoid, and CELU's 1/alpha, in single precision
CLASSES = [(6, 3), labels(3, 6)]


def flat(module: Any, x: Any, *states: Any) -> tuple[Any, ...]:
    """All tensors that a recurrent module returns, for the states given one by one."""
    result = module(x, None if not states else states[0] if len(states) == 1 else states)
    parts = result if isinstance(result, tuple) else (result,)
    return tuple(one for part in parts for one in (part if isinstance(part, tuple) else (part,)))


def reductions(*cases: Case) -> list[Case]:
    """Losses; what they start with are weights, which stay positive."""
    return [
        Case(case.args, {**case.options, "reduction": kind}, case.inputs, perturbed=False)
        for case in cases for kind in ("none", "mean", "sum")
    ]  # fmt: skip


def of_lists(module: Any, x: Any) -> Any:
    for layer in module:
        x = layer(x)
    return x


def of_dicts(module: Any, x: Any) -> Any:
    return module["second"](module["first"](x))


def recurrent(states: int, *cases: Case) -> list[Case]:
    given = Case((4, 3), {"num_layers": 2, "bidirectional": True}, [(5, 2, 4), *[(4, 2, 3)] * states])
    return [
        Case(one.args, one.options, one.inputs, one.training, flat)
        for one in (
            Case((5, 7), {}, [(3, 4, 5)]), given,
            Case((5, 3), {"bias": False, "batch_first": True, "num_layers": 2}, [(3, 4, 5)]),
            Case((3, 5), {"num_layers": 2, "dropout": 0.5}, [(6, 3)], training=False), *cases,
        )
    ]  # fmt: skip


def cells(states: int, *cases: Case) -> list[Case]:
    return [
        Case(one.args, one.options, one.inputs, call=flat)
        for one in (Case((5, 7), {}, [(3, 5), *[(3, 7)] * states]), Case((5, 3), {"bias": False}, [(5,)]), *cases)
    ]


NORMS: dict[str, list[Case]] = {
    "LayerNorm": [
        Case((7,), {"eps": 1e-2}, [(4, 7)]), Case(((3, 5),), {"bias": False}, [(2, 3, 5)]),
        Case((5,), {"elementwise_affine": False}, [(3, 5)]),
    ],
    "RMSNorm": [Case(((3, 5),), {"eps": 1e-2}, [(2, 3, 5)]), Case((5,), {"elementwise_affine": False}, [(3, 5)])],
    "GroupNorm": [
        Case((3, 6), {"eps": 1e-2}, [(2, 6, 5, 3)]), Case((1, 6), {"bias": False}, [(2, 6, 5)]),
        Case((2, 6), {"affine": False}, [(3, 6, 5)]),
    ],
    **{
        name: [
            Case((3,), options, [shape], training)
            for options in (
                {}, {"momentum": None, "eps": 1e-2}, {"momentum": 0.4, "bias": False},
                {"affine": False, "track_running_stats": False}
            )
            for training in (True, False)
        ]
        for name, shape in (("BatchNorm1d", (5, 3)), ("BatchNorm2d", (2, 3, 5, 4)))
    },
    **{
        name: [
            Case((3,), options, [shape], training)
            for options in (
                {"affine": True, "eps": 0.1}, {"affine": True, "bias": False, "track_running_stats": True, "momentum": 0.3}
            )
            for training in (True, False)
        ]
        for name, shape in (("InstanceNorm1d", (2, 3, 5)), ("InstanceNorm2d", (3, 5, 4)))
    },
}  # fmt: skip

LOSSES: dict[str, list[Case]] = {
    **{name: reductions(Case(inputs=PAIR)) for name in ("MSELoss", "L1Loss")},
    "SmoothL1Loss": reductions(Case(inputs=PAIR), Case((), {"beta": 0.3}, PAIR)),
    "HuberLoss": reductions(Case(inputs=PAIR), Case((), {"delta": 0.4}, PAIR)),
    "CrossEntropyLoss": reductions(
        Case(inputs=CLASSES), Case((W3,), {"label_smoothing": 0.2}, [(6, 3, 2), some_ignored(3, 6, 2)]),
        Case((), {"ignore_index": 1}, [(6, 3), some_ignored(3, 6, index=1)]), Case((W3,), {}, [(6, 3), distributions(6, 3)]),
    ),
    "NLLLoss": reductions(
        Case(inputs=CLASSES), Case((W3,), {"ignore_index": 1}, [(6, 3, 2), some_ignored(3, 6, 2, index=1)]),
    ),
    "BCELoss": reductions(Case(inputs=[unit(4, 3), unit(4, 3)]), Case((W3,), {}, [unit(4, 3), unit(4, 3)])),
    "BCEWithLogitsLoss": reductions(Case(inputs=[(4, 3), unit(4, 3)]), Case((W3,), {"pos_weight": W3 * 2}, [(4, 3), unit(4, 3)])),
    "PoissonNLLLoss": reductions(
        Case(inputs=[(4, 3), positive(4, 3)]), Case((False,), {"full": True, "eps": 0.1}, [positive(4, 3), positive(4, 3)])
    ),
    "GaussianNLLLoss": reductions(
        Case(inputs=[*PAIR, positive(4, 3)]), Case((), {"full": True, "eps": 0.5}, [*PAIR, positive(4, 1)])
    ),
    "KLDivLoss": [
        *reductions(Case(inputs=[(4, 3), distributions(4, 3)]), Case((), {"log_target": True}, PAIR)),
        Case((), {"reduction": "batchmean"}, [(4, 3), distributions(4, 3)]),
    ],
    "HingeEmbeddingLoss": reductions(Case(inputs=[(4, 3), signs(4, 3)]), Case((0.3,), {}, [(4, 3), signs(4, 3)])),
}  # fmt: skip

ATTENTION = [
    Case((12, 3), {}, [(7, 2, 12)], call=lambda m, x: m(x, x, x)),
    Case(
        (8, 2), {"bias": False, "batch_first": True}, [(2, 5, 8), (2, 6, 8)], call=lambda m, x, y: m(x, y, y, need_weights=False)
    ),
    Case((6, 2), {"kdim": 5, "vdim": 7}, [(4, 6), (3, 5), (3, 7)], call=lambda m, *qkv: m(*qkv, average_attn_weights=False)),
    Case((6, 2, 0.5), {}, [(4, 6)], training=False, call=lambda m, x: m(x, x, x)),
]


def transformer(inputs: int) -> list[Case]:
    """Encoder and decoder layers, on as many inputs."""
    shapes, batch_first = [(5, 2, 8), (4, 2, 8)][:inputs], [(2, 5, 8), (2, 4, 8)][:inputs]
    return [
        Case((8, 2, 11, 0.0), {}, shapes),
        Case((8, 2, 11), {"dropout": 0.0, "activation": "gelu", "norm_first": True, "layer_norm_eps": 1e-2}, shapes),
        Case((8, 2, 11, 0.3), {"batch_first": True, "bias": False}, batch_first, training=False),
    ]


MODULES: dict[str, list[Case]] = {
    # activations
    **dict.fromkeys(("ReLU", "ReLU6", "Sigmoid", "Tanh", "LogSigmoid", "Softsign", "SiLU", "Mish", "SELU", "Identity"), SEVERAL),
    "Hardsigmoid": [Case(limits=SINGLE), Case(inputs=[(2, 3, 19)], limits=SINGLE)],
    "Hardswish": SEVERAL,
    "LeakyReLU": [*SEVERAL, Case((0.3,))],
    "Hardtanh": [*SEVERAL, Case((-0.5, 1.5))],
    "Softplus": [*SEVERAL, Case((2.5, 3.0))],
    "GELU": [*SEVERAL, Case(("tanh",))],
    "ELU": [*SEVERAL, Case((2.5,))],
    "CELU": [*SEVERAL, Case((0.4,), limits=SINGLE)],
    "GLU": [Case(inputs=[(3, 6)]), Case((1,), {}, [(3, 4, 5)])],
    "PReLU": [Case(inputs=[(3, 4, 5)]), Case((4, 0.7), {}, [(3, 4, 5)])],
    **{
        name: [Case((-1,)), Case((0,), {}, [(7,)]), Case((-2,), {}, [ROW])] for name in ("Softmax", "LogSoftmax", "Softmin")
    },
    # layers
    "Linear": [Case((5, 3), {}, [(4, 5)]), Case((1, 7), {"bias": False}, [(2, 3, 1)]), Case((33, 19), {}, [(33,)])],
    "Bilinear": [Case((3, 4, 2), {}, [(5, 3), (5, 4)]), Case((3, 4, 5), {"bias": False}, [(2, 5, 3), (2, 5, 4)])],
    "Embedding": [Case((7, 5), {}, [labels(7, 3, 4)]), Case((7, 5, -2), {}, [labels(7, 11)])],
    "Flatten": [Case((), {}, [(2, 3, 4)]), Case((0, 1), {}, [(2, 3, 4)])],
    "Unflatten": [Case((1, (2, 3)), {}, [(4, 6)]), Case((-1, (-1, 2)), {}, [(3, 4)])],
    "Dropout": [Case((0.3,), training=False), Case((0.0,)), Case((1.0,))],
    "Dropout1d": [Case((0.3,), {}, [ROW], training=False), Case((0.0,), {}, [ROW]), Case((1.0,), {}, [ROW])],
    "Dropout2d": [Case((0.3,), {}, [IMAGE], training=False), Case((0.0,), {}, [IMAGE]), Case((1.0,), {}, [IMAGE])],
    # convolution and pooling
    "Conv1d": [
        Case((3, 4, 3), {"stride": 2, "padding": 1, "dilation": 2}, [ROW]),
        Case((4, 6, 4), {"padding": "same", "groups": 2, "bias": False}, [(2, 4, 9)]),
    ],
    "Conv2d": [
        Case((3, 4, (3, 2)), {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}, [IMAGE]),
        Case((4, 4, 3), {"padding": "same", "groups": 4, "bias": False}, [(4, 7, 5)]),
    ],
    "ConvTranspose1d": [
        Case((3, 4, 3), {"stride": 2, "padding": 1, "output_padding": 1}, [(2, 3, 5)]),
        Case((4, 6, 3), {"groups": 2, "bias": False, "dilation": 2}, [(4, 7)]),
    ],
    "ConvTranspose2d": [
        Case((3, 4, 3), {"stride": 2, "padding": 1, "output_padding": (1, 0)}, [(2, 3, 4, 5)]),
        Case((4, 6, 2), {"groups": 2, "bias": False, "dilation": 2}, [(4, 3, 5)]),
    ],
    "MaxPool1d": [Case((2,), {}, [ROW]), Case((3, 2, 1, 2), {"ceil_mode": True}, [ROW])],
    "MaxPool2d": [Case((2,), {}, [IMAGE]), Case(((3, 2), (2, 1), (1, 0), (1, 2)), {"ceil_mode": True}, [IMAGE])],
    "AvgPool1d": [Case((2,), {}, [ROW]), Case((3, 2, 1, True, False), {}, [ROW])],
    "AvgPool2d": [Case((2,), {}, [IMAGE]), Case((3, 2, 1, True, False, 5), {}, [IMAGE])],
    **{f"Adaptive{kind}Pool1d": [Case((n,), {}, [ROW]) for n in (1, 4)] for kind in ("Avg", "Max")},
    **{f"Adaptive{kind}Pool2d": [Case((n,), {}, [IMAGE]) for n in (2, (3, None))] for kind in ("Avg", "Max")},
    **NORMS,
    **LOSSES,
    # sequences
    "RNN": recurrent(1, Case((3, 5), {"nonlinearity": "relu"}, [(4, 2, 3)])),
    "LSTM": recurrent(2),
    "GRU": recurrent(1),
    "RNNCell": cells(1, Case((3, 5), {"nonlinearity": "relu"}, [(2, 3)])),
    "LSTMCell": cells(2),
    "GRUCell": cells(1),
    "MultiheadAttention": ATTENTION,
    "TransformerEncoderLayer": transformer(1),
    "TransformerDecoderLayer": transformer(2),
    "Transformer": [
        Case((8, 2, 1, 2, 11, 0.0), {}, [(5, 2, 8), (4, 2, 8)]),
        Case(
            (), {
                "d_model": 6, "nhead": 3, "num_encoder_layers": 1, "num_decoder_layers": 1, "dim_feedforward": 9, "dropout": 0.2,
                "activation": "gelu", "layer_norm_eps": 1e-2, "batch_first": True, "norm_first": True, "bias": False,
            }, [(2, 3, 6), (2, 4, 6)], training=False,
        ),
    ],
}  # fmt: skip
