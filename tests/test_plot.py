"""Tests of the pictures: what is drawn, read back from the figures; that nothing else is touched; and bad input."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tinygrad_mlp as tg
from tinygrad_mlp import DataError, DtypeError, GraphError, ShapeError, nn

pytest.importorskip("matplotlib")

HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3],
        "step": [10, 20, 30],
        "loss": [0.9, 0.5, 0.3],
        "accuracy": [0.7, 0.8, 0.9],
        "validation_loss": [0.8, np.nan, 0.4],
        "validation_accuracy": [0.75, np.nan, 0.85],
        "lr": [0.1, 0.05, 0.0],
        "seconds": [1.0, 2.0, 3.0],
        "samples_per_second": [100.0, 100.0, 100.0],
    }
)
PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.0, 0.02, 0.98], [0.5, 0.4, 0.1], [0.3, 0.1, 0.6]])
LABELS = np.array([0, 2, 1, 0, 1])
IMAGES = np.arange(30, dtype=np.uint8).reshape(5, 6)


def trained(sizes: Any = (6, 4, 3)) -> nn.MLP:
    """Return a model with gradients."""
    model = nn.MLP(sizes, rng=0)
    nn.CrossEntropyLoss()(model(IMAGES.astype(np.float32)), LABELS).backward()
    return model


def curves(axes: Any) -> dict[str, list[list[float]]]:
    return {line.get_label(): [list(line.get_xdata()), list(line.get_ydata())] for line in axes.lines}


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def names_on(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def drawn(figure: Any, dpi: int = 40) -> np.ndarray:
    """Return the pixels of a figure, which makes matplotlib lay out and draw all of it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="rgba", dpi=dpi)
    width, height = (round(inches * dpi) for inches in figure.get_size_inches())
    return np.frombuffer(buffer.getvalue(), np.uint8).reshape(height, width, 4)


FIGURES = {
    "training_curves": lambda: tg.plot.training_curves(HISTORY),
    "confusion_matrix": lambda: tg.plot.confusion_matrix(PROBABILITIES, LABELS),
    "mistakes": lambda: tg.plot.mistakes(IMAGES, PROBABILITIES, LABELS, (2, 3)),
    "no mistakes": lambda: tg.plot.mistakes(IMAGES, tg.one_hot(LABELS), LABELS, (2, 3)),
    "first_layer": lambda: tg.plot.first_layer(trained(), (2, 3)),
    "gradient_flow": lambda: tg.plot.gradient_flow(trained()),
}


# Every picture


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut(name: str) -> None:
    """All around, a pixel of background is left."""
    pixels = drawn(FIGURES[name](), dpi=100)
    assert pixels.shape[1] == 800
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edge == 255).all()
    assert (pixels != 255).any()


def test_a_figure_shows_itself_in_a_notebook_and_can_be_pickled() -> None:
    figure = FIGURES["mistakes"]()
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert pickle.loads(pickle.dumps(figure))._repr_png_() == figure._repr_png_()


def test_the_room_is_loaded_when_used_and_pyplot_and_settings_are_left_alone() -> None:
    code = """
import sys
import tinygrad_mlp as tg
assert "tinygrad_mlp.train.plot" not in sys.modules
tg.plot
assert "matplotlib" not in sys.modules
import matplotlib
def settings():  # read from the dict: RcParams would look for a backend, which loads pyplot
    return {key: dict.__getitem__(matplotlib.rcParams, key) for key in matplotlib.rcParams}
before = settings()
tg.plot.confusion_matrix([0, 1], [0, 1])._repr_png_()
tg.plot.first_layer(tg.nn.Linear(4, 2), (2, 2))._repr_png_()
assert settings() == before
assert "matplotlib.pyplot" not in sys.modules
print("left alone")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "left alone", result.stderr


class WithoutMatplotlib:
    """An importer that finds none."""

    @staticmethod
    def find_spec(name: str, *args: Any) -> None:
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_without_matplotlib_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [WithoutMatplotlib, *sys.meta_path])
    for make in FIGURES.values():
        with pytest.raises(ImportError) as caught:
            make()
        assert "pip install '.[plot]' in the clone" in str(caught.value)


# Training curves


def test_curves_have_a_panel_for_each_of_loss_metric_and_learning_rate() -> None:
    for history in (HISTORY, SimpleNamespace(frame=HISTORY)):
        figure = tg.plot.training_curves(history)
        assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy", "learning rate"]
        assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
        assert [text.get_text() for text in figure.legends[0].texts] == ["training", "validation", "best epoch, 3"]
        loss, accuracy, rate = map(curves, figure.axes)
        assert loss == {
            "training": [[1, 2, 3], [0.9, 0.5, 0.3]],
            "validation": [[1, 3], [0.8, 0.4]],
            "best epoch, 3": [[3, 3], [0, 1]],
        }
        assert accuracy == {
            "training": [[1, 2, 3], [0.7, 0.8, 0.9]],
            "validation": [[1, 3], [0.75, 0.85]],
            "best epoch, 3": [[3, 3], [0, 1]],
        }
        assert rate == {"learning rate": [[1, 2, 3], [0.1, 0.05, 0.0]]}
        assert figure.axes[2].get_ylim()[0] == 0


def test_curves_take_what_columns_there_are() -> None:
    frame = pd.DataFrame({"lr": 0.1, "validation_top_5": [0.5, 0.6], "note": ["a", "b"], "frame": np.nan, "loss": 1.0})
    figure = tg.plot.training_curves(frame)
    assert [axes.get_title() for axes in figure.axes] == ["loss", "top 5", "learning rate"]
    assert curves(figure.axes[1]) == {"validation": [[0, 1], [0.5, 0.6]]}
    many = tg.plot.training_curves(HISTORY.assign(f1=0.5, precision=0.5))
    assert [axes.get_title() for axes in many.axes] == ["loss", "accuracy", "f1", "precision", "learning rate"]
    assert tuple(many.get_size_inches()) == (8, 6)


def test_curves_of_a_single_epoch_and_of_a_loss_that_overflowed_are_drawn() -> None:
    figure = tg.plot.training_curves(HISTORY[:1])
    drawn(figure)
    low, high = figure.axes[0].get_xlim()
    assert [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high] == [1]
    drawn(tg.plot.training_curves(pd.DataFrame({"loss": [1.0, np.inf], "lr": [0.0, 0.0]})))


@pytest.mark.parametrize(
    ("history", "error", "fragment"),
    [
        ([1, 2], TypeError, "history is [1, 2], expected a History or a DataFrame"),
        (pd.DataFrame(), DataError, "history has 0 rows"),
        (HISTORY[:0], DataError, "history has 0 rows"),
        (HISTORY[["epoch", "seconds"]], DataError, "['epoch', 'seconds'], expected a row an epoch and a column"),
        (pd.DataFrame({"loss": ["a"]}), DataError, "the numeric columns []"),
    ],
)
def test_curves_refuse(history: Any, error: type[Exception], fragment: str) -> None:
    with pytest.raises(error) as caught:
        tg.plot.training_curves(history)
    assert fragment in str(caught.value)


# Confusion matrix


def test_confusion_matrix_writes_counts_and_colours_shares() -> None:
    predictions, labels = [0] * 98 + [1, 2] + [1], [0] * 100 + [1]
    axes, bar = tg.plot.confusion_matrix(predictions, labels, ["cat", "dog", "owl"]).axes
    assert {(text.get_position(), text.get_text()) for text in axes.texts} == {
        ((0, 0), "98"), ((1, 0), "1"), ((2, 0), "1"), ((1, 1), "1"),
    }  # fmt: skip
    assert axes.get_title() == "99 of 101 right: 98.02 %"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert names_on(axes.xaxis) == names_on(axes.yaxis) == ["cat", "dog", "owl"]
    assert bar.get_ylabel() == "share of the row"
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), [[0.98, 0.01, 0.01], [0, 1, 0], [0, 0, 0]])


def test_one_in_a_hundred_is_visible_and_numbers_stand_out_from_their_cells() -> None:
    """Contrast is that of WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio: large text needs 3."""
    counts = np.round(1000 * np.array([[0.99, 0.01], [0.5, 0.5], [0.3, 0.7], [0.2, 0.8], [0.1, 0.9]])).astype(int)
    labels = np.repeat(np.arange(5), 1000)
    predictions = np.concatenate([np.repeat([0, 1], row) for row in counts])
    axes = tg.plot.confusion_matrix(predictions, labels).axes[0]
    cells = axes.images[0].to_rgba(axes.images[0].get_array())[..., :3]
    assert contrast(cells[0, 1], np.ones(3)) > 1.15
    assert len(axes.texts) == 10
    for text in axes.texts:
        column, row = text.get_position()
        assert contrast(cells[row, column], np.full(3, float(text.get_color() == "white"))) > 3


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    def luminance(color: np.ndarray) -> float:
        linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("names", [None, ["T-shirt/top", "Ankle boot", "Bag", *"3456789"]])
def test_numbers_and_names_of_ten_classes_do_not_overlap(names: Any) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(10, size=12_000)
    figure = tg.plot.confusion_matrix(labels, labels, names)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    width = axes.get_window_extent().width / 10
    assert all(text.get_window_extent().width < 0.9 * width for text in axes.texts)
    assert all(text.get_fontsize() >= 10 for text in axes.texts)
    labels = axes.xaxis.get_ticklabels()
    assert {label.get_rotation() for label in labels} == ({0} if names is None else {45})


def test_confusion_matrix_refuses_what_the_metric_refuses() -> None:
    with pytest.raises(DataError, match=r"labels\[1\] is 2, expected a whole number in 0..1"):
        tg.plot.confusion_matrix([0, 1], [0, 2], ["cat", "dog"])
    with pytest.raises(ShapeError, match="num_classes is 2, but .* have 3 scores in a row"):
        tg.plot.confusion_matrix(PROBABILITIES, LABELS, ["cat", "dog"])


# Mistakes


def test_mistakes_are_drawn_with_their_images_the_surest_first() -> None:
    figure = tg.plot.mistakes(IMAGES, PROBABILITIES, LABELS, (2, 3))
    titles = ["1 read as 2 (98 %)", "2 read as 1 (70 %)", "1 read as 2 (60 %)"]
    assert [axes.get_title() for axes in figure.axes] == titles
    for axes, row in zip(figure.axes, (2, 1, 4), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), IMAGES[row].reshape(2, 3))
    figure = tg.plot.mistakes(pd.DataFrame(IMAGES), tg.Tensor(PROBABILITIES), tg.one_hot(LABELS, 3), (2, 3), count=1)
    assert [axes.get_title() for axes in figure.axes] == titles[:1]


def test_equal_mistakes_are_drawn_as_they_stand() -> None:
    probabilities = np.tile([0.25, 0.75], (40, 1))
    figure = tg.plot.mistakes(np.arange(80.0).reshape(40, 2), probabilities, np.zeros(40, int), (1, 2), count=40)
    assert [axes.images[0].get_array()[0, 0] for axes in figure.axes] == list(np.arange(0.0, 80.0, 2))


def test_mistakes_with_long_names_have_titles_of_two_lines_that_fit() -> None:
    names = ["Ankle boot", "T-shirt/top", "Pullover"]
    wrong = np.tile(PROBABILITIES[2], (25, 1))
    figure = tg.plot.mistakes(np.zeros((25, 6)), wrong, np.ones(25), (2, 3), class_names=names)
    assert {axes.get_title() for axes in figure.axes} == {"T-shirt/top\nread as Pullover (98 %)"}
    figure.draw_without_rendering()
    assert all(axes.title.get_window_extent().width < 160 for axes in figure.axes)


def test_no_mistakes_are_said_to_be_none() -> None:
    figure = tg.plot.mistakes(IMAGES, tg.one_hot(LABELS), LABELS, (2, 3))
    assert texts(figure) == ["no mistakes in 5 images"]
    assert figure.axes == []


@pytest.mark.parametrize(
    ("changes", "error", "fragment"),
    [
        ({"count": 0}, ValueError, "count must be an integer >= 1, got 0"),
        ({"count": 2.5}, TypeError, "got 2.5"),
        ({"X": IMAGES[:4]}, ShapeError, "X has 4 rows, and probabilities and labels have 5"),
        ({"X": IMAGES.reshape(5, 2, 3)}, DataError, "expected (N, features)"),
        ({"X": IMAGES.astype(str)}, DtypeError, "X holds <U"),
        ({"shape": (3, 3)}, ShapeError, "a row of X has 6 values, which make no image of shape (3, 3)"),
        ({"shape": 6}, ShapeError, "image of shape 6; pass shape=(height, width)"),
        ({"shape": (1, 2, 3)}, ShapeError, "image of shape (1, 2, 3)"),
        ({"probabilities": LABELS}, ShapeError, "probabilities has shape (5,), expected (N, C)"),
        ({"probabilities": PROBABILITIES * 2}, DataError, "probabilities[0, 0] is 1.8, expected 0..1"),
        ({"probabilities": -PROBABILITIES}, DataError, "with functional.softmax"),
        ({"probabilities": PROBABILITIES[:3]}, ShapeError, "do not fit"),
        ({"labels": [0, 1, 2, 3, 0]}, DataError, "labels[3] is 3"),
        ({"class_names": ["a", "b"]}, ShapeError, "class_names has 2 names, expected 3: one for each class"),
    ],
)
def test_mistakes_refuse(changes: dict[str, Any], error: type[Exception], fragment: str) -> None:
    good = {"X": IMAGES, "probabilities": PROBABILITIES, "labels": LABELS, "shape": (2, 3)}
    with pytest.raises(error) as caught:
        tg.plot.mistakes(**{**good, **changes})
    assert fragment in str(caught.value)


# First layer


def test_first_layer_draws_units_on_one_scale_symmetric_about_zero() -> None:
    model = nn.Sequential(nn.ReLU(), nn.MLP([6, 4, 3], rng=0))
    weights = model.state_dict()["1.0.weight"]
    *panels, bar = tg.plot.first_layer(model, (2, 3)).axes
    assert len(panels) == 4
    for axes, unit in zip(panels, weights, strict=True):
        (image,) = axes.images
        np.testing.assert_array_equal(image.get_array(), unit.reshape(2, 3))
        low, high = image.get_clim()
        assert low == -high == -np.quantile(np.abs(weights), 0.995)
        assert image.cmap.name == "RdBu"
    assert bar.get_ylabel() == "weight"
    assert panels[0].figure.get_suptitle() == "1.0.weight: units 0 to 3 of 4"


def test_first_layer_draws_at_most_count_units_also_of_zeros() -> None:
    model = nn.Linear(6, 4)
    nn.init.uniform_(model.weight, 0.0, 0.0)
    figure = tg.plot.first_layer(model, (3, 2), count=2)
    assert figure.get_suptitle() == "weight: units 0 to 1 of 4"
    drawn(figure)
    assert len(figure.axes) == 3


@pytest.mark.parametrize(
    ("model", "changes", "error", "fragment"),
    [
        ("model.npz", {}, TypeError, "model is 'model.npz', expected a Module"),
        (nn.ReLU(), {}, ValueError, "ReLU has no Linear layer"),
        (nn.Linear(6, 4), {}, ShapeError, "has 6 values, which make no image of shape (28, 28)"),
        (nn.Linear(6, 4), {"shape": 6}, ShapeError, "shape 6"),
        (nn.Linear(6, 4), {"shape": (2, 3), "count": 0}, ValueError, "count must be an integer >= 1, got 0"),
    ],
)
def test_first_layer_refuses(model: Any, changes: dict[str, Any], error: type[Exception], fragment: str) -> None:
    with pytest.raises(error) as caught:
        tg.plot.first_layer(model, **changes)
    assert fragment in str(caught.value)


def test_weights_of_zero_are_white() -> None:
    model = nn.MLP([4, 3], rng=0)
    model.load_state_dict({name: np.zeros_like(a) for name, a in model.state_dict().items()})
    (image,) = tg.plot.first_layer(model, (2, 2)).axes[0].images
    assert image.norm.vmin < image.norm.vmax
    assert image.norm(0.0) == 0.5


def test_first_layer_refuses_weights_that_are_not_finite() -> None:
    model = nn.Linear(6, 4)
    with tg.no_grad():
        model.weight *= np.nan
    with pytest.raises(DataError, match="weight has values that are not finite"):
        tg.plot.first_layer(model, (2, 3))


# Gradient flow


def test_gradient_flow_marks_mean_and_largest_of_each_parameter() -> None:
    model = trained()
    (axes,) = tg.plot.gradient_flow(model).axes
    gradients = [np.abs(p.grad.numpy()) for p in model.parameters()]
    assert names_on(axes.yaxis) == [name for name, _ in model.named_parameters()]
    assert axes.get_xscale() == "log"
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    marks = curves(axes)
    np.testing.assert_allclose(marks["mean"], [[g.mean() for g in gradients], range(4)], rtol=1e-6)
    np.testing.assert_allclose(marks["largest"], [[g.max() for g in gradients], range(4)], rtol=1e-6)
    assert texts(axes) == []


def test_gradient_flow_says_what_has_no_place_on_the_axis() -> None:
    model = trained((6, 4, 4, 3))
    names = dict(model.named_parameters())
    names["0.weight"].grad = None
    names["0.bias"].grad = tg.Tensor(np.zeros(4, np.float32))
    names["2.bias"].grad = tg.Tensor(np.array([1, 1, 1, np.inf], np.float32))
    figure = tg.plot.gradient_flow(model)
    (axes,) = figure.axes
    assert {(text.get_text(), text.get_position()[1]) for text in axes.texts} == {
        ("no gradient", 0), ("all zero", 1), ("not finite", 3),
    }  # fmt: skip
    assert curves(axes)["mean"][1] == [2, 4, 5]
    drawn(figure)


def test_gradient_flow_adds_up_in_float64() -> None:
    model = nn.Linear(2, 2, bias=False, rng=0)
    model.weight.grad = tg.Tensor(np.full((2, 2), 3e38, np.float32))
    mean, largest = (line.get_xdata() for line in tg.plot.gradient_flow(model).axes[0].lines[-2:])
    np.testing.assert_allclose([*mean, *largest], 3e38, rtol=1e-7)


def test_gradient_flow_of_nothing_but_zeros_is_drawn() -> None:
    model = nn.Linear(6, 4)
    (model(np.zeros((1, 6), np.float32)) * 0.0).sum().backward()
    figure = tg.plot.gradient_flow(model)
    drawn(figure)
    assert texts(figure.axes[0]) == ["all zero", "all zero"]


@pytest.mark.parametrize(
    ("model", "error", "fragment"),
    [
        (nn.MLP([6, 4, 3]), GraphError, "no parameter has a gradient; call loss.backward()"),
        (nn.ReLU(), GraphError, "no parameter has a gradient"),
        (None, TypeError, "model is None, expected a Module"),
    ],
)
def test_gradient_flow_refuses(model: Any, error: type[Exception], fragment: str) -> None:
    with pytest.raises(error) as caught:
        tg.plot.gradient_flow(model)
    assert fragment in str(caught.value)
