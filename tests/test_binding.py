"""What a call takes for its inputs, and what it says to the rest."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.errors import DTypeError, InputError, ShapeError
from graphc.runtime.binding import Signature
from graphc.types import TensorType, bool_, float32, float64, int32, int64

PAIR = Signature(["x", "y"], [TensorType(float32, (2, 3)), TensorType(int32, (2,))])
X, Y = np.ones((2, 3), np.float32), np.array([1, 2], np.int32)


def bind(dtype: np.dtype, value, shape: tuple[int, ...] = (2,)) -> np.ndarray:
    (array,) = Signature(["x"], [TensorType(dtype, shape)]).bind({"x": value})
    assert type(array) is np.ndarray and array.dtype == dtype and array.shape == shape
    assert array.flags.c_contiguous and array.flags.aligned
    return array


class Foreign:
    """An array of another library."""

    def __init__(self, array: np.ndarray, error: Exception | None = None):
        self.array, self.error = array, error

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if self.error is not None:
            raise self.error
        return self.array


class Trained(Foreign):
    """As a torch tensor that requires a gradient."""

    def detach(self) -> Foreign:
        return Foreign(self.array)


class OnlyDlpack:
    def __init__(self, array: np.ndarray):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_arrays_that_fit_are_passed_on():
    bound = PAIR.bind({"y": Y, "x": X})
    assert bound[0] is X and bound[1] is Y
    assert PAIR.bind_positional([X, Y])[1] is Y
    frozen = X.copy()
    frozen.flags.writeable = False
    assert PAIR.bind({"x": frozen, "y": Y})[0] is frozen


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (float32, [1, 2], [1, 2]),
        (float32, (1.5, True), [1.5, 1]),
        (float32, np.array([1.5, 1e300]), [1.5, np.inf]),
        (float32, np.array([1, 2], np.float16), [1, 2]),
        (float32, np.array([1, 2], ">f4"), [1, 2]),
        (float32, np.array([True, False]), [1, 0]),
        (float64, np.array([1, 2**60]), [1, 2**60]),
        (int32, np.array([2**31 - 1, -(2**31)]), [2**31 - 1, -(2**31)]),
        (int32, np.array([7, 8], np.uint64), [7, 8]),
        (int64, np.array([True, False]), [1, 0]),
        (int64, np.array([7, 2**63 - 1], np.uint64), [7, 2**63 - 1]),
        (bool_, [True, False], [True, False]),
        (float32, np.arange(4, dtype=np.float32)[::2], [0, 2]),
        (float32, np.frombuffer(b"\0" + np.array([3, 4], np.float32).tobytes(), np.float32, 2, 1), [3, 4]),
        (float32, Foreign(np.array([3.0, 4.0])), [3, 4]),
        (int64, OnlyDlpack(np.array([3, 4])), [3, 4]),
        (float32, Trained(np.array([3.0, 4.0]), RuntimeError("requires grad")), [3, 4]),
    ],
)
def test_what_is_cast_or_copied(dtype, value, expected):
    assert np.array_equal(bind(dtype, value), np.array(expected, dtype))


def test_scalars_and_empty_arrays():
    assert bind(float32, 3, ()) == 3 and bind(int32, np.int64(5), ()) == 5
    assert bind(int32, [], (0,)).size == 0 and bind(float32, np.zeros((0, 3)), (0, 3)).size == 0


@pytest.mark.parametrize(
    ("dtype", "value", "error", "message"),
    [
        (float32, np.zeros(3, np.float32), ShapeError, r"input x: expected f32\[2\], got shape \(3,\)"),
        (float32, 1.0, ShapeError, r"got shape \(\)"),
        (int32, [1.0, 2.0], DTypeError, "got float64, which NumPy's same_kind rule does not cast to int32"),
        (bool_, [0, 1], DTypeError, "got int64"),
        (bool_, [0.0, 1.0], DTypeError, "got float64"),
        (float32, np.array([1j, 2]), DTypeError, "got an array of complex128"),
        (float32, ["a", "b"], DTypeError, r"got list \['a', 'b'\]"),
        (float32, None, DTypeError, "got NoneType None"),
        (float32, [None, 1], DTypeError, "got list"),
        (float32, np.array(["2026-01-01", "2026-01-02"], "M8[D]"), DTypeError, "datetime64"),
        (float32, [[1], [2, 3]], InputError, "got list: "),
        (int32, np.array([0, 2**31]), InputError, "the value 2147483648, out of range for int32"),
        (int32, [0, -(2**31) - 1], InputError, "the value -2147483649, out of range for int32"),
        (int64, np.array([0, 2**63], np.uint64), InputError, "out of range for int64"),
        (int64, [0, 2**70], InputError, "an integer beyond 64 bits"),
        (float32, Foreign(X, RuntimeError("requires grad")), InputError, "got Foreign: requires grad"),
    ],
)
def test_what_is_refused(dtype, value, error, message):
    with pytest.raises(error, match=message):
        bind(dtype, value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x": X}, r"inputs: missing y: i32\[2\]\n  expected x: f32\[2,3\], y: i32\[2\]"),
        ({"x": X, "y": Y, "z": Y}, "inputs: unknown 'z'"),
        ({"x": X, "labels": Y}, r"inputs: missing y: i32\[2\]; unknown 'labels'"),
    ],
)
def test_missing_and_unknown_names(values, message):
    with pytest.raises(InputError, match=message):
        PAIR.bind(values)


def test_a_wrong_number_of_positional_inputs():
    with pytest.raises(InputError, match=r"expected 2 inputs \(x: f32\[2,3\], y: i32\[2\]\), got 1"):
        PAIR.bind_positional([X])
