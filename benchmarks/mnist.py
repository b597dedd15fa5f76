"""Time the training of `examples/mnist.py` to 98 % on MNIST from a cold process, and the same recipe elsewhere.

    python benchmarks/mnist.py
    python benchmarks/mnist.py --peers --seeds 0 1 2
    python benchmarks/mnist.py --only "tinygrad_mlp native" PyTorch

Beside it train a loop written by hand in NumPy and, with `--peers`, PyTorch, `torch.compile` and JAX. All start from
the same weights, see the same images in the same order and use the same learning rates, with two threads each, in turn,
each in its own process. The mean loss of the first tenth of an epoch must be the same.

Ten times an epoch the clock stops, and the test images are evaluated. "98 %" is when 98 % of them are right for the
first time: in seconds from the start of the process, with imports, the reading of the data and whatever is compiled for
training, and in seconds of training alone. Evaluations count in neither.
"""

from __future__ import annotations

import argparse
import math
import time
from statistics import median

import common
from recipe import CONTESTANTS, load_recipe, parts

PEERS = {"PyTorch": "torch", "torch.compile": "torch", "JAX jit": "jax"}
REFERENCES = ("NumPy", "PyTorch")
TARGET, PARTS = 0.98, 10
TOLERANCE = 1e-3  # of the first mean loss, in which rounding has had time to grow


def measure(name, seed, started):
    """In a child: train, and return the seconds before training, of it to the target and in all, and the accuracy."""
    recipe = load_recipe(seed, name)
    train, evaluate = CONTESTANTS[name](recipe)
    before = time.time() - started
    seconds, reached, first_loss = 0.0, math.inf, None
    for batches in parts(recipe, PARTS):
        start = time.perf_counter()
        loss, _ = train(batches)
        seconds += time.perf_counter() - start
        accuracy = evaluate(*recipe.data[2:])
        if accuracy >= TARGET:
            reached = min(reached, seconds)
        first_loss = first_loss or loss
    return {"before": before, "reached": reached, "seconds": seconds, "accuracy": accuracy, "loss": first_loss}


def run(names, seeds):
    """Run all seeds in turn; return each contestant's answers, of those who have one for every seed."""
    answers = {name: [] for name in names}
    for seed in seeds:
        loss = None
        for name in list(answers):
            answer = common.in_child(__file__, name=name, seed=seed, started=time.time())
            loss = loss or answer.get("loss")
            if "note" not in answer and not math.isclose(answer["loss"], loss, rel_tol=TOLERANCE):
                answer = {"note": f"another loss, {answer['loss']:.6f} instead of {loss:.6f}: not the same work"}
            if "note" in answer:
                print(f"{name}: {answer['note']}")
                del answers[name]
                continue
            answers[name].append(answer)
            print(f"seed {seed}  {name:16} {answer['before']:5.2f} s before training, ", end="")
            print(f"98 % after {answer['reached']:5.2f} s of {answer['seconds']:5.2f} s, ", end="")
            print(f"{answer['accuracy']:.2%} in the end", flush=True)
    return answers


def report(answers):
    """Print medians over the seeds; ratios are by seed."""
    to_target = {name: [answer["reached"] for answer in runs] for name, runs in answers.items()}
    references = [name for name in REFERENCES if name in answers]
    heading = ["", "98 % from start s", "98 % training s", *[f"/ {name}" for name in references]]
    rows = [[*heading, "all training s", "lowest", "highest", "accuracy", "lowest", "highest"]]
    for name, runs in answers.items():
        seconds, accuracy = ([answer[key] for answer in runs] for key in ("seconds", "accuracy"))
        cold = median(answer["before"] + answer["reached"] for answer in runs)
        cells = [f"{cold:.2f}", f"{median(to_target[name]):.2f}"]
        cells += [f"{common.ratio(to_target[name], to_target[reference]):.2f}" for reference in references]
        cells += [f"{value:.2f}" for value in (median(seconds), min(seconds), max(seconds))]
        cells += [f"{value:.2%}" for value in (median(accuracy), min(accuracy), max(accuracy))]
        rows.append([name, *cells])
    common.print_table(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5), metavar="N", help="(0 1 2 3 4)")
    parser.add_argument("--peers", action="store_true", help="PyTorch, torch.compile and JAX, too")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, metavar="NAME", help="these")
    options = parser.parse_args()
    names = options.only or [name for name in CONTESTANTS if name not in PEERS or options.peers]
    print(common.machine())
    print(common.versions(["tinygrad_mlp", *[PEERS[name] for name in names if name in PEERS]]))
    report(run(names, options.seeds))


if __name__ == "__main__":
    if (request := common.child_request()) is not None:
        common.answer(measure, request)
    else:
        main()
