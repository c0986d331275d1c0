"""The seed of everything random: initial values now, random bits of compiled steps when they are built.

A process starts with seed 0, so that two runs of a program give the same numbers unless it asks for others with `manual_seed`.
"""

from __future__ import annotations

import numpy as np

from graphc.errors import InputError

_seed = 0
_generator: np.random.Generator | None = None  # made at the first draw: loading numpy.random takes 8 ms


def manual_seed(seed: int) -> np.random.Generator:
    """Start the default generator afresh from `seed`, a non-negative integer below 2**63; returns the generator."""
    global _seed, _generator
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise InputError(f"manual_seed: seed must be a non-negative integer below 2**63, not {seed!r}")
    _seed = int(seed)
    _generator = np.random.default_rng(_seed)
    return _generator


def initial_seed() -> int:
    """The seed in force."""
    return _seed


def default_generator() -> np.random.Generator:
    """The generator that draws initial values; each draw advances it."""
    return manual_seed(_seed) if _generator is None else _generator
