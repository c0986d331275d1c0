"""Training or evaluating: a module is in training mode where its own `training` flag and the trace's are both true.

The trace's flag is on unless a function is traced for evaluation or tensors are built inside `evaluating()`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_training: ContextVar[bool] = ContextVar("graphc_training", default=True)


def trace_is_training() -> bool:
    """Whether what is traced now is meant for training."""
    return _training.get()


@contextlib.contextmanager
def tracing(training: bool) -> Iterator[None]:
    """What is traced inside is meant for training, or for evaluation."""
    token = _training.set(training)
    try:
        yield
    finally:
        _training.reset(token)


def evaluating() -> contextlib.AbstractContextManager[None]:
    """Modules called inside behave as in evaluation, whatever their own flags."""
    return tracing(False)
