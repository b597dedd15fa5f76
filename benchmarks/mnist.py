"""Time the training of `examples/mnist.py` on all of MNIST beside a loop written by hand in NumPy: the same recipe.

    python benchmarks/mnist.py
    python benchmarks/mnist.py --peers --seeds 0 1 2

All start from the same weights, see the same images in the same order and use the same learning rates, with two threads
each, in turn, each in its own process. Training seconds are those of the epochs, without the evaluation on the test
images; process seconds are those from the start of Python to its end, with imports and the reading of the data.
"""

from __future__ import annotations

import argparse
from statistics import median
from time import perf_counter

import common
from recipe import CONTESTANTS, load_recipe


def measure(name, seed):
    """In a child: train, and return the seconds that it took and the accuracy on the test images."""
    recipe = load_recipe(seed, eager=name != "tinygrad_mlp jit")
    epoch, evaluate = CONTESTANTS[name](recipe)
    start = perf_counter()
    for _ in range(recipe.options.epochs):
        epoch()
    return {"seconds": perf_counter() - start, "accuracy": evaluate(*recipe.data[2:])}


def report(runs):
    """Print medians over the seeds of seconds of training, of the process and of accuracy; ratios are by seed."""
    rows = [["", "training s", "lowest", "highest", "/ NumPy", "process s", "accuracy", "lowest", "highest"]]
    for name, (seconds, process, accuracy) in runs.items():
        ratio = f"{common.ratio(seconds, runs['NumPy'][0]):.2f}" if "NumPy" in runs else "-"
        cells = [f"{value:.2f}" for value in (median(seconds), min(seconds), max(seconds))]
        cells += [ratio, f"{median(process):.2f}"]
        cells += [f"{value:.2%}" for value in (median(accuracy), min(accuracy), max(accuracy))]
        rows.append([name, *cells])
    common.print_table(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5), metavar="N", help="(0 1 2 3 4)")
    parser.add_argument("--peers", action="store_true", help="PyTorch, too")
    options = parser.parse_args()
    names = [name for name in CONTESTANTS if name != "PyTorch" or options.peers]
    print(common.machine())
    if options.peers:
        print(common.versions(["torch"]))
    runs = {name: [] for name in names}
    for seed in options.seeds:
        for name in list(runs):
            start = perf_counter()
            answer = common.in_child(__file__, name=name, seed=seed)
            if "note" in answer:
                print(f"{name}: {answer['note']}")
                del runs[name]
                continue
            run = answer["seconds"], perf_counter() - start, answer["accuracy"]
            runs[name].append(run)
            print(f"seed {seed}  {name:16} {run[0]:6.2f} s  {run[1]:6.2f} s  {run[2]:7.2%}", flush=True)
    report({name: list(zip(*of_name, strict=True)) for name, of_name in runs.items()})


if __name__ == "__main__":
    if (request := common.child_request()) is not None:
        common.answer(measure, request)
    else:
        main()
