"""What a user may choose about compilation. Equal options, on one graph and one machine, give equal machine code, so they are
part of every cache key."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from graphc.errors import InputError


def _verification_asked_for() -> bool:
    return os.environ.get("GRAPHC_VERIFY") == "1"


@dataclass(frozen=True, slots=True)
class Options:
    """`reassociate`: chains of contractions are multiplied in the order of fewest FLOPs; the bits of results may change.
    `passes_off`: names of passes to leave out, any iterable of them (see `graphc.passes.pipeline.OPTIONAL`).
    `fusion`: nodes share kernels; without it every node has one of its own, which is for tests.
    `verify`: check the invariants of the IR after every pass; on under GRAPHC_VERIFY=1. Not part of equality: it changes no code.
    """

    reassociate: bool = False
    passes_off: frozenset[str] = frozenset()
    fusion: bool = True
    verify: bool = field(default_factory=_verification_asked_for, compare=False)

    def __post_init__(self) -> None:
        for name in ("reassociate", "fusion", "verify"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"Options: {name} is True or False, not {getattr(self, name)!r}")
        names = {self.passes_off} if isinstance(self.passes_off, str) else set(self.passes_off)
        if not all(isinstance(name, str) for name in names):
            raise InputError(f"Options: passes_off are names of passes, not {self.passes_off!r}")
        object.__setattr__(self, "passes_off", frozenset(names))
