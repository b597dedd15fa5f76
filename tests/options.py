"""The four-number table: what every NumPy function does with its options on a Tensor, beside what NumPy does.

``python tests/options.py`` prints it: how many calls are right, refused with a clear error, wrong, and raise in both.
The calls are the samples, each on inputs that are made extreme in several ways, with one option of NumPy's signature
after the other, and two at a time. A call is wrong if its value, shape, dtype or structure is another one than plain
NumPy's; if a result that depends on the input carries no gradient; if the gradient is not the slope of differences;
or if the error is of another kind.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import inspect
import itertools
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.char  # NumPy then knows their functions
import numpy.fft
import numpy.polynomial
from differences import EPS, slope
from draws import Array, Call, calls_of, name_of, results
from numpy.testing.overrides import get_overridable_numpy_array_functions, get_overridable_numpy_ufuncs

import tinygrad_mlp as tg
from tinygrad_mlp import Tensor
from tinygrad_mlp.rules.table import RULES

nan, inf = math.nan, math.inf
Function = Callable[..., Any]
UFUNCS: set[Function] = set(get_overridable_numpy_ufuncs())
ALL: list[Function] = sorted(UFUNCS | set(get_overridable_numpy_array_functions()), key=name_of)
NUMBERS = (np.float64, np.float32, np.int64, np.bool_)
KINDS = ("right", "refused", "wrong", "both raise")

VALUES: dict[str, list[Any]] = {
    "axis": [0, -1, None, (0, 1), (), 7], "axis1": [1], "axis2": [0], "axisa": [0], "axisb": [0], "axisc": [0],
    "axes": [[1, 0], 1, 0], "keepdims": [True], "dtype": [np.float32, np.float64, int], "casting": ["unsafe"],
    "order": ["F", "C"], "subok": [True, False], "device": ["cpu"], "initial": [1.5], "ddof": [1, 0.5, 3, 9],
    "correction": [1, 9], "mean": [0.25], "bias": [True], "rowvar": [False], "n": [2, 0, -1], "kind": ["stable"],
    "stable": [True], "method": ["lower", "higher", "nearest", "midpoint", "hazen", "weibull", "inverted_cdf", "bad"],
    "interpolation": ["lower"], "side": ["right"], "sorter": [[1, 0, 2]], "prepend": [0.5], "append": [0.5],
    "to_end": [0.5], "to_begin": [0.5], "dx": [0.5], "default": [1.5], "indexing": ["ij", "bad"], "sparse": [True],
    "fweights": [np.arange(1, 6)], "aweights": [np.arange(1, 6)], "offset": [1, -1, 9], "k": [1, -1, 9],
    "mode": ["wrap", "clip", "same", "valid", "edge", "reflect", "symmetric", "mean", "bad"], "reflect_type": ["odd"],
    "shape": [(1, 2), -1], "newshape": [-1], "num": [3, 1, 0, -1], "endpoint": [False], "retstep": [True],
    "start": [1, -1], "ord": [1, 2, 0, -1, 0.5, inf, -inf, "fro", "nuc", "bad"], "decimals": [1, -1], "nan": [2.5],
    "posinf": [9.0], "neginf": [-9.0], "min": [0.0], "max": [0.5], "a_min": [0.0], "a_max": [0.5], "rtol": [0.5],
    "atol": [0.5], "tol": [1e3], "equal_nan": [True], "optimize": ["greedy", True], "fill_value": [2.0],
    "signature": ["ff->f", "f->f"], "copy": [True, False], "descending": [True], "overwrite_input": [True],
    "scaling": [True], "returned": [True], "hermitian": [True], "upper": [True], "left": [0.5], "right": [0.5],
    "invert": [True], "assume_unique": [True], "constant_values": [2.5, (1.0, 2.0)], "strict": [True], "x": [2.0],
}  # fmt: skip
"""What each option is given besides its default. ``out``, ``where`` and ``weights`` take arrays: see `values_of`."""


def values_of(name: str, default: Any, case: Case, out: Any) -> list[Any]:
    """Return what an option is given in a call whose result in plain NumPy is ``out``."""
    shape = case.arrays[0].shape if case.arrays else ()
    ramp = np.arange(math.prod(shape)).reshape(shape)
    arrays = {
        "out": [np.empty_like(out), Tensor(np.empty_like(out))] if getattr(out, "dtype", None) in NUMBERS else [],
        "where": [ramp % 2 == 0],
        "weights": [1.0 + ramp, np.arange(1.0, 1 + shape[-1]) if shape else 2.0, np.zeros(shape)],
    }
    if name in arrays:
        return arrays[name]
    return VALUES.get(name, [not default] if isinstance(default, bool) else [])


EXCUSED: dict[str, tuple[Function, ...]] = {
    "the result is not initialised": (np.empty_like,),
    "the mean of both triangles is taken, as in JAX, for a gradient that is symmetric": (
        np.linalg.cholesky,
        np.linalg.eigh,
        np.linalg.eigvalsh,
    ),
}
"""Functions whose results are others by decision."""


def excuse(case: Case) -> str:
    """Return why a case need not be NumPy's, if it need not."""
    function, variant = case.call.function, case.variant
    for reason, functions in EXCUSED.items():
        if function in functions:
            return reason
    numbers = not all(isinstance(a, np.ndarray) for a in case.call.args)
    if function in (np.dot, np.polyval) and numbers and variant.startswith("float32"):
        return "a number beside a Tensor is weak"
    if function is np.modf and variant == "booleans":
        return "NumPy gives float16"
    if function in (np.quantile, np.percentile) and variant == "booleans":
        return "NumPy refuses truth values, which are 0 and 1 here"
    if function is np.interp and ("inf" in variant or "huge" in variant):
        return "what NumPy gives for points that are not in order depends on how it looks for them"
    if function is np.gradient and variant == "float32 tiny":
        return "NumPy takes spacings that round to equal ones for one number, which has another derivative"
    if function is np.linalg.multi_dot and ("inf" in variant or variant == "stacked"):
        return "products of three are taken from left to right, of stacks too"
    if "empty" in variant and function in (np.einsum, np.median, np.quantile, np.percentile, np.average):
        return "NumPy reads memory that is not its own, or divides by its own zero"
    return ""


def options_of(function: Function) -> dict[str, Any]:
    """Return all options that NumPy's signature has, with their defaults."""
    if isinstance(function, np.ufunc):
        names = ["out", "where", "casting", "order", "subok", "dtype"]
        return dict.fromkeys(names + (["axis", "keepdims"] if function.signature == "(n),(n)->()" else []))
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return {}
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.kind is not p.VAR_KEYWORD}


def filled(value: float, place: int) -> Callable[[Array], Array]:
    def change(a: Array) -> Array:
        a = a.copy()
        a.reshape(-1)[place : place + 1] = value
        return a

    return change


VARIANTS: dict[str, Callable[[Array], Array]] = {
    "as drawn": lambda a: a,
    "float32": lambda a: a.astype(np.float32),
    "inf first": filled(inf, 0),
    "-inf last": filled(-inf, -1),
    "inf in two places": lambda a: filled(inf, 0)(filled(inf, -1)(a)),
    "inf and -inf": lambda a: filled(inf, 0)(filled(-inf, -1)(a)),
    "nan": filled(nan, 0),
    "zeros": lambda a: np.zeros_like(a),
    "minus zeros": lambda a: -np.zeros_like(a),
    "a zero": filled(0.0, 0),
    "equal": lambda a: np.full_like(a, 1.1),
    "huge": lambda a: a * 8e307,
    "tiny": lambda a: a * 5e-324,
    "float32 huge": lambda a: (a * 1e38).astype(np.float32),
    "float32 tiny": lambda a: (a * 1e-45).astype(np.float32),
    "float32 equal": lambda a: np.full_like(a, 0.1, np.float32),
    "integers": lambda a: np.clip(np.nan_to_num(a * 3), -9, 9).astype(int),
    "booleans": lambda a: a > 0,
    "empty": lambda a: a[:0] if a.ndim else a,
    "empty columns": lambda a: a[..., :0] if a.ndim else a,
    "0-d": lambda a: a.reshape(-1)[0].reshape(()) if a.size else a,
    "one element": lambda a: a.reshape(-1)[:1],
    "one row": lambda a: a[:1] if a.ndim else a,
    "stacked": lambda a: np.stack([a, a[..., ::-1] if a.ndim else -a]),
}


MAKE_ARRAYS = [np.array, np.asarray, np.asanyarray, np.ascontiguousarray, np.asfortranarray]
MAKE_ARRAYS += [np.frombuffer, np.fromfile, np.fromiter, np.fromstring]
"""Those that do not tell their option ``like`` in every version."""
NUMPY = np.lib.NumpyVersion(np.__version__)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Context manager without warnings: a call is judged by what it gives or raises."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


class Case(NamedTuple):
    """A sample call with options, and the arrays that stand for its inputs."""

    call: Call
    arrays: list[Array]
    options: dict[str, Any]
    variant: str

    def __repr__(self) -> str:
        return f"{self.call!r} with {self.options} on inputs: {self.variant}"

    def on(self, inputs: Sequence[Any]) -> Any:
        """Return what the call gives, or the error that it raises."""
        call = self.call._replace(function=functools.partial(self.call.function, **self.options))
        try:
            return call.on(inputs)
        except Exception as error:
            return error


def cases_of(function: Function, pairs: bool = True) -> Iterator[Case]:
    """Yield all cases on which a function is tried, or, without pairs of options, a part of them.

    Then each option meets the inputs as drawn, and of the other kinds of inputs every other one, by turns.
    """
    if function in MAKE_ARRAYS or "like" in options_of(function):
        return  # it makes arrays of numbers, and takes a Tensor as what they should be like
    t = np.array([[0.5, -1.5], [2.0, 0.25]])
    calls = calls_of(function) or [Call(function, args, {}) for args in ((t,), (t, t), (t, t, t), (t, 1))]
    for place, call in enumerate(calls):
        for number, (variant, change) in enumerate(VARIANTS.items()):
            if function is np.linalg.svd and "inf" in variant:
                continue  # LAPACK does not come to an end
            if variant == "as drawn" or (call.arrays and (function in RULES or "empty" not in variant)):
                share = slice((number + place) % 2, None, 2) if number and not pairs else slice(None)
                yield from with_options(Case(call, [change(a) for a in call.arrays], {}, variant), share, pairs)


def with_options(case: Case, share: slice, pairs: bool) -> Iterator[Case]:
    """Yield a case as it is, with each option of a share, and, on some inputs, with each pair of options."""
    yield case
    function, out = case.call.function, case.on(case.arrays)
    options = [
        (name, value)
        for name, default in options_of(function).items()
        if name not in case.call.kwargs
        for value in values_of(name, default, case, out)
    ]
    for name, value in options[share]:
        yield case._replace(options={name: value})
    if pairs and case.variant in ("as drawn", "inf first", "0-d"):
        for (a, x), (b, y) in itertools.combinations(options, 2):
            if a != b:
                yield case._replace(options={a: x, b: y})


def judge(case: Case) -> tuple[str, str]:
    """Return which of the four kinds a case is of, and why it is wrong."""
    tensors = [Tensor(a.copy(), requires_grad=a.dtype.kind == "f") for a in case.arrays]
    if not tensors or excuse(case):
        return "", ""
    theirs, ours = case.on([a.copy() for a in case.arrays]), case.on(tensors)
    if isinstance(ours, Exception):
        own = type(ours).__module__.startswith("tinygrad_mlp") or ours.__cause__ is not None
        if not isinstance(theirs, Exception):
            return ("refused", str(ours)) if own else ("wrong", f"raises {ours!r}")
        same = any(isinstance(theirs, k) and isinstance(ours, k) for k in (TypeError, ValueError, IndexError))
        known = own or same or isinstance(ours, type(theirs))
        return ("both raise", "") if known else ("wrong", f"{ours!r} where NumPy raises {theirs!r}")
    if isinstance(theirs, Exception) and NUMPY < "2.4.0":
        return "", ""  # ours does what newer NumPy does, where this table is looked at whole
    if isinstance(theirs, Exception):
        return "wrong", f"gives {ours} where NumPy raises {theirs!r}"
    why = difference(ours, theirs, case) or (
        case.variant == "as drawn" and "dtype" not in case.options and wrong_slope(case, ours, tensors)
    )
    return ("wrong", str(why)) if why else ("right", "")


def difference(ours: Any, theirs: Any, case: Case) -> str:
    """Return what differs from NumPy in structure, shape, dtype or value, if anything does."""
    several = isinstance(theirs, (tuple, list))
    if several != isinstance(ours, (tuple, list)) or len(results(ours)) != len(results(theirs)):
        return f"gives {type(ours).__name__} of {len(results(ours))}, NumPy {type(theirs).__name__}"
    for a, b in zip(results(ours), results(theirs), strict=True):
        a, b = np.asarray(a.detach().numpy() if isinstance(a, Tensor) else a), np.asarray(b)
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"gives {a.dtype}{a.shape}, NumPy {b.dtype}{b.shape}"
        if not near(a, b, case):
            return f"gives {a}, NumPy {b}, of {case.arrays}"
    return ""


def near(a: Array, b: Array, case: Case) -> bool:
    """Return whether two arrays differ by rounding: by a share of the largest element, of results or inputs.

    Where NumPy's own sums or squares overflow or underflow, ours need not.
    """
    if b.dtype.kind not in "fc":
        return bool(np.array_equal(a, b))
    if "huge" in case.variant:
        a, b = a[np.isfinite(b)], b[np.isfinite(b)]
    if case.call.function in (np.quantile, np.percentile) and not any(np.isnan(x).any() for x in case.arrays):
        a, b = a[~np.isnan(b)], b[~np.isnan(b)]  # NumPy's own interpolation subtracts infinities
    size = max(float(np.abs(x[np.isfinite(x)]).max(initial=0.0)) for x in (b, *case.arrays))
    info = np.finfo(min((x.dtype for x in (b, *case.arrays) if x.dtype.kind == "f"), key=lambda t: t.itemsize))
    least = 64 * float(info.eps) * size + (math.sqrt(info.tiny) if "tiny" in case.variant else 0.0)
    wide = np.complex128 if b.dtype.kind == "c" else np.longdouble
    return bool(np.allclose(a.astype(wide), b.astype(wide), rtol=64 * info.eps, atol=least, equal_nan=True))


def wrong_slope(case: Case, ours: Any, tensors: Sequence[Tensor]) -> str:
    """Return how the derivative along a direction differs from differences, if it does and can be measured."""
    rng = np.random.default_rng(0)
    inputs = [a.astype(np.float64) for a in case.arrays]
    d = [np.asarray(rng.uniform(-1, 1, a.shape)) for a in inputs]
    if any(a.dtype != np.float64 for a in case.arrays) or not tensors:
        return ""
    outs = [o for o in results(ours) if hasattr(o, "dtype") and o.dtype.kind == "f"]
    weights = [np.asarray(rng.uniform(0.2, 1, o.shape)) for o in outs]

    def value(x: Sequence[Array]) -> Array:
        parts = [np.asarray(o) for o in results(case.on(x)) if np.asarray(o).dtype.kind == "f"]
        return np.asarray(sum((w * o).sum() for w, o in zip(weights, parts, strict=True)), float)

    tracked = [(o, w) for o, w in zip(outs, weights, strict=True) if getattr(o, "requires_grad", False)]
    slopes: Sequence[Any] = [None] * len(tensors)
    if tracked:
        kept, upstream = zip(*tracked, strict=True)
        try:
            slopes = tg.grad(kept, list(tensors), upstream, allow_unused=True)
        except Exception as error:
            return f"gradient raises {error!r}"
    analytic = sum((g.numpy() * v).sum() for g, v in zip(slopes, d, strict=True) if g is not None)
    numeric = slope(value, inputs, d)
    if not np.isfinite(numeric.value) or numeric.error > 1e-7 * max(numeric.size, abs(float(numeric.value))):
        return ""
    if abs(analytic - numeric.value) <= 10 * numeric.error + 64 * EPS * numeric.size:
        return ""
    return f"slope {analytic}, differences {numeric.value} +- {numeric.error}"


@silent()
def table(
    functions: Sequence[Function] = ALL, pairs: bool = True
) -> tuple[dict[Function, collections.Counter[str]], list[str]]:
    """Return the four numbers of each function, and a line for each kind of wrong call."""
    counts: dict[Function, collections.Counter[str]] = {}
    lines: list[str] = []
    for function in functions:
        counts[function], seen = collections.Counter(), set()
        for case in cases_of(function, pairs):
            kind, why = judge(case)
            counts[function][kind] += 1
            if kind == "wrong" and (key := (*case.options, why[:12], case.variant)) not in seen:
                seen.add(key)
                lines.append(f"{case!r}: {why}")
    return counts, lines


def main() -> int:
    """Print the table, what is wrong, and return whether anything is."""
    counts, lines = table()
    print(f"{'function':30}", *(f"{kind:>10}" for kind in KINDS))
    for function, count in counts.items():
        if function in RULES:
            print(f"{name_of(function):30}", *(f"{count[kind]:10}" for kind in KINDS))
    without = sum((c for f, c in counts.items() if f not in RULES), collections.Counter())
    print(f"{'functions without a rule':30}", *(f"{without[kind]:10}" for kind in KINDS))
    total = sum(counts.values(), collections.Counter())
    print(f"{'all':30}", *(f"{total[kind]:10}" for kind in KINDS))
    print(*lines, sep="\n")
    return total["wrong"]


if __name__ == "__main__":
    sys.exit(main() > 0)
