"""Samples of the functions of `scipy.special`."""

from __future__ import annotations

from scipy import special

from tinygrad_mlp.scipy.special import betainc_slope, erfcx_slope, gammainc_slope, polygamma, polygamma_rise

from .elementwise import one, two
from .registry import samples

samples(special.erf, special.erfc, special.erfcx, special.ndtr, special.log_ndtr, calls=lambda f, x: one(f, x))
samples(special.expit, special.log_expit, calls=lambda f, x: one(f, x))
samples(special.gammaln, special.gamma, special.digamma, special.entr, calls=lambda f, x: one(f, x.positive))
samples(special.logit, special.ndtri, special.erfinv, calls=lambda f, x: one(f, x.unit))
samples(special.beta, calls=lambda f, x: [call for call in two(f, x.positive, x.positive) if call.arrays[0].ndim])
samples(special.beta, calls=lambda f, x: [f(x.positive(), x.positive(3)), f(x.positive(), x.positive())])
samples(special.betaln, special.xlogy, special.xlog1py, calls=lambda f, x: two(f, x.positive, x.positive))
samples(special.rel_entr, calls=lambda f, x: two(f, x.positive, x.positive))
samples(special.gammainc, special.gammaincc, calls=lambda f, x: two(f, x.positive, x.positive))
samples(
    special.betainc,
    calls=lambda f, x: [
        f(x.positive(2, 3), x.positive(2, 3), x.unit(2, 3)),
        f(x.positive(2, 1), x.positive(3), x.unit()),
        f(x.positive(), x.positive(), x.unit(2)),
        f(x.positive(), 1.5, x.unit()),
        f(0.7, x.positive(2), 0.4),
    ],
)
samples(polygamma, calls=lambda f, x: [f(1, x.positive(2, 3)), f(2, x.positive())])
samples(
    polygamma_rise,
    calls=lambda f, x: [f(0, x.positive(2, 3), x.positive(3)), f(1, x.positive(), 0.5), f(2, 1.5, x.positive())],
)
samples(erfcx_slope, calls=lambda f, x: [f(x(2, 3), 1), f(x(), 2)])
samples(
    gammainc_slope,
    calls=lambda f, x: [f(x.positive(2), x.positive(2), 1), f(x.positive(), x.positive(3), 2), f(x.positive(), 1.5, 1)],
)
samples(
    betainc_slope,
    calls=lambda f, x: [
        f(x.positive(2), x.positive(2), x.unit(2), 1, 0),
        f(x.positive(), x.positive(2), x.unit(), 0, 1),
        f(x.positive(), x.positive(), x.unit(2), 1, 1),
        f(x.positive(), x.positive(), x.unit(), 2, 0),
    ],
)
samples(special.i0, special.i1, special.j0, special.j1, calls=lambda f, x: one(f, x))
samples(special.i0e, special.i1e, calls=lambda f, x: one(f, x.nonzero))
samples(special.y0, special.y1, special.exp1, special.expi, calls=lambda f, x: one(f, x.positive))
samples(special.rgamma, special.loggamma, calls=lambda f, x: one(f, x.positive))
samples(special.kl_div, calls=lambda f, x: two(f, x.positive, x.positive))
samples(special.jv, special.iv, special.ive, calls=lambda f, x: [f(0.5, x.positive(2, 3)), f(2, x.positive())])
