"""What users build networks with, named and behaving as `torch.nn`."""

from graphc.nn import functional, init
from graphc.nn.activations import ReLU
from graphc.nn.containers import ModuleDict, ModuleList, Sequential
from graphc.nn.linear import Linear
from graphc.nn.losses import CrossEntropyLoss, MSELoss
from graphc.nn.mode import evaluating
from graphc.nn.module import Module
from graphc.nn.parameter import Parameter

__all__ = [
    "CrossEntropyLoss", "Linear", "MSELoss", "Module", "ModuleDict", "ModuleList", "Parameter", "ReLU", "Sequential", "evaluating", "functional", "init",
]  # fmt: skip
