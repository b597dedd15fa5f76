"""A machine that builds random graphs, walks back, forgets, detaches, deletes and changes, beside an exact engine.

The other engine is naive: fractions, one list of what was made of what, and a walk through all of it for each gradient.
"""

from __future__ import annotations

import gc
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp.errors import GraphError

hypothesis = pytest.importorskip("hypothesis")
st, stateful = hypothesis.strategies, pytest.importorskip("hypothesis.stateful")

LENGTH, LARGEST = 3, 2**20
OPS = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply}
PARTIAL = {
    "add": (lambda a, b: 1, lambda a, b: 1), "subtract": (lambda a, b: 1, lambda a, b: -1),
    "multiply": (lambda a, b: b, lambda a, b: a),
}  # fmt: skip
Numbers = list[Fraction]


class Value:
    """A Tensor, and what the naive engine knows of it."""

    def __init__(
        self, tensor: Any, numbers: Numbers, needs: bool, op: str = "", inputs: tuple[Value, ...] = ()
    ) -> None:
        self.tensor, self.numbers, self.needs, self.op, self.inputs = tensor, numbers, needs, op, inputs
        self.read, self.made = [list(i.numbers) for i in inputs], list(numbers)
        self.versions = [i.memory[0] for i in inputs]
        self.released, self.grad, self.memory = False, None, [0]  # type: tuple[bool, Numbers | None, list[int]]

    def is_stale(self) -> bool:
        """Whether what its op has noted has changed since: factors and their product; of a sum, what is constant."""
        product = self.op == "multiply"
        return (product and self.numbers != self.made) or any(
            (i.numbers != read or i.memory[0] != version) and (product or not i.needs)
            for i, read, version in zip(self.inputs, self.read, self.versions, strict=True)
        )


def made_of(root: Value) -> list[Value]:
    """The values with an op that lead to a root, in the order in which they were made."""
    found: list[Value] = []

    def visit(value: Value) -> None:
        if value.op and value.needs and value not in found:
            for i in value.inputs:
                visit(i)
            found.append(value)

    visit(root)
    return found


def gradients(root: Value) -> dict[int, tuple[Value, Numbers]]:
    found = {id(root): (root, [Fraction(1)] * LENGTH)}
    for value in reversed(made_of(root)):
        _, g = found.pop(id(value))
        for k, i in enumerate(value.inputs):
            if i.needs:
                partial = [PARTIAL[value.op][k](a, b) for a, b in zip(*value.read, strict=True)]
                before = found.get(id(i), (i, [Fraction(0)] * LENGTH))[1]
                found[id(i)] = i, [b + a * d for a, b, d in zip(g, before, partial, strict=True)]
    return found


class Machine(stateful.RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.values: list[Value] = []

    def pick(self, k: int) -> Value:
        return self.values[k % len(self.values)]

    @stateful.initialize()
    def begin(self) -> None:
        self.leaf([1, 2, 3], True)

    @stateful.rule(numbers=st.lists(st.integers(-3, 3), min_size=LENGTH, max_size=LENGTH), needs=st.booleans())
    def leaf(self, numbers: list[int], needs: bool) -> None:
        tensor = tg.Tensor(np.array(numbers, float), requires_grad=needs)
        self.values.append(Value(tensor, [Fraction(n) for n in numbers], needs))

    @stateful.rule(op=st.sampled_from(sorted(OPS)), i=st.integers(0, 99), j=st.integers(0, 99), silent=st.booleans())
    def apply(self, op: str, i: int, j: int, silent: bool) -> None:
        a, b = self.pick(i), self.pick(j)
        numbers = [
            {"add": x + y, "subtract": x - y, "multiply": x * y}[op] for x, y in zip(a.numbers, b.numbers, strict=True)
        ]
        if max(map(abs, numbers)) > LARGEST:
            return
        if silent:
            with tg.no_grad():
                tensor = OPS[op](a.tensor, b.tensor)
        else:
            tensor = OPS[op](a.tensor, b.tensor)
        needs = (a.needs or b.needs) and not silent
        assert tensor.requires_grad == needs
        self.values.append(Value(tensor, numbers, needs, op if needs else "", (a, b) if needs else ()))

    @stateful.rule(i=st.integers(0, 99), retain=st.booleans())
    def backward(self, i: int, retain: bool) -> None:
        root = self.pick(i)
        made = made_of(root)
        wrong = not root.needs or any(v.released for v in made) or any(v.is_stale() for v in made)
        before = [(v, v.grad) for v in self.values]
        if wrong:
            with pytest.raises(GraphError):
                root.tensor.backward(np.ones(LENGTH), retain_graph=retain)
            assert all(v.grad is grad for v, grad in before)
            return
        found = gradients(root)
        if any(max(map(abs, g)) > LARGEST for _, g in found.values()):
            return
        root.tensor.backward(np.ones(LENGTH), retain_graph=retain)
        for value, g in found.values():
            value.grad = g if value.grad is None else [a + b for a, b in zip(value.grad, g, strict=True)]
        if not retain:
            for value in made:
                value.released = True

    @stateful.rule(i=st.integers(0, 99))
    def zero_grad(self, i: int) -> None:
        self.pick(i).tensor.zero_grad()
        self.pick(i).grad = None

    @stateful.rule(i=st.integers(0, 99))
    def detach(self, i: int) -> None:
        value = self.pick(i)
        twin = Value(value.tensor.detach(), value.numbers, False)
        twin.memory = value.memory
        self.values.append(twin)

    @stateful.rule(i=st.integers(0, 99))
    def delete(self, i: int) -> None:
        if len(self.values) > 1:
            self.values.pop(i % len(self.values))
            gc.collect(0)

    @stateful.rule(i=st.integers(0, 99), k=st.integers(0, LENGTH - 1), number=st.integers(-3, 3), how=st.integers(0, 2))
    def change(self, i: int, k: int, number: int, how: int) -> None:
        """Write one number: through the array, through that of a detached twin, or as an optimizer does."""
        value = self.pick(i)
        if how == 0:
            value.tensor.data[k] = number
        elif how == 1:
            value.tensor.detach().numpy()[k] = number
        elif value.tensor.is_leaf and value.needs:
            with tg.no_grad():
                value.tensor *= 1.0
                value.tensor.data[k] = number
            value.memory[0] += 1
        else:
            return
        value.numbers[k] = Fraction(number)  # its twins have the same list

    @stateful.invariant()
    def all_is_equal(self) -> None:
        for value in self.values:
            assert value.tensor.detach().tolist() == [float(n) for n in value.numbers]
            if not value.op:
                grad = value.tensor.grad
                assert (None if grad is None else grad.tolist()) == (value.grad and [float(n) for n in value.grad])


def settings(examples: int) -> Any:
    return hypothesis.settings(
        max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )


def test_random_graphs_beside_an_exact_engine() -> None:
    stateful.run_state_machine_as_test(Machine, settings=settings(100))


@pytest.mark.slow
def test_many_random_graphs_beside_an_exact_engine() -> None:
    stateful.run_state_machine_as_test(Machine, settings=settings(5000))
