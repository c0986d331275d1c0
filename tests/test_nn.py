"""Modules: registration, naming, modes, state dicts, containers."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from numeric import evaluate

import graphc
import graphc.nn.functional as F
from graphc import nn
from graphc.graph import topological
from graphc.nn.mode import tracing


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width, bias=False)
        self.register_buffer("count", np.int64(3))
        self.register_buffer("cache", np.zeros(2), persistent=False)

    def forward(self, x: Any) -> graphc.Tensor:
        return x + self.fc2(F.relu(self.fc1(x)))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(Block(4), nn.Tanh(), Block(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Any) -> graphc.Tensor:
        return self.head(self.encoder(x))


NAMES = [
    "encoder.0.fc1.weight", "encoder.0.fc1.bias", "encoder.0.fc2.weight", "encoder.2.fc1.weight", "encoder.2.fc1.bias",
    "encoder.2.fc2.weight", "head.weight", "head.bias",
]  # fmt: skip


def test_a_classifier_is_declared_differentiated_and_right() -> None:
    graphc.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    x, y = graphc.input("x", (4, 5)), graphc.input("y", (4,), "int32")
    loss = F.cross_entropy(model(x), y)
    rng = np.random.default_rng(0)
    xb, yb = rng.normal(size=(4, 5)).astype("f4"), np.array([0, 2, 1, 2], "i4")
    w0, b0, w2, b2 = (p.numpy().astype("f8") for p in model.parameters())
    z = np.maximum(xb @ w0.T + b0, 0) @ w2.T + b2
    softmax = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    value, gradient = evaluate([loss, graphc.grad(loss, model[2].bias)], x=xb, y=yb)
    np.testing.assert_allclose(value, -np.log(softmax[np.arange(4), yb]).mean(), rtol=1e-5)
    np.testing.assert_allclose(gradient, ((softmax - np.eye(3)[yb]) / 4).sum(0), rtol=1e-4, atol=1e-6)


def test_the_tree_is_walked_in_order_of_registration() -> None:
    model = Model()
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert [parameter.name for parameter in model.parameters()] == NAMES
    assert [name for name, _ in model.named_buffers()] == [f"encoder.{i}.{name}" for i in (0, 2) for name in ("count", "cache")]
    assert [name for name, _ in model.named_modules()][:4] == ["", "encoder", "encoder.0", "encoder.0.fc1"]
    assert [name for name, _ in model.named_children()] == ["encoder", "head"] and len(list(model.modules())) == 10
    assert model.get_submodule("encoder.2.fc1") is model.encoder[2].fc1
    assert list(model.parameters(recurse=False)) == []
    with pytest.raises(graphc.InputError, match="no module 'encoder.7'"):
        model.get_submodule("encoder.7")
    visited: list[str] = []
    assert model.apply(lambda module: visited.append(type(module).__name__)) is model
    assert visited[-1] == "Model" and visited[0] == "Linear"


def test_scopes_are_the_paths_of_the_modules() -> None:
    nodes = topological([Model()(graphc.input("x", (2, 4))).node])
    scopes = {node.scope for node in nodes if node.op.name == "contract"}
    assert scopes == {"encoder.0.fc1", "encoder.0.fc2", "encoder.2.fc1", "encoder.2.fc2", "head"}
    assert {node.scope for node in nodes if node.op.name == "tanh"} == {"encoder.1"}
    assert {node.scope for node in nodes if node.op.name == "where"} == {"encoder.0", "encoder.2"}
    assert all(node.loc.startswith("tests/test_nn.py:") or "test_nn.py:" in node.loc for node in nodes if node.op.name == "add")


def test_a_shared_parameter_is_listed_once_and_keeps_its_first_name() -> None:
    model = nn.Module()
    model.embed, model.out = nn.Linear(3, 5, bias=False), nn.Linear(3, 5, bias=False)
    model.out.weight = model.embed.weight
    assert [parameter.name for parameter in model.parameters()] == ["embed.weight"]
    assert list(model.state_dict()) == ["embed.weight", "out.weight"]
    again = nn.Sequential(model.embed, model.embed)
    assert len(list(again.parameters())) == 1 and len(list(again.modules())) == 2 and model.embed.weight.name == "embed.weight"
    given = nn.Parameter([1.0])
    given.name = "temperature"
    model.t = given
    assert given.name == "temperature" and dict(model.named_parameters())["t"] is given


def test_attributes() -> None:
    module = nn.Module()
    module.p = nn.Parameter([1.0, 2.0])
    module.s = graphc.state("s", [3.0])
    module.m = nn.Identity()
    module.plain = 5
    assert list(dict(module.named_parameters())) == ["p"] and list(dict(module.named_buffers())) == ["s"] and "m" in dir(module)
    for name in ("p", "s", "m"):
        with pytest.raises(graphc.InputError, match=f"Module.{name} is a .*cannot assign int"):
            setattr(module, name, 1)
    module.p = None
    assert module.p is None and not list(module.parameters())
    module.plain = nn.Parameter([1.0])
    assert "plain" in module._parameters and "plain" not in vars(module)
    del module.m, module.plain
    assert not hasattr(module, "m") and not list(module.children())
    with pytest.raises(AttributeError, match="Module has no attribute 'weight'"):
        _ = module.weight
    for name in ("", "a.b", 3, "forward"):
        for register in (module.register_parameter, module.register_buffer, module.add_module):
            with pytest.raises(graphc.InputError, match="name is a non-empty string|already has an attribute"):
                register(name, None)
    with pytest.raises(graphc.InputError, match="must be a Parameter or None, not ndarray"):
        module.register_parameter("q", np.ones(3))
    with pytest.raises(graphc.InputError, match="use register_parameter"):
        module.register_buffer("q", nn.Parameter([1.0]))
    with pytest.raises(graphc.GraphcError, match=r"Module defines no forward"):
        module(1)


def test_a_module_that_forgets_to_initialise_its_base_works() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            self.fc = nn.Linear(2, 2)

    assert len(list(Forgetful().parameters())) == 2


def test_parameters() -> None:
    assert nn.Parameter([1, 2], dtype="f32").dtype == np.float32 and nn.Parameter(np.ones(2)).dtype == np.float64
    array = np.ones(3, np.float32)
    parameter = nn.Parameter(array)
    parameter.numpy()[:] = 7
    assert array.tolist() == [1, 1, 1] and parameter.array.tolist() == [7, 7, 7] and parameter.requires_grad
    assert not nn.Parameter([1.0], False).requires_grad and not nn.Parameter([1, 2], requires_grad=False).requires_grad
    for wrong in ([1, 2], np.array([True])):
        with pytest.raises(graphc.DTypeError, match="only float parameters can be trained"):
            nn.Parameter(wrong)
    for wrong in (None, "abc", graphc.input("x", (2,))):
        with pytest.raises(graphc.GraphcError):
            nn.Parameter(wrong)
    model = Model()
    assert model.requires_grad_(False) is model and not any(p.requires_grad for p in model.parameters())


def test_modes() -> None:
    class Probe(nn.Module):
        def forward(self, x: Any) -> bool:
            return self.training

    model = nn.Sequential(nn.Sequential(Probe()))
    assert model(0) is True
    assert model.eval() is model and not model[0][0].training and model(0) is False
    assert model.train()(0) is True
    with nn.evaluating():
        assert model(0) is False
        with tracing(True):
            assert model(0) is True and model.eval()(0) is False
    with pytest.raises(graphc.InputError, match="mode must be a bool"):
        model.train("yes")  # type: ignore[arg-type]


def test_a_users_module_asks_for_its_mode_as_in_pytorch() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Any) -> graphc.Tensor:
            return x * 2 if self.training else x

    model = Noisy()
    assert graphc.compile(model)([1.0]) == 1 and graphc.compile(model, training=True)([1.0]) == 2 and model.training
    with nn.evaluating():
        assert not model.training
    model.eval()
    assert graphc.compile(model, training=True)([1.0]) == 1 and not model.training


def test_values_of_float64_states_lose_no_digits() -> None:
    p = nn.Parameter([0.1, 0.2], dtype="float64")
    assert p.numpy().tolist() == [0.1, 0.2]
    p.assign([0.3, 0.7])
    assert p.numpy().tolist() == [0.3, 0.7]
    with pytest.raises(graphc.InputError, match="not an array of numbers"):
        p.assign([[1], [2, 3]])
    linear = nn.Linear(1, 1, dtype="float64")
    linear.load_state_dict({"weight": [[0.1]], "bias": [0.7]})
    assert float(linear.weight.numpy()[0, 0]) == 0.1 and float(linear.bias.numpy()[0]) == 0.7


def test_state_dict_is_a_copy_and_loads_back() -> None:
    graphc.manual_seed(3)
    model, other = Model(), Model()
    saved = model.state_dict()
    assert list(saved) == ["encoder.0.count", *NAMES[:3], "encoder.2.count", *NAMES[3:]]
    assert other.load_state_dict(saved) == ([], [])
    for name, array in other.state_dict().items():
        assert array.dtype == saved[name].dtype and np.array_equal(array, saved[name])
    saved["head.bias"][:] = 9
    assert not np.any(model.head.bias.array == 9)
    held = model.head.weight.array
    model.load_state_dict({name: np.array(array, order="F", dtype="f8" if array.ndim else None) for name, array in saved.items()})
    assert model.head.weight.array is held and np.all(model.head.bias.array == 9)  # in place


class Exported:
    """A value that offers DLPack only."""

    def __init__(self, array: np.ndarray):
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


def test_load_state_dict_is_all_or_nothing_and_lists_every_problem() -> None:
    model = Model()
    before = model.state_dict()
    good = {name: array + 1 for name, array in before.items()}
    cases: list[tuple[Any, type[Exception], list[str]]] = [
        ({**good, "extra": 1, "more": 2}, graphc.InputError, ["unexpected keys: extra, more"]),
        (
            {name: good[name] for name in NAMES[:4]},
            graphc.InputError,
            ["missing keys: encoder.0.count, encoder.2.count, encoder.2.fc1.bias"],
        ),
        ({**good, "head.bias": np.ones(4)}, graphc.ShapeError, [r"head.bias: expected shape \(3,\), got \(4,\)"]),
        (
            {**good, "head.bias": ["a"] * 3, "x": 1, "head.weight": 0.0},
            graphc.ShapeError,
            ["unexpected keys: x", "head.bias", "head.weight"],
        ),
        ({**good, "encoder.0.count": 1.5}, graphc.DTypeError, ["encoder.0.count: expected int64, got float64"]),
        ({**good, "head.bias": None}, graphc.InputError, ["head.bias: expected an array, got None"]),
        ([1, 2], graphc.InputError, ["expected a dict"]),
    ]
    for values, kind, messages in cases:
        for message in messages:
            with pytest.raises(kind, match=message) as caught:
                model.load_state_dict(values)
            assert type(caught.value) is kind
        assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())
    with pytest.raises(graphc.ShapeError):
        model.load_state_dict({"head.bias": np.ones(4)}, strict=False)
    result = model.load_state_dict({"head.bias": Exported(np.full(3, 5, "f4")), "other": 1}, strict=False)
    assert result.unexpected_keys == ["other"] and result.missing_keys == [name for name in before if name != "head.bias"]
    assert model.head.bias.array.tolist() == [5, 5, 5]


def test_loading_a_modules_own_arrays_in_exchange() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    a, b = model[0].weight.array.copy(), model[1].weight.array.copy()
    model.load_state_dict({"0.weight": model[1].weight.numpy(), "1.weight": model[0].weight}, strict=False)
    assert np.array_equal(model[0].weight.array, b) and np.array_equal(model[1].weight.array, a)


def test_copies_have_states_of_their_own() -> None:
    model = nn.Sequential(nn.Linear(2, 3))
    model.append(model[0])
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other[0] is other[1] and other[0].weight is not model[0].weight and other[0].weight.name == "0.weight"
        other[0].weight.array[...] = 7
        assert not np.any(model[0].weight.array == 7)
        x = graphc.input("x", (1, 2))
        assert np.array_equal(evaluate(other[0](x), x=[[0, 0]])[0], model[0].bias.array)


def test_repr() -> None:
    assert repr(nn.Sequential(nn.Linear(1000, 2), nn.Sequential(nn.LayerNorm(2), nn.GELU("tanh")), nn.LeakyReLU())) == (
        "Sequential(\n"
        "  (0): Linear(in_features=1000, out_features=2, bias=True)  # 2,002 parameters\n"
        "  (1): Sequential(\n"
        "    (0): LayerNorm((2,), eps=1e-05, elementwise_affine=True, bias=True)  # 4 parameters\n"
        "    (1): GELU(approximate='tanh')\n"
        "  )  # 4 parameters\n"
        "  (2): LeakyReLU(negative_slope=0.01)\n"
        ")  # 2,006 parameters"
    )


def test_sequential() -> None:
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)
    model = nn.Sequential(a, b)
    assert model.append(c) is model and list(model) == [a, b, c] and model[-1] is c and len(model) == 3
    assert isinstance(model[:2], nn.Sequential) and list(model[:2]) == [a, b] and list(model[::-1]) == [c, b, a]
    model[1] = nn.Tanh()
    assert isinstance(model[1], nn.Tanh)
    model.insert(1, b).extend([nn.Identity()])
    assert [type(m).__name__ for m in model] == ["Linear", "ReLU", "Tanh", "Linear", "Identity"]
    del model[1:3]
    assert list(model._modules) == ["0", "1", "2"]
    named = nn.Sequential(OrderedDict(first=a, second=c))
    assert [name for name, _ in named.named_children()] == ["first", "second"] and named.first is a
    assert list(named[1:].state_dict()) == ["second.weight", "second.bias"]  # a slice keeps names, as in PyTorch
    assert [name for name, _ in nn.Sequential(a, b, c)[::2].append(b).named_children()] == ["0", "2", "3"]
    assert [name for name, _ in named.append(b).named_children()] == ["first", "second", "2"]
    assert nn.Sequential()(5) == 5
    with pytest.raises(IndexError, match="index 3 is out of range for 3 modules"):
        model[3]
    with pytest.raises(graphc.InputError, match="expected modules, got int"):
        nn.Sequential(a, 3)
    with pytest.raises(graphc.InputError, match="an index is an integer or a slice"):
        model["0"]


def test_lists_and_dicts() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
            self.heads = nn.ModuleDict({"a": nn.Linear(2, 1), "b": nn.Linear(2, 5)})

        def forward(self, x: Any) -> graphc.Tensor:
            for layer in self.layers:
                x = layer(x)
            return self.heads["b"](x)

    model = Model()
    assert [p.name for p in model.parameters()][::2] == [f"layers.{i}.weight" for i in range(3)] + [
        "heads.a.weight",
        "heads.b.weight",
    ]
    y = model(graphc.input("x", (1, 2)))
    assert [node.scope for node in topological([y.node]) if node.op.name == "contract"] == [
        "layers.0",
        "layers.1",
        "layers.2",
        "heads.b",
    ]
    model.layers += [nn.Linear(2, 2)]
    assert len(model.layers) == 4 and len(model.layers + [nn.ReLU()]) == 5 and isinstance(model.layers[1:], nn.ModuleList)
    heads = model.heads
    assert (
        list(heads) == list(heads.keys()) == ["a", "b"]
        and "a" in heads
        and len(list(heads.values())) == len(list(heads.items())) == 2
    )
    popped = heads.pop("a")
    assert isinstance(popped, nn.Linear) and "a" not in heads
    heads["c"] = popped
    del heads["c"]
    with pytest.raises(KeyError, match="no module 'c'"):
        heads["c"]
    heads.clear()
    assert len(heads) == 0
    with pytest.raises(graphc.GraphcError, match="ModuleList defines no forward"):
        model.layers(1)
