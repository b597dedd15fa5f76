"""What is said where there is no gradient: of calls without a rule, of Tensors as arrays, of graphs that are cut."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from .errors import GraphError, NoRuleError, ShapeError, describe, name_of
from .foreign import our_word

BUILD_IT = "build it from functions that have one, or call it on t.detach().numpy()"
KEEP = (
    "write np.stack([t, u]) for an array or list of Tensors, np.hstack for np.r_, np.column_stack for np.c_, "
    "A @ t for A.dot(t), np.ones(n) * t for np.full(n, t); where no gradient is wanted,"
)
"""What to write where a Tensor would become an array, so that its gradient is kept."""
LOST = (
    "a Tensor that requires grad becomes a float and its gradient is lost; "
    "use np.sin(t), say, instead of math.sin(t), and t.item() where a plain number is wanted"
)
"""What one that becomes a float is warned of."""
_ADVICE = {
    "it writes into its argument; make a new Tensor with np.where, np.concatenate or indexing":
        "copyto fill_diagonal place put put_along_axis putmask",
    "it reads or writes files or text; pass t.detach().numpy()":
        "save savetxt savez savez_compressed loadtxt genfromtxt fromfile fromstring array2string array_repr array_str",
    "it makes plain arrays; join Tensors with np.stack or np.concatenate":
        "array asarray asanyarray",
    "it makes plain arrays; build them from numbers, and Tensors with Tensor(array)":
        "arange ascontiguousarray asfortranarray empty zeros ones full eye identity tri "
        "frombuffer fromfunction fromiter require ix_ geomspace logspace",
    "its result is a choice of elements that has no gradient; use t.detach().numpy(), or np.sort":
        "unique unique_all unique_counts unique_inverse unique_values intersect1d setdiff1d setxor1d union1d "
        "trim_zeros sort_complex choose insert",
    "it counts; on a constant use t.detach().numpy(), for weighted sums index a one-hot matrix":
        "bincount histogram histogram2d histogramdd histogram_bin_edges",
    "its derivative is singular or not unique; use np.linalg.solve, inv, det, cholesky, eigh, svd, qr or pinv":
        "eig eigvals lstsq cond tensorinv tensorsolve",
    "use np.polyval, or sums and products of powers":
        "poly polyadd polysub polymul polydiv polyder polyint polyfit roots vander",
    "it calls Python functions on pieces; write it with whole-array functions":
        "apply_along_axis apply_over_axes piecewise",
    "use np.nan_to_num or np.where first, then the function without nan": "nanmedian nanpercentile nanquantile",
    "a Tensor has real values; for complex ones use t.detach().numpy()": "angle imag real_if_close",
    "it tells about arrays; pass t.dtype, t.shape or t.detach().numpy()":
        "common_type min_scalar_type shares_memory may_share_memory einsum_path diag_indices_from "
        "tril_indices_from triu_indices_from ravel_multi_index unravel_index",
    "it works on bits or floating-point representations; use t.detach().numpy() as a constant":
        "packbits unpackbits frexp nextafter spacing",
    "it works on dates; Tensors hold numbers": "busday_count busday_offset is_busday datetime_as_string isnat",
    "use sliding slices, as in np.stack([t[i : i + n] for i in range(len(t) - n + 1)])": "sliding_window_view",
    "use np.linalg.norm": "vector_norm", "use np.clip": "clip", "use np.isin": "in1d",
    "use np.ones_like": "_ones_like", "use np.cumsum": "cumulative_sum", "use np.cumprod": "cumulative_prod",
    "it works on text; Tensors hold numbers": "numpy.char numpy.strings",
    "it works on structured arrays; Tensors hold plain numbers": "numpy.lib.recfunctions",
    "its result may turn complex; use the function of the same name in numpy": "numpy.lib.scimath",
    BUILD_IT: "numpy.fft numpy.polynomial.polynomial",
}  # fmt: skip
"""The advice, and whom it is for: names of functions, or of a module for all that is in it."""
_KEYWORDS = {
    "out": "; write x = x + t for x += t, and y = f(t) for f(t, out=y)",
    "order": "; for order='F' call it on t.T",
}
_BY_NAME = {name: advice for advice, names in _ADVICE.items() for name in names.split()}


def no_rule(function: Callable[..., Any]) -> NoRuleError:
    """Return the error for a function without a rule, which says what to use instead."""
    name, instead = getattr(function, "__name__", repr(function)), advice(function) or BUILD_IT
    return NoRuleError(f"{name} has no derivative rule, so a Tensor cannot pass through it: {instead}")


def advice(function: Callable[..., Any]) -> str | None:
    """Return what to use instead of a refused function, or None for one that nobody has thought about."""
    if "d" not in "".join(getattr(function, "types", "d")):
        return "it works on text or whole numbers; Tensors that carry gradients hold floats"
    names = (getattr(function, part, "") for part in ("__module__", "__name__"))
    return next((_BY_NAME[name] for name in names if name in _BY_NAME), None)


def no_entry(function: Callable[..., Any], known: bool) -> TypeError:
    """Return the error for a call of `vjp` without rules, or for a function that Tensors would not find."""
    name = f"{describe(function)} is neither a function of NumPy nor a primitive; decorate it with @primitive"
    hint = "its derivative at a point is tg.func.vjp(f, x)"
    return TypeError(f"vjp takes a function and its rules: {hint if known else f'{name}; {hint}'}")


def misfit(function: Callable[..., Any], rules: Sequence[Any], most: int | None) -> str:
    """Return why these rules, the first of which is for all arguments, are not those of a function of ``most``."""
    if (several := getattr(function, "nout", 1)) > 1:
        return f"it gives {several} results, but an op gives one; make a primitive that joins them with np.stack"
    if most is not None and len(rules) - 1 > most:
        return f"{len(rules) - 1} rules were given, but it takes {most} arguments by position; options need no rule"
    if ufunc := next((rule.__name__ for rule in rules if hasattr(rule, "nin")), ""):
        return f"the ufunc {ufunc} is no rule, it would write to the arguments; write lambda g, out, x: {ufunc}(g)"
    return ""


def no_facts(function: Callable[..., Any]) -> TypeError:
    """Return the error for a call of `annotate` with a function that is not in the table."""
    return TypeError(f"annotate adds to what is known of an op, and {describe(function)} has no rule; call vjp first")


def unseen(name: str) -> TypeError:
    """Return the error for an op that has computed with Tensors although none of its arguments is one."""
    seen = f"an op sees those that are arguments of their own; write def {name}(*tensors), or join them with np.stack"
    return TypeError(f"{name} computes with Tensors in a list, or from elsewhere, so its rule would be ignored: {seen}")


def no_rule_of(function: Callable[..., Any], i: int) -> NoRuleError:
    """Return the error for an argument that no rule was given for, and that a gradient should go to."""
    code = getattr(getattr(function, "plain", None), "__code__", None)
    name = f" ({code.co_varnames[i]})" if code and i < code.co_argcount else ""
    hint = "give vjp one, or None if the function is constant in it"
    return NoRuleError(f"{name_of(function)} has no derivative rule for argument {i}{name}; {hint}")


def no_gradient_of(name: str, i: int, g: Any, shape: tuple[int, ...]) -> Exception:
    """Return the error for what a rule gave as the gradient of an argument of this shape, and is none."""
    hint = "; write None in place of the rule where the function is constant" if g is None else ""
    shaped, expected = hasattr(g, "shape"), f"one array, of shape {shape} or of one that this broadcasts to{hint}"
    said = f"the rule of {name} for argument {i} returned {describe(g)}, expected {expected}"
    return ShapeError(said) if shaped else TypeError(said)


def no_array(module: str | None = None) -> GraphError:
    """Return the error for a Tensor that would lose its gradient as an array, for which a ``module`` has asked."""
    scipy = "np.linalg, and tinygrad_mlp.scipy.linalg and special, have functions that take it;"
    keep = "" if module is None else f"{scipy if module.startswith('scipy.') else KEEP} "
    return GraphError(f"this Tensor requires grad, and an array would lose it silently; {keep}use t.detach().numpy()")


def no_gradient(cut: str | None) -> GraphError:
    """Return the error for a backward pass to nothing; ``cut`` is the constant function that ended the graph."""
    why = f"the result comes through {cut}, which is constant" if cut else "it was detached or made under no_grad"
    return GraphError(f"no tensor in this graph requires grad: {why}, or no leaf has requires_grad=True; set it")


def released(name: str) -> GraphError:
    """Return the error for a graph whose op of this name has been released."""
    hint = "call backward(retain_graph=True) the first time, or compute the result again"
    return GraphError(f"graph already released at {name}: a backward pass has gone through it; {hint}")


def no_keyword(function: Callable[..., Any], key: str, known: Collection[str] | None) -> NoRuleError:
    """Return the error for a keyword that the rules of a function do not know; None: all but those to write to."""
    takes = "all but out and where" if known is None else ", ".join(sorted(known)) or "no keywords"
    hint = _KEYWORDS.get(key) or our_word(key, known)
    return NoRuleError(f"{function.__name__}: keyword {key!r} is not supported on a Tensor; it takes {takes}{hint}")


def in_words_of_numpy(function: Callable[..., Any], args: Any, kwargs: Any, error: Exception) -> Exception:
    """Return what NumPy raises for a call that its composite cannot compute, or a refusal if NumPy computes it."""
    try:
        function(*_arrays(args), **_arrays(kwargs))
    except Exception as theirs:
        return error if isinstance(error, (NoRuleError, type(theirs))) else theirs
    if isinstance(error, (NoRuleError, ValueError)):
        return error
    return NoRuleError(f"{function.__name__} of a Tensor does not take this call ({error}): {BUILD_IT}")


def _arrays(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _arrays(value) for key, value in tree.items()}
    return type(tree)(map(_arrays, tree)) if isinstance(tree, (tuple, list)) else getattr(tree, "_data", tree)
