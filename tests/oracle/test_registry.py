"""Every class and function of graphc.nn that PyTorch has too, compared in the configurations of the registry; and that the
registry is complete: no public name is missing from it, and no option of any of them keeps its default throughout."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import pytest
from case import Case
from cases_functions import FUNCTIONS
from cases_modules import MODULES
from module_peer import same
from torch_peer import torch

import graphc.nn.functional as F
from graphc import nn

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore:dropout", "ignore:.*'mean' divides", "ignore:enable_nested")]

# what PyTorch's package of this name lacks, or what is no layer; each is compared where the comment says
ELSEWHERE = {
    "Module", "Parameter", "evaluating", "functional", "init",  # everything here is made of them
    "PerceptronLoss", "SinusoidalPositions", "perceptron_loss", "sinusoidal_positions",  # not in PyTorch: tests/
    "Sequential", "ModuleList", "ModuleDict", "TransformerEncoder", "TransformerDecoder",  # of modules: test_containers_torch.py
    "SoftMarginLoss", "one_hot",  # not differentiable by the target, or at all: test_losses_torch.py, test_embedding_torch.py
}  # fmt: skip
# options that are refused (test_signatures_torch.py), and what says where or how something is computed rather than what
REFUSED = {
    "inplace", "device", "size_average", "reduce", "return_indices", "padding_mode", "max_norm", "norm_type",
    "scale_grad_by_freq", "sparse", "min_value", "max_value", "out", "proj_size", "add_bias_kv", "add_zero_attn",
}  # fmt: skip
SET_ELSEWHERE = {
    ("Embedding", "_weight"), ("Embedding", "_freeze"),  # test_embedding_torch.py
    ("Transformer", "custom_encoder"), ("Transformer", "custom_decoder"),  # test_containers_torch.py
    ("batch_norm", "momentum"), ("instance_norm", "momentum"),  # of states: the modules
    ("scaled_dot_product_attention", "dropout_p"),  # draws: tests/test_attention.py
}  # fmt: skip


def _numbered(table: dict[str, list[Case]]) -> list[Any]:
    return [pytest.param(name, case, id=f"{name}-{i}") for name, cases in table.items() for i, case in enumerate(cases)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "case"), _numbered(MODULES))
def test_module(name: str, case: Case, dtype: str) -> None:
    made = getattr(nn, name), getattr(torch.nn, name)
    takes = "dtype" in inspect.signature(made[0]).parameters
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pair = []
        for kind, lift, of in ((made[0], np.asarray, dtype), (made[1], torch.tensor, getattr(torch, dtype))):
            arguments, options = case.named(dtype, lift)
            pair.append(kind(*arguments, **options, **({"dtype": of} if takes else {})))
    options = {} if case.call is None else {"call": case.call}
    limit = case.limits.get(dtype)
    same(*pair, *case.arrays(dtype), training=case.training, perturbed=case.perturbed, limit=limit, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "case"), _numbered(FUNCTIONS))
def test_function(name: str, case: Case, dtype: str) -> None:
    """Compiled, as the only thing that a module does."""
    mine, theirs = case.named(dtype, np.asarray)[1], case.named(dtype, torch.tensor)[1]
    same(
        nn.Identity(), torch.nn.Identity(), *case.arrays(dtype), name=f"F.{name}", limit=case.limits.get(dtype),
        call=lambda _, *xs: getattr(F, name)(*xs, **mine),
        peer_call=lambda _, *xs: getattr(torch.nn.functional, name)(*xs, **theirs),
    )  # fmt: skip


@pytest.mark.parametrize(("package", "table"), [(nn, MODULES), (F, FUNCTIONS)], ids=["nn", "F"])
def test_every_public_name_is_compared(package: Any, table: dict[str, list[Case]]) -> None:
    missing = [name for name in package.__all__ if name not in table and name not in ELSEWHERE]
    assert not missing, f"no configuration compares {missing} with PyTorch: add some to cases_modules.py or cases_functions.py"
    assert not [name for name in table if name not in package.__all__]


@pytest.mark.parametrize(("package", "table"), [(nn, MODULES), (F, FUNCTIONS)], ids=["nn", "F"])
def test_every_option_is_compared(package: Any, table: dict[str, list[Case]]) -> None:
    """With a value other than its default, in some configuration."""
    unset = []
    for name, cases in table.items():
        callee = getattr(package, name)
        parameters = inspect.signature(callee).parameters
        seen = set(REFUSED) | {"dtype", "_stacklevel", "args", "kwargs"}
        for case in cases:
            filled = [None] * (len(case.inputs) if package is F else 0)
            bound = inspect.signature(callee).bind_partial(*filled, *case.args, **case.options).arguments
            seen |= {key for key, value in bound.items() if value is None or value is not parameters[key].default}
        unset += [(name, option) for option in parameters if option not in seen and (name, option) not in SET_ELSEWHERE]
    assert not unset, f"only ever the default of {unset}"
