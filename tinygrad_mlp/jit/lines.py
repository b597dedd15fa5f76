"""How ops are written in a program that are no plain ``np.f(x, y, out=z)``: `emit` and `express` of their rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..rules.elementwise import is_wide, select, uniform
from ..rules.indexing import gather, getitem, masks, minus_one_hot, picks_once, put, replaced, scatter
from ..rules.linalg import is_sparse, matmul
from ..rules.shapes import astype, kept_shape, spread
from ..rules.table import annotate
from .scope import INTEGERS, Operand

# NumPy has no fast path for these two with a single number
annotate(np.maximum, emit=lambda out, x, y: f"np.maximum({x.filled(out)}, {y.filled(out)}, out={out})")
annotate(np.minimum, emit=lambda out, x, y: f"np.minimum({x.filled(out)}, {y.filled(out)}, out={out})")
annotate(uniform, emit=lambda out, rng, like: f"{rng}.random(dtype=np.float32, out={out}{'.T' * is_wide(out.shape)})")


def _select(out: Operand, mask: str, x: Operand) -> list[str]:
    if out.dtype not in INTEGERS:
        return [f"{out}[...] = 0", f"np.copyto({out}, {x}, where={mask})"]
    bits = out.bits
    return [f"{bits}[...] = {mask}", f"np.multiply({bits}, {x.bits}, out={bits})"]


annotate(select, emit=_select)


def _getitem(out: Operand, x: Operand, *items: Operand) -> str:
    sized = f".reshape({out.shape})" if masks(x, *items) else ""  # as many as when it was recorded, or an error
    return f"{out}[...] = {_at(x, *items)}{sized}"


def _at(x: Operand, *items: Operand) -> str:
    return f"{x}[{', '.join(i.item for i in items) or '()'}]"


def _put(out: Operand, x: Operand, *items: Operand, shape: str) -> list[str]:
    if all(picks_once(i.value) for i in items):
        covered = math.prod(x.shape) == math.prod(out.shape)
        return [f"{out}.fill(0)"] * (not covered) + [f"{_at(out, *items)} = {x}"]
    return [f"{out}.fill(0)", f"np.add.at({out}, ({', '.join(items)},), {x})"]


def _minus_one_hot(out: Operand, x: str, labels: str, factor: Operand) -> list[str]:
    number = factor.number(out)
    return [f"np.multiply({x}, {number}, out={out})", f"{out}[{out.rows}, {labels}] -= {number}"]


annotate(getitem, emit=_getitem, express=_at)
annotate(put, emit=_put)
annotate(replaced, emit=lambda out, x, value, *items: [f"np.copyto({out}, {x})", f"{_at(out, *items)} = {value}"])
annotate(gather, emit=lambda out, x, labels: f"{out}[...] = {x}[{out.rows}, {labels}]")
annotate(scatter, emit=lambda out, x, labels, classes: [f"{out}.fill(0)", f"{out}[{out.rows}, {labels}] = {x.scalar}"])
annotate(minus_one_hot, emit=_minus_one_hot)


def _spread(out: Operand, x: Operand, shape: str, axis: Any = None) -> str:
    kept = "" if x.ndim == 0 else f".reshape({kept_shape(out.shape, axis and axis.value)})"
    return f"np.copyto({out}, {x}{kept})"


_join = lambda out, *arrays, axis="0", _ends=(): f"np.concatenate([{', '.join(arrays)}], axis={axis}, out={out})"
annotate(spread, emit=_spread)
annotate(astype, emit=lambda out, x, dtype: f'np.copyto({out}, {x}, casting="unsafe")')
annotate(np.copy, emit=lambda out, x: f"np.copyto({out}, {x})")
annotate(np.concatenate, emit=_join)
annotate(np.transpose, express=lambda x, axes=None: f"{x}.T" if axes is None else f"np.transpose({x}, axes={axes})")
annotate(np.reshape, express=lambda x, shape: f"{x}.reshape({shape})")


def _reduction(ufunc: str) -> Callable[..., str]:
    def emit(out: Operand, x: Operand, *, axis: Any = None, **keywords: Operand) -> str:
        single = axis is not None and isinstance(axis.value, tuple) and len(axis.value) == 1
        options = "".join(f", {k}={v}" for k, v in keywords.items() if v.value not in (None, False))
        return f"{ufunc}.reduce({x}, axis={axis.value[0] if single else axis}{options}, out={out})"

    return emit


annotate(np.sum, emit=_reduction("np.add"))
annotate(np.max, emit=_reduction("np.maximum"))
annotate(np.min, emit=_reduction("np.minimum"))


def _cumsum(out: Operand, x: Operand, *, axis: Any = None) -> str:
    return f"np.cumsum({x}, out={out})" if axis is None else f"np.add.accumulate({x}, axis={axis}, out={out})"


annotate(np.cumsum, emit=_cumsum)


def _matmul(out: Operand, x: Operand, y: Operand) -> str:
    if is_sparse(x.value) or is_sparse(y.value):
        return f"{out}[...] = {x} @ {y}"
    plain = x.ndim == y.ndim == 2 and x.dtype == y.dtype and not is_wide(out.shape)
    return f"np.{'dot' if plain else 'matmul'}({x}, {y}, out={out})"


annotate(matmul, np.matmul, emit=_matmul)
