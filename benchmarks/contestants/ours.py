"""tinygrad_mlp: the step as a user writes it, as it is and compiled."""

from __future__ import annotations

from . import Contestant, Problem


def eager(problem: Problem, forget: bool = False) -> Contestant:
    from tinygrad_mlp import functional as F
    from tinygrad_mlp import nn, optim

    model = nn.MLP(problem.widths, dropout=problem.dropout, rng=0)
    linears = [layer for layer in model if isinstance(layer, nn.Linear)]
    for layer, (W, b) in zip(linears, problem.weights(), strict=True):
        layer.load_state_dict({"weight": W.T, "bias": b})
    if problem.adam:
        optimizer = optim.Adam(model.parameters(), lr=problem.lr)
    else:
        optimizer = optim.SGD(model.parameters(), lr=problem.lr, momentum=problem.momentum)

    def step(xb, yb):
        loss = F.cross_entropy(model(xb), yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if forget:
            optimizer.zero_grad()
        return loss

    return Contestant(step)


def compiled(problem: Problem) -> Contestant:
    from tinygrad_mlp import jit

    return Contestant(jit(eager(problem).step))


def native(problem: Problem) -> Contestant:
    """The compiled step in machine code; gradients are forgotten at its end, so that no memory need hold them."""
    from tinygrad_mlp import jit

    return Contestant(jit(eager(problem, forget=True).step, backend="numba"))
