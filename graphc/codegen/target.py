"""The machine that code is generated for. Everything that depends on it (vector width, tile sizes, cache blocks) reads it here.

`GRAPHC_CPU` forces a level (`x86-64-v2`, `x86-64-v3`, `x86-64-v4`); without it the host's features choose the level.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

from graphc.errors import GraphcError


@dataclass(frozen=True, slots=True)
class Target:
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    vector_registers: int
    has_fma: bool
    # Cache sizes are those of a typical machine of the level, not read from the host: they choose block shapes, and
    # block shapes are part of what "same bits" depends on.
    l1_bytes: int = 32 * 1024
    l2_bytes: int = 1024 * 1024

    @property
    def masked_loads(self) -> bool:
        """Whether a masked load costs what a plain one does."""
        return self.vector_bytes >= 64

    @property
    def memory_operands(self) -> bool:
        """Whether vector arithmetic takes an operand from memory."""
        return self.triple.startswith("x86_64")

    def lanes(self, itemsize: int) -> int:
        """Elements of `itemsize` bytes in one vector register."""
        return self.vector_bytes // itemsize


LEVELS: dict[str, dict] = {
    "x86-64-v2": {"vector_bytes": 16, "vector_registers": 16, "has_fma": False, "l2_bytes": 256 * 1024},
    "x86-64-v3": {"vector_bytes": 32, "vector_registers": 16, "has_fma": True, "l2_bytes": 512 * 1024},
    "x86-64-v4": {"vector_bytes": 64, "vector_registers": 32, "has_fma": True},
    "aarch64": {"vector_bytes": 16, "vector_registers": 32, "has_fma": True, "l2_bytes": 512 * 1024},
}


def level_target(level: str, system: str | None = None) -> Target:
    """The target of a feature level, for this operating system unless another is named."""
    if level not in LEVELS:
        raise GraphcError(f"unknown feature level {level!r}; known: {', '.join(LEVELS)}")
    system = system or platform.system()
    suffix = {"Linux": "unknown-linux-gnu", "Darwin": "apple-darwin"}.get(system)
    if suffix is None:
        raise GraphcError(f"graphc generates code for Linux and macOS, not {system}")
    arch = "aarch64" if level == "aarch64" else "x86_64"
    cpu = "generic" if level == "aarch64" else level
    # 512-bit registers are not used on x86-64-v4 unless asked for.
    features = "-prefer-256-bit" if level == "x86-64-v4" else ""
    return Target(triple=f"{arch}-{suffix}", cpu=cpu, features=features, **LEVELS[level])


def host_target() -> Target:
    """The target of this machine, or of the level in GRAPHC_CPU."""
    forced = os.environ.get("GRAPHC_CPU")
    if forced:
        return level_target(forced)
    machine = platform.machine()
    if machine in ("arm64", "aarch64"):
        return level_target("aarch64")
    if machine not in ("x86_64", "AMD64"):
        raise GraphcError(f"graphc generates code for x86-64 and AArch64, not {machine}")
    from llvmlite import binding

    has = binding.get_host_cpu_features()
    if all(has.get(name) for name in ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")):
        return level_target("x86-64-v4")
    if all(has.get(name) for name in ("avx2", "fma", "bmi2", "f16c", "lzcnt", "movbe")):
        return level_target("x86-64-v3")
    return level_target("x86-64-v2")


def runnable_levels() -> list[str]:
    """The levels that this machine runs, the narrowest first: on x86-64 all up to the host's, or up to that in GRAPHC_CPU."""
    x86 = [level for level in LEVELS if level.startswith("x86")]
    cpu = host_target().cpu
    return x86[: x86.index(cpu) + 1] if cpu in x86 else ["aarch64"]
