"""tiny corp's tinygrad on the CPU, its step captured by TinyJit. It needs clang; CC names another, CC=clang-19 say."""

from __future__ import annotations

import os

from . import Contestant, Problem


def jitted(problem: Problem) -> Contestant:
    os.environ["DEV"] = "CPU"
    from tinygrad import Context, Tensor, TinyJit
    from tinygrad.nn.optim import SGD

    layers = [(Tensor(W).realize(), Tensor(b).realize()) for W, b in problem.weights()]
    parameters = [parameter for layer in layers for parameter in layer]
    for parameter in parameters:
        parameter.is_param_()
    optimizer = SGD(parameters, lr=problem.lr, momentum=problem.momentum)

    @TinyJit
    @Context(TRAINING=1)
    def step(xb, yb):
        h = xb
        for W, b in layers[:-1]:
            h = (h @ W + b).relu()
            if problem.dropout:
                h = h.dropout(problem.dropout)
        W, b = layers[-1]
        loss = (h @ W + b).sparse_categorical_crossentropy(yb)
        optimizer.zero_grad()
        loss.backward()
        return loss.realize(*optimizer.schedule_step())

    return Contestant(step, convert=lambda x, y: (Tensor(x).realize(), Tensor(y).realize()), read=Tensor.item)
