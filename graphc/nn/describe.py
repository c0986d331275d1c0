"""The text of a module, with how many parameters each part has.

Sequential(
  (0): Linear(in_features=64, out_features=10, bias=True)  # 650 parameters
  (1): ReLU()
)  # 650 parameters
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphc.nn.module import Module


def describe(module: Module) -> list[str]:
    """The lines of a module's repr."""
    head = f"{type(module).__name__}({module.extra_repr()}"
    tail = ")" + _counted(module)
    children = [(name, child) for name, child in module._modules.items() if child is not None]
    if not children:
        return [head + tail]
    lines = [head]
    for name, child in children:
        first, *rest = describe(child)
        lines += [f"  ({name}): {first}", *("  " + line for line in rest)]
    return [*lines, tail]


def _counted(module: Module) -> str:
    count = sum(parameter.size for parameter in module.parameters())
    return f"  # {count:,} parameters" if count else ""
