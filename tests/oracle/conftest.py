"""At the end of a run: how many configurations of each class and function were compared with PyTorch, and the largest relative
errors. Under pytest-xdist the workers send what they found to the process that prints."""

from __future__ import annotations

from typing import Any

import pytest
from found import FOUND, table


def pytest_sessionfinish(session: pytest.Session) -> None:
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["compared"] = [(*key, errors) for key, errors in FOUND.items()]


class Collector:
    """Hears of workers that end; a hook by this name is unknown where pytest-xdist is not installed."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        for name, dtype, errors in getattr(node, "workeroutput", {}).get("compared", []):
            FOUND[name, dtype].extend(errors)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Collector())
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)  # the processes of pytest-xdist are the parallelism


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FOUND:
        terminalreporter.section("compared with PyTorch")
        for line in table(FOUND):
            terminalreporter.write_line(line)
