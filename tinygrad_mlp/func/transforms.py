"""Derivatives of functions: each transform takes a function and gives what computes its derivative.

All of them but forward mode are calls of the one walk back (`core.graph.backpropagate`). Forward mode has no second
table of rules: the gradient ``J.T @ u`` that a rule gives is linear in ``u``, so the gradient of that by ``u``, with
``v`` as its upstream, is ``J @ v``. The rules of what is linear read no values, so that of what is computed for ``u``
nothing is needed in the end, and `jit` leaves it out.
"""

from __future__ import annotations

import functools
import inspect
import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, ParamSpec

import numpy as np

from ..checks import as_numbers
from ..core.autograd import grad as gradients_of
from ..core.graph import ancestors, backpropagate, fit
from ..core.tensor import Tensor, apply, wrap
from ..core.tracer import IDLE, mode
from ..core.versions import check_unchanged
from ..errors import DtypeError, ShapeError, describe, out_of_range
from ..jit.live import recorded
from ..jit.record import memory_of
from ..rules.table import Rule
from ..trees import filled, leaves, parts, tree_map

Function = Callable[..., Any]
P = ParamSpec("P")
Argnums = int | Sequence[int]


@contextmanager
def _graph_kept() -> Iterator[None]:
    """Context manager inside which ops are recorded, also in a `no_grad` around it."""
    before, mode.grad_enabled = mode.grad_enabled, True
    try:
        yield
    finally:
        mode.grad_enabled = before


class Run(NamedTuple):
    """A call of a function by some of whose arguments it is differentiated.

    ``chosen`` are those arguments, trees of Tensors that ``inputs`` lists; ``open`` says whether the results depend on
    what somebody around may differentiate by, and ``plain`` whether no Tensor was given, so that none is given back;
    ``kept`` whether the graph is used after the results have been given, so that they are copies.
    """

    chosen: Any
    inputs: list[Tensor]
    outs: Any
    aux: Any
    open: bool
    plain: bool
    kept: bool

    def given(self, tree: Any) -> Any:
        """Return results as they are given to the caller: apart from the graph that was made here, if it is closed."""
        return tree_map(self._given, tree)

    def _given(self, t: Any) -> Any:
        if not isinstance(t, Tensor) or self.open:
            return t
        if not self.plain:
            return t.detach()
        return t._data[()] if not t.ndim else t._data.copy() if self.kept else t._data

    def beside(self, tree: Any) -> Run:
        """Return the run as it is where what is computed of it depends on other Tensors too, of a tree."""
        others = [t for t in leaves(tree) if isinstance(t, Tensor)]
        moves = mode.grad_enabled and any(t._requires_grad for t in others)
        return self._replace(open=self.open or moves, plain=self.plain and not others)

    def with_aux(self, *results: Any) -> Any:
        """Return the results, and what else the function gave, if it gives that."""
        results = (*results, *(() if self.aux is _NO_AUX else (self.given(self.aux),)))
        return results if len(results) > 1 else results[0]


_NO_AUX: Any = object()


class _Running(threading.local):
    """What the runs that are going on in a thread are differentiated by."""

    own: set[Tensor] | None = None

    @contextmanager
    def inputs(self) -> Iterator[set[Tensor]]:
        """Context manager of a run, which gives a set for its inputs; those of runs inside of it come in, too."""
        around, self.own = self.own, set()
        own = self.own
        try:
            yield own
        finally:
            self.own = around
            if around is not None:
                around |= own


_running = _Running()


def _run(
    f: Function, args: Sequence[Any], kwargs: Any, argnums: Argnums | None, has_aux: bool, kept: bool = False
) -> Run:
    """Call a function with Tensors in place of what it is differentiated by, None: by all; ``kept`` copies those."""
    plain = not any(isinstance(a, Tensor) for a in leaves((args, kwargs))) and not mode.tracer.replays
    outer, places, args = mode.grad_enabled, _places(argnums, len(args)), list(args)
    with _graph_kept(), _running.inputs() as own:
        for i in places:
            hint = "keep it constant, as in lambda x: f(x, 3)" if argnums is None else "argnums for others"
            lifted = functools.partial(_lifted, own=own, kept=kept, where=f"argument {i}", hint=hint)
            args[i] = lifted(args[i]) if parts(args[i]) is None else tree_map(_unless_constant(lifted), args[i])
        outs, aux = f(*args, **kwargs), _NO_AUX
    if has_aux:
        if not (isinstance(outs, tuple) and len(outs) == 2):
            raise TypeError(f"with has_aux=True a function returns a pair, the result and the rest; got {_kind(outs)}")
        outs, aux = outs
    chosen = args[places[0]] if hasattr(argnums, "__index__") else tuple(args[i] for i in places)
    chosen = tree_map(lambda t: t if isinstance(t, Tensor) else None, chosen)
    around = [t for t in leaves((outs, aux if has_aux else None)) if isinstance(t, Tensor) and t._requires_grad]
    is_open = outer and any(t._node is None and t._requires_grad and t not in own for t in ancestors(around)[0])
    return Run(chosen, leaves(chosen), outs, aux, is_open, plain, kept)


def _unless_constant(lifted: Function) -> Function:
    """Return what makes Tensors of the leaves of a tree, but of texts, bools and functions, which are constant."""
    return lambda a: a if isinstance(a, (str, bytes, bool, np.ufunc)) or inspect.isroutine(a) else lifted(a)


def _places(argnums: Argnums | None, count: int) -> list[int]:
    """Return the positions of the arguments to differentiate by."""
    given: Any = range(count) if argnums is None else [argnums] if hasattr(argnums, "__index__") else argnums
    if not np.iterable(given) or not all(hasattr(i, "__index__") and not isinstance(i, bool) for i in given):
        raise out_of_range("argnums", argnums, "a position, or several that differ")
    places = [operator.index(i) for i in given]
    for i in places:
        if not -count <= i < count:
            raise out_of_range("argnums", argnums, f"positions of the {count} arguments that were given by position")
    places = [i % count for i in places]
    if not places or len(set(places)) < len(places):
        raise out_of_range("argnums", argnums, "a position, or several that differ")
    return places


def _lifted(a: Any, own: set[Tensor], kept: bool, where: str, hint: str) -> Tensor:
    """Return a Tensor to differentiate by, of its own: what else is made of the same Tensor is constant."""
    a = recorded(a)
    if isinstance(a, Tensor) and a._requires_grad:
        return a.reshape(a.shape)
    if not isinstance(a, Tensor):
        t = wrap(np.array(a) if kept else as_numbers(a))
    else:
        t = wrap(a._data, version=a._version)
    if t._data.dtype.kind != "f":
        kind = describe(a) if isinstance(a, (bool, int)) or not hasattr(a, "dtype") else str(t._data.dtype)
        raise DtypeError(f"{where} has {kind}, which cannot be differentiated by; use floats, or {hint}")
    t._requires_grad = True
    own.add(t)
    return t


def _pulled(run: Run, outs: Sequence[Any], seeds: Sequence[Any], again: bool = False) -> list[Any]:
    """Return the gradients of the inputs for upstream gradients of results, zeros where nothing arrives."""
    found = _slopes(outs, run.inputs, seeds, run.open, again)
    return [_zeros(t) if g is None else g for t, g in zip(run.inputs, found, strict=True)]


def _slopes(outs: Sequence[Any], inputs: Sequence[Tensor], seeds: Sequence[Any], graph: bool, again: bool) -> list[Any]:
    """Return what reaches the inputs from those of the results that lead to them, None where nothing does."""
    linked = [(t, s) for t, s in zip(outs, seeds, strict=True) if isinstance(t, Tensor) and t._requires_grad]
    if not linked or not inputs:
        return [None] * len(inputs)
    roots, upstream = zip(*linked, strict=True)
    return list(gradients_of(roots, inputs, upstream, graph or again, graph, True))


def _zeros(like: Any) -> Tensor:
    dtype = like.dtype if getattr(like, "dtype", np.dtype(int)).kind == "f" else np.dtype(float)
    return _constant(np.zeros(np.shape(like), dtype))


def _constant(array: np.ndarray[Any, Any]) -> Tensor:
    t = wrap(array)
    mode.tracer.constant(t)
    return t


def _scalar(run: Run, name: str) -> Any:
    """Return the only result of a function, which is a number."""
    out = run.outs
    if np.size(out) != 1 if isinstance(out, (Tensor, np.ndarray)) else not isinstance(out, (float, int, np.generic)):
        hint = "reduce it with np.sum, or use jacrev" if hasattr(out, "shape") else "has_aux=True for a second result"
        raise ShapeError(f"{name} takes a function that returns a number, this one returned {_kind(out)}; {hint}")
    return out


def _kind(value: Any) -> str:
    return describe(value) if hasattr(value, "shape") or value is None else type(value).__name__


def _checked(f: Any, name: str) -> None:
    if not callable(f):
        raise TypeError(
            f"{name} takes a function, got {describe(f)}; of Tensors of a graph, use tg.grad(output, input)"
        )


def grad(f: Callable[P, Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[P, Any]:
    """Return a function of the same arguments that computes the gradient of ``f``, which returns a number.

    Args:
        f: a function of arrays, numbers, Tensors and trees of them: tuples, lists, dicts, named tuples, dataclasses.
        argnums: by which argument to differentiate, by its position, or several: the gradient has the tree, shapes and
            dtypes of that argument, or is a tuple of such.
        has_aux: whether ``f`` returns a pair, whose second part is given back beside the gradient.

    Texts, bools, functions and None in a tree are constant; None stands in their places in derivatives.

    ndarrays and numbers give ndarrays and numbers, in their dtype; if any argument is a Tensor, or what the result
    depends on around the function, results are Tensors. All transforms of this module nest, and all can be compiled:
    ``tg.jit(tg.func.grad(f))``.

    Raises:
        ShapeError: ``f`` returned something else than a number.
        DtypeError: an argument to differentiate by is a text, or holds integers.

    >>> grad(lambda x: np.sum(np.sin(x) ** 2))(np.array([0.0, np.pi / 4]))
    array([0., 1.])
    >>> grad(grad(lambda x: x**3))(2.0)
    np.float64(12.0)
    >>> grad(lambda p: p["a"] * np.sum(p["b"]))({"a": 2.0, "b": np.ones(2)})
    {'a': np.float64(2.0), 'b': array([2., 2.])}
    """
    both = value_and_grad(f, argnums, has_aux)

    @functools.wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, slope = both(*args, **kwargs)
        return (slope, value[1]) if has_aux else slope

    return gradient


def value_and_grad(f: Callable[P, Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[P, Any]:
    """Return a function that computes ``f`` and its gradient: a pair, or ((value, aux), gradient).

    Args:
        f: as of `grad`.
        argnums: by which argument to differentiate, or several.
        has_aux: whether ``f`` returns a pair, whose second part is given back beside the result.

    >>> value_and_grad(lambda x, y: x * y, argnums=(0, 1))(2.0, 3.0)
    (np.float64(6.0), (np.float64(3.0), np.float64(2.0)))
    """
    _checked(f, "value_and_grad")

    @functools.wraps(f)
    def value_and_gradient(*args: Any, **kwargs: Any) -> Any:
        run = _run(f, args, kwargs, argnums, has_aux)
        out = _scalar(run, "grad")
        seed = [_constant(np.ones_like(out._data))] if isinstance(out, Tensor) else [None]
        slope = run.given(filled(run.chosen, _pulled(run, [out], seed)))
        return run.with_aux(run.given(out)), slope

    return value_and_gradient


def vjp(f: Function, *primals: Any, has_aux: bool = False) -> Any:
    """Return ``f(*primals)`` and a function of upstream gradients ``u`` that gives ``u @ J`` for each primal.

    ``u`` has the tree and shapes of the result of ``f``; the function returns a tuple, one gradient for each primal,
    and can be called any number of times. With ``has_aux``, what else ``f`` gave comes third.

    >>> y, pull = vjp(lambda x, a: a * x**2, np.array([1.0, 2.0]), 3.0)
    >>> y, pull(np.array([1.0, 1.0]))
    (array([ 3., 12.]), (array([ 6., 12.]), np.float64(5.0)))
    """
    _checked(f, "vjp")
    run = _run(f, primals, {}, None, has_aux, kept=True)
    outs = _results(run)

    def pull(upstream: Any) -> Any:
        seeds = leaves(tree_map(functools.partial(_like, "the upstream gradient"), run.outs, upstream))
        seen = run.beside(upstream)
        return seen.given(filled(run.chosen, _pulled(seen, outs, seeds, again=True)))

    return run.with_aux(run.given(run.outs), pull)


def _results(run: Run) -> list[Any]:
    """Return the results of a function, a list of numbers, arrays and Tensors."""
    outs = leaves(run.outs)
    for out in outs:
        if not isinstance(out, (Tensor, np.ndarray, np.generic, float, int)):
            raise TypeError(f"a result is {_kind(out)}, expected arrays and numbers; has_aux=True is for other results")
    return outs


def _like(name: str, t: Any, given: Any) -> Any:
    """Return what was given for a Tensor or number as a Tensor of its dtype, checked to have its shape."""
    dtype = t.dtype if getattr(t, "dtype", np.dtype(int)).kind == "f" else np.dtype(float)
    given = recorded(given)
    g = given if isinstance(given, Tensor) else wrap(as_numbers(given))
    if g.shape != np.shape(t):
        raise ShapeError(f"{name} has shape {g.shape} where {np.shape(t)} is expected; make them equal")
    return g if g.dtype == dtype else g.astype(dtype)


class _Forward:
    """The derivative of a run along directions of its inputs, from one op to the next, oldest first.

    Along a direction of an argument, an op moves as its rule says, transposed: by the gradient, by ``u``, of what the
    rule gives for ``u``, with that direction as upstream. The rule of an elementwise function is its own transpose, and
    a linear function its own derivative, as one that is linear in each argument alone is, for each of them.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.outs = run, _results(run)
        self.order: list[Tensor] = []
        self.transposed: dict[Tensor, tuple[Tensor, dict[int, Tensor]]] = {}
        leading = set(run.inputs)
        for t in ancestors([t for t in self.outs if isinstance(t, Tensor)])[1]:
            if t not in leading and any(a in leading for _, a in t._node.parents):  # type: ignore[union-attr]
                leading.add(t)
                self.order.append(t)

    def along(self, directions: Sequence[Any], graph: bool) -> list[Tensor]:
        """Return the derivative of each result along a direction for each input, None for an input that stays.

        ``graph`` makes them differentiable.
        """
        check_unchanged(self.order)
        moved = {t: v for t, v in zip(self.run.inputs, directions, strict=True) if v is not None}
        taken = {id(memory_of(v._data)) for v in moved.values()}
        before, mode.grad_enabled = mode.grad_enabled, graph
        try:
            for t in self.order:
                mode.tracer.differentiates(t)
                moving = [(i, moved[a]) for i, a in t._node.parents if a in moved]  # type: ignore[union-attr]
                summands = self._parts(t, moving) if moving else []
                if summands:
                    moved[t] = _as_like(functools.reduce(np.add, summands), t)
        finally:
            mode.grad_enabled = before
            mode.tracer.differentiates(None)
        return [_own(moved[t], taken) if isinstance(t, Tensor) and t in moved else _zeros(t) for t in self.outs]

    def _parts(self, t: Tensor, moving: list[tuple[int, Tensor]]) -> list[Any]:
        """Return how an op moves along directions of arguments, which are given with their positions."""
        node: Any = t._node
        function = node.rule.function
        moving = [(i, v) for i, v in moving if node.rule.vjps[i] is not None]
        if isinstance(function, np.ufunc) and function.signature is None:
            return _rules_of(t, moving)
        if node.rule.linear:
            at = dict(moving)
            inputs = [at.get(i, _still(a) if _moves(node.rule, i) else a) for i, a in enumerate(node.inputs)]
            return [apply(function, inputs, node.keywords)] if moving else []
        if node.rule.multilinear:
            ways = [[v if k == i else a for k, a in enumerate(node.inputs)] for i, v in moving]
            return [apply(function, inputs, node.keywords) for inputs in ways]
        return self._transposed(t, moving)

    def _transposed(self, t: Tensor, moving: list[tuple[int, Tensor]]) -> list[Any]:
        """Return how an op moves along directions of its arguments, by its rules, transposed."""
        if t not in self.transposed:
            node: Any = t._node
            u = _upstream(t)
            with _graph_kept(), np.errstate(all="ignore"):  # of what is computed here, nothing is used
                given = {
                    i: fit(node.rule.vjps[i](u, t, *node.inputs, **node.keywords), a._data)
                    for i, a in node.parents
                    if _moves(node.rule, i)
                }
            self.transposed[t] = u, given
        u, given = self.transposed[t]
        linked = [(given[i], v) for i, v in moving if given[i]._requires_grad]
        if not linked:
            return []
        roots, upstream = zip(*linked, strict=True)
        return list(backpropagate(roots, upstream, {u}, True, mode.grad_enabled, shared=True).values())


def _rules_of(t: Tensor, moving: list[tuple[int, Tensor]]) -> list[Any]:
    """Return what the rules of an elementwise op give for directions in place of an upstream gradient."""
    node: Any = t._node
    lifted = mode.grad_enabled or mode.tracer is not IDLE
    out, values = (t, node.inputs) if lifted else (t._data, node.arrays)
    given: Any = [(i, v if lifted else v._data) for i, v in moving]
    wide = [(i, v if v.shape == t.shape else np.broadcast_to(v, t.shape)) for i, v in given]
    return [node.rule.vjps[i](v, out, *values, **node.keywords) for i, v in wide]


def _moves(rule: Rule, i: int) -> bool:
    """Return whether a function has a rule for its argument ``i``: whether it is differentiated by that."""
    return rule.vjps.get(i, rule.vjps.each) is not None


def _still(a: Any) -> Any:
    """Return the derivative of an argument that does not move: as many zeros."""
    return np.zeros(np.shape(a), getattr(a, "dtype", np.dtype(float)))


def _upstream(t: Tensor) -> Tensor:
    """Return an upstream gradient by which rules are transposed: its values make no difference."""
    u = _zeros(t)
    u._requires_grad = True
    return u


def _as_like(d: Any, t: Tensor) -> Any:
    """Return a derivative as a Tensor, in the shape and dtype of what moves."""
    d = d if isinstance(d, Tensor) else wrap(np.asarray(d))
    d = d if d.shape == t.shape else np.broadcast_to(d, t.shape)
    return d if d.dtype == t.dtype else d.astype(t.dtype)


def _own(d: Tensor, taken: set[int]) -> Tensor:
    """Return a derivative in memory that nothing else refers to, neither a direction nor another result."""
    shared = id(memory_of(d._data)) in taken or not d._data.flags.writeable
    own: Any = np.copy(d) if shared else d
    taken.add(id(memory_of(own._data)))
    return own


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """Return ``f(*primals)`` and its derivative along ``tangents``, ``J @ v``: forward mode.

    ``tangents`` have the trees and shapes of the primals. Compiled, it takes the calls of ``f`` and about as many for
    the derivative: no walk back is left. With ``has_aux``, what else ``f`` gave comes third.

    >>> jvp(lambda x, y: x * np.sin(y), (2.0, 0.0), (1.0, 0.5))
    (np.float64(0.0), np.float64(1.0))
    """
    _checked(f, "jvp")
    run, push = _linearized(f, primals, has_aux, kept=False)
    return run.with_aux(run.given(run.outs), push(*_tuple("tangents", tangents)))


def linearize(f: Function, *primals: Any, has_aux: bool = False) -> Any:
    """Return ``f(*primals)`` and a function of tangents that gives ``J @ v``, without calling ``f`` again.

    ``has_aux`` as of `vjp`.

    >>> y, push = linearize(np.sin, np.array([0.0, np.pi]))
    >>> push(np.ones(2))
    array([ 1., -1.])
    """
    _checked(f, "linearize")
    run, push = _linearized(f, primals, has_aux, kept=True)
    return run.with_aux(run.given(run.outs), push)


def _tuple(name: str, values: Any) -> tuple[Any, ...]:
    if not isinstance(values, (tuple, list)):
        raise TypeError(f"{name} are a tuple with one for each argument, got {_kind(values)}; write ({name[0]},)")
    return tuple(values)


def _linearized(f: Function, primals: Any, has_aux: bool, kept: bool) -> tuple[Run, Function]:
    primals = _tuple("primals", primals)
    run = _run(f, primals, {}, None, has_aux, kept)
    forward = _Forward(run)

    def push(*tangents: Any) -> Any:
        lined = leaves(tree_map(functools.partial(_like, "a tangent"), run.chosen, tangents, name="tangents"))
        seen = run.beside(tangents)
        return seen.given(filled(run.outs, forward.along(lined, seen.open)))

    return run, push


def jacrev(f: Callable[P, Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[P, Any]:
    """Return a function that computes all derivatives of the results of ``f``, by one walk back for each result.

    For each array that ``f`` returns and each one that it is differentiated by, they have the shape of the former
    followed by that of the latter; a tree of results has such a tree in each place.

    Args:
        f: as of `grad`, but for what it returns: arrays, and trees of them.
        argnums: by which argument to differentiate, or several.
        has_aux: whether ``f`` returns a pair, whose second part is given back beside the result.

    >>> jacrev(lambda x: x * x)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    _checked(f, "jacrev")

    @functools.wraps(f)
    def jacobian_of(*args: Any, **kwargs: Any) -> Any:
        run = _run(f, args, kwargs, argnums, has_aux)
        _results(run)
        return run.with_aux(run.given(tree_map(functools.partial(_rows, run), run.outs)))

    return jacobian_of


def _rows(run: Run, out: Any) -> Any:
    """Return the derivatives of one array of results."""
    rows = [_pulled(run, [out], [e], again=True) for e in _basis(out)]
    columns = zip(*rows, strict=True) if rows else [()] * len(run.inputs)
    return filled(run.chosen, [_joined(c, 0, out, t) for t, c in zip(run.inputs, columns, strict=True)])


def _joined(slopes: Sequence[Tensor], axis: int, out: Any, t: Tensor) -> Any:
    """Return derivatives of one array by another, which stand along an axis, in the shapes of both."""
    shape = np.shape(out) + t.shape
    stacked: Any = np.stack(slopes, axis) if slopes else _constant(np.zeros(shape, t.dtype))
    return stacked.reshape(shape)


def _basis(like: Any) -> Iterator[Tensor]:
    zeros = _zeros(like)._data
    for index in np.ndindex(zeros.shape):
        e = zeros.copy()
        e[index] = 1
        yield _constant(e)


def jacfwd(f: Callable[P, Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[P, Any]:
    """Return a function that computes what `jacrev` does, in forward mode: by one pass for each argument's element.

    The faster one of the two where there are more results than elements to differentiate by.

    Args:
        f: as of `grad`, but for what it returns: arrays, and trees of them.
        argnums: by which argument to differentiate, or several.
        has_aux: whether ``f`` returns a pair, whose second part is given back beside the result.

    >>> jacfwd(lambda t: t * np.arange(3.0))(2.0)
    array([0., 1., 2.])
    """
    _checked(f, "jacfwd")

    @functools.wraps(f)
    def jacobian_of(*args: Any, **kwargs: Any) -> Any:
        run = _run(f, args, kwargs, argnums, has_aux)
        forward, n = _Forward(run), len(run.inputs)
        columns = [
            [forward.along([*[None] * i, e, *[None] * (n - i - 1)], run.open) for e in _basis(t)]
            for i, t in enumerate(run.inputs)
        ]
        places = iter(range(len(forward.outs)))

        def one(out: Any) -> Any:
            k = next(places)
            joined = [_joined([d[k] for d in c], -1, out, t) for t, c in zip(run.inputs, columns, strict=True)]
            return filled(run.chosen, joined)

        return run.with_aux(run.given(tree_map(one, run.outs)))

    return jacobian_of


def hessian(f: Callable[P, Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[P, Any]:
    """Return a function that computes all second derivatives of ``f``, which returns a number: `jacrev` of `grad`.

    Args:
        f: as of `grad`.
        argnums: by which argument to differentiate, or several.
        has_aux: whether ``f`` returns a pair, whose second part is given back beside the result.

    >>> hessian(lambda x: x[0] * x[1] ** 2)(np.array([3.0, 5.0]))
    array([[ 0., 10.],
           [10.,  6.]])
    """
    return jacrev(grad(f, argnums, has_aux), argnums, has_aux)


def hvp(f: Function, argnums: Argnums = 0, has_aux: bool = False) -> Function:
    """Return a function of the arguments of ``f`` and of ``v`` that computes the Hessian times ``v``, without it.

    ``v`` comes last and has the tree and shapes of the argument to differentiate by. The gradient of the gradient with
    ``v`` as its upstream: a few times the work of ``f`` (Pearlmutter, Neural Computation 6, 1994).

    Args:
        f: as of `grad`.
        argnums: by which argument to differentiate, or several.
        has_aux: whether ``f`` returns a pair, whose second part is given back beside the result.

    >>> hvp(lambda x: np.sum(x**3))(np.array([1.0, 2.0]), np.ones(2))
    array([ 6., 12.])
    """
    slope = grad(f, argnums, has_aux)

    @functools.wraps(f)
    def product(*args: Any, **kwargs: Any) -> Any:
        if len(args) < 2:
            raise TypeError("the product with a Hessian takes the arguments of the function, and v as the last one")
        *args, v = args  # type: ignore[assignment]
        run = _run(slope, args, kwargs, argnums, has_aux)
        run = run.beside(v)
        seeds = leaves(tree_map(functools.partial(_like, "v"), run.outs, v, name="v"))
        return run.with_aux(run.given(filled(run.chosen, _pulled(run, leaves(run.outs), seeds))))

    return product
