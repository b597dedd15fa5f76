"""Weights: of classes and samples in the losses, in `fit` and in `evaluate`; PyTorch's to second order."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import functional as F
from tinygrad_mlp import nn, optim
from tinygrad_mlp.errors import DataError, OptionError, ShapeError

RNG = np.random.default_rng(3)
SCORES, LABELS = RNG.normal(size=(7, 4)), np.array([0, 2, 1, 1, 3, 0, 2])
SOFT, HARD = RNG.dirichlet(np.ones(4), 7), (RNG.random((7, 4)) > 0.6).astype(float)
PROBABILITIES = np.clip(1 / (1 + np.exp(-SCORES)), 0.2, 0.8)
CLASSES, EACH, ROWS = np.array([0.5, 2.0, 0.0, 3.0]), RNG.random((7, 4)), RNG.random((7, 1))

LOSSES = [
    ("cross_entropy", SCORES, LABELS, {"weight": CLASSES}),
    ("cross_entropy", SCORES, LABELS, {"weight": CLASSES, "label_smoothing": 0.3}),
    ("cross_entropy", SCORES, SOFT, {"weight": CLASSES}),
    ("cross_entropy", SCORES, SOFT, {"weight": CLASSES, "label_smoothing": 0.3}),
    ("nll_loss", SCORES, LABELS, {"weight": CLASSES}),
    ("binary_cross_entropy", PROBABILITIES, HARD, {"weight": EACH}),
    ("binary_cross_entropy", PROBABILITIES, HARD, {"weight": ROWS}),
    ("binary_cross_entropy_with_logits", SCORES, HARD, {"weight": EACH}),
    ("binary_cross_entropy_with_logits", 8 * SCORES, HARD, {"pos_weight": CLASSES}),
    ("binary_cross_entropy_with_logits", SCORES, SOFT, {"weight": ROWS, "pos_weight": np.array(3.0)}),
    ("mse_loss", SCORES, SOFT, {"weight": EACH}),
    ("l1_loss", SCORES, SOFT, {"weight": EACH}),
    ("huber_loss", SCORES, SOFT, {"weight": EACH, "delta": 0.7}),
]
MODULES = {
    "cross_entropy": "CrossEntropyLoss",
    "nll_loss": "NLLLoss",
    "binary_cross_entropy": "BCELoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "scores", "target", "options"), LOSSES)
def test_weighted_losses_are_those_of_pytorch_to_second_order(name, scores, target, options, reduction):
    torch = pytest.importorskip("torch")
    direction = np.random.default_rng(0).normal(size=scores.shape)
    x, tx = tg.Tensor(scores, requires_grad=True), torch.tensor(scores, requires_grad=True)
    loss = getattr(F, name)(x + 0.02 * np.sin(x), target, **options, reduction=reduction)  # none is linear in x
    convert = lambda v: torch.tensor(v) if isinstance(v, np.ndarray) else v
    theirs = getattr(torch.nn.functional, name)(
        tx + 0.02 * torch.sin(tx),
        torch.tensor(target),
        **{k: convert(v) for k, v in options.items()},
        reduction=reduction,
    )
    np.testing.assert_allclose(loss.detach(), theirs.detach().numpy(), rtol=1e-13, atol=1e-14)
    mix = np.sin(1.0 + np.arange(loss.size)).reshape(loss.shape)  # of the losses that are not reduced
    (g,) = tg.grad((loss * mix).sum(), x, create_graph=True)
    (tg_,) = torch.autograd.grad((theirs * torch.tensor(mix)).sum(), tx, create_graph=True)
    np.testing.assert_allclose(g.detach(), tg_.detach().numpy(), rtol=1e-12, atol=1e-15)
    curved = (np.square(g) * direction).sum()  # so that a second derivative of zero shows too
    (second,) = tg.grad(curved, x)
    (theirs_second,) = torch.autograd.grad((torch.square(tg_) * torch.tensor(direction)).sum(), tx)
    rtol = 1e-10 if name == "binary_cross_entropy" else 1e-11  # there, PyTorch adds 1e-12 to p * (1 - p)
    np.testing.assert_allclose(second.numpy(), theirs_second.numpy(), rtol=rtol, atol=1e-14)


@pytest.mark.parametrize(("name", "scores", "target", "options"), [case for case in LOSSES if case[0] in MODULES])
def test_modules_keep_weights_as_pytorchs_do(name, scores, target, options):
    torch = pytest.importorskip("torch")
    tensors = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    module, theirs = getattr(nn, MODULES[name])(**options), getattr(torch.nn, MODULES[name])(**tensors)
    assert list(module.state_dict()) == list(theirs.state_dict())
    expected = theirs(torch.tensor(scores), torch.tensor(target)).item()
    assert module(scores, target).item() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(("name", "scores", "target", "options"), LOSSES)
def test_weights_come_in_the_dtype_of_the_scores_and_compiled_to_the_same_bits(name, scores, target, options):
    loss = partial(getattr(F, name), **{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in options.items()})
    target = target if target.dtype.kind == "i" else target.astype(np.float32)
    x = tg.Tensor(scores.astype(np.float32), requires_grad=True)

    def step(target):
        value = loss(x, target)
        return value, tg.grad(value, x)[0]

    compiled = tg.jit(step)
    for _ in range(4):
        value, gradient = compiled(tg.Tensor(target))
    assert value.dtype == gradient.dtype == np.float32
    expected, by_hand = step(target)
    assert value.item() == expected.item() and (gradient.numpy() == by_hand.numpy()).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.cross_entropy(SCORES, LABELS, weight=np.ones(3)), r"\(3,\), expected \(4,\): one for each class"),
        (lambda: F.cross_entropy(SCORES, LABELS, weight=np.ones((7, 1))), r"\(7, 1\), expected \(4,\)"),
        (lambda: F.mse_loss(SCORES, SOFT, weight=np.ones(7)), r"\(7,\), expected one that broadcasts .*\(7, 4\)"),
        (lambda: F.mse_loss(SCORES[0], SOFT[0], weight=np.ones((7, 4))), r"\(7, 4\), expected one that broadcasts"),
    ],
)
def test_weights_that_do_not_fit(call, message):
    with pytest.raises(ShapeError, match=message):
        call()


X = RNG.normal(size=(90, 3))
Y = (X.sum(axis=1) > 1.2).astype(int)
WEIGHTS = RNG.random(90) + 0.1
PER_CLASS = np.array([0.25, 4.0])


def mlp(*sizes, seed=0):
    return nn.MLP(sizes or (3, 8, 2), "tanh", rng=seed, dtype=np.float64)


def trained(model, y=Y, **options):
    optimizer = optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    history = tg.fit(
        model, X, y, **{"epochs": 3, "optimizer": optimizer, "progress": False, "batch_size": 25, **options}
    )
    return model, history


@pytest.mark.parametrize("jit", [True, False])
def test_fit_does_what_the_loop_by_hand_does(jit):
    weights = WEIGHTS * PER_CLASS[Y]
    weights = weights / weights.mean()
    twin, rng = mlp(), np.random.default_rng(0)
    optimizer, losses = optim.SGD(twin.parameters(), lr=0.3, momentum=0.9), []
    for _ in range(3):
        total = 0.0
        for xb, at in tg.minibatches(X, np.arange(90), 25, rng=rng):
            loss = (F.cross_entropy(twin(xb), Y[at], reduction="none") * weights[at]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(at)
        losses.append(total / 90)
    model, history = trained(mlp(), class_weight=dict(enumerate(PER_CLASS)), sample_weight=WEIGHTS, jit=jit)
    assert [row["loss"] for row in history.rows] == losses
    assert all((a == b).all() for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True))


@pytest.mark.parametrize("factor", [1, 1000])
def test_a_row_of_weight_two_is_a_row_that_stands_there_twice_and_one_of_zero_none(factor):
    counts = np.arange(90) % 3
    once, _ = trained(mlp(), sample_weight=factor * counts, batch_size=90)
    model = mlp()
    optimizer = optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    again = np.repeat(np.arange(90), counts)
    tg.fit(model, X[again], Y[again], optimizer=optimizer, epochs=3, batch_size=90, progress=False)
    for a, b in zip(once.state_dict().values(), model.state_dict().values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)  # other sums of the same numbers


def test_evaluate_and_validation_are_weighted_means():
    model, history = trained(mlp(), validation=(X, Y, WEIGHTS), class_weight=PER_CLASS, epochs=1)
    losses = F.cross_entropy(tg.predict(model, X), Y, reduction="none")
    expected = np.average(losses, weights=WEIGHTS * PER_CLASS[Y])
    scores = tg.evaluate(model, X, Y, class_weight=PER_CLASS, sample_weight=WEIGHTS)
    assert scores["loss"] == pytest.approx(expected, rel=1e-13) == history.rows[0]["validation_loss"]
    assert scores["accuracy"] == tg.evaluate(model, X, Y)["accuracy"]
    by_share = trained(mlp(), validation=0.2, sample_weight=WEIGHTS, epochs=1)
    last = slice(72, None)
    own = tg.evaluate(by_share[0], X[last], Y[last], sample_weight=WEIGHTS[last])["loss"]
    assert by_share[1].rows[0]["validation_loss"] == own


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        (nn.CrossEntropyLoss(label_smoothing=0.1), Y),
        (partial(F.huber_loss, delta=0.3), np.stack([X[:, 0], X[:, 1]], axis=1)),
        ("mse_loss", np.stack([X[:, 0], X[:, 1]], axis=1)),
        (
            lambda outputs, y, reduction="mean": F.mse_loss(outputs, y, reduction=reduction),
            np.stack([X[:, 0]] * 2, axis=1),
        ),
    ],
)
def test_every_loss_that_reduces_can_be_weighted(loss, y):
    only = np.zeros(90)
    only[7] = 2.0
    model = mlp()
    scores = tg.evaluate(model, X, y, loss=loss, metrics=[], sample_weight=only)
    assert scores["loss"] == pytest.approx(tg.evaluate(model, X[7:8], y[7:8], loss=loss, metrics=[])["loss"], rel=1e-13)
    assert getattr(loss, "reduction", "mean") == "mean"  # the module is left as it was


def test_balanced_classes_have_equal_parts_and_zero_based_labels_may_be_a_column():
    counts = np.bincount(Y)
    expected = tg.evaluate(mlp(), X, Y, class_weight=90 / (2 * counts))
    assert tg.evaluate(mlp(), X, Y, class_weight="balanced") == expected
    column = tg.evaluate(mlp(3, 4, 1), X, Y[:, None], loss="binary_cross_entropy_with_logits", class_weight="balanced")
    row = tg.evaluate(mlp(3, 4, 1), X, Y, loss="binary_cross_entropy_with_logits", class_weight="balanced")
    assert column == row


@pytest.mark.parametrize("loss", ["mse_loss", "l1_loss", "huber_loss", nn.BCEWithLogitsLoss()])
def test_targets_of_shape_n_serve_a_model_of_one_output(loss):
    def squares(outputs, targets):
        assert outputs.shape == targets.shape
        return np.square(outputs - targets).mean()

    y = Y.astype(float)
    options = {"loss": loss, "metrics": {"squares": squares}, "validation": 0.2, "class_weight": None}
    flat, history = trained(mlp(3, 4, 1), y, **options)
    column, expected = trained(mlp(3, 4, 1), y[:, None], **options)
    names = ["loss", "squares", "validation_loss", "validation_squares"]
    assert [[row[n] for n in names] for row in history.rows] == [[row[n] for n in names] for row in expected.rows]
    scores = tg.evaluate(flat, X, y, loss=loss, metrics={"squares": squares})
    assert scores == tg.evaluate(column, X, y[:, None], loss=loss, metrics={"squares": squares})


def test_a_loss_that_takes_n_targets_for_one_output_gets_them():
    loss = lambda outputs, targets: np.square(outputs[:, 0] - targets).mean()
    model, y = mlp(3, 4, 1), X[:, 0]
    expected = np.square(tg.predict(model, X)[:, 0] - y).mean()
    assert tg.evaluate(model, X, y, loss=loss)["loss"] == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_loss_that_would_compare_each_output_with_each_target_gets_a_column(weights, jit):
    def cubes(outputs, targets, reduction="mean"):
        losses = np.abs(outputs - targets) ** 3  # (N, 1) less (N,) is (N, N)
        return losses.mean() if reduction == "mean" else losses

    options = {"loss": cubes, "validation": 0.2, "sample_weight": weights, "class_weight": None, "jit": jit}
    for y in (X[:, 0], Y.astype(float)):
        flat, column = trained(mlp(3, 4, 1), y, **options), trained(mlp(3, 4, 1), y[:, None], **options)
        for name in ("loss", "validation_loss"):
            assert [row[name] for row in flat[1].rows] == [row[name] for row in column[1].rows]
    root = lambda outputs, targets: np.sqrt(np.square(outputs - targets).mean())  # of a batch, not the mean of rows
    assert tg.evaluate(mlp(3, 4, 1), X, X[:, 0], loss=root) == tg.evaluate(mlp(3, 4, 1), X, X[:, :1], loss=root)
    own = lambda outputs, targets: np.square(outputs[:, 0] - targets[:, 0]).mean()
    assert tg.evaluate(mlp(3, 4, 1), X, X[:, 0], loss=own) == tg.evaluate(mlp(3, 4, 1), X, X[:, :1], loss=own)


def test_a_batch_size_larger_than_the_data_is_the_data():
    small, large = trained(mlp(), batch_size=90), trained(mlp(), batch_size=10**6)
    assert all((a == b).all() for a, b in zip(*[m.state_dict().values() for m, _ in (small, large)], strict=True))
    assert large[1].rows[-1]["step"] == 3
    assert [len(xb) for xb, _ in tg.minibatches(X, Y, 10**6)] == [90]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sample_weight": np.ones(89)}, ShapeError, r"sample_weight has shape \(89,\), expected \(90,\)"),
        ({"sample_weight": np.ones((90, 1))}, ShapeError, r"sample_weight has shape \(90, 1\), expected \(90,\)"),
        ({"sample_weight": np.full(90, np.nan)}, DataError, "sample_weight is nan at row 0"),
        ({"sample_weight": -WEIGHTS}, DataError, r"weights must be finite, >= 0 and not all 0, got -"),
        ({"sample_weight": np.zeros(90)}, DataError, r"weights must be finite, >= 0 and not all 0, got 0\.0 for row 0"),
        ({"class_weight": {1: np.nan}}, DataError, "weights must be finite, >= 0 and not all 0, got nan for row"),
        ({"class_weight": [1.0, np.inf]}, DataError, "weights must be finite, >= 0 and not all 0, got inf for row"),
        ({"class_weight": {"1": 5.0}}, OptionError, r"class_weight has .*'1'.*, expected labels, 0\.\.1"),
        ({"class_weight": "balance"}, OptionError, "class_weight must be a dict, an array .* got 'balance'"),
        ({"class_weight": [1.0]}, ShapeError, r"class_weight is float64\(1,\), expected \(2,\): one for each class"),
        ({"class_weight": {0: 1.0}, "y": X}, ShapeError, r"y with class_weight has shape \(90, 3\)"),
        (
            {"sample_weight": WEIGHTS, "loss": lambda outputs, y: F.cross_entropy(outputs, y)},
            OptionError,
            r"with weights, loss must take reduction='none', which .*<lambda> does not",
        ),
        (
            {"sample_weight": WEIGHTS, "loss": lambda outputs, y, reduction="mean": F.cross_entropy(outputs, y)},
            ShapeError,
            r"the loss returned float64\(\) for reduction='none'; expected one for each row",
        ),
        (
            {"sample_weight": np.r_[np.zeros(80), np.ones(10)], "validation": 0.2},
            DataError,
            "the weights of all rows of X are 0",
        ),
    ],
)
def test_weights_that_fit_refuses_before_anything_changes(options, error, message):
    model = mlp()
    before = model.state_dict()
    with pytest.raises(error, match=message):
        trained(model, **{"y": Y, **options})
    assert all((before[name] == array).all() for name, array in model.state_dict().items())
