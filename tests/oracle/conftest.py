"""At the end of a run: how many configurations of each module were compared with PyTorch, and the largest relative error."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    try:
        from module_peer import FOUND
    except (ImportError, pytest.skip.Exception):
        return
    if FOUND:
        terminalreporter.section("compared with PyTorch")
        for (name, dtype), errors in sorted(FOUND.items()):
            terminalreporter.write_line(f"{name:28} {dtype}  {len(errors):5} configurations   largest error {max(errors):.1e}")
