"""graphc: a symbolic graph compiler for training neural networks on CPUs."""

# Tensors first: they and the functions on them need each other.
from graphc.tensor import State, Tensor, constant, input
from graphc.state import state
from graphc.autodiff import custom_vjp, grad, jvp, vjp
from graphc.errors import DTypeError, GraphcError, InputError, NoAttributeError, NoValueError, ParseError, ShapeError, VerifyError
from graphc.functions import *
from graphc.functions import __all__ as _functions
from graphc import nn, optim, random
from graphc.executable import Executable, compile
from graphc.options import Options
from graphc.parse import parse
from graphc.saving import load, save
from graphc.scanning import scan
from graphc.seeding import manual_seed
from graphc.training import TrainStep, train_step
from graphc.types import bool_, float32, float64, int32, int64

__version__ = "0.1.0"

__all__ = [
    *_functions, "DTypeError", "Executable", "GraphcError", "InputError", "NoAttributeError", "NoValueError", "Options",
    "ParseError", "ShapeError", "State", "Tensor", "TrainStep", "VerifyError", "bool_", "compile", "constant", "custom_vjp",
    "float32", "float64", "grad", "input", "int32", "int64", "jvp", "load", "manual_seed", "nn", "optim", "parse", "random",
    "save", "scan", "state", "train_step", "vjp",
]  # fmt: skip
