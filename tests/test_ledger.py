"""The ledger: every function of NumPy that could be given a Tensor has a rule, is constant, or is refused by name."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.char  # NumPy then knows their functions, as it does wherever a library has imported them
import numpy.fft
import numpy.polynomial
import options
import pytest
from draws import Array, calls_of, name_of, results
from numpy.testing.overrides import get_overridable_numpy_array_functions, get_overridable_numpy_ufuncs

from tinygrad_mlp import Tensor, functional, refused
from tinygrad_mlp.errors import NoRuleError
from tinygrad_mlp.refused import advice
from tinygrad_mlp.rules.table import RULES

Function = Callable[..., Any]
UFUNCS: set[Function] = set(get_overridable_numpy_ufuncs())
FUNCTIONS: set[Function] = set(get_overridable_numpy_array_functions())
ALL = sorted(UFUNCS | FUNCTIONS, key=name_of)
REFUSED = [f for f in ALL if f not in RULES]


@pytest.mark.parametrize("function", ALL, ids=name_of)
def test_every_function_is_accounted_for(function: Function) -> None:
    assert function in RULES or advice(function), f"{name_of(function)} needs a rule, or advice in refused.py"


@pytest.mark.parametrize("function", REFUSED, ids=name_of)
def test_what_is_refused_says_so_and_what_to_use(function: Function) -> None:
    message = message_of_refusal(function)
    assert re.match(rf"{function.__name__}\b.* has no derivative rule", message), message
    assert str(advice(function)) in message


def message_of_refusal(function: Function) -> str:
    """What is said to one who gives a function Tensors for all that it needs, or as what its result shall be like."""
    t = Tensor(np.ones((2, 2)), requires_grad=True)
    ways = [((t,) * count, {}) for count in range(1, 6)]
    ways += [
        (args, {"like": t}) for args in ([2], [2, 2.0], [lambda i: i, (2,)], [iter([1.0]), float], [["1"]], [b"1"])
    ]
    for args, kwargs in ways:
        try:
            function(*args, **kwargs)
        except NoRuleError as error:
            return str(error)
        except Exception:  # not a way in which it can be called
            continue
    raise AssertionError(f"{name_of(function)} takes a Tensor")


def test_advice_names_functions_that_have_rules() -> None:
    texts = " ".join(refused._ADVICE)
    for name in re.findall(r"np\.((?:linalg\.)?\w+)", texts):
        function: Any = np
        for part in name.split("."):
            function = getattr(function, part)
        assert not callable(function) or function in RULES, name


def test_a_function_of_others_is_refused() -> None:
    t = Tensor(np.ones(2))
    with pytest.raises(NoRuleError, match="has no derivative rule"):
        np.frompyfunc(lambda x: x, 1, 1)(t)
    for method, args in {"accumulate": (t,), "outer": (t, t), "reduceat": (t, [0]), "at": (t, [0], 1.0)}.items():
        with pytest.raises(NoRuleError, match=f"add.{method} has no derivative rule"):
            getattr(np.add, method)(*args)


def assert_nothing_wrong(function: Function, pairs: bool) -> None:
    counts, lines = options.table([function], pairs)
    assert not counts[function]["wrong"], "\n".join(lines[:10])


@pytest.mark.parametrize("function", ALL, ids=name_of)
def test_every_option_is_as_in_numpy_or_refused(function: Function) -> None:
    assert_nothing_wrong(function, pairs=False)


@pytest.mark.slow
@pytest.mark.parametrize("function", ALL, ids=name_of)
def test_all_pairs_of_options_are_as_in_numpy_or_refused(function: Function) -> None:
    assert_nothing_wrong(function, pairs=True)


def test_the_table_sees_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, mend in {
        "slope": lambda x, axis=None, keepdims=False: np.median(x.detach().numpy(), axis, keepdims=keepdims),
        "NumPy": lambda x, axis=None, keepdims=False: x.mean(axis=axis, keepdims=keepdims),
        "raises": lambda x, axis=None, keepdims=False: {}["key"],
    }.items():
        monkeypatch.setattr(RULES[np.median], "forward", mend)
        counts, lines = options.table([np.median], pairs=False)
        assert counts[np.median]["wrong"] > 20
        assert any(kind in line for line in lines)


def differentiable(function: Function) -> bool:
    """Whether a gradient flows through the function in one of its samples."""
    for call in calls_of(function):
        outs = results(call.on([Tensor(a, requires_grad=True) for a in call.arrays]))
        if any(isinstance(out, Tensor) and out.requires_grad for out in outs):
            return True
    return False


def test_more_functions_have_derivatives_than_in_hips_autograd() -> None:
    ufuncs = {f for f in RULES if f in UFUNCS and differentiable(f)}
    functions = {f for f in RULES if f in FUNCTIONS and differentiable(f)}
    assert len(ufuncs) > 45
    assert len(functions) > 85


FLOAT_CONSTANTS = [
    f
    for f in ALL
    if f in RULES
    and not differentiable(f)
    and any(getattr(out, "dtype", None) == np.float64 for call in calls_of(f) for out in results(call.on(call.arrays)))
]
GRID = [-2.0, -1.5, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize("function", FLOAT_CONSTANTS, ids=name_of)
def test_what_is_constant_has_no_slope_anywhere(function: Function) -> None:
    """Not in any argument and from no side: a jump is no slope, as it grows when the step shrinks."""
    count = function.nin if isinstance(function, np.ufunc) else 1
    with np.errstate(all="ignore"):
        for point in itertools.product(GRID, repeat=count):
            for i, sign in itertools.product(range(count), (1, -1)):
                slopes = [one_sided(function, point, i, sign * h) for h in (2.0**-10, 2.0**-12)]
                assert slopes[0] in (0, np.inf, -np.inf) or slopes[0] != slopes[1], (point, i, slopes)


def one_sided(function: Function, point: tuple[float, ...], i: int, step: float) -> Array:
    moved = [x + step * (j == i) for j, x in enumerate(point)]
    return (function(*map(np.asarray, moved)) - function(*map(np.asarray, point))) / step


def test_some_constants_are_floats() -> None:
    assert {np.sign, np.floor, np.round, np.floor_divide, np.zeros_like} <= set(FLOAT_CONSTANTS)


def test_a_keyword_of_a_constant_function_takes_no_tensor() -> None:
    t = Tensor(np.ones(2), requires_grad=True)
    with pytest.raises(NoRuleError, match="would lose its gradient"):
        np.isclose(t, t, rtol=t)


def test_the_table_of_our_own_functions_is_complete() -> None:
    """What functional takes from the rules is in the table, and nothing else of ours is."""
    ours = {f for f in RULES if f not in UFUNCS | FUNCTIONS and type(f) is not np.ufunc}  # those are SciPy's
    assert all(hasattr(f, "__wrapped__") for f in ours)
    assert {functional.relu, functional.softmax, functional.linear} <= ours
