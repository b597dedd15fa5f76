"""Planted bugs: correct backward passes in plain NumPy, and for each of them ways in which people get it wrong."""

from __future__ import annotations

from . import calculus, kinks, matrices, networks, places, reductions, scales, states
from .base import Array, Bug, Case

__all__ = ["BUGS", "CASES", "CORRECT", "Array", "Bug", "Case"]

CASES: dict[str, Case] = {}
for module in (calculus, reductions, places, matrices, networks, states, scales, kinks):
    CASES |= module.CASES

CORRECT = [Bug(name, name, case.f, case.gradient, case.inputs, case.exact) for name, case in CASES.items()]
BUGS = [
    Bug(what, name, case.f, wrong, case.inputs) for name, case in CASES.items() for what, wrong in case.bugs.items()
]
