"""The laws that every function and every backward pass obeys, whatever its numbers are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .differences import EPS, Array, Gradient, Subject, name_of, noise_of, norm, same, unit_of

Pull = Callable[[Array], list[Array]]
Law = Callable[[str, list[str]], bool]


def try_laws(s: Subject, rng: np.random.Generator, problems: list[str]) -> list[Gradient]:
    """Return the gradients, or none if nothing can be compared with them; add what is wrong with how they behave."""

    def law(text: str, breakers: list[str]) -> bool:
        problems.extend([f"{text}: {', '.join(breakers)}"] if breakers else [])
        return bool(breakers)

    name, backward = name_of(s.f), name_of(s.gradient, "gradient") if s.gradient else "the backward pass"
    in_place = "changes its inputs in place; let it compute on copies"
    s.look(rng)
    s.value(s.x)
    if law(f"{name} {in_place}", s.changed()) and not s.gradient:
        return []
    if not same(s.value(s.x), s.y):
        problems.append(f"{name} is random: two calls with equal inputs differ; fix the seed inside it")
        return []
    u = rng.choice([-1.0, 1.0], s.y.shape) * rng.uniform(0.5, 1.5, s.y.shape)
    s.upstream = np.ones(s.y.shape) if s.y.size == 1 else u.astype(s.y.dtype).astype(float)
    pull, u = s.record(s.x), s.upstream.copy()
    gradients = pull(u)
    written = s.changed() + ["upstream gradient"] * (not same(u, s.upstream))
    if law(f"{backward} {in_place}", written) and not s.gradient:
        return []
    _look_at(s, gradients, u, law)
    first = [g.copy() for g in gradients]
    law("a second backward pass gives another gradient", _differ(s, pull(s.upstream.copy()), first))
    found = measure(s, pull, first)
    if (s.gradient is None or s.y.ndim) and all(np.isfinite(g).all() for g in first):
        law("a zero upstream gradient does not give a zero gradient", _differ(s, pull(0 * u), [0 * g for g in first]))
        law("the gradient is not linear in the upstream gradient", _bends(s, pull, found, rng))
    return found


def _look_at(s: Subject, gradients: list[Array], u: Array, law: Law) -> None:
    """Try the laws of dtypes and of memory."""
    named = list(zip(s.names, gradients, strict=True))
    if s.y.dtype == np.float64:
        law("the gradient is not float64, as its input is", [n for n, g in named if g.dtype != np.float64])
    if s.gradient is None:
        others = [*named, ("the upstream gradient", u), *zip(s.names, s.x, strict=True)]
        pairs = [(a, b) for k, a in enumerate(named, 1) for b in others[k:]]
        law("the gradient shares memory", [f"{n} with {m}" for (n, g), (m, h) in pairs if np.shares_memory(g, h)])


def _differ(s: Subject, found: list[Array], expected: list[Array], room: float = 0.0) -> list[str]:
    """Return the names of the inputs whose gradients are not as expected."""
    pairs = zip(s.names, found, expected, strict=True)
    return [n for n, a, b in pairs if not (same(a, b) or (a.shape == b.shape and np.abs(a - b).max() <= room))]


def _bends(s: Subject, pull: Pull, first: list[Gradient], rng: np.random.Generator) -> list[str]:
    """Return the names of the inputs whose gradients do not follow the upstream gradient in proportion."""
    other = rng.uniform(0.5, 1.5, s.y.shape)
    both = [g.values + h for g, h in zip(first, pull(other.copy()), strict=True)]
    room = max(1e-9, 10 * s.branches.eps) * max(np.abs(g).max(initial=0.0) for g in both)
    room += 30 * max(g.terms for g in first)
    curved = _differ(s, pull(-2 * s.upstream), [-2 * g.values for g in first])
    real = {n for n, g in zip(s.names, first, strict=True) if np.abs(g.values).max(initial=0.0) > 10 * g.terms}
    return curved or [n for n in _differ(s, pull(s.upstream + other), both, room) if n in real]


def measure(s: Subject, pull: Pull, first: list[Array]) -> list[Gradient]:
    """Return the gradients with their rounding: how they scatter with the last digits of x and the upstream gradient.

    In the terms of a gradient, which may cancel, the last digits of the upstream gradient show. Those of x are changed
    in proportion, which keeps ties and zeros, and all by the same, which shows what is lost where small ones are added
    to 1; never at x itself, where a gradient may be another one. What is too large for rounding is a jump.
    """
    u, unit = s.upstream, unit_of(*s.start)
    scales = 1 + np.arange(1, 6 if s.gradient is None or s.y.ndim else 1) * 1.2345e-6
    scaled = [[np.abs(g / c - a) for g, a in zip(pull(c * u), first, strict=True)] for c in scales]
    steps = (np.arange(10) - 4.5) * 1.37 * EPS
    grown = [s.record([a * (1 + k) for a in s.x])(u.copy()) for k in steps]
    moved = [s.record([a + k * unit for a in s.x])(u.copy()) for k in steps]
    found, wobble = [], 10 * norm(u * s.wobble) / unit
    for i, a in enumerate(first):
        largest = float(np.abs(a).max(initial=0.0))
        grows, moves = (np.nan_to_num(noise_of([g[i] for g in many])) for many in (grown, moved))
        spread = max([float(np.nanmax(part[i], initial=0.0)) for part in scaled], default=0.0)
        terms = max(spread, min(float(grows.max(initial=0.0)), 1e-6 * largest + wobble))
        found.append(Gradient(a, np.minimum(np.maximum(grows, moves), 0.01 * largest + terms), terms))
    return found
