"""Every misuse gets a clear error (what, where, what was expected, what to do), and changes nothing."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import (
    CheckpointError,
    DataError,
    DtypeError,
    GraphError,
    NoRuleError,
    ShapeError,
    Tensor,
    errors,
    grad,
    jacobian,
    no_grad,
)
from tinygrad_mlp import functional as F
from tinygrad_mlp.core.tracer import mode
from tinygrad_mlp.errors import attempt, describe, nearest, need, out_of_range
from tinygrad_mlp.nn.optim import SGD, Adam, AdamW, CosineAnnealingLR, OneCycleLR


class World:
    """What a misuse could damage: parameters with gradients, an optimiser with a state, a generator."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.w = Tensor(self.rng.normal(size=(2, 3)), requires_grad=True, name="fc.weight")
        self.b = Tensor(self.rng.normal(size=3), requires_grad=True, name="fc.bias")
        self.n = Tensor([0, 1])
        self.x = Tensor(self.rng.normal(size=(4, 2)))
        self.opt = SGD([self.w, self.b], lr=0.1, momentum=0.9)
        (self.x @ self.w + self.b).sum().backward()
        self.opt.step()
        self.h = np.tanh(self.w)

    def state(self) -> Any:
        tensors = [self.w, self.b, self.n, self.x, self.h]
        return (
            [(t.data.tobytes(), t.shape, t.dtype, t.requires_grad, id(t.data)) for t in tensors],
            [None if t.grad is None else (id(t.grad), t.grad.data.tobytes()) for t in tensors],
            repr(self.rng.bit_generator.state),
            repr(np.random.get_state()),  # noqa: NPY002 - that nobody touches it
            repr(self.opt.state_dict()),
            [id(p) for group in self.opt.param_groups for p in group["params"]],
            (mode.grad_enabled, mode.tracer),
        )


class Misuse(NamedTuple):
    name: str
    call: Callable[[World], Any]
    error: type[Exception] | tuple[type[Exception], ...]
    message: str


def released(s: World) -> Any:
    y = (s.w * s.w).sum()
    grad(y, s.w)
    return y


def changed(s: World) -> Any:
    """Return a result whose leaf changes afterwards, and put everything back but the version."""
    v = Tensor(np.ones((2, 3)), requires_grad=True, name="conv.weight")
    y = (v * v).sum()
    with no_grad():
        v += 1.0
    return y


def under_no_grad(s: World, change: Callable[[Any], Any]) -> Any:
    with no_grad():
        return change(s.w)


def assign_add(t: Any, value: Any) -> Any:
    t += value
    return t


def set_attribute(t: Any, name: str, value: Any) -> None:
    setattr(t, name, value)


NAN, INF = float("nan"), float("inf")
LOGITS = np.zeros((3, 4))
LABELS = np.array([0, 1, 2])


def ce(target: Any, logits: Any = LOGITS) -> Callable[[World], Any]:
    return lambda s: F.cross_entropy(Tensor(logits, requires_grad=True), target)


MISUSES = [
    # backward and grad
    Misuse(
        "backward_of_a_vector",
        lambda s: s.h.backward(),
        GraphError,
        r"\(2, 3\).*pass gradient=.*or reduce with sum\(\)/mean\(\)",
    ),
    Misuse("grad_of_a_vector", lambda s: grad(s.h, s.w), GraphError, r"\(2, 3\).*reduce with sum\(\)/mean\(\)"),
    Misuse(
        "backward_of_a_constant",
        lambda s: s.x.sum().backward(),
        GraphError,
        r"no tensor in this graph requires grad.*(no_grad|detach)",
    ),
    Misuse(
        "backward_of_no_grad",
        lambda s: under_no_grad(s, lambda w: w.sum()).backward(),
        GraphError,
        r"no tensor in this graph requires grad.*no_grad",
    ),
    Misuse(
        "backward_of_detached",
        lambda s: s.w.detach().sum().backward(),
        GraphError,
        r"no tensor in this graph requires grad.*detach",
    ),
    Misuse(
        "backward_of_integers", lambda s: s.n.sum().backward(), GraphError, r"no tensor in this graph requires grad"
    ),
    Misuse(
        "backward_of_comparison",
        lambda s: (s.w > 0).sum().backward(),
        GraphError,
        r"no tensor in this graph requires grad.*greater.*constant",
    ),
    Misuse(
        "backward_twice", lambda s: released(s).backward(), GraphError, r"graph already released.*retain_graph=True"
    ),
    Misuse("grad_twice", lambda s: grad(released(s), s.w), GraphError, r"graph already released.*retain_graph=True"),
    Misuse("gradient_of_wrong_shape", lambda s: s.h.backward(np.ones((3, 2))), ShapeError, r"\(3, 2\).*\(2, 3\)"),
    Misuse("gradient_that_would_broadcast", lambda s: s.h.backward(np.ones(3)), ShapeError, r"\(3,\).*\(2, 3\)"),
    Misuse("gradient_of_text", lambda s: s.h.sum().backward("one"), (TypeError, ValueError), r"gradient|upstream"),
    Misuse("gradient_complex", lambda s: s.h.backward(np.ones((2, 3)) * 1j), TypeError, r"complex"),
    Misuse("grad_outputs_count", lambda s: grad([s.h, s.w], s.w, [np.ones((2, 3))]), ShapeError, r"1 for 2 outputs"),
    Misuse("grad_of_unused", lambda s: grad(s.h.sum(), s.b), GraphError, r"inputs\[0\] fc\.bias.*allow_unused=True"),
    Misuse("grad_of_constant_input", lambda s: grad(s.h.sum(), s.x), GraphError, r"inputs\[0\].*requires_grad=True"),
    Misuse("grad_of_an_array", lambda s: grad(s.h.sum(), np.ones(3)), TypeError, r"inputs.*Tensor"),
    Misuse("grad_of_an_array_output", lambda s: grad(np.ones(()), s.w), TypeError, r"outputs.*Tensor"),
    Misuse("grad_of_no_inputs", lambda s: grad(s.h.sum(), []), ValueError, r"inputs"),
    Misuse("jacobian_of_whole_numbers", lambda s: jacobian(np.tanh, np.ones(3, int)), TypeError, r"int64.*use floats"),
    Misuse("jacobian_by_no_function", lambda s: jacobian(s.h, s.w), TypeError, r"takes a function.*tg\.grad\(output"),
    Misuse(
        "data_changed", lambda s: changed(s).backward(), GraphError, r"multiply.*conv\.weight.*\(2, 3\).*version 0 -> 1"
    ),
    # Tensors
    Misuse("requires_grad_int", lambda s: Tensor([1, 2], requires_grad=True), TypeError, r"int64.*use float32/float64"),
    Misuse("requires_grad_bool", lambda s: Tensor([True], requires_grad=True), TypeError, r"bool.*use float32/float64"),
    Misuse(
        "requires_grad_complex",
        lambda s: Tensor([1j], requires_grad=True),
        TypeError,
        r"complex128.*use float32/float64",
    ),
    Misuse(
        "requires_grad_object",
        lambda s: Tensor(np.array([1, None]), requires_grad=True),
        TypeError,
        r"object.*float32/float64",
    ),
    Misuse("requires_grad_later", lambda s: s.n.requires_grad_(), TypeError, r"int64.*use float32/float64"),
    Misuse(
        "requires_grad_of_result",
        lambda s: set_attribute(s.h, "requires_grad", False),
        GraphError,
        r"leaf.*tanh.*detach\(\)",
    ),
    Misuse("object_array", lambda s: Tensor([object()]), TypeError, r"object.*convert"),
    Misuse("text", lambda s: Tensor("abc"), TypeError, r"<U3.*convert"),
    Misuse("none", lambda s: Tensor(None), TypeError, r"object.*convert"),
    Misuse("dates", lambda s: Tensor(np.array(["2020-01-01"], "datetime64[D]")), TypeError, r"datetime64.*convert"),
    Misuse("ragged", lambda s: Tensor([[1.0, 2.0], [3.0]]), ValueError, r"(Tensor|rows|length).*(must|use|make|pad)"),
    Misuse(
        "data_of_integers",
        lambda s: set_attribute(s.w, "data", np.ones((2, 3), int)),
        TypeError,
        r"int64.*float32/float64",
    ),
    Misuse(
        "item_assignment",
        lambda s: s.w.__setitem__((0, 0), 1.0),
        TypeError,
        r"item assignment is not differentiable; use .*where",
    ),
    Misuse("bool_of_many", lambda s: bool(s.w), ValueError, r"\(2, 3\).*ambiguous.*any.*all"),
    Misuse("if_equal", lambda s: 1 if s.w == s.w else 0, ValueError, r"\(2, 3\).*ambiguous"),
    Misuse("float_of_many", lambda s: float(s.w), ValueError, r"\(2, 3\).*exactly one"),
    Misuse("int_of_many", lambda s: int(s.w), ValueError, r"\(2, 3\).*exactly one"),
    Misuse("item_of_many", lambda s: s.w.item(), ValueError, r"\(2, 3\).*exactly one"),
    Misuse("format_of_many", lambda s: f"{s.w:.3f}", ValueError, r"\(2, 3\).*exactly one"),
    Misuse("index_with_float", lambda s: [1, 2][Tensor(1.0)], TypeError, r"(float64|integer).*"),
    Misuse("len_of_0d", lambda s: len(Tensor(1.0)), TypeError, r"\(\)"),
    Misuse("iter_of_0d", lambda s: list(Tensor(1.0)), TypeError, r"\(\)"),
    Misuse("asarray", lambda s: np.asarray(s.w), GraphError, r"requires grad.*use t\.detach\(\)\.numpy\(\)"),
    Misuse("numpy", lambda s: s.h.numpy(), GraphError, r"requires grad.*use t\.detach\(\)\.numpy\(\)"),
    # in place
    Misuse("iadd", lambda s: assign_add(s.w, 1.0), GraphError, r"fc\.weight.*use no_grad\(\) or an optimizer"),
    Misuse("isub", lambda s: s.w.__isub__(1.0), GraphError, r"fc\.weight.*use no_grad\(\) or an optimizer"),
    Misuse("imul", lambda s: s.w.__imul__(1.0), GraphError, r"fc\.weight.*use no_grad\(\) or an optimizer"),
    Misuse(
        "iadd_of_wrong_shape",
        lambda s: under_no_grad(s, lambda w: assign_add(w, np.ones(4))),
        ShapeError,
        r"\(2, 3\).*\(4,\).*3 and 4",
    ),
    Misuse(
        "iadd_that_would_grow",
        lambda s: under_no_grad(s, lambda w: assign_add(w, np.ones((5, 2, 3)))),
        ShapeError,
        r"\(2, 3\).*\(5, 2, 3\)",
    ),
    Misuse("iadd_of_complex", lambda s: under_no_grad(s, lambda w: assign_add(w, 1j)), TypeError, r"complex"),
    Misuse("array_iadd", lambda s: assign_add(np.ones((2, 3)), s.w), TypeError, r"add.*out"),
    # shapes
    Misuse("matmul", lambda s: s.w @ np.ones((4, 5)), ShapeError, r"matmul.*\(2, 3\).*\(4, 5\).*3 and 4"),
    Misuse("matmul_vector", lambda s: s.w @ np.ones(2), ShapeError, r"matmul.*\(2, 3\).*\(2,\).*3 and 2"),
    Misuse("matmul_left", lambda s: np.ones((2, 5)) @ s.w, ShapeError, r"matmul.*\(2, 5\).*\(2, 3\).*5 and 2"),
    Misuse(
        "matmul_batch",
        lambda s: Tensor(np.ones((2, 3, 4))) @ np.ones((5, 4, 6)),
        ShapeError,
        r"matmul.*\(2, 3, 4\).*\(5, 4, 6\).*2 and 5",
    ),
    Misuse("matmul_scalar", lambda s: s.w @ 2.0, ShapeError, r"matmul.*\(2, 3\).*2\.0"),
    Misuse("matmul_0d", lambda s: s.w @ Tensor(2.0), ShapeError, r"matmul.*\(2, 3\).*\(\)"),
    Misuse("dot", lambda s: np.dot(s.w, np.ones((4, 5))), ShapeError, r"(dot|matmul).*\(2, 3\).*\(4, 5\).*3 and 4"),
    Misuse("linear", lambda s: F.linear(np.ones((4, 5)), s.w), ShapeError, r"linear.*\(4, 5\).*\(2, 3\)"),
    Misuse(
        "linear_bias",
        lambda s: F.linear(np.ones((4, 3)), s.w, np.ones(5)),
        ShapeError,
        r"linear.*\(4, 3\).*\(2, 3\).*\(5,\)",
    ),
    Misuse("add", lambda s: s.w + np.ones(4), ShapeError, r"add.*\(2, 3\).*\(4,\).*sizes 3 and 4 clash"),
    Misuse("radd", lambda s: np.ones((3, 2)) + s.w, ShapeError, r"add.*\(3, 2\).*\(2, 3\).*sizes 2 and 3 clash"),
    Misuse("compare", lambda s: s.w > np.ones(4), ShapeError, r"greater.*\(2, 3\).*\(4,\).*sizes 3 and 4 clash"),
    Misuse("where", lambda s: np.where(s.w > 0, s.w, np.ones(4)), ShapeError, r"where.*\(2, 3\).*\(4,\)"),
    Misuse("where_of_one_branch", lambda s: np.where(s.w > 0, s.w), TypeError, r"where.*both branches"),
    Misuse("clip", lambda s: np.clip(s.w, np.zeros(4), None), ShapeError, r"clip.*\(2, 3\).*\(4,\)"),
    Misuse(
        "concatenate",
        lambda s: np.concatenate([s.w, s.x], axis=1),
        ShapeError,
        r"concatenate.*\(2, 3\).*\(4, 2\).*size 2 .*size 4",
    ),
    Misuse(
        "concatenate_nothing", lambda s: np.concatenate([s.w, np.ones(3)]), ShapeError, r"concatenate.*\(2, 3\).*\(3,\)"
    ),
    Misuse("stack", lambda s: np.stack([s.w, s.x]), ShapeError, r"(stack|concatenate).*2, 3\).*4, 2\)"),
    Misuse("einsum", lambda s: np.einsum("ij,jk->ik", s.w, s.w), ShapeError, r"einsum.*\(2, 3\).*\(2, 3\)"),
    Misuse("einsum_subscripts", lambda s: np.einsum("ijk->i", s.w), ShapeError, r"einsum.*ijk.*\(2, 3\)"),
    Misuse("reshape", lambda s: s.w.reshape(4, 2), ShapeError, r"reshape.*(\(2, 3\)|6).*\(4, 2\)"),
    Misuse("reshape_two_unknown", lambda s: s.w.reshape(-1, -1), ShapeError, r"reshape.*\(2, 3\).*\(-1, -1\)"),
    Misuse("broadcast_to", lambda s: np.broadcast_to(s.w, (3, 2)), ShapeError, r"broadcast_to.*\(2, 3\).*\(3, 2\)"),
    Misuse("transpose", lambda s: s.w.transpose(0, 1, 2), ShapeError, r"transpose.*\(2, 3\).*\(0, 1, 2\)"),
    Misuse("transpose_repeated", lambda s: s.w.transpose(0, 0), ShapeError, r"transpose.*\(2, 3\).*\(0, 0\)"),
    Misuse("swapaxes", lambda s: s.w.swapaxes(0, 2), ShapeError, r"swapaxes.*\(2, 3\).*2"),
    Misuse("squeeze", lambda s: np.squeeze(s.w, 0), ShapeError, r"squeeze.*\(2, 3\).*axis=0"),
    Misuse("expand_dims", lambda s: np.expand_dims(s.w, 5), ShapeError, r"expand_dims.*\(2, 3\).*5"),
    *(
        Misuse(f"{f}_axis", lambda s, f=f: getattr(s.w, f)(axis=2), ShapeError, rf"{f}.*\(2, 3\).*axis.*2")
        for f in ("sum", "mean", "max", "min", "var", "std", "prod", "argmax")
    ),
    *(
        Misuse(
            f"{f}_repeated_axis",
            lambda s, f=f: getattr(s.w, f)(axis=(0, -2)),
            ShapeError,
            rf"{f}.*\(2, 3\).*axis.*\(0, -2\)",
        )
        for f in ("sum", "mean", "max", "min", "var", "std", "prod")
    ),
    *(
        Misuse(f"{f.__name__}_axis", lambda s, f=f: f(s.w, axis=2), ShapeError, rf"{f.__name__}.*\(2, 3\).*2")
        for f in (F.softmax, F.log_softmax, F.logsumexp, np.linalg.norm)
    ),
    Misuse("index_out_of_range", lambda s: s.w[5], IndexError, r"getitem.*\(2, 3\).*5.*(out of|range)"),
    Misuse("too_many_indices", lambda s: s.w[0, 0, 0], IndexError, r"getitem.*\(2, 3\).*3"),
    Misuse("index_float", lambda s: s.w[1.5], IndexError, r"getitem.*1\.5"),
    Misuse(
        "index_mask_of_wrong_shape", lambda s: s.w[np.ones((3, 2), bool)], IndexError, r"getitem.*\(2, 3\).*\(3, 2\)"
    ),
    Misuse("take_out_of_range", lambda s: np.take(s.w, [7]), IndexError, r"7"),
    *(
        Misuse(f"{f}_of_nothing", lambda s, f=f: getattr(Tensor(np.zeros((0, 3))), f)(), ValueError, rf"{f}.*\(0, 3\)")
        for f in ("mean", "max", "min", "argmax", "var", "std")
    ),
    Misuse("mean_of_no_rows", lambda s: Tensor(np.zeros((0, 3))).mean(axis=0), ValueError, r"mean.*\(0, 3\).*axis=0"),
    Misuse("max_of_no_rows", lambda s: Tensor(np.zeros((0, 3))).max(axis=0), ValueError, r"max.*\(0, 3\).*axis=0"),
    # what is wrong is a value, and no shape
    Misuse("negative_power", lambda s: s.n**-1, ValueError, r"power\(int64\(2,\), -1\).*[Ii]nteger.*floats"),
    Misuse("negative_power_of_array", lambda s: np.power(s.n, [-1, 2]), ValueError, r"power.*[Ii]nteger.*floats"),
    Misuse("einsum_letter", lambda s: np.einsum("i!", s.b), ValueError, r"einsum\('i!'.*'!'.*use one letter"),
    Misuse(
        "einsum_output", lambda s: np.einsum("ij->ik", s.w), ValueError, r"einsum.*'k'.*never.*letters of the inputs"
    ),
    Misuse("einsum_twice", lambda s: np.einsum("ij->ii", s.w), ValueError, r"einsum.*'i' multiple"),
    Misuse("sort_kind", lambda s: np.argsort(s.b, kind="x"), ValueError, r"argsort.*kind='x'.*must be one of"),
    Misuse("search_side", lambda s: np.searchsorted(s.b, s.b, side="x"), ValueError, r"searchsorted.*side must be"),
    Misuse("repeat_negative", lambda s: np.repeat(s.b, -1), ValueError, r"repeat.*negative.*not allowed"),
    Misuse("tile_negative", lambda s: np.tile(s.b, -1), ValueError, r"\(1, 3\).*must be non-negative"),
    Misuse("linspace_negative", lambda s: np.linspace(s.b, s.b, -1), ValueError, r"linspace.*-1.*must be non-negative"),
    Misuse("digitize_bins", lambda s: np.digitize(s.b, [3.0, 1.0, 2.0]), ValueError, r"digitize.*bins must be"),
    Misuse(
        "read_only",
        lambda s: under_no_grad(s, lambda w: assign_add(Tensor(np.broadcast_to(1.0, (2,))), 1.0)),
        ValueError,
        r"assign.*read-only.*make a copy",
    ),
    # what is wrong is a shape or an axis
    Misuse("split_in_two", lambda s: np.split(s.b, 2), ShapeError, r"split.*\(3,\).*check shapes"),
    Misuse("repeat_counts", lambda s: np.repeat(s.b, [1, 2]), ShapeError, r"repeat.*\(3,\).*check shapes"),
    Misuse("roll_axis", lambda s: np.roll(s.b, 1, axis=3), ShapeError, r"roll.*axis 3.*check shapes and axes"),
    Misuse("argmax_of_empty", lambda s: np.argmax(Tensor([])), ShapeError, r"argmax.*\(0,\).*empty"),
    Misuse("inverse_of_a_row", lambda s: np.linalg.inv(s.w), np.linalg.LinAlgError, r"inv.*\(2, 3\).*square matrices"),
    # operands that are no numbers
    Misuse("add_object", lambda s: s.w + object(), TypeError, r"add.*object"),
    Misuse("add_function", lambda s: s.w + (lambda: 0), TypeError, r"add.*function"),
    Misuse("add_none", lambda s: s.w + None, TypeError, r"add.*None"),
    Misuse("add_text", lambda s: s.w + "abc", TypeError, r"add.*abc"),
    Misuse("multiply_dict", lambda s: s.w * {}, TypeError, r"multiply.*\{\}"),
    Misuse(
        "ragged_list", lambda s: np.add(s.w, [[1.0, 2.0], [3.0]]), ShapeError, r"\[\[1\.0, 2\.0\], \[3\.0\]\].*rows"
    ),
    Misuse("complex_operand", lambda s: s.w * 1j, TypeError, r"multiply.*complex128.*use float32/float64"),
    Misuse("invert", lambda s: ~s.w, TypeError, r"invert.*float64\(2, 3\)"),
    Misuse("no_rule", lambda s: np.fft.fft(s.w), NoRuleError, r"fft.*(build|use)"),
    Misuse("no_rule_for_method", lambda s: np.add.accumulate(s.w), NoRuleError, r"add\.accumulate.*write it"),
    Misuse("out", lambda s: np.add(s.w, 1.0, out=np.ones((2, 3))), TypeError, r"add.*'out'"),
    Misuse("tensor_as_keyword", lambda s: np.sum(s.w, axis=Tensor(0)), TypeError, r"sum.*(Tensor|keyword)"),
    # losses
    Misuse(
        "mse_of_column_and_row",
        lambda s: F.mse_loss(Tensor(np.ones((4, 1))), np.ones(4)),
        ShapeError,
        r"\(4, 1\).*\(4,\).*would broadcast to \(4, 4\)",
    ),
    Misuse(
        "l1_of_column_and_row",
        lambda s: F.l1_loss(Tensor(np.ones((4, 1))), np.ones(4)),
        ShapeError,
        r"\(4, 1\).*\(4,\).*would broadcast to \(4, 4\)",
    ),
    Misuse(
        "huber_of_column_and_row",
        lambda s: F.huber_loss(Tensor(np.ones((4, 1))), np.ones(4)),
        ShapeError,
        r"\(4, 1\).*\(4,\).*would broadcast to \(4, 4\)",
    ),
    Misuse(
        "bce_of_column_and_row",
        lambda s: F.binary_cross_entropy_with_logits(Tensor(np.ones((4, 1))), np.ones(4)),
        ShapeError,
        r"\(4, 1\).*\(4,\).*would broadcast to \(4, 4\)",
    ),
    Misuse("mse_of_other_lengths", lambda s: F.mse_loss(Tensor(np.ones(4)), np.ones(3)), ShapeError, r"\(4,\).*\(3,\)"),
    Misuse("huber_delta", lambda s: F.huber_loss(s.w, s.w, delta=0), ValueError, r"delta.*positive.*0"),
    Misuse("label_too_large", ce(np.array([0, 4, 9])), ValueError, r"labels\[1\] is 4, .*0\.\.3"),
    Misuse("label_negative", ce(np.array([0, 1, -1])), ValueError, r"labels\[2\] is -1, .*0\.\.3"),
    Misuse("label_tensor_too_large", ce(Tensor([0, 1, 4])), ValueError, r"labels\[2\] is 4, .*0\.\.3"),
    Misuse("label_unsigned", ce(np.array([0, 1, 255], np.uint8)), ValueError, r"labels\[2\] is 255, .*0\.\.3"),
    Misuse("label_fraction", ce(np.array([0, 1.5, 2.5])), ValueError, r"labels\[1\] is 1\.5, .*0\.\.3"),
    Misuse("label_nan", ce(np.array([0, 1, NAN])), ValueError, r"labels\[2\] is nan, .*0\.\.3"),
    Misuse("label_inf", ce(np.array([INF, 1, 2])), ValueError, r"labels\[0\] is inf, .*0\.\.3"),
    Misuse("label_float_too_large", ce(np.array([0.0, 1.0, 7.0])), ValueError, r"labels\[2\] is 7\.0, .*0\.\.3"),
    Misuse(
        "label_text", ce(np.array(["a", "b", "c"])), (TypeError, ValueError), r"(label|target).*(integer|number|<U1)"
    ),
    Misuse("label_column", ce(LABELS[:, None]), ShapeError, r"\(3, 1\).*\(3,\).*\(3, 4\)"),
    Misuse("label_scalar", ce(np.array(1)), ShapeError, r"\(\).*\(3,\).*\(3, 4\)"),
    Misuse("one_hot_of_other_classes", ce(np.eye(3)), ShapeError, r"\(3, 3\).*\(3,\).*\(3, 4\)"),
    Misuse("one_hot_of_other_rows", ce(np.eye(4)[:2]), ShapeError, r"\(2, 4\).*\(3, 4\)"),
    Misuse("labels_of_other_length", ce(np.array([0, 1])), ShapeError, r"3.*2"),
    Misuse("logits_of_one_axis", ce(LABELS, np.zeros(4)), ShapeError, r"cross_entropy.*\(N, C\).*\(4,\)"),
    Misuse(
        "label_smoothing",
        lambda s: F.cross_entropy(LOGITS, LABELS, label_smoothing=1.5),
        ValueError,
        r"label_smoothing.*between 0 and 1.*1\.5",
    ),
    Misuse(
        "reduction",
        lambda s: F.cross_entropy(LOGITS, LABELS, reduction="avg"),
        ValueError,
        r"'avg'.*Valid: mean, none, sum",
    ),
    Misuse("reduction_nearest", lambda s: F.mse_loss(s.w, s.w, reduction="means"), ValueError, r"did you mean 'mean'"),
    Misuse("nll_of_one_hot", lambda s: F.nll_loss(LOGITS, np.eye(4)[:3]), ShapeError, r"\(3,\).*\(3, 4\).*argmax"),
    Misuse("nll_label", lambda s: F.nll_loss(LOGITS, np.array([0, 1, 4])), ValueError, r"labels\[2\] is 4, .*0\.\.3"),
    Misuse(
        "bce_probability",
        lambda s: F.binary_cross_entropy(Tensor([0.5, 1.5]), np.ones(2)),
        ValueError,
        r"1\.5 at position \(?1.*with_logits",
    ),
    Misuse(
        "bce_nan",
        lambda s: F.binary_cross_entropy(Tensor([NAN, 1.5]), np.ones(2)),
        ValueError,
        r"nan at position \(?0.*with_logits",
    ),
    *(
        Misuse(
            f"dropout_{p}",
            lambda s, p=p: F.dropout(s.w, p, s.rng),
            ValueError,
            rf"dropout probability.*between 0 and 1.*{p}",
        )
        for p in (-0.1, 1.1, NAN)
    ),
    Misuse(
        "dropout_evaluating",
        lambda s: F.dropout(s.w, 2.0, s.rng, training=False),
        ValueError,
        r"dropout probability.*2\.0",
    ),
    Misuse(
        "batch_norm_of_one",
        lambda s: F.batch_norm(Tensor(np.ones((1, 3))), None, None, training=True),
        ValueError,
        r"more than one value.*\(1, 3\)",
    ),
    Misuse("layer_norm_shape", lambda s: F.layer_norm(s.w, (4,)), ShapeError, r"\(4,\).*\(2, 3\)"),
    # optimisers
    *(
        Misuse(
            f"{name}_{value}",
            lambda s, name=name, value=value: SGD([s.w], **{"lr": 0.1, name: value}),
            ValueError,
            rf"{name}.*{re.escape(expected)}.*{value}",
        )
        for name, expected, values in (
            ("lr", "finite number >= 0", (-0.1, NAN, INF)),
            ("weight_decay", "finite number >= 0", (-1.0, NAN)),
            ("momentum", "in [0, 1)", (-0.1, 1.0, NAN)),
            ("dampening", "a number from 0 to 1", (-0.5, 2.0)),
        )
        for value in values
    ),
    Misuse("nesterov_without_momentum", lambda s: SGD([s.w], lr=0.1, nesterov=True), ValueError, r"nesterov.*momentum"),
    Misuse(
        "nesterov_with_dampening",
        lambda s: SGD([s.w], lr=0.1, momentum=0.9, dampening=0.5, nesterov=True),
        ValueError,
        r"nesterov.*dampening",
    ),
    Misuse("lr_text", lambda s: SGD([s.w], lr="0.1"), (TypeError, ValueError), r"lr.*number.*'0\.1'"),
    Misuse("betas", lambda s: Adam([s.w], betas=(0.9, 1.0)), ValueError, r"betas.*in \[0, 1\).*1\.0"),
    Misuse("eps", lambda s: AdamW([s.w], eps=0.0), ValueError, r"eps.*> 0.*0\.0"),
    Misuse("optimizer_of_nothing", lambda s: SGD([], lr=0.1), ValueError, r"empty parameter list"),
    Misuse(
        "optimizer_of_used_generator",
        lambda s: [SGD(g, lr=0.1) for g in [iter([s.w])] * 2],
        ValueError,
        r"empty parameter list.*generator",
    ),
    Misuse("optimizer_of_a_tensor", lambda s: SGD(s.w, lr=0.1), TypeError, r"single Tensor.*\[parameter\]"),
    Misuse("optimizer_of_arrays", lambda s: SGD([s.w, np.ones(3)], lr=0.1), TypeError, r"parameter 1.*ndarray.*Tensor"),
    Misuse("optimizer_of_names", lambda s: SGD([("w", s.w)], lr=0.1), TypeError, r"parameter 0.*tuple.*Tensor"),
    Misuse(
        "optimizer_of_duplicates", lambda s: SGD([s.w, s.b, s.w], lr=0.1), ValueError, r"parameter 2.*fc\.weight.*twice"
    ),
    Misuse("optimizer_of_results", lambda s: SGD([s.w, s.h], lr=0.1), ValueError, r"parameter 1.*tanh.*leaf"),
    Misuse(
        "duplicates_across_groups", lambda s: s.opt.add_param_group({"params": [s.b]}), ValueError, r"fc\.bias.*twice"
    ),
    Misuse(
        "unknown_option",
        lambda s: s.opt.add_param_group({"params": [Tensor([1.0], requires_grad=True)], "learning_rate": 0.1}),
        ValueError,
        r"'learning_rate'.*Valid: .*lr",
    ),
    Misuse("group_without_params", lambda s: SGD([{"lr": 0.1}]), ValueError, r"params"),
    Misuse(
        "group_out_of_range",
        lambda s: s.opt.add_param_group({"params": [Tensor([1.0], requires_grad=True)], "lr": -1.0}),
        ValueError,
        r"lr.*-1\.0",
    ),
    Misuse(
        "step_before_backward",
        lambda s: SGD([Tensor([1.0], requires_grad=True)], lr=0.1).step(),
        GraphError,
        r"no parameter has a gradient.*backward\(\)",
    ),
    Misuse(
        "optimizer_state_of_others",
        lambda s: s.opt.load_state_dict(SGD([s.w], lr=0.5).state_dict()),
        CheckpointError,
        r"groups have \[1\].*expected \[2\]",
    ),
    Misuse(
        "optimizer_state_of_other_shapes",
        lambda s: s.opt.load_state_dict(
            {**s.opt.state_dict(), "state": {0: {"momentum_buffer": np.ones(7)}, 1: {"momentum_buffer": np.ones(5)}}}
        ),
        CheckpointError,
        r"parameter 0.*\(7,\).*\(2, 3\).*parameter 1.*\(5,\).*\(3,\)",
    ),
    Misuse(
        "optimizer_state_of_another_kind",
        lambda s: s.opt.load_state_dict(Adam([s.w, s.b]).state_dict()),
        CheckpointError,
        r"options.*expected",
    ),
    Misuse("optimizer_state_that_is_none", lambda s: s.opt.load_state_dict({}), CheckpointError, r"param_groups"),
    Misuse("schedule_warmup", lambda s: CosineAnnealingLR(s.opt, T_max=3, warmup=3), ValueError, r"warmup.*2.*3"),
    Misuse("schedule_steps", lambda s: CosineAnnealingLR(s.opt, T_max=0), ValueError, r"T_max.*0"),
    Misuse("one_cycle_steps", lambda s: OneCycleLR(s.opt, 0.1, total_steps=1), ValueError, r"total_steps.*1"),
    Misuse(
        "one_cycle_pct", lambda s: OneCycleLR(s.opt, 0.1, total_steps=10, pct_start=1.0), ValueError, r"pct_start.*1\.0"
    ),
    Misuse("one_cycle_lr", lambda s: OneCycleLR(s.opt, -0.1, total_steps=10), ValueError, r"(max_)?lr.*-0\.1"),
]


def index_of(name: str) -> int:
    return [m.name for m in MISUSES].index(name)


HINT = re.compile(
    r"\b(use|pass|call|create|reshape|transpose|insert|set|make|write|build|convert|compute|check|apply|reduce|must|expects?"
    r"|expected|needs?|takes?|got|prefer|did you mean|Valid|may be updated|only"
    r"|has no|allowed|is out of (bounds|range))\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("misuse", MISUSES, ids=lambda m: m.name)
def test_misuse(misuse: Misuse) -> None:
    """The type and the message are right, there is no address in it but a hint, and nothing has changed."""
    world = World()
    before = world.state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(misuse.error) as caught:
            misuse.call(world)
    message = str(caught.value)
    assert re.search(misuse.message, message), message
    assert not re.search(r"0x[0-9a-fA-F]{4,}", message), message
    assert HINT.search(message), f"no hint: {message}"
    assert "_requires_grad" not in message
    assert "_data" not in message
    assert "_node" not in message
    assert not isinstance(caught.value, (AssertionError, RecursionError, MemoryError, AttributeError, KeyError))
    assert world.state() == before


def test_names_of_misuses_are_unique() -> None:
    assert len({m.name for m in MISUSES}) == len(MISUSES)


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (GraphError, RuntimeError),
        (ShapeError, ValueError),
        (DataError, ValueError),
        (CheckpointError, ValueError),
        (DtypeError, TypeError),
        (NoRuleError, TypeError),
        (NoRuleError, NotImplementedError),
    ],
)
def test_types_derive_from_pythons_own(error: type[Exception], base: type[Exception]) -> None:
    assert issubclass(error, base)


@pytest.mark.parametrize("name", [m.name for m in MISUSES[index_of("negative_power") : index_of("split_in_two")]])
def test_no_shape_is_blamed_for_a_value(name: str) -> None:
    with pytest.raises(ValueError) as caught:
        MISUSES[index_of(name)].call(World())
    assert type(caught.value) is ValueError
    assert "check shapes" not in str(caught.value)


def test_an_error_is_explained_once() -> None:
    """Also where one function is made of others."""
    for call in (lambda: np.tile(Tensor([1.0]), -1), lambda: np.diag(Tensor(np.zeros((2, 2, 2))))):
        with pytest.raises(ValueError, match=r"^\w+\([^:]*\): [^:]*$"):
            call()


def test_an_object_that_fails_as_an_array_says_why() -> None:
    class Broken:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise ValueError("not today")

    with pytest.raises(ValueError, match="not today"):
        Tensor(Broken())


def test_error_of_numpy_is_the_cause() -> None:
    with pytest.raises(ShapeError) as caught:
        Tensor(np.ones((2, 3))) @ np.ones((4, 5))
    assert isinstance(caught.value.__cause__, ValueError)


def test_after_an_error_work_goes_on() -> None:
    """What failed once does not stand in the way of the next call."""
    world = World()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for misuse in MISUSES:
            with contextlib.suppress(Exception):
                misuse.call(world)
    world.opt.zero_grad()
    F.mse_loss(world.x @ world.w + world.b, np.zeros((4, 3))).backward()
    world.opt.step()
    assert world.w.grad is not None
    assert np.isfinite(world.w.data).all()


def test_backward_error_leaves_the_graph_usable() -> None:
    world = World()
    y = (world.w * world.w).sum(axis=1)
    world.w.zero_grad()
    for gradient in (None, np.ones(3), np.ones((2, 1))):
        with pytest.raises((GraphError, ShapeError)):
            y.backward(gradient)
    assert world.w.grad is None
    y.backward(np.ones(2))
    np.testing.assert_array_equal(world.w.grad.data, 2 * world.w.data)


def test_grad_error_leaves_the_graph_usable() -> None:
    """An unused input is found before the graph is released."""
    world = World()
    y = (world.w * world.w).sum()
    with pytest.raises(GraphError, match="allow_unused"):
        grad(y, [world.w, world.b])
    assert grad(y, world.w)[0].shape == (2, 3)


def test_label_check_names_the_first_bad_label() -> None:
    labels = np.zeros(1000, int)
    labels[[700, 20, 999]] = [50, -3, 40]
    with pytest.raises(ValueError, match=r"labels\[20\] is -3"):
        F.cross_entropy(np.zeros((1000, 10)), labels)


def test_load_state_changes_nothing_when_a_late_part_is_wrong() -> None:
    world = World()
    state = world.opt.state_dict()
    state["param_groups"][0]["lr"] = 0.5
    state["state"][1]["momentum_buffer"] = np.ones(9)
    before = world.state()
    with pytest.raises(CheckpointError):
        world.opt.load_state_dict(state)
    assert world.state() == before


def test_helpers() -> None:
    assert nearest("rleu", ["relu", "tanh"]) == "did you mean 'relu'? Valid: relu, tanh"
    assert nearest("xyz", ["relu", "tanh"]) == "Valid: relu, tanh"
    assert str(out_of_range("lr", -0.1, "a finite number >= 0")) == "lr must be a finite number >= 0, got -0.1"
    assert describe(np.zeros((2, 3), np.float32)) == "float32(2, 3)"
    assert len(describe("x" * 500)) == 60
    assert "0x" not in describe(object())
    kinds = [TypeError("t"), IndexError("i"), ZeroDivisionError("z"), ValueError("v")]
    clashes = [ValueError("shapes differ"), np.exceptions.AxisError(2, 1)]
    for error in kinds + clashes:
        with pytest.raises(ValueError if error in clashes else type(error)) as caught:
            attempt("add", failing(error), [np.ones(2), np.ones(3)], {"axis": 1})
        assert type(caught.value) is (ShapeError if error in clashes else type(error))
        assert "add(float64(2,), float64(3,), axis=1)" in str(caught.value)
    own = RuntimeError("own")
    with pytest.raises(RuntimeError) as caught_own:
        attempt("add", failing(own), [], {})
    assert caught_own.value is own


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*args: Any, **keywords: Any) -> Any:
        raise error

    return fail


def test_a_part_of_a_name_is_a_hint() -> None:
    assert nearest("mse", ["mse_loss", "binary_cross_entropy"]).startswith("did you mean 'mse_loss'?")


def test_the_line_is_the_users_however_deep_the_package_is() -> None:
    step = tg.jit(lambda x: np.linalg.norm(x).item())
    with pytest.raises(tg.RecordingError, match=r"item at test_errors.py:\d+ needs a value"):
        step(np.ones(3))
    with tg.detect_anomaly(), pytest.raises(FloatingPointError, match=r"called at test_errors.py:\d+"):
        np.median(1 / Tensor([0.0]))


def test_a_library_that_is_broken_is_not_called_absent(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_broken_library.py").write_text("import what_it_lacks")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'what_it_lacks'"):
        need("a_broken_library", "plot")
    (tmp_path / "a_bare_library.py").write_text("raise ImportError('libx.so: cannot open shared object file')")
    with pytest.raises(ImportError, match=r"a_bare_library, which lacks a library of the system: libx\.so: cannot"):
        need("a_bare_library", "plot")


def test_an_error_inside_of_a_function_of_others_is_explained_once() -> None:
    with pytest.raises(ShapeError) as error:
        np.dot(Tensor(np.ones((2, 3))), np.ones((2, 4)))
    assert str(error.value).startswith("matmul(float64(2, 3), float64(2, 4)): cannot multiply")


def test_a_number_that_a_dtype_cannot_hold() -> None:
    with pytest.raises(OverflowError, match=r"add\(int8\(2,\), 300\): .*out of bounds"):
        Tensor(np.zeros(2, np.int8)) + 300


def test_one_class_is_no_choice() -> None:
    for loss, target in (
        (F.cross_entropy, np.zeros(3, int)),
        (F.nll_loss, np.zeros(3, int)),
        (F.cross_entropy, np.ones((3, 1))),
    ):
        with pytest.raises(ShapeError, match=r"scores of shape \(3, 1\) leave no choice of a class; use mse_loss"):
            loss(Tensor(np.zeros((3, 1))), target)


SCRIPT = """
import warnings
import numpy as np
import tinygrad_mlp as tg
x = tg.Tensor([-1.0, 0.0], requires_grad=True)
for _ in range(2):
    y = np.log(x)  # here
z = np.log(x)  # here
np.sum(1 / x).backward()  # here
(tg.Tensor([1e300]) * 1e300)  # here
with np.errstate(all="ignore"):
    np.log(x)
"""


def test_warnings_of_numpy_point_at_the_users_line(tmp_path: Any) -> None:
    """Once for each line, as anywhere: those of a loop are one, and those of two lines are two."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    lines = [i for i, line in enumerate(SCRIPT.splitlines(), 1) if line.endswith("# here")]
    env = {**os.environ, "PYTHONPATH": str(Path(tg.__file__).parents[1])}
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, env=env)
    found = re.findall(r"(\S+):(\d+): RuntimeWarning: (.*)", run.stderr)
    assert {path for path, _, _ in found} == {str(script)}
    assert sorted({int(line) for _, line, _ in found}) == lines
    assert len(set(found)) == len(found)
    assert {message for _, _, message in found} >= {
        "divide by zero encountered in log",
        "invalid value encountered in log",
        "divide by zero encountered in divide",
        "overflow encountered in multiply",
    }
    for option, code in (("error", 1), ("ignore", 0)):
        call = [sys.executable, "-W", option, script]
        run = subprocess.run(call, capture_output=True, text=True, check=False, env=env)
        assert (run.returncode, "RuntimeWarning" in run.stderr, "line 7" in run.stderr) == (
            code,
            bool(code),
            bool(code),
        )


def test_filters_can_be_sent_to_other_processes() -> None:
    assert len(pickle.loads(pickle.dumps(warnings.filters))) == len(warnings.filters)


def test_a_number_of_a_tensor_that_requires_grad_is_said_to_lose_it() -> None:
    """As in PyTorch: `float` warns, and what asks for a plain number in so many words does not."""
    t = Tensor(2.0, requires_grad=True)
    for lose in (float, math.sin, lambda t: np.fromiter([t, t], float), complex):
        with pytest.warns(UserWarning, match=r"its gradient is lost; use np\.sin\(t\), say, .*t\.item\(\)") as caught:
            lose(t)
        assert caught[0].filename == __file__
    assert (t.item(), t.tolist(), int(t), bool(t), f"{t:.1f}") == (2.0, 2.0, 2, True, "2.0")
    assert float(t.detach()) == float(Tensor(2.0)) == 2.0


def test_filters_of_warnings_can_be_copied_as_text() -> None:
    code = "import warnings, tinygrad_mlp\nfor action, message, category, module, line in list(warnings.filters):\n"
    code += "    texts = [getattr(p, 'pattern', p) or '' for p in (message, module)]\n"
    code += "    warnings.filterwarnings(action, texts[0], category, texts[1], line, append=True)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_warning_of_numpy_is_issued_again_where_it_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, with no filter but ours: those of other modules and of other kinds stay what they are."""
    ours = [("ignore", errors._NumPys(), RuntimeWarning, errors._Ours(), 0)]
    with warnings.catch_warnings(record=True) as caught:
        monkeypatch.setattr(warnings, "filters", ours)
        np.log(Tensor([-1.0]))
        np.log(np.array([-1.0]))
        warnings.warn("invalid value encountered in log", UserWarning, stacklevel=1)
        warnings.warn_explicit("something else", RuntimeWarning, "a.py", 1, "tinygrad_mlp.core.graph", {})
    found = [(str(w.message), w.category, Path(w.filename).name) for w in caught]
    here = Path(__file__).name
    assert found == [
        ("invalid value encountered in log", RuntimeWarning, here),
        ("invalid value encountered in log", RuntimeWarning, here),
        ("invalid value encountered in log", UserWarning, here),
        ("something else", RuntimeWarning, "a.py"),
    ]
    assert caught[1].lineno == caught[0].lineno + 1


def test_what_names_itself_without_end_is_called_by_its_class() -> None:
    class Endless:
        def __repr__(self) -> str:
            return repr(self)

    assert describe(Endless()) == "Endless"
