"""Every error that a user of graphc can meet.

An error is raised where the mistake was made, before anything runs. Its text names the rule that was broken, then shows the
operation with its operands' types, then where it was declared:

    graphc.ShapeError: matmul: inner dimensions differ, 784 != 768
      %2 = matmul x w     x: f32[32,784]   w: f32[768,10]
      declared at examples/mlp.py:14 (module fc1)
"""

from __future__ import annotations

from typing import Any


class GraphcError(Exception):
    """Base of all errors raised by graphc."""


class ShapeError(GraphcError, ValueError):
    """Shapes that an operation cannot combine."""


class DTypeError(GraphcError, TypeError):
    """Element types that an operation cannot combine, or a cast that would lose information."""


class InputError(GraphcError, ValueError):
    """A bad argument: of a call to a compiled executable, or of a public function."""


class NoValueError(GraphcError, TypeError):
    """A tensor used as a number or an array: it has no value while the graph is being declared."""


class NoAttributeError(GraphcError, AttributeError):
    """Something that objects of another library have and graphc's do not; the text says what stands for it."""


class VerifyError(GraphcError):
    """A Graph or Program that breaks an invariant of the IR (a bug in a pass, or a hand-written graph). `node` is the node at
    fault, where there is one."""

    node: Any = None


class ParseError(GraphcError, ValueError):
    """Text that is not a graph. `line` and `column` count from 1."""

    def __init__(self, message: str, line: int, column: int):
        super().__init__(f"line {line}, column {column}: {message}")
        self.message = message
        self.line = line
        self.column = column

    def __reduce__(self) -> tuple[type[ParseError], tuple[str, int, int]]:
        return type(self), (self.message, self.line, self.column)


# Tracebacks name an error as users do: graphc.ShapeError.
for _error in (GraphcError, ShapeError, DTypeError, InputError, NoValueError, NoAttributeError, VerifyError, ParseError):
    _error.__module__ = "graphc"
