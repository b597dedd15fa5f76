"""The one hook: a tracer takes part in all that a thread does with Tensors; recording and watching are tracers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import GraphError, attempt, describe
from ..foreign import Answers

if TYPE_CHECKING:
    from ..rules.table import Rule
    from .tensor import Tensor


class Stateful(Answers):
    """What holds Tensors and announces to the tracer what it does with them: a module, an optimiser."""


class Tracer:
    """What takes part in a thread's ops. Each method does what happens without a tracer; override what you want to see.

    While one is active, rules get Tensors, so that it sees the ops of a backward pass too.

    >>> import tinygrad_mlp as tg
    >>> class Count(Tracer):
    ...     ops = 0
    ...     def op(self, rule, inputs, keywords, result):
    ...         self.ops += 1
    >>> with tracing(Count()) as count:
    ...     y = tg.Tensor([1.0, 2.0]).tanh() * 3
    >>> count.ops
    2
    """

    replays: bool = False
    """Whether what is seen is done again with other values, without the function that did it."""

    def varies(self, t: Tensor) -> bool:
        """Return whether the values of a Tensor may be others when what is seen is done again."""
        return False

    def compute(self, rule: Rule, arrays: Sequence[Any], inputs: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        """Return what an op, of this ``rule``, gives for the ``arrays`` of its ``inputs``, and its ``keywords``."""
        return attempt(rule.name, rule.forward, arrays, keywords)

    def op(self, rule: Rule, inputs: Sequence[Any], keywords: Mapping[str, Any], result: Tensor) -> None:
        """See an op that has been computed: its ``rule``, ``inputs``, ``keywords`` and ``result``."""

    def assign(self, target: Tensor, value: Any, write: Callable[[], None]) -> None:
        """Write a ``value`` into the memory of ``target``: ``write()`` does it."""
        write()

    def constant(self, t: Tensor) -> None:
        """See a Tensor that is always the same, such as the 1 at which a backward pass starts."""

    def reads_value(self, what: str) -> None:
        """See that the values of a Tensor are asked for, by the method of this name."""

    def detaches(self, t: Tensor) -> None:
        """See that a constant Tensor is made over the memory of ``t``."""

    def reads_grad(self, t: Tensor) -> None:
        """See that ``t.grad`` is asked for."""

    def sets_grad(self, t: Tensor, value: Tensor | None) -> None:
        """See that ``t.grad`` becomes ``value``."""

    def differentiates(self, t: Tensor | None) -> None:
        """See that the rules of the op that made ``t`` come next; None: that the walk back is over."""

    def walks(self, order: Sequence[Tensor], seeds: Sequence[Tensor]) -> bool:
        """See that gradients walk back to all leaves, and return whether rules get Tensors, so that ops are seen.

        Args:
            order: what ops have made, oldest first.
            seeds: the gradients that the walk begins with.
        """
        return self is not IDLE

    def arrives(self, gradients: Mapping[Tensor, Tensor]) -> None:
        """See what a walk back gives."""

    def called_at(self, t: Tensor) -> str:
        """Return what an error should say of where the op that made ``t`` was called, if that is known."""
        return ""

    def gradient_of(self, t: Tensor, g: Tensor) -> None:
        """See what a rule gives, ``g``, for the gradient of ``t``, or what a backward pass starts with there."""

    def calls(self, module: Any, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        """Call a ``module``: return what its ``forward`` gives for ``inputs`` and ``keywords``."""
        return module.forward(*inputs, **keywords)

    def sets_mode(self, module: Any, training: bool) -> None:
        """See that a ``module`` switches to ``training`` or to evaluation."""

    def updates(self, optimizer: Any) -> None:
        """Let an optimiser update its parameters."""
        optimizer.update()

    def numbers(self, read: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return the numbers of an update, which ``read`` gives anew for each step."""
        return read()


Watcher = TypeVar("Watcher", bound=Tracer)
IDLE = Tracer()
"""The tracer of a thread that has none."""


class Mode(threading.local):
    """What this thread does with its ops: keep nodes or not, and who takes part in them.

    ``rebinds`` says that ``+=`` gives a new Tensor although no node is kept, and ``outside`` is what ``grad_enabled``
    was outside of each `no_grad` that the thread is in.
    """

    grad_enabled: bool = True
    rebinds: bool = False
    tracer: Tracer = IDLE

    def __init__(self) -> None:
        self.outside: list[bool] = []


mode = Mode()


@contextmanager
def settings(**values: Any) -> Iterator[None]:
    """Context manager in which `mode` has other values."""
    before = {name: getattr(mode, name) for name in values}
    vars(mode).update(values)
    try:
        yield
    finally:
        vars(mode).update(before)


def out_of_place() -> AbstractContextManager[None]:
    """Return a context in which formulas written for arrays take Tensors: no nodes, and ``+=`` gives new Tensors."""
    return settings(grad_enabled=False, rebinds=True)


@contextmanager
def tracing(tracer: Watcher, name: str = "tracing") -> Iterator[Watcher]:
    """Context manager inside which ``tracer`` takes part in this thread's ops, on behalf of the function ``name``.

    Raises:
        GraphError: another tracer does already.
        TypeError: it is no instance of `Tracer`.
    """
    if not isinstance(tracer, Tracer):
        raise TypeError(f"{name} takes a Tracer, as in tracing(Count()), got {describe(tracer)}")
    if mode.tracer is not IDLE:
        raise GraphError(f"{name}: this thread's ops are being watched already; leave that context first")
    with settings(tracer=tracer):
        yield tracer
