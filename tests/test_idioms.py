"""NumPy as people write it: idioms that users of HIPS/autograd and MyGrad stumble on. Each is right, or refused with
advice, and then the advice is executed here and is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.sparse

import tinygrad_mlp as tg
from tinygrad_mlp import Tensor

A = np.arange(9.0).reshape(3, 3) % 5 - 1.7
SPARSE = scipy.sparse.csr_array(np.where(A > 0, A, 0.0))
MATRIX = scipy.sparse.csr_matrix(SPARSE)
MASK = np.array([True, False, True])


class Idiom(NamedTuple):
    """What users write, of x (3 numbers), m (3, 3) and s (a number); what it means; and, if refused, what is advised.

    ``says`` is in the error's message, and ``advised`` is that advice taken. ``means`` is in plain NumPy.
    """

    name: str
    write: Callable[..., Any]
    means: Callable[..., Any] | None = None
    says: str = ""
    advised: Callable[..., Any] | None = None


def filled(x: Any, m: Any, s: Any) -> Any:
    out = np.zeros(3)
    out[0] = s
    return out


def assigned(x: Any, m: Any, s: Any) -> Any:
    x = x.copy()
    x[0] = s
    return x


def accumulated(x: Any, m: Any, s: Any) -> Any:
    out = np.ones(3)
    out += x
    return out


def looped(x: Any, m: Any, s: Any) -> Any:
    total = 0.0
    for row in m:
        total += row @ x * s
    return total


def unpacked(x: Any, m: Any, s: Any) -> Any:
    a, b, c = x
    return a * b + np.hypot(b, c)


def picked(x: Any, items: Any, change: Callable[[Any], Any]) -> Any:
    x = x.copy()
    x[items] = change(x[items])
    return x


STACK = "np.stack([t, u]) for an array or list of Tensors"
IDIOMS = [
    Idiom("array of numbers", lambda x, m, s: np.array([s, 2 * s]), None, STACK, lambda x, m, s: np.stack([s, 2 * s])),
    Idiom("array of rows", lambda x, m, s: np.array([x, m[0]]), None, STACK, lambda x, m, s: np.stack([x, m[0]])),
    Idiom("array like", lambda x, m, s: np.array([s, s], like=s), None, "np.stack", lambda x, m, s: np.stack([s, s])),
    Idiom("asarray of a list", lambda x, m, s: np.asarray([s, s]), None, STACK, lambda x, m, s: np.stack([s, s])),
    Idiom("mean of a list", lambda x, m, s: np.mean([s, s * s]), None, STACK, lambda x, m, s: np.mean(np.stack([s, s * s]))),
    Idiom("sum of rows", lambda x, m, s: np.sum([x, m[0]], axis=0), None, STACK, lambda x, m, s: np.sum(np.stack([x, m[0]]), axis=0)),
    Idiom("largest of a list", lambda x, m, s: np.max([s, x[2]]), None, STACK, lambda x, m, s: np.max(np.stack([s, x[2]]))),
    Idiom("product of a list", lambda x, m, s: np.prod([s, x[0]]), None, STACK, lambda x, m, s: np.prod(np.stack([s, x[0]]))),
    Idiom("deviation of a list", lambda x, m, s: np.std([s, x[0]]), None, STACK, lambda x, m, s: np.std(np.stack([s, x[0]]))),
    Idiom("asarray like", lambda x, m, s: np.asarray([x, x], like=x), None, "np.stack", lambda x, m, s: np.stack([x, x])),
    Idiom("exp of a list", lambda x, m, s: np.exp([s, s]), None, STACK, lambda x, m, s: np.exp(np.stack([s, s]))),
    Idiom("list beside an array", lambda x, m, s: A @ [s, s, s], None, STACK, lambda x, m, s: A @ np.stack([s, s, s])),
    Idiom("r_", lambda x, m, s: np.r_[x, 1.0, s], None, "np.hstack for np.r_", lambda x, m, s: np.hstack([x, 1.0, s])),
    Idiom("c_", lambda x, m, s: np.c_[x, m], None, "np.column_stack for np.c_", lambda x, m, s: np.column_stack([x, m])),
    Idiom("column_stack", lambda x, m, s: np.column_stack([x, A[0], m])),
    Idiom("hstack with a number", lambda x, m, s: np.hstack([x, 1.0, s])),
    Idiom("append", lambda x, m, s: np.append(x, s)),
    Idiom("full", lambda x, m, s: np.full(3, s), None, r"np.ones(n) * t", lambda x, m, s: np.ones(3) * s),
    Idiom("array.dot", lambda x, m, s: A.dot(x), None, "A @ t for A.dot(t)", lambda x, m, s: A @ x),
    Idiom("tensor.dot", lambda x, m, s: m.dot(A).dot(x)),
    Idiom("array @ tensor", lambda x, m, s: (A @ x) @ A),
    Idiom("sparse @ vector", lambda x, m, s: SPARSE @ x, lambda x, m, s: SPARSE.toarray() @ x),
    Idiom("sparse @ matrix", lambda x, m, s: SPARSE @ m, lambda x, m, s: SPARSE.toarray() @ m),
    Idiom("sparse.T.dot", lambda x, m, s: SPARSE.T.dot(x), lambda x, m, s: SPARSE.toarray().T @ x),
    Idiom("vector @ sparse", lambda x, m, s: x @ SPARSE, lambda x, m, s: x @ SPARSE.toarray()),
    Idiom("matrix * vector", lambda x, m, s: MATRIX * x, lambda x, m, s: SPARSE.toarray() @ x),
    Idiom("filling an array", filled, lambda x, m, s: s * np.eye(3)[0], "np.stack", lambda x, m, s: np.stack([s, 0.0, 0.0])),
    Idiom("item assignment", assigned, None, "t = t.at[i].set(v)", lambda x, m, s: x.at[0].set(s)),
    Idiom("at set", lambda x, m, s: m.at[1, :].set(x), lambda x, m, s: picked(m, (1, slice(None)), lambda old: x)),
    Idiom("at set of a mask", lambda x, m, s: x.at[MASK].set(s), lambda x, m, s: picked(x, MASK, lambda old: s)),
    Idiom("at add", lambda x, m, s: x.at[[0, 0, 2]].add(s), lambda x, m, s: x + s * np.array([2, 0, 1])),
    Idiom("at multiply", lambda x, m, s: x.at[1:].multiply(s), lambda x, m, s: picked(x, slice(1, None), lambda old: old * s)),
    Idiom("array += tensor", accumulated, None, "x = x + t", lambda x, m, s: np.ones(3) + x),
    Idiom("out=", lambda x, m, s: np.sin(x, out=np.zeros(3)), lambda x, m, s: np.sin(x), "y = f(t) for f(t, out=y)", lambda x, m, s: np.sin(x)),
    Idiom("flatten", lambda x, m, s: m.flatten() * s),
    Idiom("flatten by columns", lambda x, m, s: m.flatten(order="F") * s),
    Idiom("ravel by columns", lambda x, m, s: m.ravel("F") * s),
    Idiom("np.ravel by columns", lambda x, m, s: np.ravel(m, order="F"), None, "order='F' call it on t.T", lambda x, m, s: np.ravel(m.T)),
    Idiom("reshape by columns", lambda x, m, s: m.reshape(1, 9, order="F"), None, "t.T.reshape(shape[::-1]).T", lambda x, m, s: m.T.reshape((1, 9)[::-1]).T),
    Idiom("reshape by rows", lambda x, m, s: m.reshape(1, 9, order="C") * s),
    Idiom("loop over rows", looped),
    Idiom("unpacking", unpacked),
    Idiom("sum of a generator", lambda x, m, s: sum(e * e for e in x)),
    Idiom("mask", lambda x, m, s: x[A[0] > 0] * s),
    Idiom("where", lambda x, m, s: np.where(x > 0, x**2, s * x)),
    Idiom("power of two", lambda x, m, s: 2**x + x**3 + x**-1),
    Idiom("float32 constant", lambda x, m, s: x * np.float32(0.5) + np.sqrt(2)),
    Idiom("trace and diag", lambda x, m, s: np.trace(m) * np.diag(x) + np.outer(x, x)),
    Idiom("linspace", lambda x, m, s: np.linspace(0, s, 4)),
    Idiom("zeros of a shape", lambda x, m, s: np.zeros(x.shape) + np.ones_like(x) * x),
    Idiom("result_type", lambda x, m, s: np.ones(2, np.result_type(x, np.float32)) * s),
    Idiom("can_cast", lambda x, m, s: x * np.can_cast(x, np.float64)),
    Idiom("einsum", lambda x, m, s: np.einsum("ij,j->i", m, x)),
    Idiom("add.reduce", lambda x, m, s: np.add.reduce(m) * s),
    Idiom("method of a column", lambda x, m, s: m[:, 0].std(ddof=1) + m.T.mean(axis=0)),
    Idiom("norm", lambda x, m, s: x / np.linalg.norm(x)),
]  # fmt: skip
X, M, S = np.array([0.7, -1.2, 2.0]), np.array([[0.5, -1.0, 0.3], [1.1, 0.2, -0.4], [0.9, 1.5, 2.2]]), np.array(1.3)


def test_there_are_forty_and_more():
    assert len({idiom.name for idiom in IDIOMS}) == len(IDIOMS) >= 40


@pytest.mark.parametrize("idiom", IDIOMS, ids=lambda idiom: idiom.name)
def test_idiom(idiom):
    """It gives what NumPy gives, and its gradient passes the checker; or what its error advises does."""
    right = idiom.write
    if idiom.advised is not None:
        with pytest.raises((TypeError, ValueError, RuntimeError)) as caught:
            idiom.write(*(Tensor(a, requires_grad=True) for a in (X, M, S)))
        assert idiom.says in f"{caught.value} {caught.value.__cause__}"  # NumPy wraps what an item raises
        right = idiom.advised
    expected = (idiom.means or idiom.write)(X, M, S.copy())
    found = right(*(Tensor(a, requires_grad=True) for a in (X, M, S)))
    assert isinstance(found, Tensor) and found.requires_grad
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-14)
    assert found.dtype == np.float64
    tg.assert_gradcheck(lambda x, m, s: right(x, m, s) + 0 * (np.sum(x) + np.sum(m) + s), [X, M, S], order=2)


@pytest.mark.parametrize("idiom", [i for i in IDIOMS if i.advised is None], ids=lambda idiom: idiom.name)
def test_idiom_is_compiled(idiom):
    def slope(x, m, s):
        return tg.func.value_and_grad(lambda x, m, s: np.sum(np.sin(idiom.write(x, m, s[0]))), (0, 1, 2))(x, m, s)

    step = tg.jit(slope)
    expected = slope(Tensor(X), Tensor(M), Tensor(S.reshape(1)))
    for _ in range(4):
        value, slopes = step(X, M, S.reshape(1))
        for a, b in zip((value, *slopes), (expected[0], *expected[1]), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert step.eager is None


def test_what_at_does_where_an_index_picks_twice():
    x = Tensor(np.zeros(3), requires_grad=True)
    v = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x.at[[0, 0, 1]].set(v)
    assert y.tolist() == [2.0, 3.0, 0.0]
    g, h = tg.grad(y, (x, v), np.array([10.0, 20.0, 30.0]))
    assert g.tolist() == [0.0, 0.0, 30.0] and h.tolist() == [0.0, 10.0, 20.0]
    assert x.at[[0, 0, 1]].add(v).tolist() == [3.0, 3.0, 0.0]
    with pytest.raises(ValueError, match="twice"):
        x.at[[0, 0, 1]].multiply(v)


def test_flatten_knows_two_orders():
    with pytest.raises(ValueError, match="unknown order 'K'"):
        Tensor(M).flatten("K")
