"""What users build networks with, named and behaving as `torch.nn`."""

from graphc.nn import functional, init
from graphc.nn.activations import (
    CELU, ELU, GELU, GLU, SELU, Hardsigmoid, Hardswish, Hardtanh, LeakyReLU, LogSigmoid, LogSoftmax, Mish, PReLU, ReLU, ReLU6,
    Sigmoid, SiLU, Softmax, Softmin, Softplus, Softsign, Tanh,
)  # fmt: skip
from graphc.nn.attention import MultiheadAttention
from graphc.nn.batchnorm import BatchNorm1d, BatchNorm2d, InstanceNorm1d, InstanceNorm2d
from graphc.nn.cells import GRUCell, LSTMCell, RNNCell
from graphc.nn.containers import ModuleDict, ModuleList, Sequential
from graphc.nn.convolution import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from graphc.nn.dropout import Dropout, Dropout1d, Dropout2d
from graphc.nn.embedding import Embedding, SinusoidalPositions
from graphc.nn.linear import Bilinear, Linear
from graphc.nn.losses import (
    BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, GaussianNLLLoss, HingeEmbeddingLoss, HuberLoss, KLDivLoss, L1Loss,
    MSELoss, NLLLoss, PerceptronLoss, PoissonNLLLoss, SmoothL1Loss, SoftMarginLoss,
)  # fmt: skip
from graphc.nn.mode import evaluating
from graphc.nn.module import Module
from graphc.nn.normalization import GroupNorm, LayerNorm, RMSNorm
from graphc.nn.parameter import Parameter
from graphc.nn.pooling import (
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d,
)  # fmt: skip
from graphc.nn.recurrent import GRU, LSTM, RNN
from graphc.nn.shaping import Flatten, Identity, Unflatten
from graphc.nn.stacks import Transformer, TransformerDecoder, TransformerEncoder
from graphc.nn.transformer import TransformerDecoderLayer, TransformerEncoderLayer

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AvgPool1d", "AvgPool2d", "BCELoss",
    "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d", "Bilinear", "CELU", "Conv1d", "Conv2d", "ConvTranspose1d",
    "ConvTranspose2d", "CrossEntropyLoss", "Dropout", "Dropout1d", "Dropout2d", "ELU", "Embedding", "Flatten", "GELU", "GLU",
    "GRU", "GRUCell", "GaussianNLLLoss", "GroupNorm", "Hardsigmoid", "Hardswish", "Hardtanh", "HingeEmbeddingLoss",
    "HuberLoss", "Identity", "InstanceNorm1d", "InstanceNorm2d", "KLDivLoss", "L1Loss", "LSTM", "LSTMCell", "LayerNorm",
    "LeakyReLU", "Linear", "LogSigmoid", "LogSoftmax", "MSELoss", "MaxPool1d", "MaxPool2d", "Mish", "Module", "ModuleDict",
    "ModuleList", "MultiheadAttention", "NLLLoss", "PReLU", "Parameter", "PerceptronLoss", "PoissonNLLLoss", "RMSNorm", "RNN",
    "RNNCell", "ReLU", "ReLU6", "SELU", "Sequential", "SiLU", "Sigmoid", "SinusoidalPositions", "SmoothL1Loss",
    "SoftMarginLoss", "Softmax", "Softmin", "Softplus", "Softsign", "Tanh", "Transformer", "TransformerDecoder",
    "TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer", "Unflatten", "evaluating", "functional",
    "init",
]  # fmt: skip
