"""The parameters of PyTorch's classes and functions, in order: (name, default), NONE where there is no default.

Where a function is a built-in, or dispatches among others, its signature stands in the first lines of its docstring.
"""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any, get_overloads

NONE = inspect.Parameter.empty
Parameters = list[tuple[str, Any]]


def parameters(callee: Any) -> Parameters:
    """Without `self`."""
    target = callee.__init__ if isinstance(callee, type) else callee
    try:
        signature = inspect.signature(target)
    except ValueError:
        return documented(callee)
    if isinstance(callee, type) and list(signature.parameters) == ["self", "args", "kwargs"]:
        signature = next(map(inspect.signature, get_overloads(target)), signature)
    found = [one for one in signature.parameters.values() if one.name != "self"]
    if [one.name for one in found] == ["args", "kwargs"]:
        # classes without arguments inherit Module's (*args, **kwargs); dispatching functions show nothing of their own either
        return [] if isinstance(callee, type) else documented(callee)
    return [(one.name, one.default) for one in found]


def documented(function: Any) -> Parameters:
    match = re.search(r"^\s*\w+\(([^)]*)\)", (function.__doc__ or "").replace("\n", " "))
    if match is None:
        raise LookupError(f"no signature in the docstring of {function!r}")
    arguments = ast.parse(f"def f({match[1]}): pass").body[0].args  # type: ignore[attr-defined]
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [NONE] * (len(positional) - len(arguments.defaults)) + [ast.literal_eval(one) for one in arguments.defaults]
    found = [(one.arg, default) for one, default in zip(positional, defaults, strict=True)]
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return found + [(one.arg, NONE if default is None else ast.literal_eval(default)) for one, default in keywords]
