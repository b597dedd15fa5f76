"""Generators and coroutines whose steps run in a context: what is around them while they wait is not in it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager
from typing import Any

Function = Callable[..., Any]


def in_steps(function: Function, context: Callable[[], AbstractContextManager[Any]]) -> Function | None:
    """Return a generator function or an async one with each step in a new ``context()``; None for any other function.

    >>> import numpy as np
    >>> def overflow():
    ...     yield np.geterr()["over"]
    >>> next(in_steps(overflow, lambda: np.errstate(over="ignore"))()), np.geterr()["over"]
    ('ignore', 'warn')
    """

    def steps(*args: Any, **kwargs: Any) -> Any:
        return _Steps(function(*args, **kwargs), context)

    def generator(*args: Any, **kwargs: Any) -> Any:
        return (yield from steps(*args, **kwargs))

    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        return await steps(*args, **kwargs)

    kinds = {
        inspect.isgeneratorfunction: generator,
        inspect.iscoroutinefunction: coroutine,
        inspect.isasyncgenfunction: steps,
    }
    return next((functools.wraps(function)(run) for is_one, run in kinds.items() if is_one(function)), None)


class _Steps(Generator[Any, Any, Any], AsyncGenerator[Any, Any]):
    """A generator or coroutine, each of whose steps, from one place where it waits to the next, is in a context."""

    def __init__(self, body: Any, context: Any) -> None:
        self.body, self.context = body, context

    def send(self, value: Any) -> Any:
        with self.context():
            return self.body.send(value)

    def throw(self, *error: Any) -> Any:
        with self.context():
            return self.body.throw(*error)

    def asend(self, value: Any) -> Any:
        return _Steps(self.body.asend(value), self.context)

    def athrow(self, *error: Any) -> Any:
        return _Steps(self.body.athrow(*error), self.context)

    __await__ = Generator.__iter__
