"""RNN, LSTM, GRU without PyTorch: layers against their cells, options and errors, dropout, the state kept between calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc
from graphc import nn, optim
from graphc.errors import DTypeError, GraphcError, InputError, ShapeError

RNG = np.random.default_rng(0)


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype("f4")


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_a_layer_is_its_cell_step_by_step(name: str) -> None:
    layer, cell = getattr(nn, name)(3, 5), getattr(nn, name + "Cell")(3, 5)
    for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(cell, part).assign(getattr(layer, part + "_l0").array)
    x = draw(6, 2, 3)
    output = graphc.compile(lambda x: layer(x)[0])(x)
    step = graphc.compile(lambda x, *state: cell(x, state if name == "LSTM" else state[0]))
    state: Any = [np.zeros((2, 5), "f4")] * (2 if name == "LSTM" else 1)
    for one, expected in zip(x, output, strict=True):
        found = step(one, *state)
        state = list(found) if name == "LSTM" else [found]
        np.testing.assert_allclose(state[0], expected, rtol=1e-5, atol=1e-6)


def test_names_shapes_and_repr() -> None:
    lstm = nn.LSTM(3, 5, num_layers=2, bidirectional=True, batch_first=True)
    assert list(lstm.state_dict())[:5] == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_ih_l0_reverse"]
    assert lstm.weight_ih_l1_reverse.shape == (20, 10) and lstm.bias_hh_l1.shape == (20,)
    assert float(np.abs(lstm.weight_hh_l0.array).max()) <= 5**-0.5
    assert "LSTM(3, 5, num_layers=2, batch_first=True, bidirectional=True" in repr(lstm)
    output, (h, c) = lstm(graphc.input("x", (2, 7, 3)))
    assert output.shape == (2, 7, 10) and h.shape == c.shape == (4, 2, 5)
    assert nn.GRU(3, 5, dtype="float64").weight_hh_l0.dtype == np.float64


def refuses(kind: type[GraphcError], message: str, call: Any) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_errors() -> None:
    lstm, gru, x = nn.LSTM(3, 5), nn.GRU(3, 5), graphc.input("x", (7, 2, 3))
    refuses(InputError, "LSTM: proj_size is not supported", lambda: nn.LSTM(3, 5, proj_size=2))
    refuses(InputError, "RNN: nonlinearity must be 'tanh' or 'relu', not 'elu'", lambda: nn.RNN(3, 5, nonlinearity="elu"))
    refuses(InputError, "GRU: hidden_size must be an integer, at least 1, not 0", lambda: nn.GRU(3, 0))
    refuses(InputError, "GRU: dropout must be at least 0 and at most 1", lambda: nn.GRU(3, 4, dropout=2.0))
    refuses(InputError, "GRU: bidirectional must be a bool, not 3", lambda: nn.GRU(3, 4, bidirectional=3))
    refuses(ShapeError, r"LSTM: input_size is 3, but the input's last axis is 4", lambda: lstm(graphc.zeros((7, 2, 4))))
    refuses(ShapeError, r"expected an input of 2 axes \(no batch\) or 3, got f32\[3\]", lambda: lstm(graphc.zeros(3)))
    refuses(DTypeError, "LSTM: the parameters are float32, the input is f64", lambda: lstm(graphc.zeros((7, 2, 3), "f8")))
    refuses(InputError, r"LSTM: hx is a pair of first states, \(h, c\)", lambda: lstm(x, graphc.zeros((1, 2, 5))))
    refuses(ShapeError, r"GRU: expected a first state of shape \(1, 2, 5\)", lambda: gru(x, graphc.zeros((1, 3, 5))))
    refuses(ShapeError, r"GRUCell: expected a state of shape \(2, 5\)", lambda: nn.GRUCell(3, 5)(x[0], graphc.zeros((3, 5))))
    with pytest.warns(UserWarning, match="GRU: dropout acts between layers, and there is one layer"):
        nn.GRU(3, 5, dropout=0.5)


def test_dropout_between_layers_in_training_only() -> None:
    gru = nn.GRU(3, 5, num_layers=2, dropout=0.5)
    x = draw(4, 2, 3)
    plain = graphc.compile(lambda x: gru(x)[0])
    assert np.array_equal(plain(x), plain(x))
    noisy = graphc.compile(lambda x: gru(x)[0], training=True)
    assert not np.array_equal(noisy(x), noisy(x))
    step = graphc.train_step(lambda x: (gru(x)[0] ** 2).mean(), optim.Adam(gru.parameters(), lr=0.01))
    losses = [float(step(x)) for _ in range(30)]
    assert losses[-1] < losses[0]


def test_a_compiled_step_holds_the_state_between_calls() -> None:
    gru = nn.GRU(3, 5)
    state = graphc.state("h", np.zeros((1, 2, 5), "f4"))
    x = graphc.input("x", (1, 2, 3))
    output, last = gru(x, state)
    step = graphc.compile(output, updates={state: last})
    xs = draw(6, 2, 3)
    whole = graphc.compile(lambda x: gru(x)[0])(xs)
    np.testing.assert_allclose(np.concatenate([step(x=one[None]) for one in xs]), whole, rtol=1e-5, atol=1e-6)


def test_encoder_and_decoder_share_a_graph() -> None:
    """The decoder begins with the encoder's last state; both train in one step."""
    encoder, decoder, head = nn.LSTM(4, 8), nn.LSTM(4, 8), nn.Linear(8, 4)
    model = nn.ModuleList([encoder, decoder, head])

    def loss(source: Any, target: Any) -> Any:
        _, state = encoder(source)
        return ((head(decoder(target, state)[0]) - target) ** 2).mean()

    step = graphc.train_step(loss, optim.Adam(model.parameters(), lr=0.02))
    source, target = draw(5, 3, 4), draw(3, 3, 4)
    losses = [float(step(source, target)) for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]
