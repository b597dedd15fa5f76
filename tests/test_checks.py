"""Checks of arguments, which say the same of a value out of range and of one of another type; what is an array."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from tinygrad_mlp import DataError, DtypeError, ShapeError, Tensor
from tinygrad_mlp.checks import (
    as_array,
    as_classes,
    as_float_dtype,
    as_generator,
    as_numbers,
    check_choice,
    check_flag,
    check_function,
    check_generator,
    check_integer,
    check_kind,
    check_labels,
    check_number,
    check_share,
)
from tinygrad_mlp.errors import OptionError

INTEGER, NUMBER, SHARE = "k must be an integer in 1..3, the classes", "k must be in [0, 1)", "k must be a number from 0"


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: check_integer("k", 0, 1, 3, "the classes"), OptionError, f"{INTEGER}, got 0"),
        (lambda: check_integer("k", 4, 1, 3, "the classes"), OptionError, f"{INTEGER}, got 4"),
        (lambda: check_integer("k", 2.0, 1, 3, "the classes"), TypeError, f"{INTEGER}, got 2.0"),
        (lambda: check_integer("k", True, 1, 3, "the classes"), TypeError, f"{INTEGER}, got True"),
        (lambda: check_integer("k", None, 1, 3, "the classes"), TypeError, f"{INTEGER}, got None"),
        (lambda: check_integer("k", 0), OptionError, "k must be an integer >= 1, got 0"),
        (lambda: check_integer("k", -1, 0, 3), OptionError, "k must be an integer in 0..3, got -1"),
        (lambda: check_number("k", 1, 0, 1, "in [0, 1)"), OptionError, f"{NUMBER}, got 1"),
        (lambda: check_number("k", -0.1, 0, 1, "in [0, 1)"), OptionError, f"{NUMBER}, got -0.1"),
        (lambda: check_number("k", math.nan, 0, 1, "in [0, 1)"), OptionError, f"{NUMBER}, got nan"),
        (lambda: check_number("k", "0.5", 0, 1, "in [0, 1)"), TypeError, f"{NUMBER}, got '0.5'"),
        (lambda: check_number("k", None, 0, 1, "in [0, 1)"), TypeError, f"{NUMBER}, got None"),
        (lambda: check_share("k", 1.1), OptionError, f"{SHARE} to 1, got 1.1"),
        (lambda: check_share("k", math.nan), OptionError, f"{SHARE} to 1, got nan"),
        (lambda: check_generator(None), TypeError, "rng must be a Generator"),
        (lambda: as_array([[1], [2, 3]]), ShapeError, "[[1], [2, 3]] is no array: its rows differ in length"),
        (lambda: as_numbers([None]), DtypeError, "[None] has dtype object, expected numbers"),
        (lambda: as_classes([0, 3], 3), DataError, "labels[1] is 3, expected a whole number in 0..2"),
        (lambda: as_classes([0, math.nan], 3, "y"), DataError, "y[1] is nan, expected a whole number in 0..2"),
        (lambda: as_classes([]), DataError, "labels is empty, expected at least one label"),
        (lambda: check_flag("k", 1), TypeError, "k must be True or False, got 1"),
        (lambda: check_choice("k", ["a"], ["a", "b"]), OptionError, "unknown k ['a']; Valid: a, b"),
        (lambda: check_kind("k", int, int, "an integer"), TypeError, "an integer, got the class int; pass an instance"),
        (lambda: check_function("k", 3, "k(x)", 1), TypeError, "a function, called as k(x), got 3: it is none"),
        (lambda: check_function("k", dict, "k(x)", 1), TypeError, "got dict: it is a class, pass an instance, dict()"),
        (lambda: check_function("k", lambda: 0, "k(x)", 1), TypeError, "got <lambda>: too many positional arguments"),
        (lambda: as_generator("a", "k"), TypeError, "k must be an integer >= 0, a Generator or None, got 'a'"),
        (lambda: as_generator(-1), OptionError, "rng must be an integer >= 0, a Generator or None, got -1"),
        (lambda: as_float_dtype("float33"), DtypeError, "dtype must be one of floats, got 'float33'; use float32"),
        (lambda: as_classes([0], 0), OptionError, "num_classes must be an integer >= 1, got 0"),
        (lambda: check_labels(np.array([0, -1]), 3), DataError, "labels[1] is -1, expected a whole number in 0..2"),
        (lambda: check_labels(np.array([0, 0.5]), 3), DataError, "labels[1] is 0.5, expected"),
        (lambda: check_labels(np.array([0, math.inf]), 3), DataError, "labels[1] is inf, expected"),
        (lambda: check_labels(np.array([0, math.nan, 7]), 3), DataError, "labels[1] is nan, expected"),
    ],
)
def test_what_is_refused_and_in_which_words(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert message in str(caught.value)


def test_what_passes():
    assert [check_integer("k", k, 1, 3) for k in (1, np.uint8(2), 3)] == [1, 2, 3]
    assert type(check_integer("k", np.int64(5))) is int
    for value in (0, 0.5, np.float32(0.25), np.array(0.5)):
        check_number("k", value, 0, 1, "in [0, 1)")
        check_share("k", value)
    check_share("k", 1)
    check_generator(np.random.default_rng(0))
    check_flag("k", np.True_)
    check_kind("k", True, int, "an integer")
    check_function("k", np.hypot, "k(x)", 3)  # which does not tell its arguments in every version
    assert as_float_dtype("f4") == np.float32
    for labels in (
        np.array([], int),
        np.array([0, 2]),
        np.array([0.0, 2.0]),
        np.array([True]),
        np.array([2], np.uint8),
    ):
        assert check_labels(labels, 3) is labels


def test_what_becomes_an_array():
    array = np.ones((2, 2), np.float32)
    tensor = Tensor(array, requires_grad=True)
    for given in (array, array.tolist(), tensor * 1, pd.DataFrame(array)):
        assert type(as_array(given)) is np.ndarray and (as_array(given) == array).all()
    assert as_array(array) is array and np.shares_memory(as_array(tensor), tensor.data)
    assert as_array(pd.Series([1, None], dtype="Int64")).dtype == np.float64
    assert as_array(pd.DataFrame({"a": [1], "b": ["x"]})).dtype == object
    assert as_classes(pd.Series([1.0, 0.0])).dtype == np.int64
