"""Inputs that break automatic differentiation, each with its number and the right answer.

The convention is PyTorch's, with three decisions of our own: a maximum shares its gradient evenly among ties, `clip`
passes it at its bounds, and the derivative of ``abs`` at 0 is 0. Digits were computed with 60-digit arithmetic. The
upstream gradient is 1 unless a row says otherwise, everything is float64, and every row runs twice: with rules on
arrays, and with rules on Tensors, as for higher orders.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import math
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from graphs import array, gc_disabled, leaf

from tinygrad_mlp import GraphError, Tensor, grad, hessian, no_grad
from tinygrad_mlp import functional as F
from tinygrad_mlp.core.graph import Node
from tinygrad_mlp.nn.optim import SGD, Adam

inf, nan = math.inf, math.nan
ln2 = 0.69314718055994531
s40 = 4.2483542552915890e-18
EPS = np.finfo(np.float64).eps
Row = tuple[str, Callable[..., Any], list[Any], Any, list[Any]]


def gradients(y: Any, inputs: list[Tensor], create_graph: bool = False) -> list[np.ndarray[Any, Any]]:
    return [array(g) for g in grad(y, inputs, np.ones(y.shape), create_graph=create_graph)]


def row_id(row: Row) -> str:
    return f"trap_{row[0]}"


# Name, function, inputs, value (a number: of the sum), gradients. All must be met to the last bit.
EXACT: list[Row] = [
    ("1_relu", F.relu, [[-1, 0, 1]], 1, [[0, 0, 1]]),
    ("2_relu_minus_zero", F.relu, [[-0.0]], 0, [[0]]),
    ("3_relu_minus_inf", F.relu, [[-inf]], 0, [[0]]),
    ("4_relu_nan", F.relu, [[nan]], nan, [[0]]),
    ("5_abs", np.abs, [[-2, 0, 3]], 5, [[-1, 0, 1]]),
    ("6_maximum", np.maximum, [[2, 1, 3], [2, 2, 2]], 7, [[0.5, 0, 1], [0.5, 1, 0]]),
    ("7_minimum", np.minimum, [[2, 1, 3], [2, 2, 2]], 5, [[0.5, 1, 0], [0.5, 0, 1]]),
    ("8_maximum_of_itself", lambda x: np.maximum(x, x), [[2]], 2, [[1]]),
    ("8_minimum_of_itself", lambda x: np.minimum(x, x), [[2]], 2, [[1]]),
    ("9_max", np.max, [[3, 1, 3]], 3, [[0.5, 0, 0.5]]),
    ("9_min", np.min, [[1, 3, 1]], 1, [[0.5, 0, 0.5]]),
    ("10_max_axis", lambda x: x.max(axis=0), [[3, 1, 3]], 3, [[0.5, 0, 0.5]]),
    ("11_max_rows", lambda x: x.max(axis=1), [[[1, 1], [0, 2]]], 3, [[[0.5, 0.5], [0, 1]]]),
    ("12_clip", lambda x: np.clip(x, -1, 1), [[-2, -1, 0, 1, 2]], 0, [[0, 1, 1, 1, 0]]),
    ("12_clip_method", lambda x: x.clip(-1, 1), [[-2, -1, 0, 1, 2]], 0, [[0, 1, 1, 1, 0]]),
    ("12_clip_one_side", lambda x: x.clip(min=0), [[-2, 0, 3]], 3, [[0, 1, 1]]),
    ("13_sqrt", np.sqrt, [[0, 4]], 2, [[inf, 0.25]]),
    ("14_sqrt_of_square", lambda x: np.sqrt(x * x), [[0]], 0, [[nan]]),
    ("15_norm_of_zero", np.linalg.norm, [[0, 0]], 0, [[0, 0]]),
    ("18_std_of_equals", np.std, [[2, 2, 2]], 0, [[0, 0, 0]]),
    ("20_square", lambda x: x**2, [[0, -3]], 9, [[0, -6]]),
    ("20_square_float", lambda x: x**2.0, [[0, -3]], 9, [[0, -6]]),
    ("20_power_2", lambda x: np.power(x, 2), [[0, -3]], 9, [[0, -6]]),
    ("20_power_array", lambda x: x ** np.array([2.0, 2.0]), [[0, -3]], 9, [[0, -6]]),
    ("21_power_1", lambda x: x**1, [[0]], 0, [[1]]),
    ("22_power_0", lambda x: x**0, [[0, 2]], 2, [[0, 0]]),
    ("22_power_0.0", lambda x: x**0.0, [[0, 2]], 2, [[0, 0]]),
    ("22_power_zeros", lambda x: x ** np.zeros(2), [[0, 2]], 2, [[0, 0]]),
    ("23_power_half", lambda x: x**0.5, [[0]], 0, [[inf]]),
    ("23_power_array_half", lambda x: x ** np.array([0.5]), [[0]], 0, [[inf]]),
    ("24_cube", lambda x: x**3, [[-2]], -8, [[12]]),
    ("24_square_float", lambda x: x**2.0, [[-2]], 4, [[-4]]),
    ("25_power_minus_1", lambda x: x**-1, [[0]], inf, [[-inf]]),
    ("25_power_array_minus_1", lambda x: x ** np.array([-1.0]), [[0]], inf, [[-inf]]),
    ("26_zero_to_y", lambda y: np.power(0.0, y), [[2, 0, -1]], [0, 1, inf], [[0, 0, -inf]]),
    ("26_operator", lambda y: 0.0**y, [[2, 0, -1]], [0, 1, inf], [[0, 0, -inf]]),
    ("27_negative_to_y", lambda y: np.power(-2.0, y), [[2]], 4, [[nan]]),
    ("27_constant_exponent", lambda x: x ** np.array([2.0, 3.0]), [[-2, 0]], 4, [[-4, 0]]),
    ("27_constant_tensor_exponent", lambda x: x ** Tensor([2.0, 3.0]), [[-2, 0]], 4, [[-4, 0]]),
    ("28_where_of_log", lambda x: np.where(x > 0, np.log(x), 0), [[0, 2]], ln2, [[nan, 0.5]]),
    ("29_double_where", lambda x: np.log(np.where(x > 0, x, 1)), [[0, 2]], ln2, [[0, 0.5]]),
    ("30_prod_with_zero", np.prod, [[2, 0, 3]], 0, [[0, 6, 0]]),
    ("31_prod_with_zeros", np.prod, [[0, 0, 3]], 0, [[0, 0, 0]]),
    ("32_log", np.log, [[0, -1]], [-inf, nan], [[inf, -1]]),
    ("33_divide_by_itself", lambda x: x / x, [[0]], nan, [[nan]]),
    ("91_sqrt_of_relu", lambda x: np.sqrt(F.relu(x)), [[-1, 4]], 2, [[0, 0.25]]),
    ("91_sqrt_of_maximum", lambda x: np.sqrt(np.maximum(x, 0)), [[-1, 4]], 2, [[0, 0.25]]),
    ("91_sqrt_of_clip", lambda x: np.sqrt(np.clip(x, 0, None)), [[-1, 4]], 2, [[0, 0.25]]),
    ("91_sqrt_of_where", lambda x: np.sqrt(np.where(x > 0, x, 0)), [[-1, 4]], 2, [[0, 0.25]]),
    ("35_log1p", np.log1p, [[1e-20]], 1e-20, [[1]]),
    ("35_expm1", np.expm1, [[1e-20]], 1e-20, [[1]]),
    ("36_sigmoid_far", F.sigmoid, [[-1000, 1000]], [0, 1], [[0, 0]]),
    ("38_tanh_far", np.tanh, [[-1000, 1000]], [-1, 1], [[0, 0]]),
    ("41_logsigmoid", lambda x: -F.softplus(-x), [[-1000, 0, 1000]], [-1000, -ln2, 0], [[1, 0.5, 0]]),
    ("42_log_softmax_far", lambda x: -F.log_softmax(x)[1], [[1000, 0]], 1000, [[1, -1]]),
    ("43_log_softmax_equal", lambda x: -F.log_softmax(x)[0], [[-1000, -1000]], ln2, [[-0.5, 0.5]]),
    ("46_log_softmax_1e4", lambda x: F.log_softmax(x)[0], [[1e4, 1e4]], -ln2, [[0.5, -0.5]]),
    ("46_log_softmax_-1e4", lambda x: F.log_softmax(x)[0], [[-1e4, -1e4]], -ln2, [[0.5, -0.5]]),
    ("46_log_softmax_710", lambda x: F.log_softmax(x)[0], [[710, 710]], -ln2, [[0.5, -0.5]]),
    ("47_log_softmax_minus_inf", lambda x: -F.log_softmax(x)[0], [[0, -inf]], 0, [[0, 0]]),
    ("48_log_softmax_nan", lambda x: -F.log_softmax(x)[0], [[0, nan]], nan, [[nan, nan]]),
    ("49_logsumexp_minus_inf", F.logsumexp, [[-inf, -inf]], -inf, [[0, 0]]),
    ("50_logsumexp_inf", F.logsumexp, [[inf, 0]], inf, [[1, 0]]),
    ("51_logsumexp_1e4", F.logsumexp, [[1e4, 1e4]], 1e4 + ln2, [[0.5, 0.5]]),
    ("51_logsumexp_1e17", F.logsumexp, [[1e17, 1e17]], 1e17, [[0.5, 0.5]]),
    ("51_logsumexp_-1e4", F.logsumexp, [[-1e4, 0]], 0, [[0, 1]]),
    ("58_mse_of_equals", lambda x: F.mse_loss(x, np.array([1.0, 2.0])), [[1, 2]], 0, [[0, 0]]),
    ("58_mse_of_itself", lambda x: F.mse_loss(x, x), [[1, 2]], 0, [[0, 0]]),
    ("60_outer_sum", np.add, [np.ones((3, 1)), np.ones((1, 4))], 24, [np.full((3, 1), 4), np.full((1, 4), 3)]),
    ("61_scalar_add", np.add, [1, np.ones((2, 3))], 12, [6, np.ones((2, 3))]),
    ("61_row_add", np.add, [np.ones(3), np.ones((4, 3))], 24, [np.full(3, 4), np.ones((4, 3))]),
    ("61_both_stretch", np.multiply, [np.ones((2, 1, 3)), np.full((4, 1), 2)], 48,
     [np.full((2, 1, 3), 8), np.full((4, 1), 6)]),
    ("62_empty", np.add, [np.ones((0, 3)), np.ones(3)], 0, [np.ones((0, 3)), [0, 0, 0]]),
    ("63_matmul_over_nothing", np.matmul, [np.ones((2, 0)), np.ones((0, 3))], np.zeros((2, 3)),
     [np.ones((2, 0)), np.ones((0, 3))]),
    ("64_repeated_index", lambda x: x[[0, 0, 1]], [[5, 6, 7]], 16, [[2, 1, 0]]),
    ("64_repeated_take", lambda x: np.take(x, [0, 0, 1]), [[5, 6, 7]], 16, [[2, 1, 0]]),
    ("65_slices_of_slices", lambda x: x[::-1][::2] * [10, 1], [[1, 2, 3, 4]], 42, [[0, 1, 0, 10]]),
    ("67_concatenate_twice", lambda x: np.concatenate([x, x]), [[1, 2]], 6, [[2, 2]]),
    ("70_0d", lambda x: x * x, [3], 9, [6]),
    ("74_product_of_multiples", lambda x: (2 * x) * (3 * x), [3], 54, [36]),
]  # fmt: skip

# As above, met to a relative 4e-15.
DIGITS: list[Row] = [
    ("16_norm_underflow", np.linalg.norm, [[3e-200, 4e-200]], 5e-200, [[0.6, 0.8]]),
    ("17_norm_overflow", np.linalg.norm, [[3e200, 4e200]], 5e200, [[0.6, 0.8]]),
    ("19_var_of_large", np.var, [[1e8, 1e8 + 1, 1e8 + 2]], 2 / 3, [[-2 / 3, 0, 2 / 3]]),
    ("37_sigmoid_-40", F.sigmoid, [[-40]], s40, [[s40]]),
    ("39_softplus", F.softplus, [[-1000, -40, 0, 40, 1000]], [0, s40, ln2, 40, 1000], [[0, s40, 0.5, 1, 1]]),
    ("40_softplus_20", F.softplus, [[20]], 20.000000002061154, [[0.99999999793884638]]),
    ("44_log_softmax", lambda x: F.log_softmax(x)[2], [[1, 2, 3]], -0.40760596444438030,
     [[-0.090030573170380458, -0.24472847105479765, 0.33475904422517810]]),
    ("44_log_softmax_0", lambda x: F.log_softmax(x)[0], [[1, 2, 3]], -2.4076059644443804,
     [[0.90996942682961954, -0.24472847105479765, -0.66524095577482190]]),
    ("44_log_softmax_1", lambda x: F.log_softmax(x)[1], [[1, 2, 3]], -1.4076059644443804,
     [[-0.090030573170380458, 0.75527152894520235, -0.66524095577482190]]),
    ("52_cross_entropy", lambda z: F.cross_entropy(z, np.array([0])), [[[2, 1, 0.1]]], 0.41703001627783348,
     [[[-0.34099886111403209, 0.24243297070471392, 0.098565890409318172]]]),
    ("53_cross_entropy_uniform", lambda z: F.cross_entropy(z, np.array([3])), [np.zeros((1, 10))], 2.3025850929940457,
     [[[0.1, 0.1, 0.1, -0.9, *[0.1] * 6]]]),
]  # fmt: skip

# Beyond the numbered rows: infinities, NaN, ties and sizes at which a formula that is right elsewhere breaks.
BEYOND: list[Row] = [
    ("power_0", lambda x: x**0, [[inf, -inf, nan]], [1, 1, 1], [[0, 0, 0]]),
    ("power_0.0", lambda x: x**0.0, [[inf, -inf, nan]], [1, 1, 1], [[0, 0, 0]]),
    ("power_zeros", lambda x: x ** np.zeros(3), [[inf, -inf, nan]], [1, 1, 1], [[0, 0, 0]]),
    ("power_1", lambda x: x**1, [[inf, nan]], [inf, nan], [[1, 1]]),
    ("power_ones", lambda x: x ** np.ones(2), [[inf, nan]], [inf, nan], [[1, 1]]),
    ("power_of_tensors", np.power, [[1, 0, inf, inf], [0, 0, 0, -1]], [1, 1, 1, 0], [[0, 0, 0, 0], [0, 0, inf, 0]]),
    ("power_0_of_denormals", np.power, [[5e-324, 1e-310], [0, 0]], [1, 1], [[0, 0], np.log([5e-324, 1e-310])]),
    ("float_power_of_tensors", np.float_power, [[1, 0, 0], [0, 0, 2]], [1, 1, 0], [[0, 0, 0], [0, 0, 0]]),
    ("clip_of_crossed_bounds", np.clip, [[0, 1.5, 3], [2, 2, 2], [1, 1, 1]], 3, [[0, 0, 0], [0, 0, 0], [1, 1, 1]]),
    ("clip_of_crossed_numbers", lambda x: np.clip(x, 2, 1), [[0, 1.5, 3]], 3, [[0, 0, 0]]),
    ("clip_of_crossed_low", lambda x, low: np.clip(x, low, 1), [[0, 3], [2, 2]], 2, [[0, 0], [0, 0]]),
    ("clip_of_one_bound", lambda x, high: np.clip(x, None, high), [[0, 3], [2, 2]], 2, [[1, 0], [0, 1]]),
    ("clip_of_no_bounds", lambda x: np.clip(x, None, None), [[0, inf]], inf, [[1, 1]]),
    ("clip_of_nan", lambda x: np.clip(x, 0, 1), [[nan]], nan, [[0]]),
    ("clip_by_nan", np.clip, [[0.2, 0.2], [nan, 0], [0.5, nan]], [nan, nan], [[0, 0], [0, 0], [0, 0]]),
    ("var_ddof_n", lambda x: x.var(ddof=3), [[1, 2, 3]], inf, [[-inf, nan, inf]]),
    ("var_ddof_above_n", lambda x: x.var(ddof=5), [[1, 2, 3]], inf, [[-inf, nan, inf]]),
    ("var_ddof_of_one", lambda x: x.var(ddof=1), [[2]], nan, [[nan]]),
    ("var_ddof_of_axis", lambda x: x.var(axis=0, ddof=1), [[[1, 2]]], [nan, nan], [[[nan, nan]]]),
    ("std_ddof_n", lambda x: x.std(ddof=3), [[1, 2, 3]], inf, [[nan, nan, nan]]),
    ("std_ddof_of_one", lambda x: x.std(ddof=1), [[2]], nan, [[nan]]),
    ("std_of_rounded_mean", np.std, [[0.1, 0.1, 0.1]], np.std([0.1] * 3), [[0, 0, 0]]),
    ("nanstd_of_rounded_mean", np.nanstd, [[0.1, nan, 0.1, 0.1]], 0, [[0, 0, 0, 0]]),
    ("std_of_underflow", np.std, [[0, 1e-200]], 0, [[0, 0]]),
    ("nanvar_of_infinity", np.nanvar, [[inf, nan, 1]], nan, [[nan, 0, nan]]),
    ("median_beside_infinities", np.median, [[inf, 3, 2, 1, inf]], 3, [[0, 1, 0, 0, 0]]),
    ("median_of_two", np.median, [[inf, 3]], inf, [[0.5, 0.5]]),
    ("median_between_infinities", np.median, [[-inf, inf]], nan, [[0.5, 0.5]]),
    ("quantile_beside_infinity", lambda x: np.quantile(x, 0.5), [[1, 2, inf]], 2, [[0, 1, 0]]),
    ("quantile_up_to_infinity", lambda x: np.quantile(x, 0.75), [[1, 2, inf]], inf, [[0, 0.5, 0.5]]),
    ("quantile_from_infinity", lambda x: np.quantile(x, 0.25), [[-inf, 2, 5]], -inf, [[0.5, 0.5, 0]]),
    ("quantiles_at_the_ends", lambda x: np.quantile(x, [0.0, 1.0]), [[-inf, 3, inf]], [-inf, inf], [[1, 0, 1]]),
    ("percentile_beside_infinity", lambda x: np.percentile(x, 50), [[1, 2, inf]], 2, [[0, 1, 0]]),
    ("modf_fraction", lambda x: np.modf(x)[0], [[inf, -inf, nan, -1.5, 2]], [0, 0, nan, -0.5, 0], [[1, 1, 1, 1, 1]]),
    ("convolve_infinity", np.convolve, [[1, 2, 3], [inf, 1]], [inf, inf, inf, 3], [[inf, inf, inf], [6, 6]]),
    ("convolve_two_infinities", np.convolve, [[inf, 1], [inf, 1]], [inf, inf, 1], [[inf, inf], [inf, inf]]),
    ("convolve_nan", np.convolve, [[1, nan], [2, 1]], [2, nan, nan], [[3, 3], [nan, nan]]),
    ("correlate_infinity", lambda a, v: np.correlate(a, v, "full"), [[1, 2], [inf, 1]], [1, inf, inf],
     [[inf, inf], [3, 3]]),
    ("logaddexp", np.logaddexp, [[inf, inf, -inf, -inf, 3], [1, inf, -inf, 1, -inf]], [inf, inf, -inf, 1, 3],
     [[1, 0.5, 0, 0, 1], [0, 0.5, 0, 1, 0]]),
    ("logaddexp2", np.logaddexp2, [[inf, inf, -inf, -inf, 3], [1, inf, -inf, 1, -inf]], [inf, inf, -inf, 1, 3],
     [[1, 0.5, 0, 0, 1], [0, 0.5, 0, 1, 0]]),
    ("logaddexp_far", np.logaddexp, [[1e300, -1e300], [0, 0]], [1e300, 0], [[1, 0], [0, 1]]),
    ("arctan2_of_zeros", np.arctan2, [[0], [0]], 0, [[0], [0]]),
    ("arctan2_far", np.arctan2, [[0, 0], [2.0**600, inf]], 0, [[2.0**-600, nan], [0, 0]]),
    ("arctan2_near", np.arctan2, [[0], [2.0**-600]], 0, [[2.0**600], [0]]),
    ("hypot_of_zeros", np.hypot, [[0], [0]], 0, [[0], [0]]),
    ("hypot_far", np.hypot, [[1e300, 5e-324], [0, 0]], [1e300, 5e-324], [[1, 1], [0, 0]]),
    ("cbrt", np.cbrt, [[inf, -inf, 0]], [inf, -inf, 0], [[0, 0, inf]]),
    ("norm_half", lambda x: np.linalg.norm(x, 0.5), [[0, 4]], 4, [[0, 1]]),
    ("norm_half_of_zeros", lambda x: np.linalg.norm(x, 0.5), [[0, 0]], 0, [[0, 0]]),
    ("norm_minus_1", lambda x: np.linalg.norm(x, -1), [[0, 2]], 0, [[0, 0]]),
    ("norm_minus_half", lambda x: np.linalg.norm(x, -0.5), [[4, -4]], 1, [[0.125, -0.125]]),
    ("norm_1_of_zero", lambda x: np.linalg.norm(x, 1), [[0, -2]], 2, [[0, -1]]),
    ("norm_inf_of_ties", lambda x: np.linalg.norm(x, inf), [[2, -2]], 2, [[0.5, -0.5]]),
    ("norm_denormal", np.linalg.norm, [[5e-324, 0]], 5e-324, [[1, 0]]),
    ("norm_denormals", lambda x: np.linalg.norm(x, axis=1), [[[0, -5e-324], [0, 0]]], [5e-324, 0],
     [[[0, -1], [0, 0]]]),
    ("norm_1_of_a_matrix", lambda x: np.linalg.norm(x, 1), [[[1, -5], [2, 0]]], 5, [[[0, -1], [0, 0]]]),
    ("norm_inf_of_a_matrix", lambda x: np.linalg.norm(x, inf), [[[1, -5], [2, 0]]], 6, [[[1, -1], [0, 0]]]),
    ("norm_minus_1_of_a_matrix", lambda x: np.linalg.norm(x, -1), [[[1, -5], [2, 0]]], 3, [[[1, 0], [1, 0]]]),
    ("bce_with_logits", lambda x: F.binary_cross_entropy_with_logits(x, np.array([0.0, 1, 1, 0]), reduction="none"),
     [[inf, -inf, inf, -inf]], [inf, inf, 0, 0], [[1, -1, 0, 0]]),
    ("max_of_nan", np.max, [[1, nan, 3]], nan, [[nan, nan, nan]]),
    ("min_of_nan", np.min, [[1, nan, 3]], nan, [[nan, nan, nan]]),
    ("max_of_nan_rows", lambda x: x.max(axis=1, keepdims=True), [[[1, nan], [1, 2]]], [[nan], [2]],
     [[[nan, nan], [0, 1]]]),
    ("max_of_infinities", np.max, [[inf, 1, inf]], inf, [[0.5, 0, 0.5]]),
    ("min_of_zeros_of_both_signs", np.min, [[0.0, -0.0]], 0, [[0.5, 0.5]]),
    ("max_of_0d_along_axis_0", lambda x: np.max(x, axis=0), [3], 3, [1]),
    ("nanmax_of_nan", np.nanmax, [[1, nan, 3]], 3, [[0, 0, 1]]),
    ("fmax_of_nan", np.fmax, [[nan, 1, nan], [1, nan, nan]], [1, 1, nan], [[0, 1, 1], [1, 0, 0]]),
    ("fmin_of_nan", np.fmin, [[nan, 1, nan], [1, nan, nan]], [1, 1, nan], [[0, 1, 1], [1, 0, 0]]),
    ("ptp_of_nan", np.ptp, [[1, nan]], nan, [[nan, nan]]),
    ("remainder_of_a_rounded_quotient", np.remainder, [[1, -1], [0.1, 0.1]], np.remainder([1, -1], 0.1),
     [[1, 1], [-9, 10]]),
    ("fmod_of_a_rounded_quotient", np.fmod, [[1, -1], [0.1, 0.1]], np.fmod([1, -1], 0.1), [[1, 1], [-9, 9]]),
    ("remainder_by_infinity", np.remainder, [[1, -1], [inf, inf]], [1, inf], [[1, 1], [0, 1]]),
    ("divmod_by_a_number", lambda x: divmod(x, 0.7)[1], [[1.5]], divmod(1.5, 0.7)[1], [[1]]),
    ("divmod_of_a_number", lambda y: divmod(1.5, y)[1], [[0.7]], divmod(1.5, 0.7)[1], [[-2]]),
    ("einsum_that_stretches", lambda x, y: np.einsum("i,i->", x, y), [[1, 2, 3], [2]], 12, [[2, 2, 2], [6]]),
    ("einsum_that_stretches_rows", lambda x, y: np.einsum("ij,ij->j", x, y), [np.ones((2, 3)), [[2, 2, 2]]],
     [4, 4, 4], [np.full((2, 3), 2), [[2, 2, 2]]]),
    ("einsum_of_a_stretched_diagonal", lambda x, y: np.einsum("ii,i->", x, y), [[[1, 5], [5, 2]], [3]], 9,
     [[[3, 0], [0, 3]], [3]]),
    ("softmax_of_nothing", F.softmax, [np.ones((2, 0))], np.ones((2, 0)), [np.ones((2, 0))]),
    ("log_softmax_of_nothing", F.log_softmax, [np.ones((2, 0))], np.ones((2, 0)), [np.ones((2, 0))]),
    ("softmax_of_no_rows", F.softmax, [np.ones((0, 2))], np.ones((0, 2)), [np.ones((0, 2))]),
    ("logsumexp_of_nothing", lambda x: F.logsumexp(x, axis=1), [np.ones((2, 0))], [-inf, -inf], [np.ones((2, 0))]),
    ("softmax_along_dim", lambda x: F.softmax(x, dim=0), [[[1, 2], [1, 2]]], np.full((2, 2), 0.5), [np.zeros((2, 2))]),
    ("logsumexp_along_dim", lambda x: F.logsumexp(x, dim=1), [[[0], [2]]], [0, 2], [[[1], [1]]]),
    ("cumprod_of_0d", lambda x: np.cumprod(x, axis=0), [3], [3], [1]),
    ("cumsum_of_0d", lambda x: np.cumsum(x, axis=0), [3], [3], [1]),
    ("roll_by_unsigned", lambda x: np.roll(x, np.uint8(1)) * [1, 2, 4], [[5, 6, 7]], [7, 10, 24], [[2, 4, 1]]),
    ("take_by_truth_values", lambda x: np.take(x, [True, False, True]), [[5, 6, 7]], [6, 5, 6], [[1, 2, 0]]),
    ("matmul_of_no_features", np.matmul, [np.ones((2, 1, 0)), np.ones((0, 3))], np.zeros((2, 1, 3)),
     [np.ones((2, 1, 0)), np.ones((0, 3))]),
    ("linear_of_no_features", F.linear, [np.ones((2, 1, 0)), np.ones((3, 0))], np.zeros((2, 1, 3)),
     [np.ones((2, 1, 0)), np.ones((3, 0))]),
    ("prod_of_infinity_and_zero", np.prod, [[inf, 0]], nan, [[0, inf]]),
    ("linspace_to_infinity", lambda x, y: np.linspace(x, y, 3), [1, inf], [nan, inf, inf], [1.5, 1.5]),
    ("trapezoid_of_a_stretched_step", lambda y, dx: np.trapezoid(y, dx=dx, axis=0), [[[1, 2], [3, 4]], [1, 2]], [2, 6],
     [[[0.5, 1], [0.5, 1]], [2, 3]]),
    ("det_of_zeros", np.linalg.det, [np.zeros((3, 3))], 0, [np.zeros((3, 3))]),
    ("det_of_infinity", np.linalg.det, [[[inf, 0], [0, 1]]], inf, [[[nan, nan], [nan, nan]]]),
    ("det_of_one_zero", np.linalg.det, [[[0]]], 0, [[[1]]]),
]  # fmt: skip
if np.lib.NumpyVersion(np.__version__) >= "2.4.0":  # before, widths were no dict
    BEYOND += [
        ("pad_of_one_axis", lambda x: np.pad(x, {-1: (1, 2)}), [[[1, 2]]], [[0, 1, 2, 0, 0]], [[[1, 1]]]),
        ("pad_of_axes", lambda x: np.pad(x, {0: 1, 1: (0, 1)}, "edge"), [[[1, 2]]], [[1, 2, 2]] * 3, [[[3, 6]]]),
    ]

# As `BEYOND`, met to a relative 4e-15.
BEYOND_DIGITS: list[Row] = [
    ("std_of_rounded_mean_keepdims", lambda x: x.std(axis=1, keepdims=True), [[[0.1] * 3, [1, 3, 3]]],
     np.std([[0.1] * 3, [1, 3, 3]], axis=1, keepdims=True), [[[0, 0, 0], np.array([-4, 2, 2]) / math.sqrt(72)]]),
    ("det_of_a_singular_matrix", np.linalg.det, [[[1, 2], [2, 4]]], 0, [[[4, -2], [-2, 1]]]),
    ("det_of_rank_2", lambda x: np.linalg.det(x[None]), [[[1, 0, 0], [0, 2, 0], [0, 0, 0]]], 0,
     [[[0, 0, 0], [0, 0, 0], [0, 0, 2]]]),
    ("arcsinh_far", np.arcsinh, [[1e200]], 200 * math.log(10) + math.log(2), [[1e-200]]),
    ("arccosh_far", np.arccosh, [[1e200]], 200 * math.log(10) + math.log(2), [[1e-200]]),
    ("arccosh_near_1", np.arccosh, [[1 + 2.0**-52]], 2.1073424255447017e-08, [[2.0**26 / math.sqrt(2)]]),
    ("arcsin_near_1", np.arcsin, [[1 - 2.0**-53]], 1.5707963118937354, [[2.0**26 * math.sqrt(2) / math.sqrt(2)]]),
    ("arctanh_near_1", np.arctanh, [[1 - 2.0**-53]], 18.714973875118523, [[2.0**52]]),
    ("arctan2_of_tiny", np.arctan2, [[3e-200], [4e-200]], math.atan2(3, 4), [[4 / 25 * 1e200], [-3 / 25 * 1e200]]),
    ("arctan2_of_huge", np.arctan2, [[3e200], [4e200]], math.atan2(3, 4), [[4 / 25 / 1e200], [-3 / 25 / 1e200]]),
    ("expm1_of_far_below_0", np.expm1, [[-60]], -1, [[8.7565107626965203e-27]]),
    ("logaddexp_beside", np.logaddexp, [[50], [0]], 50, [[1], [1.9287498479639178e-22]]),
]  # fmt: skip

NO_WARNING = {"27", "29", "36", "38", "39", "41", "42", "56"}


@contextlib.contextmanager
def no_warnings(required: bool = True) -> Iterator[None]:
    """Make warnings errors; or, where infinities and NaN are the right answer, let NumPy say so."""
    with warnings.catch_warnings():
        warnings.simplefilter("error" if required else "ignore")
        yield


def finite(row: Row) -> bool:
    """Whether all numbers of a row are finite: then no step may warn, except at the infinity inside row 91."""
    return not row[0].startswith("91") and all(
        np.isfinite(np.array(numbers, float)).all() for numbers in (*row[2], row[3], *row[4])
    )


def check_row(row: Row, create_graph: bool, rtol: float) -> None:
    number, f, inputs, value, expected = row
    with no_warnings(number.split("_")[0] in NO_WARNING - {"27"} or number.startswith("27_constant") or finite(row)):
        leaves = [leaf(x) for x in inputs]
        y = f(*leaves)
        found = gradients(y, leaves, create_graph)
    got = array(y) if np.ndim(value) else array(y).sum()
    np.testing.assert_allclose(got, value, rtol=rtol, atol=0)
    for g, e, x in zip(found, expected, leaves, strict=True):
        assert g.shape == x.shape
        assert g.dtype == np.float64
        np.testing.assert_allclose(g, np.array(e, float), rtol=rtol, atol=0)


@pytest.mark.parametrize("create_graph", [False, True], ids=["arrays", "tensors"])
@pytest.mark.parametrize("row", EXACT + BEYOND, ids=row_id)
def test_exact(row: Row, create_graph: bool) -> None:
    check_row(row, create_graph, rtol=0)


@pytest.mark.parametrize("create_graph", [False, True], ids=["arrays", "tensors"])
@pytest.mark.parametrize("row", DIGITS + BEYOND_DIGITS, ids=row_id)
def test_digits(row: Row, create_graph: bool) -> None:
    check_row(row, create_graph, rtol=4e-15)


# Function of a vector, a point, and the Hessian there.
CURVATURES: list[tuple[str, Callable[..., Any], list[float], Any]] = [
    ("power_of_itself", lambda v: (v[0] + 5) ** v[0], [0.0], [[math.log(5) ** 2 + 0.4]]),
    ("power", lambda v: v[0] ** v[1], [0.5, 0.0], [[0, 2], [2, math.log(0.5) ** 2]]),
    ("float_power", lambda v: np.float_power(v[0], v[1]), [0.5, 0.0], [[0, 2], [2, math.log(0.5) ** 2]]),
    ("power_at_zeros", lambda v: v[0] ** v[1], [0.0, 0.0], [[0, 0], [0, 0]]),
    ("power_of_infinity", lambda v: v[0] ** v[1], [inf, -1.0], [[0, 0], [0, 0]]),
    ("power_1_of_2", lambda v: v[0] ** v[1], [2.0, 1.0], [[0, 1 + ln2], [1 + ln2, 2 * ln2**2]]),
    ("power_2_of_0", lambda v: v[0] ** v[1], [0.0, 2.0], [[2, 0], [0, 0]]),
    ("square_by_power", lambda v: np.power(v[0], 2), [0.0], [[2]]),
    ("power_0_at_infinity", lambda v: v[0] ** 0, [inf], [[0]]),
    ("power_1_at_infinity", lambda v: v[0] ** 1, [inf], [[0]]),
    ("power_1_at_nan", lambda v: v[0] ** 1.0, [nan], [[0]]),
    ("power_ones_at_nan", lambda v: v ** np.ones(1), [nan], [[0]]),
    ("power_1_at_0", lambda v: v[0] ** 1, [0.0], [[0]]),
    ("cbrt_at_infinity", lambda v: np.cbrt(v[0]), [inf], [[0]]),
    ("logaddexp_at_infinity", lambda v: np.logaddexp(v[0], v[1]), [inf, 1.0], [[0, 0], [0, 0]]),
    ("logaddexp_at_a_tie", lambda v: np.logaddexp(v[0], v[1]), [3.0, 3.0], [[0.25, -0.25], [-0.25, 0.25]]),
    ("logaddexp2_at_a_tie", lambda v: np.logaddexp2(v[0], v[1]), [3.0, 3.0], np.array([[1, -1], [-1, 1]]) * ln2 / 4),
    ("arctan2_at_zeros", lambda v: np.arctan2(v[0], v[1]), [0.0, 0.0], [[0, 0], [0, 0]]),
    ("arctan2", lambda v: np.arctan2(v[0], v[1]), [1.0, 1.0], [[-0.5, 0], [0, 0.5]]),
    ("norm_at_zeros", np.linalg.norm, [0.0, 0.0], [[0, 0], [0, 0]]),
    ("max_at_a_tie", np.max, [1.0, 1.0], [[0, 0], [0, 0]]),
    ("var_of_equals", np.var, [2.0, 2.0], [[0.5, -0.5], [-0.5, 0.5]]),
    ("nanvar_of_equals", np.nanvar, [2.0, nan, 2.0], [[0.5, 0, -0.5], [0, 0, 0], [-0.5, 0, 0.5]]),
    ("quantile_at_infinity", lambda v: np.quantile(v, 0.5), [1.0, 2.0, inf], np.zeros((3, 3))),
    ("bce_with_logits_at_infinity",
     lambda v: F.binary_cross_entropy_with_logits(v, np.zeros(1), reduction="sum"), [inf], [[0]]),
    ("det", lambda v: np.linalg.det(v.reshape(2, 2)), [1.0, 2.0, 3.0, 4.0], np.fliplr(np.diag([1, -1, -1, 1]))),
]  # fmt: skip


@pytest.mark.parametrize("row", CURVATURES, ids=row_id)
def test_curvature(row: tuple[str, Callable[..., Any], list[float], Any]) -> None:
    _, f, point, expected = row
    with no_warnings(required=False):
        found = array(hessian(lambda v: f(v).sum(), Tensor(point)))
    np.testing.assert_allclose(found, np.array(expected, float), rtol=4e-15, atol=4e-15)


@pytest.mark.parametrize("y", [1e-30, 1e-38, 1e36])
def test_float32_arctan2_of_any_size(y: float) -> None:
    a, b = leaf([y], np.float32), leaf([y], np.float32)
    exact = np.float32(0.5) / np.float32(y)
    for g, e in zip(gradients(np.arctan2(a, b), [a, b]), [exact, -exact], strict=True):
        assert g.dtype == np.float32
        np.testing.assert_allclose(g, e, rtol=4e-7)


@pytest.mark.parametrize("n", range(2, 40))
def test_float32_std_of_equals_has_no_gradient(n: int) -> None:
    x = leaf(np.full(n, 0.1), np.float32)
    for f in (np.std, lambda x: x.std(ddof=1), lambda x: np.nanstd(x)):
        (g,) = gradients(f(x), [x])
        assert not g.any()


@pytest.mark.parametrize("order", [1, 2])
def test_a_singular_matrix_is_named(order: int) -> None:
    x = leaf([[1.0, 2.0], [2.0, 4.0]])
    f = (lambda x: np.linalg.slogdet(x)[1]) if order == 1 else np.linalg.det
    with no_warnings(required=False), pytest.raises(np.linalg.LinAlgError, match=r"float64\(2, 2\) is singular"):
        y = f(x)
        for _ in range(order):
            (g,) = grad(y, [x], create_graph=True)
            y = g.sum()


# A. Kinks, ties, powers, NaN


def test_trap_22_power_by_a_tensor_of_zeros() -> None:
    x, y = leaf([0.0, 2.0]), leaf([0.0, 0.0])
    gx, gy = gradients(x**y, [x, y])
    np.testing.assert_array_equal(gx, [0, 0])
    np.testing.assert_array_equal(gy, [0, np.log(2)])


CONSTANTS = {
    "sign": np.sign, "floor": np.floor, "ceil": np.ceil, "rint": np.rint, "trunc": np.trunc, "round": np.round,
    "argmax": np.argmax, "argmin": np.argmin, "argsort": np.argsort, "floor_divide": lambda x: x // 2,
    "equal": lambda x: x == 0, "not_equal": lambda x: x != 0, "less": lambda x: x < 0, "less_equal": lambda x: x <= 0,
    "greater": lambda x: x > 0, "greater_equal": lambda x: x >= 0, "isnan": np.isnan, "isfinite": np.isfinite,
}  # fmt: skip


@pytest.mark.parametrize("name", CONSTANTS)
def test_trap_34_constants(name: str) -> None:
    y = CONSTANTS[name](leaf([-1.0, 0.5]))
    assert isinstance(y, Tensor)
    assert not y.requires_grad
    with pytest.raises(GraphError, match=name):
        (y * 1.0).sum().backward()


# B. Stable functions


def test_trap_45_log_softmax_below_eps() -> None:
    value = array(F.log_softmax(leaf([0.0, -50.0]))[0])
    np.testing.assert_allclose(value, -1.9287498479639178e-22, rtol=0, atol=1e-15)


def test_trap_54_cross_entropy_gradient_rows_sum_to_zero() -> None:
    rng = np.random.default_rng(54)
    for scale in (1.0, 30.0):
        z = leaf(rng.normal(size=(64, 10)) * scale)
        (g,) = gradients(F.cross_entropy(z, rng.integers(0, 10, 64), reduction="sum"), [z])
        assert np.abs(g.sum(axis=1)).max() <= 4 * EPS


def test_trap_55_cross_entropy_shift_invariance() -> None:
    rng = np.random.default_rng(55)
    data, labels = rng.normal(size=(8, 5)), rng.integers(0, 5, 8)
    results = []
    for shift in (0.0, 1e6):
        z = leaf(data + shift)
        loss = F.cross_entropy(z, labels)
        results.append((array(loss), *gradients(loss, [z])))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("x", "t", "value", "gradient"), [(1000, 0, 1000, 1), (1000, 1, 0, 0), (-1000, 1, 1000, -1), (0, 0.5, ln2, 0)]
)
def test_trap_56_bce_with_logits(x: float, t: float, value: float, gradient: float) -> None:
    logits = leaf([x])
    with no_warnings():
        loss = F.binary_cross_entropy_with_logits(logits, np.array([t]))
        (g,) = gradients(loss, [logits])
    assert loss.item() == value
    assert g[0] == gradient


def test_trap_57_bce_of_probabilities() -> None:
    p = leaf([0.0])
    with no_warnings():
        loss = F.binary_cross_entropy(p, np.array([1.0]))
        (g,) = gradients(loss, [p])
    assert loss.item() == 100
    assert np.isfinite(g).all()
    assert g[0] < 0
    assert "binary_cross_entropy_with_logits" in (F.binary_cross_entropy.__doc__ or "")
    for bad in (-0.1, 1.5, nan):
        with pytest.raises(ValueError, match=rf"{bad} at position .*2.*binary_cross_entropy_with_logits"):
            F.binary_cross_entropy(leaf([0.5, 1.0, bad, -7.0]), np.ones(4))


@pytest.mark.parametrize("n", [1, 7, 64])
def test_trap_59_mean_scales_by_n(n: int) -> None:
    rng = np.random.default_rng(n)
    z, labels = leaf(rng.normal(size=(n, 5))), rng.integers(0, 5, n)
    (total,) = gradients(F.cross_entropy(z, labels, reduction="sum"), [z])
    (mean,) = gradients(F.cross_entropy(z, labels), [z])
    np.testing.assert_allclose(mean * n, total, rtol=0 if n in (1, 64) else 4e-15, atol=0)


# C. Shapes, broadcasting, indexing


@pytest.mark.parametrize(
    ("x", "y", "subscripts"),
    [
        ((3,), (3,), "j,j->"),
        ((3,), (3, 4), "j,jk->k"),
        ((2, 3), (3,), "ij,j->i"),
        ((2, 3), (3, 4), "ij,jk->ik"),
        ((4, 3), (3, 2), "ij,jk->ik"),
        ((3,), (5, 3, 4), "j,bjk->bk"),
        ((5, 2, 3), (3,), "bij,j->bi"),
        ((2, 3), (5, 3, 4), "ij,bjk->bik"),
        ((5, 2, 3), (3, 4), "bij,jk->bik"),
        ((5, 2, 3), (5, 3, 4), "bij,bjk->bik"),
        ((1, 2, 3), (5, 3, 4), "bij,bjk->bik"),
        ((5, 2, 3), (1, 3, 4), "bij,bjk->bik"),
        ((6, 1, 2, 3), (5, 3, 4), "abij,bjk->abik"),
        ((2, 0), (0, 3), "ij,jk->ik"),
        ((0, 2), (2, 3), "ij,jk->ik"),
    ],
)
@pytest.mark.parametrize("create_graph", [False, True], ids=["arrays", "tensors"])
def test_trap_63_matmul_of_all_ranks(x: Any, y: Any, subscripts: str, create_graph: bool) -> None:
    rng = np.random.default_rng(63)
    a, b = (leaf(rng.integers(-9, 10, shape)) for shape in (x, y))  # whole numbers: every order of summation is exact
    out = a @ b
    upstream = rng.integers(-9, 10, out.shape).astype(float)
    found = grad(out, [a, b], upstream, create_graph=create_graph)
    left, _, result = subscripts.partition("->")
    left_x, left_y = left.split(",")
    np.testing.assert_array_equal(array(out), np.einsum(subscripts, array(a), array(b)))
    for g, term, other_term, t, other in ((found[0], left_x, left_y, a, b), (found[1], left_y, left_x, b, a)):
        full = np.einsum(f"{result},{other_term}->{term}", upstream, array(other))
        stretched = tuple(i for i, (n, m) in enumerate(zip(t.shape, full.shape, strict=True)) if n != m)
        np.testing.assert_array_equal(array(g), full.sum(axis=stretched, keepdims=True))


def complex_step(f: Callable[[Any], Any], x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the gradient of ``f(x).sum()``: exact for linear f, since the step is a power of two."""
    h, result = 2.0**-100, np.zeros_like(x)
    for i in np.ndindex(x.shape):
        z = x.astype(complex)
        z[i] += 1j * h
        result[i] = f(z).sum().imag / h
    return result


MASK = np.array([[True, False, True], [False, False, True]])
INDICES: dict[str, Any] = {
    "int": 1, "negative": -1, "pair": (1, -2), "slice": slice(0, 1), "backwards": (slice(None), slice(None, None, -2)),
    "ellipsis": (..., 0), "only_ellipsis": ..., "none": None, "none_inside": (0, None, slice(1, 3)), "mask": MASK,
    "mask_of_rows": np.array([False, True]), "empty_list": [], "empty_array": np.zeros(0, int),
    "empty_slice": slice(2, 2), "repeated": ([0, 0, 1], [2, 2, 0]), "tuple": (),
    "grid": (np.array([[0], [1]]), np.array([0, 2, 2])),
    "array_and_slice": (slice(None), [1, 1]), "split_arrays": ([0, 1], None, [2, 2]), "numpy_int": np.int64(1),
    "0d_array": np.array(1), "true": True, "negative_repeated": [0, -2], "list_of_bool": [True, False],
}  # fmt: skip


@pytest.mark.parametrize("name", INDICES)
def test_trap_66_index(name: str) -> None:
    index = INDICES[name]
    x = leaf([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    expected = array(x)[index]
    weights = np.arange(1.0, expected.size + 1).reshape(np.shape(expected))
    y = x[index]
    np.testing.assert_array_equal(array(y), expected)
    for create_graph in (False, True):
        (g,) = gradients((x[index] * weights).sum(), [x], create_graph)
        np.testing.assert_array_equal(g, complex_step(lambda z: z[index] * weights, array(x)))


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [-1, 0, (0, 2), (-1, 0), (0, 1, 2), None, ()])
def test_trap_68_reductions(axis: Any, keepdims: bool) -> None:
    rng = np.random.default_rng(68)
    data = rng.permutation(24).reshape(2, 3, 4).astype(float)
    for name in ("sum", "mean", "max", "min", "prod", "var", "std"):
        x = leaf(data)
        reference = getattr(np, name)(data, axis=axis, keepdims=keepdims)
        kept = getattr(np, name)(data, axis=axis, keepdims=True)
        n = data.size // kept.size
        upstream = rng.integers(1, 9, reference.shape).astype(float)
        u = upstream.reshape(kept.shape) * np.ones_like(data)
        deviation = data - data.mean(axis=axis, keepdims=True)
        rest = np.where(data == 0, 1, data).prod(axis=axis, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            expected = {
                "sum": u, "mean": u / n, "max": u * (data == kept), "min": u * (data == kept),
                "var": u * 2 / n * deviation,
                "std": u * np.where(kept == 0, 0, deviation / (n * kept)),
                "prod": u * np.where(data == 0, rest, kept / data),
            }[name]  # fmt: skip
        for y in (getattr(x, name)(axis=axis, keepdims=keepdims), getattr(np, name)(x, axis=axis, keepdims=keepdims)):
            assert y.shape == np.shape(reference)
            np.testing.assert_allclose(array(y), reference, rtol=4e-15)
            np.testing.assert_allclose(array(grad(y, x, upstream)[0]), expected, rtol=4e-15, atol=1e-15)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "var", "std"])
@pytest.mark.parametrize("axis", [(0, 0), (0, -3), 3, -4, (0, 3)])
def test_trap_68_bad_axes(name: str, axis: Any) -> None:
    with pytest.raises(ValueError, match=rf"{name}.*\(2, 3, 4\)"):
        getattr(np, name)(leaf(np.ones((2, 3, 4))), axis=axis)
    with pytest.raises(ValueError, match=rf"{name}.*\(2, 3, 4\)"):
        getattr(leaf(np.ones((2, 3, 4))), name)(axis=axis)


@pytest.mark.parametrize("f", [lambda x: x.transpose(2, 0, 1), lambda x: x.reshape(-1), lambda x: x.T.reshape(4, 6)])
def test_trap_69_layouts(f: Callable[[Any], Any]) -> None:
    rng = np.random.default_rng(69)
    contiguous, upstream = rng.normal(size=(2, 3, 4)), rng.normal(size=f(np.empty((2, 3, 4))).shape)
    strided = np.zeros((4, 3, 8))[::2, :, ::2]
    strided[...] = contiguous
    results = []
    for data in (contiguous, np.asfortranarray(contiguous), strided):
        x = Tensor(data, requires_grad=True)
        y = np.tanh(f(x)) * f(x)
        results.append((array(y).tobytes(), array(grad(y, x, upstream)[0]).tobytes()))
    assert results[0] == results[1] == results[2]


def test_trap_70_grad_of_0d_is_an_array() -> None:
    x = leaf(3.0)
    (x * x).backward()
    assert type(x.grad) is Tensor
    assert type(x.grad.data) is np.ndarray
    assert x.grad.shape == ()
    (x * x).backward()
    assert type(x.grad.data) is np.ndarray
    assert x.grad.item() == 12


LEFT: dict[str, Callable[[Any], Any]] = {
    "number": lambda t: 2 - t + 2 / t + 2**t,
    "float64": lambda t: np.float64(2) * t + np.float64(1),
    "float32": lambda t: np.float32(2) * t - np.float32(1),
    "int64": lambda t: np.int64(2) * t,
    "bool": lambda t: np.True_ * t,
    "0d": lambda t: np.array(2.0) * t + np.array(1),
    "array": lambda t: np.array([1.0, 2.0]) * t + np.ones((3, 2)),
    "array_minus": lambda t: np.array([1.0, 2.0]) - t,
    "array_divide": lambda t: np.array([1.0, 2.0]) / t,
    "array_power": lambda t: np.array([1.0, 2.0]) ** t,
    "array_matmul": lambda t: np.ones((3, 2)) @ t,
    "list": lambda t: [1.0, 2.0] * t + [3, 4],
    "tuple": lambda t: (1.0, 2.0) - t,
    "nested_list": lambda t: [[1.0, 2.0], [3.0, 4.0]] * t,
    "list_divide": lambda t: [1.0, 2.0] / t,
    "list_power": lambda t: [1.0, 2.0] ** t,
    "power_list": lambda t: t ** [2, 3],
    "list_maximum": lambda t: np.maximum([1.5, 1.5], t),
    "maximum_list": lambda t: np.minimum(t, [1.5, 2.5]),
    "list_matmul": lambda t: [[1.0, 2.0], [3.0, 4.0]] @ t,
    "matmul_list": lambda t: t @ [[1.0, 2.0], [3.0, 4.0]],
    "dot_list": lambda t: np.dot(t, [1.0, 2.0]),
    "where_list": lambda t: np.where([True, False], t, 5.0),
    "where_tuple": lambda t: np.where((0, 1), 5.0, t),
    "where_branch_list": lambda t: np.where(t > 1.5, t, [5.0, 6.0]),
    "clip_list": lambda t: np.clip(t, [0.0, 0.0], [1.5, 1.5]),
    "einsum_list": lambda t: np.einsum("i,i", [1.0, 2.0], t),
    "concatenate_list": lambda t: np.concatenate([[1.0, 2.0], t]),
    "stack_list": lambda t: np.stack([[1.0, 2.0], t]),
    "range": lambda t: t * range(1, 3),
    "series": lambda t: t * pd.Series([1.0, 2.0]) + pd.Series([1, 2]),
    "frame": lambda t: t @ pd.DataFrame([[1.0, 2.0], [3.0, 4.0]]),
    "series_where": lambda t: np.where(pd.Series([True, False]), t, 0.0),
    "series_power": lambda t: t ** pd.Series([2.0, 3.0]),
    "series_maximum": lambda t: np.maximum(t, pd.Series([1.5, 1.5])),
    "series_index": lambda t: t[pd.Series([True, False])] * 2,
    "big_int": lambda t: t * 2**70,
    "sum_builtin": lambda t: sum([t, t, t]),
    "sum_of_iter": lambda t: sum(t),
    "max_builtin": lambda t: max(t),
}


@pytest.mark.parametrize("create_graph", [False, True], ids=["arrays", "tensors"])
@pytest.mark.parametrize("name", LEFT)
def test_trap_71_operands_that_are_no_tensors(name: str, create_graph: bool) -> None:
    """An operand of any kind gives the value and the gradient that the same numbers in an ndarray give."""
    f, data = LEFT[name], np.array([1.0, 2.0])
    t = leaf(data)
    y = f(t)
    assert type(y) is Tensor
    assert y.requires_grad
    upstream = np.arange(1.0, y.size + 1).reshape(y.shape)
    with contextlib.suppress(TypeError):  # NumPy itself lacks list @ array and list ** array
        np.testing.assert_allclose(array(y), np.asarray(f(data)), rtol=1e-15)
    (g,) = grad(y, t, upstream, create_graph=create_graph)
    for i in range(2):
        numeric = (
            sum(sign * (array(f(leaf(data + sign * 1e-5 * np.eye(2)[i]))) * upstream).sum() for sign in (1, -1)) / 2e-5
        )
        np.testing.assert_allclose(array(g)[i], numeric, rtol=1e-8, atol=1e-9)


def test_trap_72_scalars_keep_float32() -> None:
    data = np.random.default_rng(72).normal(size=1000).astype(np.float32)
    for op in (np.multiply, np.add, np.subtract, np.divide, np.power, np.maximum):
        results = []
        for scalar in (0.1, np.float64(0.1), np.array(0.1)):
            for swap in (False, True):
                x = leaf(np.abs(data), np.float32)
                y = op(scalar, x) if swap else op(x, scalar)
                (g,) = gradients(y, [x])
                assert y.dtype == g.dtype == np.float32, op
                results.append((swap, array(y).tobytes(), g.tobytes()))
        assert len(set(results)) == 2, op


# D. Graph, memory, state


def test_trap_75_sixty_doublings_run_each_rule_once(counted: Callable[[Any], list[int]]) -> None:
    adds, multiplies = counted(np.add), counted(np.multiply)
    x = y = leaf(1.0)
    for _ in range(60):
        y = y + y
    z = leaf(1.0)
    for _ in range(8):
        z = z * z
    (y * 1.0 + z).backward()
    assert x.grad.item() == 2.0**60
    assert adds == [61, 61]
    assert multiplies == [9, 8]


@pytest.mark.parametrize(
    "op",
    [
        lambda y, c: y + c,
        lambda y, c: np.tanh(y),
        lambda y, c: np.concatenate([y]),
        lambda y, c: y[None][0],
        lambda y, c: np.where(True, y, c),
    ],
    ids=["add", "tanh", "concatenate", "getitem", "where"],
)
def test_trap_76_chain_of_50_000(op: Callable[[Any, Any], Any]) -> None:
    x = leaf([1e-3])
    with gc_disabled():
        y = x
        for _ in range(25_000):
            y = op(op(y, 0.0), 0.0)
        y.sum().backward(retain_graph=True)
        assert 0 < x.grad.item() <= 1
        (g,) = grad(y.sum(), x)
        assert g.item() == x.grad.item()
        del y


@pytest.mark.parametrize(
    "make",
    [
        lambda x: (np.tanh(x) * x).sum(),
        lambda x: np.concatenate([x, x * 2])[1:].max(),
        lambda x: np.linalg.norm(x.reshape(2, 1) @ x.reshape(1, 2)),
        lambda x: F.cross_entropy(x[None], np.array([1])),
        lambda x: grad((x**3).sum(), x, create_graph=True)[0].sum(),
        lambda x: np.prod(x) + np.pad(x, 1).sum() + np.einsum("i,i", x, x),
    ],
    ids=["elementwise", "shapes", "linalg", "loss", "second_order", "composites"],
)
@pytest.mark.parametrize("backward", [False, True])
def test_trap_77_graph_dies_by_reference_count(make: Callable[[Any], Any], backward: bool) -> None:
    with gc_disabled():
        x = leaf([0.5, 0.25])
        h = x * 1.0
        y = make(h)
        refs = [weakref.ref(h), weakref.ref(y)]
        if backward:
            y.backward()
        del h, y
        assert [r() for r in refs] == [None, None]


@pytest.mark.parametrize("make", [lambda p: SGD(p, 0.01, momentum=0.9, nesterov=True), lambda p: Adam(p, 0.01)])
def test_trap_78_1_000_training_steps_keep_the_number_of_live_objects(make: Callable[[Any], Any]) -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(8, 3)), rng.integers(0, 2, 8)
    params = [leaf(rng.normal(size=(4, 3))), leaf(np.zeros(4)), leaf(rng.normal(size=(2, 4))), leaf(np.zeros(2))]
    optimizer = make(params)

    def step() -> None:
        w1, b1, w2, b2 = params
        h = F.dropout(F.relu(F.linear(x, w1, b1)), 0.1, rng)
        loss = F.cross_entropy(F.linear(h, w2, b2), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def alive() -> tuple[int, int]:
        objects = gc.get_objects()
        return sum(issubclass(type(o), (Tensor, Node)) for o in objects), len(objects)

    with gc_disabled():
        for _ in range(10):
            step()
        tensors, objects = alive()
        for _ in range(990):
            step()
        assert alive()[0] == tensors
        assert alive()[1] <= objects + 20


SMALL_GRAPHS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "add_self": lambda a, b: a + a + b,
    "subtract": lambda a, b: a - b,
    "positive": lambda a, b: +a + +b,
    "leaf_and_result": lambda a, b: np.concatenate([a, b, a + b]),
    "reshape": lambda a, b: a.reshape(3, 2) + b.reshape(3, 2),
    "transpose": lambda a, b: a.T + b.T,
    "views_of_views": lambda a, b: a.T.reshape(-1)[::-1] + b.reshape(-1),
    "concatenate": lambda a, b: np.concatenate([a, b]),
    "stack": lambda a, b: np.stack([a, b, a]),
    "broadcast": lambda a, b: np.broadcast_to(a, (1, 2, 3)) + b,
    "expand": lambda a, b: np.expand_dims(a, 0) + np.expand_dims(b, 0),
    "swapaxes": lambda a, b: np.swapaxes(a, 0, 1) + np.moveaxis(b, 0, 1),
    "flip": lambda a, b: np.flip(a) + np.roll(b, 1),
    "einsum": lambda a, b: np.einsum("ij->ji", a) + np.einsum("ij->ji", b),
    "copy": lambda a, b: a.copy() + b.copy(),
    "astype": lambda a, b: a.astype(np.float64) + b.astype(np.float64),
    "getitem": lambda a, b: a[...] + b[None][0],
    "where": lambda a, b: np.where(True, a, b) + np.where(False, a, b),
    "relu": lambda a, b: F.relu(a + 9) + F.relu(b + 9),
    "sum": lambda a, b: a.sum(axis=()) + b.sum(axis=()),
    "three_times": lambda a, b: (a + b) + (b + a) + (a - b),
    "squeeze": lambda a, b: np.squeeze(a[None]) + np.squeeze(b[:, None]),
    "dropout_0": lambda a, b: F.dropout(a, 0.0, np.random.default_rng(0)) + b,
}


@pytest.mark.parametrize("create_graph", [False, True], ids=["arrays", "tensors"])
@pytest.mark.parametrize("name", SMALL_GRAPHS)
def test_trap_79_no_two_grads_share_memory(name: str, create_graph: bool) -> None:
    rng = np.random.default_rng(0)
    a, b = leaf(rng.normal(size=(2, 3))), leaf(rng.normal(size=(2, 3)))
    y = SMALL_GRAPHS[name](a, b)
    upstream = rng.normal(size=y.shape)
    y.backward(upstream, retain_graph=True, create_graph=create_graph)
    y.backward(upstream, create_graph=create_graph)
    interior = SMALL_GRAPHS[name](h := a * 1, k := b * 1)
    arrays = [upstream, array(a), array(b), array(a.grad), array(b.grad)]
    arrays += map(array, grad(interior, [a, b, h, k, interior], upstream, create_graph=create_graph))
    for p, q in itertools.combinations(arrays, 2):
        assert not np.shares_memory(p, q)
    a.zero_grad()
    b.zero_grad()


def test_trap_80_upstream_gradient_is_not_kept() -> None:
    x, g = leaf([1.0, 2.0]), np.array([3.0, 4.0])
    for y in (x + 0, x, x.reshape(2), np.concatenate([x])):
        x.zero_grad()
        y.backward(g)
        g[0] = 99
        np.testing.assert_array_equal(x.grad.data, [3, 4])
        g[0] = 3


def test_trap_81_gradients_add_up() -> None:
    x = leaf(2.0)
    (x * 3).backward()
    first = x.grad
    (x * x).backward()
    assert x.grad.item() == 7
    assert first.item() == 3
    x.zero_grad()
    assert x.grad is None
    (x * 5).backward()
    assert x.grad.item() == 5


def test_trap_82_backward_twice() -> None:
    x = leaf(3.0)
    y = x**3
    for expected in (27, 54, 81):
        y.backward(retain_graph=True)
        assert x.grad.item() == expected
    y.backward()
    with pytest.raises(GraphError, match="already released"):
        y.backward()
    with pytest.raises(GraphError, match="already released"):
        (y * 2).backward()
    assert x.grad.item() == 108


@pytest.mark.parametrize("change", [lambda x: x.__iadd__(10.0), lambda x: x.__imul__(2.0)])
def test_trap_83_data_changed_before_backward(change: Callable[[Any], Any]) -> None:
    x = leaf([1.0, 2.0], name="hidden.weight")
    y = (x * x).sum()
    with no_grad():
        change(x)
    with pytest.raises(GraphError, match=r"multiply.*hidden\.weight.*\(2,\).*version 0.*-> 1"):
        y.backward()
    assert x.grad is None


def test_trap_84_optimizer_step_before_backward() -> None:
    x = leaf([1.0, 2.0], name="w")
    x.sum().backward()
    y = (x * x).sum()
    SGD([x], lr=0.1).step()
    with pytest.raises(GraphError, match=r"multiply.*w.*version 0 -> 1"):
        y.backward()


def test_trap_85_no_grad_is_restored_and_thread_local() -> None:
    x, seen = leaf(2.0), []

    def work() -> None:
        seen.extend([(x * x).requires_grad, grad(x * x, x)[0].item()])

    with contextlib.suppress(ZeroDivisionError), no_grad():
        assert not (x * 2).requires_grad
        other = threading.Thread(target=work)
        other.start()
        other.join()
        raise ZeroDivisionError
    assert (x * 2).requires_grad
    assert seen == [True, 4.0]


def test_trap_86_many_threads_get_the_serial_bits() -> None:
    def work(seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        w = leaf(rng.normal(size=(4, 4)))
        for i in range(40):
            with no_grad() if i % 3 == 0 else contextlib.nullcontext():
                h = np.tanh(rng.normal(size=(2, 4)) @ w)
            if h.requires_grad:
                (g,) = grad((h * h).sum(), w, create_graph=True)
                (g * g).sum().backward()
        return array(w.grad).tobytes()

    serial, parallel = [work(seed) for seed in range(6)], [b""] * 6
    threads = [threading.Thread(target=lambda s=s: parallel.__setitem__(s, work(s))) for s in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert parallel == serial


def test_trap_87_nothing_is_computed_for_what_needs_no_gradient(counted: Callable[[Any], list[int]]) -> None:
    calls = counted(np.matmul)
    x, frozen, w, unused = Tensor(np.ones((2, 3))), Tensor(np.ones((3, 3))), leaf(np.ones((3, 3))), leaf(1.0)
    (x @ frozen @ w).sum().backward()
    assert calls == [0, 1]
    assert frozen.grad is None
    assert unused.grad is None
    assert x.grad is None
    h = w @ w
    (h.detach() @ w).sum().backward()
    assert calls == [0, 2]
    (x @ w @ w.detach()).sum().backward()
    assert calls == [1, 3]


def test_trap_87_frozen_layer_costs_nothing(counted: Callable[[Any], list[int]]) -> None:
    calls = counted(F.linear)
    x, w, b = Tensor(np.ones((2, 3))), leaf(np.ones((4, 3))), leaf(np.ones(4))
    F.linear(x, w, b).sum().backward()
    assert calls == [0, 1, 1]
    w.requires_grad = False
    F.linear(x, w, b).sum().backward()
    assert calls == [0, 1, 2]


@pytest.mark.parametrize(
    ("f", "x", "order", "expected"), [(lambda x: x**3, 2.0, 2, 12.0), (np.tanh, 0.3, 3, -1.3643061061011235)]
)
def test_trap_89_higher_derivatives(f: Callable[[Any], Any], x: float, order: int, expected: float) -> None:
    t = leaf(x)
    y = f(t)
    for _ in range(order):
        (y,) = grad(y, t, create_graph=True)
    np.testing.assert_allclose(y.item(), expected, rtol=4e-15)


def test_trap_90_dropout() -> None:
    x = leaf(np.arange(1.0, 1001.0))
    rng = np.random.default_rng(90)
    state = rng.bit_generator.state
    for y in (F.dropout(x, 0.0, rng), F.dropout(x, 0.7, rng, training=False)):
        np.testing.assert_array_equal(array(y), array(x))
        np.testing.assert_array_equal(gradients(y, [x])[0] if y is not x else np.ones(1000), np.ones(1000))
    assert rng.bit_generator.state == state
    y = F.dropout(x, 1.0, rng)
    np.testing.assert_array_equal(array(y), 0)
    np.testing.assert_array_equal(gradients(y, [x])[0], 0)
    y = F.dropout(x, 0.5, rng)
    kept = array(y) != 0
    assert 400 < kept.sum() < 600
    np.testing.assert_array_equal(array(y), 2 * array(x) * kept)
    np.testing.assert_array_equal(gradients(y, [x])[0], 2.0 * kept)


# E. Optimizer and golden values


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"momentum": 0.9}, [0.9, 0.71, 0.439, 0.0951]),
        ({"momentum": 0.9, "nesterov": True}, [0.81, 0.539, 0.1951, -0.21441]),
        ({"momentum": 0.9, "dampening": 0.5}, [0.9, 0.76, 0.584, 0.3756]),
        ({"weight_decay": 0.1}, [0.89, 0.7811, 0.673289, 0.56655611]),
        ({"momentum": 0.9, "weight_decay": 0.1}, [0.89, 0.6821, 0.388169, 0.01974941]),
    ],
    ids=["momentum", "nesterov", "dampening", "weight_decay", "momentum_and_decay"],
)
def test_trap_G1_sgd_sequences(options: dict[str, Any], expected: list[float], shape: tuple[int, ...]) -> None:
    p = leaf(np.ones(shape))
    optimizer = SGD([p], lr=0.1, **options)
    for value in expected:
        optimizer.zero_grad()
        p.sum().backward()
        optimizer.step()
        np.testing.assert_allclose(array(p), np.full(shape, value), rtol=0, atol=EPS)  # p started at 1


def test_trap_G2_worked_example_of_scikit_learn() -> None:
    x, y = np.array([[0.6, 0.8, 0.7]]), np.zeros((1, 1))
    w1, w2 = leaf([[0.1, 0.2], [0.3, 0.1], [0.5, 0]]), leaf([[0.1], [0.2]])
    b1, b2 = leaf([0.1, 0.1]), leaf([1.0])

    def logits() -> Tensor:
        return F.sigmoid(x @ w1 + b1) @ w2 + b2

    optimizer = SGD([{"params": [w1, w2], "weight_decay": 0.1}, {"params": [b1, b2]}], lr=0.1)
    F.binary_cross_entropy_with_logits(logits(), y).backward()
    optimizer.step()
    expected = {
        w1: [[0.09799927101876635, 0.1957545466925248], [0.29566569469168846, 0.09600606225669969],
             [0.4938324828552274, -0.00261969552538777]],
        w2: [[0.04701212914783179], [0.15402918140357222]],
        b1: [0.09833211836461057, 0.09625757782087463],
        b2: [0.9234547978090479],
    }  # fmt: skip
    for p, value in expected.items():
        np.testing.assert_allclose(array(p), value, rtol=4e-15)
    np.testing.assert_allclose(F.sigmoid(logits()).item(), 0.7394919180486681, rtol=4e-15)


def test_trap_G3_mlp_to_60_digits() -> None:
    i, j = np.indices((3, 4))
    w1, b1 = leaf(((4 * i + j) % 7 - 3) / 10), leaf(np.arange(4) / 20)
    i, j = np.indices((4, 3))
    w2, b2 = leaf(((3 * i + j) % 5 - 2) / 5), leaf((1 - np.arange(3)) / 10)
    x = np.array([[1, -2, 0.5], [0.3, 0.7, -1.1]])
    expected = {
        w1: [[-0.061965525068862035, 0.15705117814588239, -0.063013891557087966, 0.007112799892785937],
             [0.24684553159651515, -0.37880213880194478, 0.24439934312398797, -0.32048151459137722],
             [-0.14916976393711475, 0.14073691840965274, -0.14532575348028633, 0.29803324110582118]],
        b1: [0.0042191957166408529, 0.12221283371732392, 0.00072464075588774808, -0.15779423115649386],
        w2: [[-0.21017348794913571, -0.017619835959170331, 0.22779332390830604],
             [-0.2231663749755991, -0.010385935912342933, 0.23355231088794204],
             [-0.2359168927554532, -0.0032869769991392999, 0.2392038697545925],
             [0.23408045105581325, 0.036144504184028959, -0.27022495523984221]],
        b2: [-0.074753523444056241, 0.29231478235813086, -0.21756125891407462],
    }  # fmt: skip
    for forward in (
        lambda: np.tanh(x @ w1 + b1) @ w2 + b2,
        lambda: F.linear(np.tanh(F.linear(x, w1.T, b1)), w2.T, b2),
    ):
        loss = F.cross_entropy(forward(), np.array([2, 0]))
        np.testing.assert_allclose(loss.item(), 1.2406557629558361, rtol=4e-15)
        for g, value in zip(gradients(loss, list(expected)), expected.values(), strict=True):
            np.testing.assert_allclose(g, value, rtol=0, atol=1e-15 * np.abs(value).max())


@pytest.mark.parametrize("rows", [70_000, 1_000_000])
def test_trap_G4_float32_sums_of_many_rows(rows: int) -> None:
    b, x = leaf(np.zeros(2), np.float32), np.zeros((rows, 2), np.float32)
    upstream = np.full((rows, 2), 0.1, np.float32)
    expected = upstream.sum(axis=0, dtype=np.float64)
    for y in (x + b, F.linear(x, np.zeros((2, 2), np.float32), b), np.broadcast_to(b, (rows, 2)) * 1, x + b[None, :]):
        (g,) = grad(y, b, upstream)
        assert g.dtype == np.float32
        np.testing.assert_allclose(array(g), expected, rtol=1e-6)


def test_trap_G4_float32_full_batch_loss() -> None:
    rng = np.random.default_rng(4)
    x, labels = rng.normal(size=(70_000, 3)), rng.integers(0, 3, 70_000)
    results = []
    for dtype in (np.float32, np.float64):
        w, b = leaf(np.eye(3), dtype), leaf([0.1, 0.2, 0.3], dtype)
        loss = F.cross_entropy(F.linear(x.astype(dtype), w, b), labels)
        results.append((array(loss), *gradients(loss, [b])))
    for low, high in zip(*results, strict=True):
        assert low.dtype == np.float32
        np.testing.assert_allclose(low, high, rtol=0, atol=1e-6 * np.abs(high).max())
