"""Pictures of a training, of what a model gets wrong, and of what is inside it, drawn by matplotlib (extra ``plot``).

Every function returns a ``matplotlib.figure.Figure``, 8 inches wide: 800 pixels at matplotlib's 100 dots an inch. A
notebook shows it, ``figure.savefig("curves.png")`` writes it; nothing here calls ``show`` or touches pyplot.
The colours are those that colour-blind people can tell apart: Okabe and Ito's (https://jfly.uni-koeln.de/color), and
ColorBrewer's Blues and RdBu (https://colorbrewer2.org).

>>> import tinygrad_mlp as tg
>>> tg.plot.confusion_matrix(predictions=[0, 1, 1, 1], labels=[0, 0, 1, 1], class_names=["cat", "dog"])
<Figure size 800x700 with 2 Axes>
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from io import BytesIO
from math import ceil, prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import Array, as_array, check_integer
from ..errors import DataError, GraphError, ShapeError, describe, need
from ..nn import Linear, Module
from . import metrics
from .data import check_features

__all__ = ["confusion_matrix", "first_layer", "gradient_flow", "learning_rates", "mistakes", "training_curves"]
__dir__ = __all__.copy  # what Tab offers

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 8.0  # inches
BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6b6b6b"
NO_CURVES = {"epoch", "step", "seconds", "samples_per_second"}


def training_curves(history: Any) -> Figure:
    """Draw the loss, each metric and the learning rate over the epochs; a line marks the best validation loss.

    Args:
        history: a `History`, whose learning rate is drawn step by step, or a DataFrame with a row an epoch, such as its
            CSV file read back. Each numeric column but step, seconds and samples_per_second gets a panel, which it
            shares with its ``validation_`` column. Without a column ``epoch``, the index takes its place.

    Raises:
        TypeError: it is neither.
        DataError: it has no rows, or no column to draw.

    >>> import pandas as pd
    >>> training_curves(pd.DataFrame({"epoch": [1, 2], "loss": [0.9, 0.4], "validation_loss": [0.8, 0.5], "lr": 0.1}))
    <Figure size 800x300 with 2 Axes>
    """
    frame = _numbers(history)
    names = [str(name).removeprefix("validation_") for name in frame if name not in NO_CURVES]
    panels = sorted(dict.fromkeys(names), key=lambda name: (name != "loss", name == "lr"))
    columns = min(len(panels), 3)
    rows = ceil(len(panels) / columns)
    figure = _figure(3.0 * rows)
    for i, name in enumerate(panels, 1):
        _draw_curves(figure.add_subplot(rows, columns, i), frame, name, getattr(history, "lr", []))
    handles = {line.get_label(): line for axes in figure.axes for line in axes.lines if line.get_color() != GREEN}
    figure.legend(handles=list(handles.values()), loc="outside upper center", ncols=3, frameon=False)
    return figure


def _numbers(history: Any) -> pd.DataFrame:
    """Return the numeric columns of a history, having checked that there is something to draw."""
    frame: Any = history if hasattr(history, "select_dtypes") else getattr(history, "frame", None)
    if not hasattr(frame, "select_dtypes"):
        raise TypeError(f"history is {describe(history)}, expected a History or a DataFrame with a row an epoch")
    numbers: pd.DataFrame = frame.select_dtypes("number").dropna(axis="columns", how="all")
    if len(numbers) == 0 or set(numbers) <= NO_CURVES:
        raise DataError(
            f"history has {len(numbers)} rows and the numeric columns {list(numbers)}, "
            "expected a row an epoch and a column such as 'loss'"
        )
    return numbers


def _draw_curves(axes: Axes, frame: pd.DataFrame, name: str, lr: Sequence[float]) -> None:
    epochs = frame["epoch"] if "epoch" in frame else frame.index.to_series()
    curves = [(name, "training", BLUE, "-"), (f"validation_{name}", "validation", VERMILLION, "--")]
    if name == "lr":
        curves = [(name, "learning rate", GREEN, "-")]
    for column, label, color, style in curves:
        if column in frame:
            known = frame[column].notna()  # validation may take place in some of the epochs only
            axes.plot(epochs[known], frame[column][known], style, marker=".", color=color, label=label)
    if name == "lr":
        steps = 1 + np.arange(len(lr))
        if len(lr):
            axes.lines[0].set_data(epochs.iloc[0] - 1 + steps * len(epochs) / len(lr), lr)
            axes.lines[0].set_marker("")
            axes.relim()
    elif "validation_loss" in frame:
        best = epochs.iloc[int(frame["validation_loss"].argmin())]
        axes.axvline(best, linestyle=":", color=GREY, label=f"best epoch, {best}")
    axes.set(title="learning rate" if name == "lr" else name.replace("_", " "), xlabel="epoch")
    if name == "lr":
        axes.set_ylim(bottom=0)
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    axes.ticklabel_format(axis="y", scilimits=(-3, 4), useOffset=False)
    axes.grid(alpha=0.3)


def learning_rates(found: Any) -> Figure:
    """Draw the loss over the learning rate, and the suggestion, of what `find_lr` has found.

    >>> from tinygrad_mlp.train.search import LRSearch
    >>> found = LRSearch()
    >>> found.lr, found.loss = [0.001, 0.01, 0.1, 1.0], [1.0, 0.9, 0.5, 2.0]
    >>> learning_rates(found).axes[0].get_title()
    'the loss falls fastest at 0.01'
    """
    figure = _figure(4.0)
    title = f"the loss falls fastest at {found.suggestion:.2g}"
    axes = figure.add_subplot(xscale="log", xlabel="learning rate", ylabel="loss, smoothed", title=title)
    axes.plot(found.lr, found.loss, color=BLUE)
    axes.axvline(found.suggestion, linestyle=":", color=GREY)
    axes.set_ylim(top=min(max(found.loss), 2 * found.loss[0]) * 1.05)
    axes.grid(alpha=0.3)
    return figure


def confusion_matrix(predictions: Any, labels: Any, class_names: Sequence[Any] | None = None) -> Figure:
    """Draw how often each class was predicted as each: a row for each true class, a column for each predicted one.

    The colour is the share of the row, on a scale on which one in a hundred is well visible. An empty cell is 0.

    Args:
        predictions: classes (N,) or scores (N, C).
        labels: classes (N,) or one-hot rows (N, C).
        class_names: a name for each class; its number by default.

    Raises what `metrics.confusion_matrix` does, where ``num_classes`` is how many names there are.

    >>> figure = confusion_matrix([0, 1, 1, 1], [0, 0, 1, 1])
    >>> figure.axes[0].get_title(), [text.get_text() for text in figure.axes[0].texts]
    ('3 of 4 right: 75.00 %', ['1', '1', '2'])
    """
    counts = metrics.confusion_matrix(predictions, labels, None if class_names is None else len(class_names))
    names = _names(class_names, len(counts))
    right, total = np.trace(counts), counts.sum()
    figure = _figure(7.0)
    axes = figure.add_subplot(title=f"{right} of {total} right: {100 * right / total:.2f} %")
    axes.set(xlabel="predicted class", ylabel="true class")
    _label_classes(axes, names)
    norm = need("matplotlib.colors", "plot").PowerNorm(0.35, 0, 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", norm=norm)
    size = min(11, 600 / len(names) / (len(str(counts.max())) + 1))
    for row, column in np.argwhere(counts):
        color = "white" if norm(shares[row, column]) > 0.6 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=size)
    ticks = {0: "0", 0.001: "0.1 %", 0.01: "1 %", 0.05: "5 %", 0.2: "20 %", 0.5: "50 %", 1: "100 %"}
    figure.colorbar(image, label="share of the row", shrink=0.8).set_ticks(list(ticks), labels=list(ticks.values()))
    return figure


def _label_classes(axes: Axes, names: list[str]) -> None:
    width = 430 / len(names)  # of a cell, in points; a letter is about 0.6 as wide as its size
    size = min(10, 0.8 * width)
    turned = 0.6 * size * max(map(len, names)) > width
    ticks = range(len(names))
    axes.set_xticks(ticks, names, fontsize=size, rotation=45 if turned else 0, ha="right" if turned else "center")
    axes.set_yticks(ticks, names, fontsize=size)


def mistakes(
    X: Any,
    probabilities: Any,
    labels: Any,
    shape: tuple[int, int] = (28, 28),
    count: int = 25,
    class_names: Sequence[Any] | None = None,
) -> Figure:
    """Draw the mistakes that the model was surest of, each under a title such as "4 read as 9 (98 %)".

    Args:
        X: the images, shape (N, height * width), in any scale of brightness.
        probabilities: of each class, shape (N, C), as `predict_proba` returns them.
        labels: classes (N,) or one-hot rows (N, C).
        shape: height and width of an image.
        count: how many mistakes to draw at most.
        class_names: a name for each class; its number by default.

    Raises what `accuracy` and `check_features` do, ShapeError for images or names that do not fit, DataError for a
    probability outside 0..1, and ValueError for a count that is no integer >= 1.

    >>> figure = mistakes(np.eye(3, 4), [[0.1, 0.9], [0.4, 0.6], [0.2, 0.8]], [0, 0, 1], shape=(2, 2))
    >>> [axes.get_title() for axes in figure.axes]
    ['0 read as 1 (90 %)', '0 read as 1 (60 %)']
    """
    check_integer("count", count)
    X, probabilities = check_features(X), as_array(probabilities)
    predicted, true, num_classes = metrics.predicted_and_true(probabilities, labels)
    _check_probabilities(probabilities)
    if len(X) != len(true):
        raise ShapeError(f"X has {len(X)} rows, and probabilities and labels have {len(true)}; pass the same samples")
    _check_shape(shape, X.shape[1], "a row of X")
    names = _names(class_names, num_classes)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != true)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    titles = [f"{names[true[i]]} read as {names[predicted[i]]} ({100 * confidence[i]:.0f} %)" for i in surest]
    return _draw_images(X[surest].reshape(-1, *shape), titles) if titles else _no_mistakes(len(X))


def _check_probabilities(probabilities: Array) -> None:
    if probabilities.ndim != 2:
        raise ShapeError(f"probabilities has shape {probabilities.shape}, expected (N, C): one for each class")
    if (bad := (probabilities < 0) | (probabilities > 1)).any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"probabilities[{row}, {column}] is {probabilities[row, column]}, expected 0..1; "
            "turn logits into probabilities with functional.softmax"
        )


def _draw_images(images: Array, titles: list[str]) -> Figure:
    if max(map(len, titles)) > 20:
        titles = [title.replace(" read as ", "\nread as ") for title in titles]
    figure, panels, columns = _grid(len(images), height=1.2)
    longest = max(len(line) for title in titles for line in title.split("\n"))
    size = min(10, 1.6 * 72 * WIDTH / columns / longest)  # in points; a letter is about 0.6 as wide
    for axes, image, title in zip(panels, images, titles, strict=True):
        axes.imshow(image, cmap="gray")
        axes.set_title(title, fontsize=size)
    return figure


def _no_mistakes(count: int) -> Figure:
    figure = _figure(1.0)
    figure.text(0.5, 0.5, f"no mistakes in {count} images", ha="center", va="center")
    return figure


def first_layer(model: Module, shape: tuple[int, int] = (28, 28), count: int = 36) -> Figure:
    """Draw the weights of the model's first Linear layer as images: what each of its units looks for.

    Positive weights are blue, negative ones red, and zero is white; one scale serves all images.

    Args:
        model: a Module with a Linear in it.
        shape: height and width of an image, of ``in_features`` pixels together.
        count: how many units to draw at most, from the first one on.

    Raises:
        TypeError: ``model`` is no Module.
        ValueError: it has no Linear layer, or ``count`` is no integer >= 1.
        ShapeError: ``shape`` has another number of pixels than the layer has inputs.
        DataError: weights are NaN or infinite.

    >>> from tinygrad_mlp import nn
    >>> figure = first_layer(nn.MLP([4, 3, 2], rng=0), shape=(2, 2))
    >>> len(figure.axes)  # an image for each of three units, and the scale
    4
    """
    check_integer("count", count)
    _check_model(model)
    linear = next((module for module in model.modules() if isinstance(module, Linear)), None)
    if linear is None:
        raise ValueError(f"{type(model).__name__} has no Linear layer, whose weights could be drawn")
    _check_shape(shape, linear.in_features, f"a unit of {linear!r}")
    name, weights = linear.weight.name, as_array(linear.weight)[:count]
    if not np.isfinite(weights).all():
        raise DataError(f"{name} has values that are not finite; detect_anomaly finds the op that made them")
    figure, panels, _ = _grid(len(weights), height=0.9)
    limit = np.quantile(np.abs(weights), 0.995) or 1.0  # not the largest, beside which all others would look pale
    for axes, unit in zip(panels, weights, strict=True):
        image = axes.imshow(unit.reshape(shape), cmap="RdBu", vmin=-limit, vmax=limit)
    figure.colorbar(image, ax=panels, shrink=0.6, extend="both", label="weight")
    figure.suptitle(f"{name}: units 0 to {len(weights) - 1} of {linear.out_features}")
    return figure


def gradient_flow(model: Module) -> Figure:
    """Draw the mean and the largest absolute gradient of each parameter on a logarithmic axis, from input to output.

    Call it between ``backward()`` and ``zero_grad()``. Where gradients fade on their way back, the upper rows are
    further to the left. What has no place on the axis is written out: "all zero", "not finite", or "no gradient".

    Raises:
        TypeError: ``model`` is no Module.
        GraphError: no parameter has a gradient.

    >>> from tinygrad_mlp import nn
    >>> model = nn.MLP([4, 3, 2], rng=0)
    >>> model(np.ones((5, 4), np.float32)).sum().backward()
    >>> [label.get_text() for label in gradient_flow(model).axes[0].get_yticklabels()]
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """
    _check_model(model)
    gradients = {name: p.grad for name, p in model.named_parameters()}
    if all(gradient is None for gradient in gradients.values()):
        raise GraphError("no parameter has a gradient; call loss.backward(), and draw before zero_grad()")
    figure = _figure(1.2 + 0.3 * len(gradients))
    axes = figure.add_subplot(xscale="log", xlabel="absolute gradient")
    axes.set_yticks(range(len(gradients)), list(gradients))
    axes.set_ylim(len(gradients) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    marked = []
    for row, gradient in enumerate(gradients.values()):
        sizes = np.abs(as_array([] if gradient is None else gradient), dtype=np.float64)
        if word := _without_place(sizes):
            axes.text(0.01, row, word, transform=axes.get_yaxis_transform(), va="center", color=GREY)
        else:
            marked.append((row, sizes.mean(), sizes.max()))
    rows, means, largest = np.reshape(marked, (-1, 3)).T
    axes.hlines(rows, means, largest, color=GREY, linewidth=1)
    axes.plot(means, rows, "o", color=BLUE, label="mean")
    axes.plot(largest, rows, "D", color=VERMILLION, label="largest")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def _without_place(sizes: Array) -> str:
    """Return what is written in the place of sizes that a logarithmic axis does not have."""
    if sizes.size == 0:
        return "no gradient"
    if not np.isfinite(sizes).all():
        return "not finite"
    return "" if sizes.any() else "all zero"


def _check_model(model: Any) -> None:
    if not isinstance(model, Module):
        raise TypeError(f"model is {describe(model)}, expected a Module, such as nn.MLP([784, 256, 10])")


def _check_shape(shape: Any, size: int, what: str) -> None:
    if np.size(shape) != 2 or prod(shape) != size:
        raise ShapeError(f"{what} has {size} values, which make no image of shape {shape}; pass shape=(height, width)")


def _names(class_names: Sequence[Any] | None, num_classes: int) -> list[str]:
    names = [str(name) for name in (range(num_classes) if class_names is None else class_names)]
    if len(names) != num_classes:
        raise ShapeError(f"class_names has {len(names)} names, expected {num_classes}: one for each class")
    return names


def _grid(count: int, height: float) -> tuple[Figure, list[Axes], int]:
    """Return a figure, its panels for images, ``height`` times as high as they are wide, and how many are in a row."""
    columns = max(3, ceil(sqrt(count)))
    rows = ceil(count / columns)
    figure = _figure(WIDTH / columns * rows * height)
    panels = [figure.add_subplot(rows, columns, i, xticks=[], yticks=[]) for i in range(1, count + 1)]
    return figure, panels, columns


def _figure(height: float) -> Figure:
    """Return an empty figure, which shows itself in notebooks also where pyplot was never imported."""
    figure: Figure = need("matplotlib.figure", "plot").Figure((WIDTH, height), layout="constrained")
    vars(figure)["_repr_png_"] = partial(_png, figure)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
