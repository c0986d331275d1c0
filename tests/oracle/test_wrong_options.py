"""Wrong values of options: every class and function of the registry raises a graphc error that names the argument, when it is
made or at the latest when it is called. Nothing is ignored, and nothing fails inside with Python's or NumPy's errors."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from case import Case
from cases_functions import FUNCTIONS
from cases_modules import MODULES
from torch_peer import torch
from wrong_options import WRONG

import graphc
import graphc.nn.functional as F
from graphc import nn, optim
from graphc.nn import init

pytestmark = pytest.mark.oracle
assert torch  # the registry's configurations are PyTorch's

# True and False, modules, and arguments that say nothing of their own
FLAGS = {
    "bias", "affine", "elementwise_affine", "track_running_stats", "batch_first", "bidirectional", "norm_first", "ceil_mode",
    "count_include_pad", "log_input", "full", "log_target", "training", "use_input_stats", "is_causal", "enable_gqa", "inplace",
    "return_indices", "scale_grad_by_freq", "sparse", "add_bias_kv", "add_zero_attn", "_freeze", "custom_encoder",
    "custom_decoder", "args", "kwargs", "device", "size_average", "reduce", "out", "min_value", "max_value", "proj_size",
    "norm_type", "_stacklevel", "target",
}  # fmt: skip


def _options(table: dict[str, list[Case]], package: Any) -> list[Any]:
    found = []
    for name, cases in table.items():
        parameters = inspect.signature(getattr(package, name)).parameters
        operands = len(cases[0].inputs) if package is F else 0
        found += [(name, option) for option in list(parameters)[operands:] if option not in FLAGS]
    return found


def _names(option: str) -> Any:
    """The argument's own name as a word, in a graphc error."""
    return pytest.raises(graphc.GraphcError, match=rf"(?<![\w]){option}(?![\w])")


def _wrong(option: str, default: Any) -> list[Any]:
    return [value for value in WRONG[option] if not (value is None and default is None)]


def _inputs(case: Case) -> list[graphc.Tensor]:
    return [graphc.input(f"x{i}", array.shape, array.dtype) for i, array in enumerate(case.arrays("float32"))]


@pytest.mark.parametrize(("name", "option"), _options(MODULES, nn))
def test_classes(name: str, option: str) -> None:
    case, kind = MODULES[name][0], getattr(nn, name)
    signature = inspect.signature(kind)
    arguments, options = case.named("float32", np.asarray)
    bound = signature.bind(*arguments, **options).arguments
    for value in _wrong(option, signature.parameters[option].default):
        with warnings.catch_warnings(), _names(option):
            warnings.simplefilter("ignore")
            made = kind(**{**bound, option: value})
            made(*_inputs(case)) if case.call is None else case.call(made, *_inputs(case))


@pytest.mark.parametrize(("name", "option"), _options(FUNCTIONS, F))
def test_functions(name: str, option: str) -> None:
    case, function = FUNCTIONS[name][0], getattr(F, name)
    for value in _wrong(option, inspect.signature(function).parameters[option].default):
        with _names(option):
            function(*_inputs(case), **{**case.named("float32", np.asarray)[1], option: value})


OPTIMIZERS: dict[str, list[Any]] = {
    "lr": [-1.0, "a", None, math.nan],
    **{name: [-1.0, "a", None] for name in ("momentum", "weight_decay", "eps", "lr_decay", "initial_accumulator_value", "alpha")},
    "dampening": ["a", None],
    "betas": [(0.9, 1.5), (-0.1, 0.9), 0.9, (0.9,), ("a", 0.9), None],
    **{name: ["a", 3, None] for name in ("nesterov", "amsgrad", "maximize", "centered", "decoupled_weight_decay")},
}


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_optimizers(name: str) -> None:
    kind = getattr(optim, name)
    made = kind(nn.Linear(1, 1).parameters())
    for option in inspect.signature(kind).parameters:
        for value in OPTIMIZERS.get(option, ()):
            with _names(option):
                kind(nn.Linear(1, 1).parameters(), **{option: value})
            with _names(option):
                made.add_param_group({"params": nn.Linear(1, 1).parameters(), option: value})
    for params in (None, 3, [], [None], [nn.Linear(1, 1)], [{"lr": 1.0}]):
        with _names("params"):
            kind(params)


W = np.ones((3, 4), np.float32)
LINEAR, IMAGE = nn.Linear(3, 2), graphc.input("x", (2, 3, 5, 5))
OTHERS: list[tuple[str, Callable[[], Any]]] = [
    ("nesterov", lambda: optim.SGD(LINEAR.parameters(), nesterov=True)),
    ("nesterov", lambda: optim.SGD(LINEAR.parameters(), momentum=0.9, dampening=0.1, nesterov=True)),
    *(("lr", lambda f=f: f(-1.0)) for f in (optim.constant, lambda lr: optim.step_decay(lr, 2), lambda lr: optim.cosine(lr, 3))),
    ("step_size", lambda: optim.step_decay(0.1, 0)), ("gamma", lambda: optim.step_decay(0.1, 2, -1.0)),
    ("gamma", lambda: optim.exponential(0.1, "a")), ("milestones", lambda: optim.multi_step(0.1, 3)),
    ("milestones", lambda: optim.multi_step(0.1, [-1])), ("total_steps", lambda: optim.linear(0.1, 0)),
    ("start_factor", lambda: optim.linear(0.1, 3, -1.0)), ("end_factor", lambda: optim.linear(0.1, 3, 1.0, -1.0)),
    ("warmup_steps", lambda: optim.linear_warmup(0.1, 0)), ("total_steps", lambda: optim.cosine(0.1, 3, 3)),
    ("final_lr", lambda: optim.cosine(0.1, 3, 0, -1.0)), ("factor", lambda: optim.scaled(0.1, 3)),
    ("milestone", lambda: optim.sequential([0.1, 0.2], [])), ("schedules", lambda: optim.sequential([-1.0], [])),
    ("max_norm", lambda: optim.clip_grad_norm(-1.0)), ("norm_type", lambda: optim.clip_grad_norm(1.0, 0.0)),
    ("clip_value", lambda: optim.clip_grad_value(0.0)),
    ("std", lambda: init.normal_(W, std=-1.0)), ("a", lambda: init.uniform_(W, 1.0, 0.0)),
    ("a", lambda: init.trunc_normal_(W, a=1.0, b=0.0)),
    ("b", lambda: init.trunc_normal_(W, b="a")),
    ("mode", lambda: init.kaiming_uniform_(W, mode="foo")),
    ("nonlinearity", lambda: init.kaiming_normal_(W, nonlinearity="foo")), ("generator", lambda: init.normal_(W, generator=3)),
    ("nonlinearity", lambda: init.calculate_gain("foo")),
    ("gain", lambda: init.xavier_uniform_(W, gain="a")),
    ("gain", lambda: init.xavier_normal_(W, -1.0)),
    ("gain", lambda: init.orthogonal_(W, gain="a")), ("val", lambda: init.constant_(W, "a")),
    ("groups", lambda: nn.Conv2d(4, 6, 3, groups=4)), ("out_channels", lambda: nn.Conv1d(4, 6, 3, groups=4)),
    ("padding", lambda: nn.Conv1d(4, 6, 3, 2, "same")), ("padding", lambda: nn.ConvTranspose1d(4, 6, 3, padding="same")),
    ("padding", lambda: nn.MaxPool2d(3, padding=2)(IMAGE)), ("padding", lambda: nn.AvgPool2d(3, padding=2)(IMAGE)),
    ("output_size", lambda: nn.ConvTranspose2d(3, 2, 3, 2)(IMAGE, (99, 99))),
    ("output_size", lambda: nn.ConvTranspose2d(3, 2, 3, 2)(IMAGE, "a")),
    ("output_size", lambda: nn.ConvTranspose2d(3, 2, 3, 2)(IMAGE, (5,))),
    ("momentum", lambda: nn.InstanceNorm1d(3, momentum=None)),
    ("num_classes", lambda: F.one_hot(graphc.input("i", (3,), "int64"))), ("proj_size", lambda: nn.LSTM(3, 2, proj_size="a")),
    ("num_layers", lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2), -1)),
    ("hx", lambda: nn.LSTM(3, 2)(graphc.input("x", (4, 2, 3)), graphc.input("h", (1, 2, 2)))),
    ("a", lambda: init.uniform_(W, "a")), ("mean", lambda: init.normal_(W, "a")), ("a", lambda: init.kaiming_uniform_(W, "a")),
]  # fmt: skip


@pytest.mark.parametrize(("option", "call"), [pytest.param(*one, id=f"{one[0]}-{i}") for i, one in enumerate(OTHERS)])
def test_other_calls(option: str, call: Callable[[], Any]) -> None:
    with _names(option):
        call()
