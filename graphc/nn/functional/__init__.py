"""`import graphc.nn.functional as F`: functions named, ordered and behaving as PyTorch's; `dim=` where `graphc` says `axis=`.

An option that is not there is refused, never ignored.
"""

from graphc.nn.functional.activations import (
    celu, elu, gelu, glu, hardsigmoid, hardswish, hardtanh, leaky_relu, log_softmax, logsigmoid, mish, prelu, relu, relu6, selu,
    sigmoid, silu, softmax, softmin, softplus, softsign, tanh,
)  # fmt: skip
from graphc.nn.functional.binary import (
    binary_cross_entropy, binary_cross_entropy_with_logits, hinge_embedding_loss, perceptron_loss, soft_margin_loss,
)  # fmt: skip
from graphc.nn.functional.classification import cross_entropy, nll_loss
from graphc.nn.functional.distributions import gaussian_nll_loss, kl_div, poisson_nll_loss
from graphc.nn.functional.layers import bilinear, layer_norm, linear, normalize
from graphc.nn.functional.regression import huber_loss, l1_loss, mse_loss, smooth_l1_loss

__all__ = [
    "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits", "celu", "cross_entropy", "elu", "gaussian_nll_loss",
    "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss",
    "layer_norm", "leaky_relu", "linear", "log_softmax", "logsigmoid", "mish", "mse_loss", "nll_loss", "normalize",
    "perceptron_loss", "poisson_nll_loss", "prelu", "relu", "relu6", "selu", "sigmoid", "silu", "smooth_l1_loss",
    "soft_margin_loss", "softmax", "softmin", "softplus", "softsign", "tanh",
]  # fmt: skip
