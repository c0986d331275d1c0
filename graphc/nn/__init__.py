"""What users build networks with, named and behaving as `torch.nn`."""

from graphc.nn import functional, init
from graphc.nn.activations import (
    CELU, ELU, GELU, GLU, SELU, Hardsigmoid, Hardswish, Hardtanh, LeakyReLU, LogSigmoid, LogSoftmax, Mish, PReLU, ReLU, ReLU6,
    Sigmoid, SiLU, Softmax, Softmin, Softplus, Softsign, Tanh,
)  # fmt: skip
from graphc.nn.containers import ModuleDict, ModuleList, Sequential
from graphc.nn.linear import Bilinear, Linear
from graphc.nn.losses import (
    BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, GaussianNLLLoss, HingeEmbeddingLoss, HuberLoss, KLDivLoss, L1Loss,
    MSELoss, NLLLoss, PerceptronLoss, PoissonNLLLoss, SmoothL1Loss, SoftMarginLoss,
)  # fmt: skip
from graphc.nn.mode import evaluating
from graphc.nn.module import Module
from graphc.nn.normalization import LayerNorm
from graphc.nn.parameter import Parameter
from graphc.nn.shaping import Flatten, Identity, Unflatten

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "Bilinear", "CELU", "CrossEntropyLoss", "ELU", "Flatten", "GELU", "GLU", "GaussianNLLLoss",
    "Hardsigmoid", "Hardswish", "Hardtanh", "HingeEmbeddingLoss", "HuberLoss", "Identity", "KLDivLoss", "L1Loss", "LayerNorm",
    "LeakyReLU", "Linear", "LogSigmoid", "LogSoftmax", "MSELoss", "Mish", "Module", "ModuleDict", "ModuleList", "NLLLoss",
    "PReLU", "Parameter", "PerceptronLoss", "PoissonNLLLoss", "ReLU", "ReLU6", "SELU", "Sequential", "SiLU", "Sigmoid",
    "SmoothL1Loss", "SoftMarginLoss", "Softmax", "Softmin", "Softplus", "Softsign", "Tanh", "Unflatten", "evaluating",
    "functional", "init",
]  # fmt: skip
