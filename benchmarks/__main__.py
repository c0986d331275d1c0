"""`python -m benchmarks NAME ...`: runs one of the measurements."""

from __future__ import annotations

import importlib
import sys

NAMES = ("steps", "kernels", "calls", "math_ulp")


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        print(f"usage: python -m benchmarks {{{','.join(NAMES)}}} [options]", file=sys.stderr)
        return 2
    name = sys.argv.pop(1)
    importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
