"""Rewriting, before calls are grouped: updates that a product does by itself, and masks of what is in memory anyway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ...core.tensor import assign
from ...rules.elementwise import uniform
from ...rules.linalg import matmul
from ..naming import is_number
from ..plan import Plan, has_effect
from ..record import Call, Slot
from .forms import form_of, leading

Factors = dict[Call, tuple[Any, Any]]
"""By what numbers BLAS multiplies a product, the first with its sign, and what was in its place."""


def rewritten(plan: Plan) -> Factors:
    """Rewrite the calls of a plan in place, and return the factors of products that update an array."""
    _once(plan)
    _mask_results(plan)
    made = {call.output: call for call in plan.calls if call.output is not None}
    uses = Counter(a for call in (*plan.calls, *plan.views.values()) for a in call.slots)
    uses.update(s for s in (*plan.outputs, *plan.grads.values()) if s is not None)
    factors: Factors = {}
    for call in [c for c in plan.calls if c.function is assign]:
        found = _update(call, made, uses) if isinstance(call.inputs[1], Slot) else None
        if found is not None and _is_read_by(plan, call.inputs[0], found[3]):
            product, alpha, beta, gone = found
            update = replace(product, output=call.output, section=call.section, line=call.line)
            if form_of(update, plan.views, set()) is None:  # which BLAS cannot take: NumPy would forget the old values
                continue
            factors[update] = alpha, beta
            _replace(plan, [*gone, product, call], made[call.inputs[1]], update, call.inputs[1], call.output)
    return factors


def _once(plan: Plan) -> None:
    """Compute once what the step computes several times, and draw random numbers like nothing but their own shape."""
    first: dict[Any, Slot] = {}
    same: dict[Slot, Slot] = {}
    kept = {*plan.outputs, *plan.grads.values(), *(a for view in plan.views.values() for a in view.slots)}
    calls = []
    for call in plan.calls:
        if call.function is uniform:
            call.inputs, call.slots = [call.inputs[0], None], []
        elif any(a in same for a in call.slots):
            call.inputs = [same.get(a, a) if isinstance(a, Slot) else a for a in call.inputs]
            call.slots = [same.get(a, a) for a in call.slots]
        lasting = all(a.kind in ("result", "input", "frozen") and a not in plan.views for a in call.slots)
        if call.output is not None and call.function is not assign and lasting and not has_effect(call):
            parts = [id(a) if isinstance(a, Slot) else repr(a) for a in call.inputs]
            key = call.function, *parts, repr(call.keywords), repr(call.errors)
            if first.setdefault(key, call.output) is not call.output and call.output not in kept:
                same[call.output] = first[key]
                continue
        calls.append(call)
    plan.calls = calls


def _mask_results(plan: Plan) -> None:
    """Let ``x > 0`` ask the result of ``max(x, 0)``, which is kept for other uses, so that x need not be."""
    results: dict[Slot, Slot] = {}
    for call in plan.calls:
        x, *others = call.inputs or [None]
        if isinstance(x, Slot) and others in ([0], [0.0]) and call.output is not None:
            if call.function is np.maximum:
                results[x] = call.output
            elif call.function is np.greater and x in results:
                call.inputs, call.slots = [results[x], *others], [results[x]]


def _update(call: Call, made: dict[Any, Call], uses: Counter[Any]) -> tuple[Call, Any, Any, list[Call]] | None:
    """Return the product of an update, its factors, and the calls that are not needed then.

    Either ``w - lr * (x @ y)``, or ``m * w + x @ y``, where nobody else wants the product.
    """
    target, value = call.inputs
    outer = made.get(value)
    if outer is None or leading(target) is None or len(outer.inputs) != 2 or target.dtype != value.dtype:
        return None
    if outer.function is np.subtract and outer.inputs[0] is target and uses[value] == 1:
        scaled = made.get(outer.inputs[1])
        for number, product in _scaling(scaled, uses):
            if _is_product(made.get(product), uses):
                return made[product], (number, -1), 1, [scaled, outer]  # type: ignore[list-item]
    if outer.function is np.add:
        for old, product in (outer.inputs, outer.inputs[::-1]):
            for number, a in _scaling(made.get(old), uses):
                if a is target and _is_product(made.get(product), uses):
                    return made[product], (1, 1), number, [made[old], outer]
    return None


def _scaling(call: Call | None, uses: Counter[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the number and the array of a product of both that is needed once."""
    if call is not None and call.function is np.multiply and uses[call.output] == 1:
        for number, a in (call.inputs, call.inputs[::-1]):
            if is_number(number) and isinstance(a, Slot) and not is_number(a):
                yield number, a


def _is_product(call: Call | None, uses: Counter[Any]) -> bool:
    return call is not None and call.function in (np.matmul, matmul) and uses[call.output] == 1


def _is_read_by(plan: Plan, target: Slot, gone: list[Call]) -> bool:
    """Return whether a slot of a matrix is no view, and an operand of calls that are not needed any more."""
    return target not in plan.views and any(target in call.slots for call in gone)


def _replace(plan: Plan, gone: list[Call], place: Call, update: Call, old: Slot, new: Any) -> None:
    """Put an update in the place of a call, and its result in that of the old one; take the others out."""
    calls = [update if call is place else call for call in plan.calls if call is place or call not in gone]
    for call in calls:
        if call is not update and old in call.slots:
            call.inputs, call.slots = ([new if a is old else a for a in part] for part in (call.inputs, call.slots))
    plan.calls = calls
    plan.recorded = [update if call is place else call for call in plan.recorded]
