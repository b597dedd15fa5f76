"""Rewriting, before calls are grouped: updates that a product of BLAS does by itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ...core.tensor import assign
from ..naming import is_number
from ..plan import Plan, base_of
from ..record import Call, Slot
from .forms import is_product, memory_key

Factors = dict[Call, tuple[Any, Any]]
"""By what numbers BLAS multiplies a product, the first with its sign, and what was in its place."""


class _Term(NamedTuple):
    """An array times a number, and the calls that multiply them."""

    array: Any
    number: Any
    calls: list[Call]


def rewritten(plan: Plan) -> Factors:
    """Let products update arrays, in the calls of a plan, and return their factors."""
    made = {call.output: call for call in plan.calls if call.output is not None}
    uses = Counter(a for call in (*plan.calls, *plan.views.values()) for a in call.slots)
    uses.update(s for s in (*plan.outputs, *plan.grads.values()) if s is not None)
    factors: Factors = {}
    for call in [c for c in plan.calls if c.function is assign]:
        terms = _terms(call, made, uses)
        if terms is not None and _is_free(plan, call, made[call.inputs[1]], uses):
            old, new, sign = terms
            update = replace(made[new.array], output=call.output, section=call.section, line=call.line)
            if is_product(update):  # NumPy would forget the old values
                factors[update] = (new.number, sign), old.number
                update.slots += [a for a in (new.number, old.number) if isinstance(a, Slot)]
                _replace(plan, made[call.inputs[1]], update, {call, made[new.array], *old.calls, *new.calls})
    return factors


def _replace(plan: Plan, total: Call, update: Call, gone: set[Call]) -> None:
    """Put an update in the place of the sum that it is, and its result in that of the sum; take the others out."""
    plan.calls = [update if c is total else c for c in plan.calls if c not in gone]
    plan.recorded = [update if c is total else c for c in plan.recorded]
    for c in plan.calls:
        c.inputs = [update.output if a is total.output else a for a in c.inputs]
        c.slots = [update.result if a is total.output else a for a in c.slots]


def _is_free(plan: Plan, call: Call, total: Call, uses: Counter[Any]) -> bool:
    """Return whether an assignment may come when its value is computed, which only calls read."""
    target, value = call.inputs
    between = plan.calls[plan.calls.index(total) + 1 : plan.calls.index(call)]
    touched = {memory_key(base_of(plan, a)) for c in between for a in c.slots}
    readers = Counter(a for c in plan.calls for a in c.slots)
    return target not in plan.views and memory_key(target) not in touched and readers[value] == uses[value]


def _terms(call: Call, made: dict[Any, Call], uses: Counter[Any]) -> tuple[_Term, _Term, int] | None:
    """Return the old values and the product of which an assignment takes the sum or difference, and its sign."""
    target, total = call.inputs[0], made.get(call.inputs[1])
    if total is None or total.function not in (np.add, np.subtract):
        return None
    terms = [_term(a, made, uses) for a in total.inputs]
    for old, new in (terms, terms[::-1]) if total.function is np.add else (terms,):
        if old.array is target and new.array in made and uses[new.array] == 1:
            return old, new, 1 if total.function is np.add else -1
    return None


def _term(a: Any, made: dict[Any, Call], uses: Counter[Any]) -> _Term:
    """Return an operand as a number times an array, if it is that and nobody else needs it."""
    call = made.get(a)
    if call is not None and call.function is np.multiply and uses[a] == 1:
        for number, array in (call.inputs, call.inputs[::-1]):
            if is_number(number) and isinstance(array, Slot) and not is_number(array):
                return _Term(array, number, [call])
    return _Term(a, 1, [])
