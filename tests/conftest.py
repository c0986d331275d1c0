"""Options, fixtures and the hypothesis profiles of the whole test suite."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# `make test` draws the same few examples every time; `make test-all` draws thousands of new ones. A test that wants more or fewer
# takes a multiple of the profile's: `@settings(max_examples=settings().max_examples // 4)`.
_COMMON = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("quick", derandomize=True, max_examples=100, **_COMMON)
settings.register_profile("thorough", derandomize=False, max_examples=3000, print_blob=True, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# Tests are of the compiler, not of what it said last time, and write nothing into the user's directories.
# tests/test_cache.py turns it on.
os.environ["GRAPHC_CACHE"] = "0"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="rewrite the expectations in tests/graphs from what the passes do now")


@pytest.fixture
def bless(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--bless"))
