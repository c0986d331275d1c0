"""Configurations of the functions of `graphc.nn.functional`, with the tensors as inputs and everything else as options.

Every option takes a value other than its default at least once: `test_registry.py` sees to it.
"""

from __future__ import annotations

import numpy as np
from case import Case, distributions, labels, positive, signs, some_ignored, unit

X = ((3, 5),)
SEVERAL = [Case(), Case(inputs=[(2, 3, 19)]), Case(inputs=[()])]
SINGLE = {"float64": 2e-6}  # PyTorch keeps the 1/6 of hardsigmoid, and CELU's 1/alpha, in single precision
IMAGE, ROW = (2, 3, 9, 8), (2, 3, 13)
PAIR = [(4, 3), (4, 3)]
W3 = np.array([0.5, 1.5, 1.0])
WEIGHTS = np.random.default_rng(9).uniform(0.2, 2, (4, 3))


def reductions(*cases: Case) -> list[Case]:
    return [Case((), {**case.options, "reduction": kind}, case.inputs) for case in cases for kind in ("none", "mean", "sum")]


CLASSES = [(6, 3), labels(3, 6)]
FUNCTIONS: dict[str, list[Case]] = {
    # activations
    **dict.fromkeys(("relu", "relu6", "sigmoid", "tanh", "logsigmoid", "softsign", "silu", "mish", "selu", "hardswish"), SEVERAL),
    "hardsigmoid": [Case(limits=SINGLE), Case(inputs=[(2, 3, 19)], limits=SINGLE)],
    "leaky_relu": [*SEVERAL, Case((), {"negative_slope": 0.3})],
    "hardtanh": [*SEVERAL, Case((), {"min_val": -0.5, "max_val": 1.5})],
    "softplus": [*SEVERAL, Case((), {"beta": 2.5, "threshold": 3.0})],
    "gelu": [*SEVERAL, Case((), {"approximate": "tanh"})],
    "elu": [*SEVERAL, Case((), {"alpha": 2.5})],
    "celu": [*SEVERAL, Case((), {"alpha": 0.4}, limits=SINGLE)],
    "glu": [Case(inputs=[(3, 6)]), Case((), {"dim": 1}, [(3, 4, 5)])],
    "prelu": [Case(inputs=[(3, 4, 5), (1,)]), Case(inputs=[(3, 4, 5), (4,)]), Case(inputs=[(7,), (1,)])],
    **{
        name: [Case((), {"dim": -1}), Case((), {"dim": 0}, [(7,)]), Case((), {"dim": -2}, [(2, 3, 19)])]
        for name in ("softmax", "log_softmax", "softmin")
    },
    "normalize": [
        Case(inputs=[(4, 3, 5)]), Case((), {"p": 3.0, "dim": -1}, [(4, 3, 5)]), Case((), {"p": 1, "dim": 0, "eps": 3.0}),
        Case((), {"p": np.inf}),
    ],
    # layers
    "linear": [Case(inputs=[(4, 5), (3, 5)]), Case(inputs=[(2, 4, 5), (3, 5), (3,)]), Case(inputs=[(5,), (5,)])],
    "bilinear": [Case(inputs=[(5, 3), (5, 4), (2, 3, 4)]), Case(inputs=[(2, 5, 3), (2, 5, 4), (2, 3, 4), (2,)])],
    "embedding": [
        Case(inputs=[labels(7, 3, 5), (7, 4)]), Case((), {"padding_idx": 3}, [labels(7, 2, 3), (7, 5)]),
        Case((), {"padding_idx": -1}, [labels(7), (7, 1)]),
    ],
    "conv1d": [
        Case(inputs=[ROW, (4, 3, 3)]), Case((), {"stride": 2, "padding": 1, "dilation": 2}, [ROW, (5, 3, 3), (5,)]),
        Case((), {"padding": "same", "groups": 3}, [ROW, (6, 1, 4), (6,)]), Case((), {"padding": "valid"}, [(3, 11), (4, 3, 1)]),
    ],
    "conv2d": [
        Case(inputs=[IMAGE, (4, 3, 3, 2)]),
        Case((), {"stride": (2, 3), "padding": (1, 0), "dilation": (1, 2)}, [IMAGE, (5, 3, 3, 2), (5,)]),
        Case((), {"padding": "same", "groups": 3}, [IMAGE, (6, 1, 4, 3), (6,)]), Case(inputs=[(3, 6, 7), (4, 3, 1, 1)]),
    ],
    "conv_transpose1d": [
        Case(inputs=[(2, 3, 5), (3, 4, 3)]),
        Case((), {"stride": 2, "padding": 1, "output_padding": 1, "dilation": 2}, [(2, 3, 5), (3, 4, 3), (4,)]),
        Case((), {"groups": 3, "stride": 3, "output_padding": 2}, [(2, 6, 5), (6, 2, 2), (6,)]),
    ],
    "conv_transpose2d": [
        Case(inputs=[(2, 3, 4, 5), (3, 4, 3, 2)]),
        Case((), {"stride": 2, "padding": 1, "output_padding": (1, 0)}, [(2, 3, 4, 5), (3, 4, 3, 3), (4,)]),
        Case((), {"groups": 2, "dilation": (1, 3)}, [(2, 4, 4, 5), (4, 3, 3, 2), (6,)]),
    ],
    "max_pool1d": [
        Case((), {"kernel_size": 2}, [ROW]),
        Case((), {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2, "ceil_mode": True}, [ROW]),
    ],
    "max_pool2d": [
        Case((), {"kernel_size": 2}, [IMAGE]),
        Case((), {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "ceil_mode": True}, [IMAGE]),
    ],
    "avg_pool1d": [
        Case((), {"kernel_size": 2}, [ROW]),
        Case((), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}, [ROW]),
    ],
    "avg_pool2d": [
        Case((), {"kernel_size": 2}, [IMAGE]),
        Case((), {"kernel_size": (3, 2), "stride": 2, "padding": (1, 0), "ceil_mode": True, "count_include_pad": False}, [IMAGE]),
        Case((), {"kernel_size": 3, "divisor_override": 5}, [(3, 7, 8)]),
    ],
    **{f"adaptive_{kind}_pool1d": [Case((), {"output_size": n}, [ROW]) for n in (1, 4, 13)] for kind in ("avg", "max")},
    **{
        f"adaptive_{kind}_pool2d": [Case((), {"output_size": n}, [IMAGE]) for n in (2, (3, None), (4, 7))]
        for kind in ("avg", "max")
    },
    **{
        name: [Case((), {"training": False, "p": 0.3}, [shape]), Case((), {"p": 0.0}, [shape]), Case((), {"p": 1.0}, [shape])]
        for name, shape in (("dropout", (3, 5)), ("dropout1d", (2, 3, 5)), ("dropout2d", (2, 3, 4, 5)))
    },
    # normalization
    "layer_norm": [
        Case((), {"normalized_shape": (5,)}),
        Case((), {"normalized_shape": (4, 3), "weight": WEIGHTS, "bias": 1 - WEIGHTS, "eps": 0.1}, [(2, 4, 3)]),
    ],
    "rms_norm": [Case((), {"normalized_shape": (5,)}), Case((), {"normalized_shape": (3,), "weight": W3, "eps": 0.1}, [(4, 3)])],
    "group_norm": [
        Case((), {"num_groups": 3}, [(2, 6, 5)]),
        Case((), {"num_groups": 1, "weight": W3, "bias": W3 - 1, "eps": 0.1}, [(2, 3, 4, 5)]),
    ],
    "batch_norm": [
        Case((), {"running_mean": W3, "running_var": W3}, [IMAGE]),
        Case((), {"running_mean": None, "running_var": None, "training": True, "weight": W3, "bias": W3, "eps": 0.1}, [(5, 3)]),
    ],
    "instance_norm": [
        Case((), {"weight": W3, "bias": W3 - 1, "eps": 0.1}, [IMAGE]),
        Case((), {"running_mean": W3, "running_var": W3, "use_input_stats": False}, [ROW]),
    ],
    "scaled_dot_product_attention": [
        Case(inputs=[(2, 7, 5), (2, 6, 5), (2, 6, 3)]),
        Case((), {"is_causal": True, "scale": 0.3}, [(2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 4)]),
        Case((), {"attn_mask": np.tri(5, 6, 2, dtype=bool)}, [(2, 5, 4), (2, 6, 4), (2, 6, 4)]),
        Case((), {"enable_gqa": True}, [(2, 6, 5, 4), (2, 2, 7, 4), (2, 2, 7, 3)]),
        Case((), {"dropout_p": 0.0}, [(5, 4), (5, 4), (5, 4), lambda rng: rng.normal(size=(5, 5))]),
    ],
    # losses
    "mse_loss": reductions(Case(inputs=PAIR), Case((), {"weight": WEIGHTS}, PAIR)),
    "l1_loss": reductions(Case(inputs=PAIR), Case((), {"weight": WEIGHTS}, PAIR)),
    "smooth_l1_loss": reductions(Case(inputs=PAIR), Case((), {"beta": 0.3}, PAIR), Case((), {"beta": 0.0}, PAIR)),
    "huber_loss": reductions(Case(inputs=PAIR), Case((), {"delta": 0.4, "weight": WEIGHTS}, PAIR)),
    "cross_entropy": reductions(
        Case(inputs=CLASSES), Case((), {"weight": W3, "label_smoothing": 0.2}, [(6, 3, 2), some_ignored(3, 6, 2)]),
        Case((), {"ignore_index": 1}, [(6, 3), some_ignored(3, 6, index=1)]),
        Case((), {"label_smoothing": 0.3, "weight": W3}, [(6, 3), distributions(6, 3)]), Case(inputs=[(3,), labels(3)]),
        Case((), {"ignore_index": -1}, [(6, 3), distributions(6, 3)]),
    ),
    "nll_loss": reductions(
        Case(inputs=CLASSES), Case((), {"weight": W3}, [(6, 3, 2), some_ignored(3, 6, 2)]),
        Case((), {"ignore_index": 1}, [(6, 3), some_ignored(3, 6, index=1)]),
    ),
    "binary_cross_entropy": reductions(Case(inputs=[unit(4, 3), unit(4, 3)]), Case((), {"weight": W3}, [unit(4, 3), unit(4, 3)])),
    "binary_cross_entropy_with_logits": reductions(
        Case(inputs=[(4, 3), unit(4, 3)]), Case((), {"weight": WEIGHTS, "pos_weight": W3}, [(4, 3), unit(4, 3)])
    ),
    "poisson_nll_loss": reductions(
        Case(inputs=[(4, 3), positive(4, 3)]), Case((), {"full": True}, [(4, 3), lambda rng: 1 + 3.0 * rng.random((4, 3))]),
        Case((), {"log_input": False, "eps": 0.1}, [positive(4, 3), positive(4, 3)]),
    ),
    "gaussian_nll_loss": reductions(
        Case(inputs=[*PAIR, positive(4, 3)]), Case((), {"full": True, "eps": 0.5}, [*PAIR, positive(4, 1)]),
        Case(inputs=[*PAIR, positive(4)]),
    ),
    "kl_div": [
        *reductions(Case(inputs=[(4, 3), distributions(4, 3)]), Case((), {"log_target": True}, PAIR)),
        Case((), {"reduction": "batchmean"}, [(4, 3), distributions(4, 3)]),
    ],
    "hinge_embedding_loss": reductions(Case(inputs=[(4, 3), signs(4, 3)]), Case((), {"margin": 0.3}, [(4, 3), signs(4, 3)])),
    # PyTorch's has no derivative with respect to the target
    "soft_margin_loss": reductions(Case((), {"target": np.sign(WEIGHTS - 1)}, [(4, 3)])),
}  # fmt: skip
