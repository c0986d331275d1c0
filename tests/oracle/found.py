"""What was compared with PyTorch so far in this process: (name, dtype) -> the relative error of each configuration.

Names are those of the public API: nn.Linear, F.relu, optim.Adam. `conftest.py` unites the processes and prints the table.
"""

from __future__ import annotations

from collections import defaultdict

FOUND: dict[tuple[str, str], list[float]] = defaultdict(list)


def record(name: str, dtype: str, error: float) -> None:
    FOUND[name, dtype].append(error)


def table(found: dict[tuple[str, str], list[float]]) -> list[str]:
    """One line for each name: how many configurations, and the largest error in either type."""
    lines = [f"{'':44} {'configurations':>14}  {'f32':>8}  {'f64':>8}"]
    for name in sorted({name for name, _ in found}, key=lambda name: (name.split(".")[0], name.lower())):
        errors = [found.get((name, dtype), []) for dtype in ("float32", "float64")]
        worst = [f"{max(one):.1e}" if one else "" for one in errors]
        count = sum(len(one) for (other, _), one in found.items() if other == name)
        lines.append(f"{name:44} {count:14}  {worst[0]:>8}  {worst[1]:>8}")
    return lines
