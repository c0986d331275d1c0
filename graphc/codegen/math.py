"""The math functions, written in the primitives of `LaneBuilder`: `exp(b, x)` emits the instructions of e^x over all lanes of x.

    exp, expm1, sigmoid, tanh   math_exp.py
    log, log1p                  math_log.py
    erf                         math_erf.py
    sin, cos                    math_trig.py
    power                       math_power.py

The rules of all of them. At most 2 ULP from the exact value in f32 and 4 in f64, with and without FMA, denormal operands and
results included (sin and cos: to |x| = 2^20); the special values of C's libm. No calls, no tables, no branches: every lane
computes every case, and selects. An integer is never made of a float by a conversion that could be out of range. Coefficients are
minimax polynomials (Remez's exchange algorithm at 60 digits), with the interval and the error stated beside them.
"""

from __future__ import annotations

from graphc.codegen.math_erf import erf
from graphc.codegen.math_exp import exp, expm1, sigmoid, tanh
from graphc.codegen.math_log import log, log1p
from graphc.codegen.math_power import power
from graphc.codegen.math_trig import cos, sin

__all__ = ["cos", "erf", "exp", "expm1", "log", "log1p", "power", "sigmoid", "sin", "tanh"]
