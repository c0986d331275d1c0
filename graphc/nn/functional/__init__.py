"""`import graphc.nn.functional as F`: functions named, ordered and behaving as PyTorch's; `dim=` where `graphc` says `axis=`.

An option that is not there is refused, never ignored.
"""

from graphc.nn.functional.activations import (
    celu, elu, gelu, glu, hardsigmoid, hardswish, hardtanh, leaky_relu, log_softmax, logsigmoid, mish, prelu, relu, relu6, selu,
    sigmoid, silu, softmax, softmin, softplus, softsign, tanh,
)  # fmt: skip
from graphc.nn.functional.attention import scaled_dot_product_attention
from graphc.nn.functional.batchnorm import batch_norm, instance_norm
from graphc.nn.functional.binary import (
    binary_cross_entropy, binary_cross_entropy_with_logits, hinge_embedding_loss, perceptron_loss, soft_margin_loss,
)  # fmt: skip
from graphc.nn.functional.classification import cross_entropy, nll_loss
from graphc.nn.functional.convolution import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from graphc.nn.functional.distributions import gaussian_nll_loss, kl_div, poisson_nll_loss
from graphc.nn.functional.dropout import dropout, dropout1d, dropout2d
from graphc.nn.functional.embedding import embedding, one_hot, sinusoidal_positions
from graphc.nn.functional.layers import bilinear, linear
from graphc.nn.functional.normalization import group_norm, layer_norm, normalize, rms_norm
from graphc.nn.functional.pooling import (
    adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_max_pool1d, adaptive_max_pool2d, avg_pool1d, avg_pool2d, max_pool1d,
    max_pool2d,
)  # fmt: skip
from graphc.nn.functional.regression import huber_loss, l1_loss, mse_loss, smooth_l1_loss

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d", "avg_pool1d", "avg_pool2d",
    "batch_norm", "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits", "celu", "conv1d", "conv2d",
    "conv_transpose1d", "conv_transpose2d", "cross_entropy", "dropout", "dropout1d", "dropout2d", "elu", "embedding",
    "gaussian_nll_loss", "gelu", "glu", "group_norm", "hardsigmoid", "hardswish", "hardtanh", "hinge_embedding_loss",
    "huber_loss", "instance_norm", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "linear", "log_softmax", "logsigmoid",
    "max_pool1d", "max_pool2d", "mish", "mse_loss", "nll_loss", "normalize", "one_hot", "perceptron_loss", "poisson_nll_loss",
    "prelu", "relu", "relu6", "rms_norm", "scaled_dot_product_attention", "selu", "sigmoid", "silu", "sinusoidal_positions",
    "smooth_l1_loss", "soft_margin_loss", "softmax", "softmin", "softplus", "softsign", "tanh",
]  # fmt: skip
