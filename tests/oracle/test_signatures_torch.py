"""Arguments: the same names, order and defaults as PyTorch's, and an error that names the argument for all that is not there.

`REFUSED` is the list of options that are missing: PyTorch takes these values, graphc says that it does not. `VALUES` are those of
options that are there.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import pytest
from case import Case
from cases_functions import FUNCTIONS
from cases_modules import MODULES
from peer_signature import NONE, Parameters, parameters
from torch_peer import torch

import graphc
import graphc.nn.functional as F
from graphc import nn, optim

pytestmark = pytest.mark.oracle

REFUSED: dict[str, list[Any]] = {
    # classes and functions
    "device": ["cuda", "meta"],
    "inplace": [True],
    "size_average": [True, False],
    "reduce": [True, False],
    "return_indices": [True],
    "padding_mode": ["reflect", "replicate", "circular"],
    "max_norm": [1.0],
    "norm_type": [1.0],
    "scale_grad_by_freq": [True],
    "sparse": [True],
    "min_value": [-2.0],
    "max_value": [2.0],
    "out": [np.zeros((3, 5), "f4")],
    "proj_size": [2],
    "add_bias_kv": [True],
    "add_zero_attn": [True],
    # optimizers
    "foreach": [True],
    "fused": [True],
    "capturable": [True],
    "differentiable": [True],
    # state dicts
    "destination": [{}],
    "keep_vars": [True],
    "assign": [True],
}
# graphc's own classes, and those whose arguments are not options: Parameter(array) for Parameter(data)
APART = {"Module", "Parameter", "Identity", "Sequential"}
METHODS = {
    "Module": (
        "state_dict", "load_state_dict", "named_parameters", "parameters", "named_buffers", "buffers", "named_modules", "modules",
        "named_children", "children", "train", "eval", "requires_grad_", "apply", "register_buffer", "register_parameter",
        "add_module", "get_submodule",
    ),
    "Sequential": ("append", "extend", "insert"), "ModuleList": ("append", "extend", "insert"),
    "ModuleDict": ("update", "pop", "keys", "values", "items", "clear"), "Embedding": ("from_pretrained",),
    "Transformer": ("generate_square_subsequent_mask",),
}  # fmt: skip
OPTIMIZERS = ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad")
INITIALIZERS = [name for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")] + ["calculate_gain"]


def _callables() -> list[Any]:
    """(label, graphc's, PyTorch's)"""
    found: list[tuple[str, Any, Any]] = []
    for name in nn.__all__:
        mine, peer = getattr(nn, name), getattr(torch.nn, name, None)
        if isinstance(mine, type) and peer is not None and name not in APART:
            found.append((f"nn.{name}", mine, peer))
    for name, methods in METHODS.items():
        found += [
            (f"nn.{name}.{method}", getattr(getattr(nn, name), method), getattr(getattr(torch.nn, name), method))
            for method in methods
        ]
    found += [(f"F.{name}", getattr(F, name), getattr(torch.nn.functional, name, None)) for name in F.__all__]
    found += [(f"optim.{name}", getattr(optim, name), getattr(torch.optim, name)) for name in OPTIMIZERS]
    found += [(f"nn.init.{name}", getattr(nn.init, name), getattr(torch.nn.init, name)) for name in INITIALIZERS]
    return [pytest.param(*one[1:], id=one[0]) for one in found if one[2] is not None]


def _comparable(found: Parameters) -> list[tuple[str, Any]]:
    """Functions as defaults (an activation) count by their names, tensors of PyTorch not at all."""
    return [(name, getattr(value, "__name__", value) if value is not NONE else NONE) for name, value in found]


@pytest.mark.parametrize(("mine", "peer"), _callables())
def test_names_order_and_defaults_are_pytorchs(mine: Any, peer: Any) -> None:
    ours, theirs = _comparable(parameters(mine)), _comparable(parameters(peer))
    if inspect.isfunction(mine) and mine.__name__ == "state_dict":
        theirs = [one for one in theirs if one[0] != "args"]  # deprecated there: the same three by position
    assert ours == theirs


@pytest.mark.parametrize(
    "name", [name for name in nn.__all__ if name in MODULES or name in ("SoftMarginLoss", "TransformerEncoder")]
)
def test_the_arguments_of_a_call_are_pytorchs(name: str) -> None:
    assert _comparable(parameters(getattr(nn, name).forward)) == _comparable(parameters(getattr(torch.nn, name).forward))


def _by_name_only(callee: Any) -> list[str]:
    signature = inspect.signature(callee)
    return [name for name, one in signature.parameters.items() if one.kind is one.KEYWORD_ONLY]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_an_optimizer_takes_by_name_only(name: str) -> None:
    assert _by_name_only(getattr(optim, name)) == _by_name_only(getattr(torch.optim, name))


def _with_option(table: dict[str, list[Case]], package: Any) -> list[Any]:
    names = [(name, option) for name in table for option in inspect.signature(getattr(package, name)).parameters]
    return [
        pytest.param(name, option, value, id=f"{name}-{option}-{value if np.isscalar(value) else ''}")
        for name, option in names for value in REFUSED.get(option, ()) if not (name, option) == ("Softmax", "out")
    ]  # fmt: skip


def _refusal(option: str) -> Any:
    return pytest.raises(graphc.GraphcError, match=rf"{option}\b")


@pytest.mark.parametrize(("name", "option", "value"), _with_option(MODULES, nn))
def test_a_class_refuses_by_name(name: str, option: str, value: Any) -> None:
    case = MODULES[name][0]
    arguments, options = case.named("float32", np.asarray)
    bound = inspect.signature(getattr(nn, name)).bind(*arguments, **options).arguments
    with warnings.catch_warnings(), _refusal(option):
        warnings.simplefilter("ignore")
        getattr(nn, name)(**{**bound, option: value})


@pytest.mark.parametrize(("name", "option", "value"), _with_option(FUNCTIONS, F))
def test_a_function_refuses_by_name(name: str, option: str, value: Any) -> None:
    case = FUNCTIONS[name][0]
    xs = [graphc.input(f"x{i}", array.shape, array.dtype) for i, array in enumerate(case.arrays("float32"))]
    with _refusal(option):
        getattr(F, name)(*xs, **{**case.named("float32", np.asarray)[1], option: value})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_refuses_by_name(name: str) -> None:
    options = [option for option in inspect.signature(getattr(optim, name)).parameters if option in REFUSED]
    assert "foreach" in options and "differentiable" in options
    for option in options:
        with pytest.raises(graphc.InputError, match=f"{name}: {option}=True"):
            getattr(optim, name)(nn.Linear(1, 1).parameters(), **{option: True})
        getattr(optim, name)(nn.Linear(1, 1).parameters(), **{option: False})
        with pytest.raises(graphc.InputError, match=option):
            getattr(optim, name)([{"params": nn.Linear(1, 1).parameters(), option: True}])


def test_state_dicts_refuse_by_name() -> None:
    model = nn.Linear(2, 1)
    for option in ("destination", "keep_vars"):
        with _refusal(option):
            model.state_dict(**{option: REFUSED[option][0]})
    with _refusal("assign"):
        model.load_state_dict(model.state_dict(), assign=True)
    assert list(model.state_dict(prefix="a.")) == list(torch.nn.Linear(2, 1).state_dict(prefix="a."))


def test_no_other_option_is_missing() -> None:
    """Every argument of PyTorch's is there (the signatures are equal), so that what is missing is what is refused; and every
    refusal is one that some class, function, optimizer or state dict makes."""
    taken = {
        option
        for callee in (
            *(getattr(nn, name) for name in MODULES), *(getattr(F, name) for name in FUNCTIONS),
            *(getattr(optim, name) for name in OPTIMIZERS), nn.Module.state_dict, nn.Module.load_state_dict,
        )
        for option in inspect.signature(callee).parameters
    }  # fmt: skip
    assert set(REFUSED) <= taken


def test_the_cpu_is_a_device() -> None:
    assert nn.Linear(3, 2, device="cpu").weight.shape == nn.Linear(3, 2, device=torch.device("cpu")).weight.shape == (2, 3)


X, IMAGE = graphc.input("x", (2, 3, 5)), torch.zeros(2, 3, 5)
LABELS = graphc.input("labels", (3,), "int64")
# values that PyTorch takes, for options and operands that graphc has: by name, both calls
VALUES: list[tuple[str, Any, Any]] = [
    # guessed from the number of axes, which is deprecated
    *(("dim", lambda f=f: getattr(F, f)(X), lambda f=f: getattr(torch.nn.functional, f)(IMAGE)) for f in ("softmax", "softmin")),
    ("dim", lambda: nn.LogSoftmax()(X), lambda: torch.nn.LogSoftmax()(IMAGE)),
    # what is no norm has no bounded derivative
    *(("p", lambda p=p: F.normalize(X, p), lambda p=p: torch.nn.functional.normalize(IMAGE, p)) for p in (0.5, 0, -1)),
    # shapes follow from shapes alone
    ("num_classes", lambda: F.one_hot(LABELS), lambda: torch.nn.functional.one_hot(torch.tensor([0, 1, 2]))),
    ("output_size", lambda: nn.AdaptiveAvgPool1d(0)(X), lambda: torch.nn.AdaptiveAvgPool1d(0)(IMAGE)),
    # dropout1d's layout
    ("input", lambda: nn.Dropout2d()(X), lambda: torch.nn.Dropout2d()(IMAGE)),
    # a division by 0, or a logarithm of what is below 0
    ("eps", lambda: nn.GaussianNLLLoss(eps=0), lambda: torch.nn.GaussianNLLLoss(eps=0)),
    ("eps", lambda: nn.PoissonNLLLoss(eps=-1), lambda: torch.nn.PoissonNLLLoss(eps=-1)),
    ("eps", lambda: nn.LayerNorm(5, eps=-1), lambda: torch.nn.LayerNorm(5, eps=-1)),
    ("beta", lambda: nn.Softplus(0.0)(X), lambda: torch.nn.Softplus(0.0)(IMAGE)),
    # ignored there
    ("channels", lambda: nn.InstanceNorm1d(4)(X), lambda: torch.nn.InstanceNorm1d(4)(IMAGE)),
    # a function of the step says it, or opt.lr = ...
    *(
        ("lr", lambda kind=kind: getattr(optim, kind)(nn.Linear(1, 1).parameters(), lr=torch.tensor(0.1)),
         lambda kind=kind: getattr(torch.optim, kind)(torch.nn.Linear(1, 1).parameters(), lr=torch.tensor(0.1)))
        for kind in OPTIMIZERS
    ),
    ("dampening", lambda: optim.SGD(nn.Linear(1, 1).parameters(), dampening=-1),
     lambda: torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), dampening=-1)),
    # graphc's parameters have names of their own
    ("params", lambda: optim.SGD(nn.Linear(1, 1).named_parameters()),
     lambda: torch.optim.SGD(torch.nn.Linear(1, 1).named_parameters())),
]  # fmt: skip


@pytest.mark.parametrize(("name", "mine", "peer"), [pytest.param(*one, id=f"{one[0]}-{i}") for i, one in enumerate(VALUES)])
@pytest.mark.filterwarnings("ignore")
def test_values_that_are_missing_are_refused_by_name(name: str, mine: Any, peer: Any) -> None:
    peer()
    with _refusal(name):
        mine()
