"""What people write out of habit, from PyTorch or NumPy, where graphc has something else: errors that say what.

    loss.backward()     AttributeError: ... gradients are tensors: graphc.grad(loss, parameters), or graphc.train_step(loss, opt)

The errors are AttributeErrors, too, so that `hasattr` and `getattr` with a default work as ever.
"""

from __future__ import annotations

import difflib
from typing import Any

from graphc.errors import DTypeError, NoAttributeError, NoValueError

_VALUE = "a tensor has no value while the graph is declared: compile it, and a call returns NumPy arrays"
_GRADIENT = "gradients are tensors: graphc.grad(loss, parameters), or graphc.train_step(loss, opt) for a whole step"
_DEVICE = "everything runs on the CPU; leave it out"
_TYPE = "x.astype(dtype) is another element type"
_FIXED = "tensors are values and do not change: x + 1 is a new one, and a state is written through updates={state: tensor}"

TENSOR = {
    **dict.fromkeys(("item", "numpy", "tolist", "data"), _VALUE),
    **dict.fromkeys(("backward", "grad", "retain_grad", "register_hook"), _GRADIENT),
    **dict.fromkeys(("cpu", "cuda", "device", "pin_memory", "is_cuda"), _DEVICE),
    **dict.fromkeys(("float", "double", "half", "int", "long", "bool", "to", "type_as"), _TYPE),
    **dict.fromkeys(("copy", "clone", "contiguous"), "tensors are values and never shared; leave it out"),
    **dict.fromkeys(("dim", "ndimension"), "x.ndim is the number of axes"),
    **dict.fromkeys(("numel", "nelement"), "x.size is the number of elements"),
    **dict.fromkeys(
        ("requires_grad", "requires_grad_", "is_leaf", "grad_fn"), "nn.Parameter and graphc.state hold what is trained"
    ),
    "unsqueeze": "graphc.expand_dims(x, axis)",
    "permute": "x.transpose(*axes), or graphc.permute_dims(x, axes)",
    "t": "x.T, or x.mT for the last two axes",
    "expand": "graphc.broadcast_to(x, shape)",
    "ravel": "x.flatten()",
    "chunk": "graphc.split(x, parts, axis)",
    "cat": "graphc.concat([x, y], axis)",
    "masked_fill": "graphc.where(mask, value, x)",
    "gather": "graphc.take_along_axis(x, index, axis)",
    "index_select": "graphc.take(x, index, axis)",
    "mm": "x @ y",
    "bmm": "x @ y",
}

OPTIMIZER = {
    "step": "a step is compiled with the loss: step = graphc.train_step(loss, opt), and step(x=...) runs it",
    "zero_grad": "gradients do not outlive a step, so there is nothing to clear; leave it out",
    "state": "opt.moments are the moments by parameter, opt.state_dict() is all of it",
    "defaults": "opt.param_groups hold the hyper-parameters",
}


def no_attribute(owner: Any, name: str, advice: dict[str, str], *places: tuple[str, Any]) -> AttributeError:
    """The error for an attribute that `owner` lacks. `places` are modules, with what users call them: one of their functions may
    have that name."""
    kind = type(owner).__name__
    if name.startswith("__"):  # what Python and NumPy ask for
        return AttributeError(f"{kind!r} object has no attribute {name!r}")
    text = advice.get(name)
    if text is None and name.endswith("_"):
        text = _FIXED
    if text is None:
        found = next((f"{label}.{name}(x, ...) is a function" for label, module in places if name in module.__all__), None)
        close = difflib.get_close_matches(name, [one for one in dir(type(owner)) if not one.startswith("_")], 1)
        text = found or (f"did you mean {close[0]}?" if close else None)
    return NoAttributeError(f"{kind} has no attribute {name!r}" + (f": {text}" if text else ""))


class Size(int):
    """A number of elements, as NumPy's; PyTorch's is a method."""

    __slots__ = ()

    def __call__(self, *args: Any) -> None:
        raise DTypeError("x.size is the number of elements, as NumPy's; x.shape is the shape, x.shape[0] one size of it")


def refuse_numpy(function: Any, functions: Any) -> NoValueError:
    """The error for a function of NumPy that was given a tensor."""
    name = getattr(function, "__name__", "")
    other = f"graphc.{name} takes tensors" if name in functions.__all__ else "graphc has functions on tensors"
    return NoValueError(f"np.{name}: {_VALUE}; {other}")
