"""PyTorch: the ordinary step, and with both halves of it compiled."""

from __future__ import annotations

from common import THREADS

from . import Contestant, Problem


def eager(problem: Problem) -> Contestant:
    return _contestant(problem, lambda function: function)


def compiled(problem: Problem) -> Contestant:
    import torch

    return _contestant(problem, torch.compile)


def _contestant(problem: Problem, maybe_compile) -> Contestant:
    import torch
    from torch import nn

    torch.set_num_threads(THREADS)
    layers = []
    for W, b in problem.weights():
        linear = nn.Linear(*W.shape)
        linear.load_state_dict({"weight": torch.from_numpy(W.T.copy()), "bias": torch.from_numpy(b)})
        layers += [linear, nn.ReLU()] + [nn.Dropout(problem.dropout)] * (problem.dropout > 0)
    while not isinstance(layers[-1], nn.Linear):
        layers.pop()
    model = nn.Sequential(*layers)
    if problem.adam:
        optimizer = torch.optim.Adam(model.parameters(), lr=problem.lr)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=problem.lr, momentum=problem.momentum)
    loss_of = maybe_compile(lambda xb, yb: nn.functional.cross_entropy(model(xb), yb))
    update = maybe_compile(optimizer.step)

    def step(xb, yb):
        loss = loss_of(xb, yb)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        update()
        return loss

    return Contestant(step, lambda x, y: (torch.from_numpy(x), torch.from_numpy(y)), torch.Tensor.item)
