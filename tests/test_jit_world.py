"""The world changes between two calls: whatever a compiled step has read, its result is that of the eager step."""

from __future__ import annotations

import abc
import argparse
import array
import collections
import contextlib
import contextvars
import copy
import dataclasses
import decimal
import enum
import functools
import itertools
import logging
import operator
import os
import queue
import random
import re
import sys
import threading
import types
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import Tensor, jit, nn, optim
from tinygrad_mlp import functional as F
from tinygrad_mlp.jit import Jitted, fits

X = np.random.default_rng(0).normal(size=(4, 3))
Y = np.array([0, 1, 2, 0])
Step = Callable[..., Any]
World = tuple[Step, Callable[[Any], None]]
"""A step that multiplies its argument by something that is held somewhere, and what puts another value there."""


def bits(result: Any) -> Any:
    if isinstance(result, (tuple, list)):
        return [bits(r) for r in result]
    return (result.dtype, result.shape, result._data.tobytes()) if isinstance(result, Tensor) else result


# where a value is held


class Slotted:
    __slots__ = ("v",)


@dataclasses.dataclass(eq=False)
class Config:
    v: Any
    deep: Any = None


class Counting:
    """An object of the user's that has items, properties and more."""

    def __init__(self, v: Any) -> None:
        self.v = v

    @property
    def value(self) -> Any:
        return self.v

    def get(self) -> Any:
        return self.v

    def me(self) -> Counting:
        return self

    def all(self) -> Any:
        yield self

    def __getitem__(self, i: int) -> Any:
        return self.v

    def __call__(self, x: Any) -> Any:
        return x * self.v

    def __enter__(self) -> Any:
        return self.v

    def __exit__(self, *_: object) -> None:
        pass

    @classmethod
    def make(cls, v: Any) -> Any:
        return cls(v).v


def attribute(v: Any) -> World:
    o = Counting(v)
    return lambda x: x * o.v, functools.partial(setattr, o, "v")


def cell(v: Any) -> World:
    def change(new: Any) -> None:
        nonlocal v
        v = new

    return lambda x: x * v, change


def cell_of_another_function(v: Any) -> World:
    def change(new: Any) -> None:
        nonlocal v
        v = new

    def inner(x: Any) -> Any:
        return x * v

    return lambda x: inner(x), change


def cell_of_a_decorated_function(v: Any) -> World:
    def change(new: Any) -> None:
        nonlocal v
        v = new

    @tg.no_grad()
    def inner(x: Any) -> Any:
        return x * v

    return lambda x: inner(x), change


def cell_of_a_function_in_a_list(v: Any) -> World:
    def change(new: Any) -> None:
        nonlocal v
        v = new

    functions = [lambda x: x * v]

    def step(x: Any) -> Any:
        for f in functions:
            x = f(x)
        return x

    return step, change


def global_name(v: Any) -> World:
    names: dict[str, Any] = {"v": v}
    exec("def step(x):\n    return x * v\n", names)
    return names["step"], functools.partial(operator.setitem, names, "v")


def global_in_a_comprehension(v: Any) -> World:
    names: dict[str, Any] = {"v": v}
    exec("def step(x):\n    return [x * v for _ in range(2)][-1]\n", names)
    return names["step"], functools.partial(operator.setitem, names, "v")


def global_in_a_lambda(v: Any) -> World:
    names: dict[str, Any] = {"v": v}
    exec("def step(x):\n    return list(map(lambda t: t * v, [x]))[0]\n", names)
    return names["step"], functools.partial(operator.setitem, names, "v")


def global_in_a_generator(v: Any) -> World:
    names: dict[str, Any] = {"v": v}
    exec("def step(x):\n    return next(t * v for t in [x])\n", names)
    return names["step"], functools.partial(operator.setitem, names, "v")


def attribute_of_a_module_of_python(v: Any) -> World:
    module = types.ModuleType("settings")
    vars(module)["v"] = v
    return lambda x: x * module.v, functools.partial(setattr, module, "v")


def attribute_of_a_class(v: Any) -> World:
    kind = type("Settings", (), {"v": v})
    return lambda x: x * kind.v, functools.partial(setattr, kind, "v")


def attribute_of_a_class_by_its_object(v: Any) -> World:
    kind = type("Settings", (), {"v": v})
    o = kind()
    return lambda x: x * o.v, functools.partial(setattr, kind, "v")


def attribute_that_hides_that_of_the_class(v: Any) -> World:
    o = type("Settings", (), {"v": v})()
    return lambda x: x * o.v, functools.partial(setattr, o, "v")


def slot(v: Any) -> World:
    o = Slotted()
    o.v = v
    return lambda x: x * o.v, functools.partial(setattr, o, "v")


def field_of_a_dataclass(v: Any) -> World:
    o = Config(v)
    return lambda x: x * o.v, functools.partial(setattr, o, "v")


def deep_inside(v: Any) -> World:
    o = Config(v)
    outer = functools.reduce(lambda inner, _: Config(None, inner), range(6), o)
    return lambda x: x * outer.deep.deep.deep.deep.deep.deep.v, functools.partial(setattr, o, "v")


def part_that_is_replaced(v: Any) -> World:
    outer = Config(None, Config(v))

    def change(new: Any) -> None:
        outer.deep = Config(new)

    return lambda x: x * outer.deep.v, change


def namespace(v: Any) -> World:
    o = types.SimpleNamespace(v=v)
    return lambda x: x * o.v, functools.partial(setattr, o, "v")


def item_of_a_list(v: Any) -> World:
    items = [0, v]
    return lambda x: x * items[1], functools.partial(operator.setitem, items, 1)


def item_by_a_variable(v: Any) -> World:
    items, i = [0, v], 1
    return lambda x: x * items[i], functools.partial(operator.setitem, items, 1)


def value_of_a_dict(v: Any) -> World:
    items = {"v": v}
    return lambda x: x * items["v"], functools.partial(operator.setitem, items, "v")


def value_of_a_dict_by_get(v: Any) -> World:
    items = {"v": v}
    return lambda x: x * items.get("v", 1), functools.partial(operator.setitem, items, "v")


def nested_containers(v: Any) -> World:
    items: Any = [0, (1, {"a": [v]})]
    return lambda x: x * items[1][1]["a"][0], functools.partial(operator.setitem, items[1][1]["a"], 0)


def deque(v: Any) -> World:
    items = collections.deque([0, v])
    return lambda x: x * items[-1], functools.partial(operator.setitem, items, 1)


def default_argument(v: Any) -> World:
    def scaled(x: Any, v: Any = v) -> Any:
        return x * v

    def change(new: Any) -> None:
        scaled.__defaults__ = (new,)

    return lambda x: scaled(x), change


def default_of_a_keyword(v: Any) -> World:
    def scaled(x: Any, *, v: Any = v) -> Any:
        return x * v

    def change(new: Any) -> None:
        scaled.__kwdefaults__["v"] = new

    return lambda x: scaled(x), change


def property_of_an_object(v: Any) -> World:
    o = Counting(v)
    return lambda x: x * o.value, functools.partial(setattr, o, "v")


def what_a_method_gives(v: Any) -> World:
    o = Counting(v)
    return lambda x: x * o.get(), functools.partial(setattr, o, "v")


def attribute_of_what_a_method_gives(v: Any) -> World:
    o = Counting(v)
    return lambda x: x * o.me().v, functools.partial(setattr, o, "v")


def attribute_of_what_a_generator_gives(v: Any) -> World:
    o = Counting(v)

    def step(x: Any) -> Any:
        for part in o.all():
            x = x * part.v
        return x

    return step, functools.partial(setattr, o, "v")


def item_of_an_object(v: Any) -> World:
    o = Counting(v)
    return lambda x: x * o[0], functools.partial(setattr, o, "v")


def object_that_is_called(v: Any) -> World:
    o = Counting(v)
    return lambda x: o(x), functools.partial(setattr, o, "v")


def context_manager(v: Any) -> World:
    o = Counting(v)

    def step(x: Any) -> Any:
        with o as factor:
            return x * factor

    return step, functools.partial(setattr, o, "v")


def objects_that_are_iterated_over(v: Any) -> World:
    parts = [types.SimpleNamespace(v=1), Counting(v)]

    def step(x: Any) -> Any:
        for part in parts:
            x = x * part.v
        return x

    return step, functools.partial(setattr, parts[1], "v")


def objects_that_are_counted(v: Any) -> World:
    parts = (Counting(1), Counting(v))

    def step(x: Any) -> Any:
        for i, part in enumerate(parts):
            x = x * part.v + i
        return x

    return step, functools.partial(setattr, parts[1], "v")


def objects_in_two_lists(v: Any) -> World:
    parts, others = [Counting(v)], [Counting(2)]

    def step(x: Any) -> Any:
        for part, other in zip(parts, others, strict=True):
            x = x * part.v * other.v
        return x

    return step, functools.partial(setattr, parts[0], "v")


def objects_in_a_dict(v: Any) -> World:
    parts = {"a": Counting(v)}

    def step(x: Any) -> Any:
        for _, part in parts.items():
            x = x * part.v
        return x

    return step, functools.partial(setattr, parts["a"], "v")


def objects_in_a_comprehension(v: Any) -> World:
    parts = [Counting(v)]
    return lambda x: sum([x * part.v for part in parts]), functools.partial(setattr, parts[0], "v")


def object_under_another_name(v: Any) -> World:
    o = Config(None, Config(v))

    def step(x: Any) -> Any:
        inner = o.deep
        y = x * inner.v
        return y

    return step, functools.partial(setattr, o.deep, "v")


def attribute_by_name(v: Any) -> World:
    o = Counting(v)
    return lambda x: x * getattr(o, "v"), functools.partial(setattr, o, "v")


def attribute_by_a_name_that_is_made(v: Any) -> World:
    o = Counting(v)
    return lambda x: x * getattr(o, "".join(["v"])), functools.partial(setattr, o, "v")


def attribute_by_vars(v: Any) -> World:
    o = Counting(v)
    return lambda x: x * vars(o)["v"], functools.partial(setattr, o, "v")


def argument_of_a_partial(v: Any) -> World:
    items = {"v": v}
    return functools.partial(lambda n, x: x * n["v"], items), functools.partial(operator.setitem, items, "v")


def keyword_of_a_partial(v: Any) -> World:
    step = functools.partial(lambda x, v: x * v, v=v)
    return step, functools.partial(operator.setitem, step.keywords, "v")


def object_of_a_method(v: Any) -> World:
    o = Counting(v)
    return o.__call__, functools.partial(setattr, o, "v")


def attribute_of_a_module(v: Any) -> World:
    class Scale(nn.Module):
        def __init__(self) -> None:
            self.v = v

        def forward(self, x: Any) -> Any:
            return x * self.v

    model = Scale()
    return lambda x: model(x), functools.partial(setattr, model, "v")


def module_inside_of_modules(v: Any) -> World:
    class Scale(nn.Module):
        def __init__(self) -> None:
            self.v = v

        def forward(self, x: Any) -> Any:
            return x * self.v

    model = nn.Sequential(nn.Tanh(), nn.Sequential(Scale()))
    return lambda x: model(x), functools.partial(setattr, model[1][0], "v")


def cell_of_a_hook(v: Any) -> World:
    def change(new: Any) -> None:
        nonlocal v
        v = new

    w = Tensor(np.ones((4, 3)), requires_grad=True)
    w.register_hook(lambda g: g * v)

    def step(x: Any) -> Any:
        w.grad = None
        (w * x).sum().backward()
        return w.grad * 1

    return step, change


def attribute_of_a_function(v: Any) -> World:
    def inner(x: Any) -> Any:
        return x * inner.v  # type: ignore[attr-defined]

    inner.v = v  # type: ignore[attr-defined]
    return lambda x: inner(x), functools.partial(setattr, inner, "v")


def attribute_of_a_weak_reference(v: Any) -> World:
    o = Counting(v)
    held = weakref.ref(o)
    return lambda x: x * held().v, functools.partial(setattr, o, "v")  # type: ignore[union-attr]


def attribute_of_an_imported_module(v: Any) -> World:
    module = types.ModuleType(f"settings_{id(v)}_{len(sys.modules)}")
    sys.modules[module.__name__] = module
    module.v = v  # type: ignore[attr-defined]
    names: dict[str, Any] = {}
    exec(f"def step(x):\n    from {module.__name__} import v\n    return x * v\n", names)
    return names["step"], functools.partial(setattr, module, "v")


def attribute_of_a_kind_of_tensor(v: Any) -> World:
    class Scaled(Tensor):
        pass

    t: Any = Scaled(np.ones(3))
    t.v = v
    return lambda x: x * t * t.v, functools.partial(setattr, t, "v")


def attribute_by_a_pattern(v: Any) -> World:
    o = Counting(v)

    def step(x: Any) -> Any:
        match o:
            case Counting(v=found):
                return x * found

    return step, functools.partial(setattr, o, "v")


def attribute_that_may_be_missing(v: Any) -> World:
    o = Counting(v)

    def step(x: Any) -> Any:
        try:
            return x * o.other  # type: ignore[attr-defined]
        except AttributeError:
            return x * o.v

    return step, functools.partial(setattr, o, "other")


def slot_that_may_be_missing(v: Any) -> World:
    class Part:
        __slots__ = ("v",)

        def __getattr__(self, name: str) -> Any:
            return v

    o = Part()
    return lambda x: x * o.v, functools.partial(setattr, o, "v")


def method_of_a_base(v: Any) -> World:
    class Base:
        def scaled(self, x: Any) -> Any:
            return x * v

    class Part(Base):
        def scaled(self, x: Any) -> Any:
            return super().scaled(x) * 2

    def change(new: Any) -> None:
        def scaled(self: Any, x: Any) -> Any:
            return x * new

        Base.scaled = scaled  # type: ignore[method-assign]

    o = Part()
    return lambda x: o.scaled(x), change


def another_property(v: Any) -> World:
    class Part:
        v = property(lambda self: v)

    o = Part()
    return lambda x: x * o.v, lambda new: setattr(Part, "v", property(lambda self: new))


def value_of_a_context_variable(v: Any) -> World:
    variable = contextvars.ContextVar("v", default=v)
    return lambda x: x * variable.get(), variable.set


def value_of_a_user_dict(v: Any) -> World:
    items = collections.UserDict(v=v)
    return lambda x: x * items["v"], functools.partial(operator.setitem, items, "v")


def value_of_several_dicts(v: Any) -> World:
    first: dict[str, Any] = {}
    items = collections.ChainMap(first, {"v": v})
    return lambda x: x * items["v"], functools.partial(operator.setitem, first, "v")


def field_among_all(v: Any) -> World:
    o = Config(v)
    return lambda x: x * dataclasses.asdict(o)["v"], functools.partial(setattr, o, "v")


def keyword_of_another_partial(v: Any) -> World:
    inner = functools.partial(lambda x, v: x * v, v=v)
    return lambda x: inner(x), functools.partial(operator.setitem, inner.keywords, "v")


PLACES = {f.__name__: f for f in (
    attribute, cell, cell_of_another_function, cell_of_a_decorated_function, cell_of_a_function_in_a_list, global_name,
    global_in_a_comprehension, global_in_a_lambda, global_in_a_generator, attribute_of_a_module_of_python,
    attribute_of_a_class, attribute_of_a_class_by_its_object, attribute_that_hides_that_of_the_class, slot,
    field_of_a_dataclass, deep_inside, part_that_is_replaced, namespace, item_of_a_list, item_by_a_variable,
    value_of_a_dict, value_of_a_dict_by_get, nested_containers, deque, default_argument, default_of_a_keyword,
    property_of_an_object, what_a_method_gives, attribute_of_what_a_method_gives, attribute_of_what_a_generator_gives,
    item_of_an_object, object_that_is_called, context_manager, objects_that_are_iterated_over,
    objects_that_are_counted, objects_in_two_lists, objects_in_a_dict, objects_in_a_comprehension,
    object_under_another_name, attribute_by_name, attribute_by_a_name_that_is_made, attribute_by_vars,
    argument_of_a_partial, keyword_of_a_partial, object_of_a_method, attribute_of_a_module, module_inside_of_modules,
    cell_of_a_hook, attribute_of_a_function, attribute_of_a_weak_reference, attribute_of_an_imported_module,
    attribute_of_a_kind_of_tensor, attribute_by_a_pattern, attribute_that_may_be_missing, slot_that_may_be_missing,
    method_of_a_base, another_property, value_of_a_context_variable, value_of_a_user_dict, value_of_several_dicts,
    field_among_all, keyword_of_another_partial,
)}  # fmt: skip
VALUES: dict[str, tuple[Any, Any]] = {
    "int": (2, 3),
    "float": (0.0, -0.0),
    "bool": (True, False),
    "kind of number": (1, 1.0),
    "NumPy number": (np.float64(2), np.float32(2)),
    "array": (np.arange(3.0), np.ones(3)),
    "array without axes": (np.array(2.0), np.array(3.0)),
    "Tensor": (Tensor(np.arange(3.0)), Tensor(np.ones(3))),
}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("place", PLACES)
def test_a_value_that_another_one_replaces(place: str, value: str) -> None:
    first, second = VALUES[value]
    if isinstance(first, np.ndarray):
        first, second = first.copy(), second.copy()
    (function, change), (eager, other) = PLACES[place](first), PLACES[place](first)
    step = jit(function)
    for i in range(12):
        assert bits(step(X)) == bits(eager(Tensor(X))), f"call {i}"
        if i in (4, 5, 8):
            change(second if i == 4 else first)
            other(second if i == 4 else first)
    assert step.eager is None and step.last.test is not None


@pytest.mark.parametrize("value", ["array", "array without axes"])
@pytest.mark.parametrize("place", PLACES)
def test_an_array_that_changes_in_place(place: str, value: str) -> None:
    array = VALUES[value][0].copy()
    function, _ = PLACES[place](array)
    step = jit(function)
    for i in range(12):
        if i in (4, 5, 8):
            array += i
        assert bits(step(X)) == bits(function(Tensor(X))), f"call {i}"
    assert step.eager is None and step.last.test is not None


# what changes otherwise


def other_code(factor: float) -> World:
    def inner(x: Any) -> Any:
        return x * 2

    def other(x: Any) -> Any:
        return x * 3

    return lambda x: inner(x), lambda _: setattr(inner, "__code__", other.__code__)


def array_that_is_iterated_over(factor: float) -> World:
    array = np.ones(3)
    return lambda x: functools.reduce(operator.mul, [x, *[x * a for a in array]]), array.fill


def array_that_is_unpacked(factor: float) -> World:
    array = np.ones(2)

    def step(x: Any) -> Any:
        a, b = array
        return x * a + b

    return step, array.fill


def name_of_a_tensor(factor: float) -> World:
    t = Tensor(np.ones(3), name="weight")
    return lambda x: x * (2 if t.name == "bias" else 3), lambda _: setattr(t, "name", "bias")


def environment(factor: float) -> World:
    name = f"TINYGRAD_MLP_TEST_{id(object())}"
    return lambda x: x * len(os.environ.get(name, "")), lambda _: operator.setitem(os.environ, name, "long")


def names_of_an_object(factor: float) -> World:
    o = Counting(factor)
    return lambda x: x * ("more" in dir(o)), lambda new: setattr(o, "more", new)


OTHERS = (other_code, array_that_is_iterated_over, array_that_is_unpacked, name_of_a_tensor, environment,
          names_of_an_object)  # fmt: skip


@pytest.mark.parametrize("world", OTHERS)
def test_something_else_changes(world: Callable[[float], World]) -> None:
    (function, change), (eager, other) = world(1.0), world(1.0)
    step = jit(function)
    for i in range(9):
        assert bits(step(X)) == bits(eager(Tensor(X))), f"call {i}"
        if i == 4:
            change(5.0)
            other(5.0)
    assert step.eager is None and step.last.test is not None


# what changes around training


class Net(nn.Module):
    """A network with all that a user's may have."""

    def __init__(self) -> None:
        self.first = nn.Linear(3, 4, rng=0, dtype=np.float64)
        self.layers = [nn.Tanh(), nn.Linear(4, 4, rng=1, dtype=np.float64)]
        self.norm = nn.BatchNorm1d(4, dtype=np.float64)
        self.drop = nn.Dropout(0.0, rng=3)
        self.last = nn.Sequential(nn.Linear(4, 3, rng=2, dtype=np.float64))
        self.act, self.power, self.mask, self.table = F.relu, 2, np.ones(4), {"scale": 0.5, "names": ["a"]}
        self.softmax = nn.Softmax()

    def forward(self, x: Any) -> Any:
        h = self.act(self.first(x))
        for layer in self.layers:
            h = layer(h)
        h = self.drop(self.norm(h) ** self.power * self.mask)
        for name in self.table["names"]:
            h = h * self.table["scale"] + len(name)
        out = self.last(h)
        return out + self.softmax(out) * getattr(self, "bonus", 0.1)


class Training:
    """A model with its optimiser, and a step of a user's class."""

    def __init__(self) -> None:
        self.model, self.history, self.rng = Net(), [], np.random.default_rng(5)
        self.opt: Any = optim.SGD([*self.model.parameters(), *self.model.layers[1].parameters()], lr=0.1, momentum=0.5)
        self.other = nn.Linear(3, 3, rng=7, dtype=np.float64)
        self.weights: Any = np.array([1.0, 2.0, 3.0])
        self.smoothing, self.clip, self.k = 0.1, False, 1

    def step(self, x: Any, y: Any) -> Any:
        out = self.model(x) + x @ self.other.weight
        if self.other.training:
            out = out * 2
        out = F.dropout(out * (self.weights * 2), 0.1, self.rng)
        loss = F.cross_entropy(out, y, label_smoothing=self.smoothing)
        self.opt.zero_grad()
        loss.backward()
        if self.clip:
            for p in self.model.parameters():
                if p.grad is not None:
                    p.grad = np.clip(p.grad, -0.01, 0.01)
        self.opt.step()
        return loss, {"k": self.k, "none": None}

    def state(self) -> Any:
        """Return all that the step changes, as bytes."""
        ts = [p for m in (self.model, self.other, *self.model.layers) for p in (*m.parameters(), *m.buffers())]
        grads = [None if t._grad is None else t._grad._data.tobytes() for t in ts]
        return (
            [t._data.tobytes() for t in ts],
            grads,
            self.rng.bit_generator.state,
            self.model.drop.rng.bit_generator.state,
        )


class Doubled(nn.Linear):
    def forward(self, x: Any) -> Any:
        return super().forward(x) * 2


def other_dict(module: Any) -> None:
    if hasattr(module, "has_another"):
        vars(module).update(bias=None)
    else:
        module.__dict__ = {**vars(module), "has_another": True}


def swap_data(p: Any) -> None:
    p.data = p._data * 0.5


def reload(t: Training) -> None:
    t.model.load_state_dict({name: value // 2 for name, value in t.model.state_dict().items()})
    t.opt.load_state_dict(t.opt.state_dict())


def rebuild(t: Training) -> None:
    t.opt = optim.Adam(t.model.parameters(), lr=0.01)


CHANGES: dict[str, Callable[[Training], Any]] = {
    "an array attribute": lambda t: setattr(t.model, "mask", np.array([1.0, 0, 1, 0])),
    "an array attribute in place": lambda t: t.model.mask.__imul__(2),
    "an array that is computed with, in place": lambda t: t.weights.__iadd__(1),
    "another array to compute with": lambda t: setattr(t, "weights", np.ones(3)),
    "an array of other dtype": lambda t: setattr(t, "weights", np.ones(3, np.float32)),
    "a list of layers: one more": lambda t: t.model.layers.append(nn.Sigmoid()),
    "a list of layers: one less": lambda t: t.model.layers.pop(),
    "a list of layers: another one": lambda t: operator.setitem(t.model.layers, 0, nn.Softplus()),
    "a list of layers: another list": lambda t: setattr(t.model, "layers", t.model.layers[::-1]),
    "a list in a dict": lambda t: t.model.table["names"].append("bc"),
    "a value of a dict": lambda t: t.model.table.update(scale=0.25),
    "another dict": lambda t: setattr(t.model, "table", {"scale": 1.0, "names": ["abc"]}),
    "an int": lambda t: setattr(t.model, "power", 3),
    "a float": lambda t: setattr(t, "smoothing", 0.2),
    "a bool": lambda t: setattr(t, "clip", not t.clip),
    "a function": lambda t: setattr(t.model, "act", F.gelu),
    "a function that is a lambda": lambda t: setattr(t.model, "act", lambda x: x * 2),
    "a new attribute": lambda t: setattr(t.model, "bonus", 2.0),
    "forward itself": lambda t: setattr(t.model.softmax, "forward", lambda x: x * 0.1),
    "a layer appended to a Sequential": lambda t: setattr(t.model.last, "1", nn.Tanh()),
    "a layer of a Sequential replaced": lambda t: setattr(t.model.last, "0", nn.Linear(4, 3, rng=9, dtype=np.float64)),
    "dropout from 0": lambda t: setattr(t.model.drop, "p", 0.5),
    "another Generator": lambda t: setattr(t, "rng", np.random.default_rng(8)),
    "another Generator of a layer": lambda t: setattr(t.model.drop, "rng", np.random.default_rng(8)),
    "the state of a Generator": lambda t: setattr(
        t.rng.bit_generator, "state", np.random.default_rng(1).bit_generator.state
    ),
    "the axis of a softmax": lambda t: setattr(t.model.softmax, "axis", 0),
    "momentum of batch norm": lambda t: setattr(t.model.norm, "momentum", 1),
    "plain averages of batch norm": lambda t: setattr(t.model.norm, "momentum", None),
    "eps of batch norm": lambda t: setattr(t.model.norm, "eps", 0.1),
    "evaluation": lambda t: t.model.eval(),
    "evaluation of one layer": lambda t: t.model.norm.eval(),
    "training of what is not called": lambda t: t.other.train(not t.other.training),
    "weights of what is not called": lambda t: setattr(t.other, "weight", nn.Parameter(np.eye(3))),
    "a weight replaced": lambda t: setattr(t.model.first, "weight", nn.Parameter(np.ones((4, 3)))),
    "a weight in place": lambda t: t.model.first.weight._data.__imul__(0.5),
    "the data of a weight": lambda t: swap_data(t.model.first.weight),
    "a bias taken away": lambda t: setattr(t.model.first, "bias", None),
    "a bias taken away behind the module's back": lambda t: vars(t.model.last[0]).update(bias=None),
    "a forward of one layer of its own": lambda t: vars(t.model.last[0]).update(forward=lambda x: x[:, :3]),
    "the class of a layer": lambda t: setattr(t.model.last[0], "__class__", Doubled),
    "the dict of a layer, and what is in it": lambda t: other_dict(t.model.last[0]),
    "what it does not read of a layer": lambda t: setattr(t.model.first, "seen", np.array([len(vars(t.model.first))])),
    "a layer frozen": lambda t: t.model.first.requires_grad_(False),
    "a hook": lambda t: t.model.first.weight.register_hook(lambda g: g * 2),
    "gradients": lambda t: setattr(t.model.first.weight, "grad", Tensor(np.ones((4, 3)))),
    "the learning rate": lambda t: t.opt.param_groups[0].update(lr=0.01),
    "momentum off": lambda t: t.opt.param_groups[0].update(momentum=0.0),
    "weight decay": lambda t: t.opt.param_groups[0].update(weight_decay=0.1),
    "a parameter more in a group": lambda t: t.opt.param_groups[0]["params"].append(t.other.weight),
    "a parameter less in a group": lambda t: t.opt.param_groups[0]["params"].pop(),
    "another parameter in a group": lambda t: operator.setitem(t.opt.param_groups[0]["params"], 0, t.other.weight),
    "another list of a group": lambda t: t.opt.param_groups[0].update(params=[t.model.first.weight]),
    "a group more": lambda t: t.opt.add_param_group({"params": [Tensor(1.0, requires_grad=True)], "lr": 0.3}),
    "another optimizer": rebuild,
    "a state that is loaded": reload,
    "the state of an optimizer cleared": lambda t: t.opt.state.clear(),
    "another model": lambda t: (setattr(t, "model", Net()), rebuild(t)),
    "what it returns": lambda t: setattr(t, "k", t.k + 1),
    "what it does not read": lambda t: t.history.append(1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_training_goes_on_as_eagerly(change: str) -> None:
    eager, other = Training(), Training()
    step = jit(other.step if len(change) % 2 else lambda x, y: other.step(x, y))
    for i in range(16):
        assert bits(step(X, Y)[0]) == bits(eager.step(Tensor(X), Tensor(Y))[0]), f"call {i}"
        assert repr(eager.state()) == repr(other.state()), f"call {i}"
        if i in (6, 7):
            CHANGES[change](eager)
            CHANGES[change](other)
    assert step.eager is None and step.last.test is not None
    recorded = sum(map(len, step.cache.values()))
    assert recorded <= 6 and (recorded == 1 or not change.startswith("what it does not read")), "with its momentum"


def test_what_is_not_read_of_a_module_is_looked_at_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    renewed, renew = [], fits._Fields.renew
    monkeypatch.setattr(fits._Fields, "renew", lambda fields: renewed.append(1) or renew(fields))
    model = nn.MLP([3, 4, 4, 3], activation="relu", rng=0, dtype=np.float64)
    step = jit(lambda x: model(x))
    for i in range(12):
        step(X)
        model[0].last = np.full(5, i)  # which is neither equal to another array nor not
    assert step.last.runs == 10 and len(renewed) <= 2
    for training in (False, True):
        renewed.clear()
        model.train(training)
        for _ in range(3):
            step(X)
        assert renewed == [1] and step.last.runs > 10


# random training steps, with random changes between the calls


def random_training(seed: int) -> int:
    """Train two copies, one of them compiled, with the same random changes between 14 calls; all bits are the same.

    Return how often a program has run.
    """
    eager, other = Training(), Training()
    names = list(CHANGES)
    rngs = np.random.default_rng(seed), np.random.default_rng(seed)
    for t, rng in zip((eager, other), rngs, strict=True):
        t.opt = (
            optim.SGD(t.opt.param_groups[0]["params"], lr=0.05, momentum=float(rng.choice([0, 0.9])))
            if rng.random() < 0.5
            else optim.Adam(t.opt.param_groups[0]["params"], lr=0.01)
        )
        t.model.drop.p = float(rng.choice([0.0, 0.3]))
    step = Jitted(other.step if seed % 2 else lambda x, y: other.step(x, y), strict=bool(seed % 3))
    data = np.random.default_rng(seed)
    for i in range(14):
        n = 4 if data.random() < 0.8 else 3
        x, y = data.normal(size=(n, 3)), data.integers(0, 3, n)
        outcome = []
        for run, arguments in ((eager.step, (Tensor(x), Tensor(y))), (step, (x, y))):
            try:
                with np.errstate(all="ignore"):
                    outcome.append(bits(run(*arguments)[0]))
            except (tg.GraphError, ValueError) as error:
                outcome.append(f"{type(error).__name__}: {error}")
        assert outcome[0] == outcome[1], f"seed {seed}, call {i}"
        if isinstance(outcome[0], str):
            break
        assert repr(eager.state()) == repr(other.state()), f"seed {seed}, call {i}"
        for _ in range(data.integers(0, 3) if data.random() < 0.4 else 0):
            change = CHANGES[names[data.integers(len(names))]]
            for t in (eager, other):
                with contextlib.suppress(IndexError, ValueError, tg.GraphError):
                    change(t)
    return sum(compiled.runs for known in step.cache.values() for compiled in known)


def test_random_changes_between_calls() -> None:
    assert sum(map(random_training, range(12))) >= 12


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_many_random_changes_between_calls(part: int) -> None:
    assert sum(map(random_training, range(1000 + part * 100, 1100 + part * 100))) >= 100


class Held:
    v = 1.0


def _deep(place: str) -> World:
    """A step that takes an object out of containers by a name, a constant and an attribute in turn."""
    held = Held()
    held.v = 1.0
    table, key, tree = {"m": [held]}, "m", {"k": {"o": held}}
    rows, config = [[held]], types.SimpleNamespace(d={"m": [held]})

    def given() -> Any:
        return {"a": [held]}

    steps: dict[str, Step] = {
        "name, item": lambda x: x * table[key][0].v,
        "name, key": lambda x: x * tree[key.replace("m", "k")]["o"].v,
        "attribute, name, item": lambda x: x * config.d[key][0].v,
        "result, key, item": lambda x: x * given()["a"][0].v,
        "loop, item": lambda x: sum([x * row[0].v for row in rows]),
    }
    return steps[place], lambda v: setattr(held, "v", v)


def _object_of_python(place: str) -> World:
    held: Any = {"Namespace": argparse.Namespace(v=1.0), "Logger": logging.getLogger("test"), "class": Held}[place]
    held.v = 1.0
    return (lambda x: x * (held.__dict__["v"] if place == "class" else held.v)), lambda v: setattr(held, "v", v)


DEEP = ("name, item", "name, key", "attribute, name, item", "result, key, item", "loop, item")


WORLDS = {place: functools.partial(_deep, place) for place in DEEP}
WORLDS |= {place: functools.partial(_object_of_python, place) for place in ("Namespace", "Logger", "class")}


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_what_is_held_deep_or_by_an_object_of_python_is_seen_to_change(world: Callable[[], World]) -> None:
    step, put = world()
    run = jit(step)
    for v in (1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 1.0):
        put(v)
        assert bits(run(Tensor(X))) == bits(step(Tensor(X)))
    assert run.eager is None


def test_an_effect_on_a_namespace_is_refused_by_name() -> None:
    options = argparse.Namespace(n=0)

    def step(x: Any) -> Any:
        options.n += 1
        return x * 2.0

    run = jit(step)
    with pytest.raises(tg.errors.RecordingError, match=r"options\.n"):
        for _ in range(3):
            run(X)


@pytest.mark.parametrize("number", [int(1e40), round(1e40), -2j, np.longdouble(2)], ids=repr)
def test_numbers_of_any_kind_are_constants(number: Any) -> None:
    def step(x: Any, n: Any) -> Any:
        return np.multiply(x, n) if isinstance(n, complex) else x * n

    run = jit(step)
    for _ in range(5):
        assert bits(run(Tensor(X), number)) == bits(step(Tensor(X), number))


# what code in C reads


class Base:
    v: Any = 1.0

    def get(self) -> Any:
        return self.v


class Other(Base):
    v: Any = 2.0


def _holding(v: float = 1.0) -> Any:
    held = Base()
    held.v = v
    return held


def _read_in_c() -> dict[str, tuple[Step, Callable[[], Any]]]:
    """Return steps that read something in C, and what changes it."""
    held, items, table, numbers = _holding(), [1.0, 2.0], {"v": 1.0}, array.array("d", [1.0, 2.0])
    get, read, template, name = operator.attrgetter("v"), getattr, "{o.v}", "v"
    owner, variable = (
        type("Owner", (), {"part": property(lambda self: held)})(),
        contextvars.ContextVar[Any]("variable"),
    )
    pair = collections.namedtuple("pair", "first")(held)
    variable.set(held)
    put, fill = functools.partial(setattr, held, "v", 3.0), functools.partial(operator.setitem, items, 0, 3.0)
    enter = functools.partial(operator.setitem, table, "v", 3.0)
    weak, keys = weakref.proxy(held), weakref.WeakKeyDictionary({held: items})
    of_thread = threading.local()
    of_thread.v = 1.0
    view, proxy, bound, part = table.values(), types.MappingProxyType(table), table.get, functools.partial(max, items)
    cached, memory, waiting = functools.lru_cache(lambda: items), memoryview(numbers), queue.Queue[int]()
    given, polynomial, event = iter(items), np.poly1d([1.0, 2.0]), threading.Event()
    column = pd.Series([1.0, 2.0])
    return {
        "attrgetter": (lambda x: x * get(held), put),
        "attrgetter that is made as a key": (lambda x: x * max([held], key=operator.attrgetter("v")).v, put),
        "attrgetter by a variable": (lambda x: x * operator.attrgetter(name)(held), put),
        "attribute of what a property gives": (lambda x: x * owner.part.v, put),
        "attribute of a field": (lambda x: x * pair.first.v, put),
        "attribute of what a variable of the context holds": (lambda x: x * variable.get().v, put),
        "attrgetter of a result": (lambda x: x * get((lambda: held)()), put),
        "text with fields": (lambda x: x * float(f"{held.v}"), put),
        "text with fields from outside": (lambda x: x * float(template.format(o=held)), put),
        "getattr by another name": (lambda x: x * read(held, "v"), put),
        "object.__getattribute__": (lambda x: x * object.__getattribute__(held, "v"), put),
        "weak proxy": (lambda x: x * weak.v, put),
        "result of a lambda": (lambda x: x * (lambda: {"a": held})()["a"].v, put),
        "bound method of a dict": (lambda x: x * bound("v"), enter),
        "partial of a function in C": (lambda x: x * part(), fill),
        "array.array": (lambda x: x * numbers[0], functools.partial(operator.setitem, numbers, 0, 3.0)),
        "memoryview": (lambda x: x * memory[0], functools.partial(operator.setitem, numbers, 0, 3.0)),
        "values of a dict": (lambda x: x * sum(view), enter),
        "mapping proxy": (lambda x: x * proxy["v"], enter),
        "iterator that is copied": (lambda x: x * next(copy.copy(given)), fill),
        "cached list": (lambda x: x * cached()[0], fill),
        "local of a thread": (lambda x: x * of_thread.v, functools.partial(setattr, of_thread, "v", 3.0)),
        "weak dict": (lambda x: x * keys[held][0], fill),
        "queue": (lambda x: x * waiting.qsize(), functools.partial(waiting.put, 1)),
        "event": (lambda x: x * event.is_set(), event.set),
        "object of NumPy": (
            lambda x: x * float(polynomial(1)),
            functools.partial(operator.setitem, polynomial.coeffs, 0, 3.0),
        ),
        "number of a Series": (lambda x: x * float(column.iloc[0]), lambda: column.__setitem__(0, 3.0)),
        "mean of a Series": (lambda x: x * column.mean(), lambda: column.__setitem__(0, 3.0)),
    }


def _read_of_a_kind() -> dict[str, tuple[Step, Callable[[], Any]]]:
    """Return steps that depend on a class or on a name, and what changes that."""

    class Kind(type):
        v = 1.0

    class Held(metaclass=Kind):
        pass

    class Above:
        v = 1.0

    class Derived(Above):
        v = 2.0

        def above(self) -> Any:
            return super().v

    class Abstract(abc.ABC):
        pass

    @functools.singledispatch
    def dispatched(o: Any) -> float:
        return 1.0

    held, derived, names = _holding(), Derived(), {"v": 1.0}
    module = types.ModuleType("math")
    module.v = 1.0  # type: ignore[attr-defined]
    exec("def step(x):\n    return x * globals()['v']\n\ndef all_of_it(x):\n    return x * globals().get('v')", names)
    exchange = functools.partial(setattr, held, "__class__", Other)
    return {
        "super": (lambda x: x * derived.above(), functools.partial(setattr, Above, "v", 3.0)),
        "metaclass": (lambda x: x * Held.v, functools.partial(setattr, Kind, "v", 3.0)),
        "name of a class": (lambda x: x * len(Held.__name__), functools.partial(setattr, Held, "__name__", "long")),
        "isinstance": (lambda x: x * (1 + isinstance(held, Other)), exchange),
        "type": (lambda x: x * (1 + (type(held) is Other)), exchange),
        "abstract class": (lambda x: x * (1 + isinstance(held, Abstract)), lambda: Abstract.register(Base)),
        "dispatch by type": (lambda x: x * dispatched(held), lambda: dispatched.register(Base, lambda o: 3.0)),
        "globals()": (names["step"], functools.partial(operator.setitem, names, "v", 3.0)),
        "globals().get": (names["all_of_it"], functools.partial(operator.setitem, names, "v", 3.0)),
        "module of Python": (lambda x: x * module.v, functools.partial(setattr, module, "v", 3.0)),
    }


@pytest.mark.parametrize("place", [*_read_in_c(), *_read_of_a_kind()])
def test_what_no_bytecode_reads_is_seen_to_change(place: str) -> None:
    step, change = (_read_in_c() | _read_of_a_kind())[place]
    run = jit(step)
    for i in range(9):
        if i == 4:
            change()
        assert bits(run(X)) == bits(step(Tensor(X))), f"call {i}"
    assert run.eager is None and run.last.test is not None


def test_settings_of_the_process_are_seen_to_change() -> None:
    def step(x: Any) -> Any:
        return x * (np.geterr()["over"] == "warn") * np.get_printoptions()["precision"] * decimal.getcontext().prec

    run = jit(step)
    changes = [contextlib.nullcontext(), np.errstate(over="ignore"), np.printoptions(precision=3)]
    for change in [*changes[:1] * 4, *changes[1:], decimal.localcontext(decimal.Context(prec=3))]:
        with change:
            assert bits(run(X)) == bits(step(Tensor(X)))
    assert run.eager is None


def test_what_the_rule_of_an_own_op_reads_is_seen_to_change() -> None:
    table, w = {"v": 1.0}, Tensor(np.ones(3), requires_grad=True)
    scaled = tg.primitive(lambda x: x * 2)
    tg.vjp(scaled, lambda g, out, x: g * table["v"])

    def step(x: Any) -> Any:
        w.grad = None
        scaled(w * x).sum().backward()
        return w.grad * 1

    run = jit(step)
    for i in range(7):
        table["v"] = 1.0 + (i > 3)
        assert bits(run(X)) == bits(step(Tensor(X))), f"call {i}"


# what code in C changes


def _changed_in_c() -> dict[str, Callable[[], Any]]:
    """Return what a step may do that changes something in C, by the name that the refusal gives it."""
    count, cycle, given = itertools.count(), itertools.cycle([1, 1, 1, 2]), iter([1] * 9)
    losses: list[Any] = []
    append, partly = losses.append, functools.partial(list.append, losses)
    numbers, draws, local = array.array("d", [0.0]), random.Random(0), threading.local()
    queued, tasks, proxied = queue.SimpleQueue[int](), queue.Queue[int](), types.MappingProxyType({"a": np.zeros(1)})
    generator, held, local.v = (1 for _ in range(9)), _holding(), 0
    weak = weakref.proxy(held)

    def add() -> None:
        numbers[0] += 1

    def count_local() -> None:
        local.v += 1

    def count_weakly(kept: Any = held) -> None:
        weak.v += 1

    def add_to_a_view() -> None:
        proxied["a"][0] += 1

    def end() -> None:
        for _ in given:
            break

    return {
        "count": lambda: next(count), "cycle": lambda: next(cycle), "given": end, "generator": lambda: next(generator),
        "append": lambda: append(1), "partly|an argument": lambda: partly(1), "numbers": add,
        "draws": lambda: draws.random(), "random": lambda: random.random() < 0.5, "local.v": count_local,
        "queued": lambda: queued.put(1), "unfinished_tasks": lambda: tasks.put(1), "weak.v|held.v": count_weakly,
        "proxied": add_to_a_view, "rand": lambda: np.random.rand() < 0.5,  # noqa: NPY002
    }  # fmt: skip


@pytest.mark.parametrize("name", _changed_in_c())
def test_what_code_in_c_changes_is_refused_by_name(name: str) -> None:
    change = _changed_in_c()[name]

    def step(x: Any) -> Any:
        change()
        return x * 2

    run = jit(step)
    with pytest.raises(tg.errors.RecordingError, match=f"step.*[ .]({name})"):
        for _ in range(3):
            run(X)


def test_memory_and_generators_are_put_back() -> None:
    numbers, draws, places = array.array("d", [0.0]), random.Random(0), iter([1, 2, 3])

    @jit
    def step(x: Any) -> Any:
        numbers[0] += draws.random() + next(places)
        return x * 2

    step(X)
    before = numbers[0], draws.getstate(), next(copy.copy(places))
    with pytest.raises(tg.errors.RecordingError):
        step(X)
    assert (numbers[0], draws.getstate(), next(places)) == before


# what looks like it, and is none of it


def _valid() -> dict[str, Callable[[], Any]]:
    lock, log, history = threading.RLock(), logging.getLogger("test"), [1]
    log.propagate = False
    pattern, getter = re.compile("a(b)"), operator.attrgetter("v")
    items, held, kind = [3, 1, 2], _holding(), enum.Enum("kind", "a b")
    passed = functools.partial(lambda history, n: n, history)
    cached = functools.lru_cache(lambda n: n * 2)

    def locked() -> Any:
        with lock, contextlib.ExitStack(), warnings.catch_warnings():
            return 2

    def own() -> Any:
        queued, numbers = queue.Queue[int](), array.array("d", [1.0])
        queued.put(2)
        numbers.append(2.0)
        return queued.get() + numbers[1] + random.Random(0).random() + next(itertools.count(2))

    return {
        "locks": locked, "own objects": own, "log": lambda: log.warning("1") or 2, "print": lambda: print("1") or 2,
        "pattern": lambda: len(pattern.sub("a", "ab")), "key": lambda: sorted([held], key=getter)[0].v,
        "zip": lambda: sum(a * b for a, b in zip(items, items, strict=True)), "enum": lambda: kind.a.value,
        "argument that is not read": lambda: passed(2), "cache": lambda: cached(2),
        "copy": lambda: copy.deepcopy(items)[0],
    }  # fmt: skip


@pytest.mark.parametrize("name", _valid())
def test_what_has_no_state_outside_of_the_step_is_compiled(name: str) -> None:
    factor = _valid()[name]
    run = jit(lambda x: x * factor())
    for _ in range(5):
        assert bits(run(X)) == bits(Tensor(X) * factor())
    assert run.eager is None and run.last.test is not None
