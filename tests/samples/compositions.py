"""Samples of what `tinygrad_mlp.nn.functional` makes of ops: without rules, but what holds of rules holds of them."""

from __future__ import annotations

from typing import Any

from tinygrad_mlp.nn import functional as F

from .registry import samples

samples(F.gelu, calls=lambda f, x: [f(x(2, 3)), f(x())])


def losses(f: Any, prediction: Any, target: Any, **options: Any) -> list[Any]:
    """Take every reduction."""
    return [f(prediction, target, reduction=way, **options) for way in ("mean", "sum", "none")]


samples(
    F.cross_entropy,
    calls=lambda f, x: [
        *losses(f, x(2, 3), x.integers(0, 3, 2)),
        *losses(f, x(4, 3), x.integers(0, 3, 4), label_smoothing=0.1),
        *losses(f, x(2, 3), x.unit(2, 3), label_smoothing=0.2),
        *losses(f, x(4, 3), x.integers(0, 3, 4), weight=x.positive(3)),
    ],
)
samples(
    F.nll_loss,
    calls=lambda f, x: [
        *losses(f, x(2, 3), x.integers(0, 3, 2)),
        *losses(f, x(4, 3), x.integers(0, 3, 4), weight=x.positive(3)),
    ],
)
samples(
    F.binary_cross_entropy_with_logits,
    calls=lambda f, x: [
        *losses(f, x.nonzero(2, 3), x.unit(2, 3)),
        *losses(f, x.nonzero(2, 3), x.unit(2, 3), weight=x.positive(2, 1), pos_weight=x.positive(3)),
    ],
)
samples(
    F.binary_cross_entropy,
    calls=lambda f, x: [
        *losses(f, x.unit(2, 3), x.unit(2, 3)),
        *losses(f, x.unit(2, 3), x.unit(2, 3), weight=x.positive(3)),
    ],
)
samples(
    F.mse_loss,
    F.l1_loss,
    calls=lambda f, x: [
        *losses(f, *x.apart((2, 3), (2, 3))),
        *losses(f, *x.apart((2, 3), (2, 3)), weight=x.positive(2, 1)),
    ],
)
samples(
    F.huber_loss,
    calls=lambda f, x: [
        *losses(f, *x.apart((2, 3), (2, 3)), delta=0.7),
        *losses(f, *x.apart((2, 3), (2, 3)), delta=0.7, weight=x.positive(2, 3)),
    ],
)
samples(
    F.layer_norm,
    calls=lambda f, x: [f(x(2, 3), (3,)), f(x(2, 3), (3,), x(3), x(3)), f(x(2, 2, 3), (2, 3), x(2, 3), eps=0.1)],
)
samples(
    F.batch_norm,
    calls=lambda f, x: [
        f(x(4, 3), None, None, x(3), x(3), training=True),
        f(x(4, 3), x(3), x.positive(3), x(3), x(3)),
        f(x(2, 3, 2), None, None, eps=0.1),
    ],
)
