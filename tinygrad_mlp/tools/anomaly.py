"""`detect_anomaly`: find the op that made the first NaN or infinity, or whose data somebody has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..core.graph import Node
from ..core.tensor import Tensor
from ..core.tracer import Tracer, tracing
from ..errors import user_line
from ..rules.table import Rule

_LOOK = "look at the ranges of its inputs"
_UNWATCHED = "an unwatched line"


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """Context manager inside which the first value that is not finite raises, in a forward or a backward pass.

    The error names the op, its inputs with their ranges, where the bad entries are, and the user's line; or the input,
    if that is what was NaN already. Infinities that an op passes on, such as those of a mask before a softmax, are no
    error unless they reach the loss. Data that was changed between forward and backward, through an array that shares
    its memory, raises as well. Several times slower than normal: for finding what is wrong. Jitted functions run
    eagerly inside.

    Raises:
        FloatingPointError: an op, or the derivative of one, gave NaN or infinity.
        GraphError: what an op has read is not what it was; or a tracer is active already.

    >>> import tinygrad_mlp as tg
    >>> x = tg.Tensor([0.0, 4.0], requires_grad=True)
    >>> with detect_anomaly():
    ...     np.sqrt(x).sum().backward()  # doctest: +ELLIPSIS, +NORMALIZE_WHITESPACE
    Traceback (most recent call last):
    FloatingPointError: the gradient of sqrt by its input 0, float64(2,) in [0, 4], has 1 of 2 entries not finite,
    the first inf at (0,); sqrt was called at ...: the root of a negative number is NaN, ...
    """
    with tracing(_Detective(), "detect_anomaly"), np.errstate(all="ignore"):
        yield


class _Detective(Tracer):
    """The tracer: it looks at each result, and at each gradient that a rule gives."""

    def __init__(self) -> None:
        self.suspects: dict[Node, str] = {}
        self.node: Node | None = None
        self.line = ""

    def op(self, rule: Rule, inputs: Sequence[Any], keywords: Mapping[str, Any], result: Tensor) -> None:
        line = f"{self.line}, in the derivative of {self.node.rule.name}" if self.node else user_line()
        if result._node is not None:
            self.suspects[result._node] = line
        if self.node is None and (bad := not_finite(result._data)):  # inside of a rule, infinities may come and go
            self._judge(rule, inputs, result, bad, line)

    def _judge(self, rule: Rule, inputs: Sequence[Any], result: Tensor, bad: str, line: str) -> None:
        """Raise unless what is not finite in a result is an infinity that an input had, such as that of a mask."""
        numbers = [(i, a, _array(a)) for i, a in enumerate(inputs) if _array(a).dtype.kind in "fc"]
        for i, a, array in numbers:
            is_parameter = isinstance(a, Tensor) and a._node is None and a._requires_grad
            if np.isnan(array).any() or (is_parameter and np.isposinf(array).any()):
                is_so = "NaN" if np.isnan(array).any() else "infinite"
                raise FloatingPointError(
                    f"input {i} of {rule.name}, {_range(a)}, is {is_so} already: {not_finite(array)}; {rule.name} was "
                    f"called at {line}, look at where this input comes from"
                )
        if np.isnan(result._data).any() or not any(np.isinf(array).any() for _, _, array in numbers):
            described = ", ".join(_range(a) for a in inputs if isinstance(a, (Tensor, np.ndarray)))
            raise FloatingPointError(f"{rule.name} of {described} has {bad}; called at {line}: {rule.hint or _LOOK}")

    def differentiates(self, t: Any) -> None:
        if t is None:
            self.node = None
            self.suspects = {node: known for node, known in self.suspects.items() if node.inputs is not None}
            return
        self.node, self.line = t._node, self.suspects.get(t._node, _UNWATCHED)

    def called_at(self, t: Any) -> str:
        return f", called at {self.suspects.get(t._node, _UNWATCHED)},"

    def gradient_of(self, t: Any, g: Any) -> None:
        node, self.node = self.node, None
        bad = not_finite(g._data)
        if node is None:
            self._check_start(t, bad)
        elif bad:
            name, i = node.rule.name, next(k for k, a in enumerate(node.inputs) if a is t)
            raise FloatingPointError(
                f"the gradient of {name} by its input {i}, {_range(t)}, has {bad}; "
                f"{name} was called at {self.line}: {node.rule.hint or _LOOK}"
            )
        self.node = node

    def _check_start(self, t: Any, bad: str) -> None:
        """Raise if a backward pass starts from a loss or with an upstream gradient that is not finite."""
        line = self.suspects.get(t._node, _UNWATCHED)
        if bad:
            raise FloatingPointError(f"the upstream gradient of {_range(t)} has {bad}; look at what made it")
        if t._data.size == 1 and not_finite(t._data):
            raise FloatingPointError(
                f"the result to differentiate, made at {line}, is {t._data.item()}: an infinity among the inputs, as "
                "of a mask, has reached it; leave what is masked out of the loss"
            )


def _array(a: Any) -> Any:
    return a._data if isinstance(a, Tensor) else a if isinstance(a, np.ndarray) else np.asarray(None if a is ... else a)


def not_finite(array: np.ndarray[Any, Any]) -> str:
    """Return in words how many entries are not finite and where the first is; nothing if all are."""
    bad = ~np.isfinite(array)
    if not bad.any():
        return ""
    first = tuple(int(k) for k in np.unravel_index(bad.argmax(), bad.shape))
    return f"{bad.sum()} of {bad.size} entries not finite, the first {array[first]} at {first}"


def _range(a: Any) -> str:
    """Return an input's dtype, shape and range, and its name if it has one."""
    array = _array(a)
    finite = array[np.isfinite(array)]
    extent = f" in [{finite.min():.6g}, {finite.max():.6g}]" if finite.size else ""
    lost = f" with {array.size - finite.size} entries not finite" if finite.size < array.size else ""
    name = f"{a.name} " if isinstance(a, Tensor) and a.name else ""
    return f"{name}{array.dtype}{array.shape}{extent}{lost}"
