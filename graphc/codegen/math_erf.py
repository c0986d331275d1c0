"""erf(x): x + x p(x^2) near 0, and 1 - e^q(|x|) beyond, with q a polynomial for log(erfc)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphc.codegen.math_common import at_most, constants, polynomial
from graphc.codegen.math_exp import exp_between
from graphc.codegen.values import Value
from graphc.types import float32, float64

if TYPE_CHECKING:
    from graphc.codegen.scalar import LaneBuilder

# erf(x) / x - 1 in x^2, to |x| = BORDER. Error relative to erf: f32 2^-26.3, f64 2^-57.7.
NEAR: dict[np.dtype, tuple[float, ...]] = {
    float32: (0.12837915, -0.37612525, 0.11282141, -0.026778908, 0.0050119623, -0.0006090356),
    float64: (
        0.12837916709551256,
        -0.37612638903183626,
        0.1128379167094995,
        -0.026866170644282348,
        0.00522397761818313,
        -0.0008548326652840656,
        0.00012055320796000907,
        -1.4925380851971385e-05,
        1.6458014643136461e-06,
        -1.632272215998343e-07,
        1.4497301614123516e-08,
        -1.0820396071381516e-09,
        5.130960767101348e-11,
    ),
}
# log(1 - erf(x)) for BORDER <= x <= ONE. Error of the erf that comes of it: f32 2^-29.1, f64 2^-55.4.
FAR: dict[np.dtype, tuple[float, ...]] = {
    float32: (-0.00016646454, -1.1277971, -0.63697624, -0.10411355, 0.022315145, -0.0030654718, 0.00019821762),
    float64: (
        -3.3276402392087306e-06,
        -1.1283496470045968,
        -0.6367419782551306,
        -0.10245909749063437,
        0.01857049853926373,
        0.0009393575456956452,
        -0.0024217551838125913,
        0.0011458680834875888,
        -0.0003535226550531139,
        8.012261192765941e-05,
        -1.3575673293925712e-05,
        1.6847252043663575e-06,
        -1.4510275315807385e-07,
        7.759187307825657e-09,
        -1.9401848844988934e-10,
    ),
}
BORDER = {float32: 0.9, float64: 1.15}
ONE = {float32: 3.95, float64: 5.95}  # erf rounds to 1 from here on


def erf(b: LaneBuilder, x: Value) -> Value:
    """The error function, 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x."""
    c = constants(b, x)
    size = b.abs(x)
    near = b.fma(x, polynomial(b, b.mul(x, x), NEAR[x.dtype]), x)
    bounded = at_most(b, size, ONE[x.dtype])
    far = b.sub(c(1), exp_between(b, polynomial(b, bounded, FAR[x.dtype])))
    return b.where(b.lt(size, c(BORDER[x.dtype])), near, b.copysign(far, x))
