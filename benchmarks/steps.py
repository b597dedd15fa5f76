"""Time one training step: forward, softmax cross entropy, backward and SGD update, beside other frameworks.

    python benchmarks/steps.py --csv steps.csv --picture steps.png
    python benchmarks/steps.py --momentum 0.9
    python benchmarks/steps.py --adam --only "tinygrad_mlp native" PyTorch torch.compile "JAX jit" NumPy
    python benchmarks/steps.py --only tinygrad_mlp PyTorch --cases 2 3

Each contestant runs in its own process, with two threads, in turn, in several rounds. It must first arrive at the loss
of the NumPy loop (without dropout, whose masks are random). Whatever is not installed is reported as missing.

The CSV is written after each size; `picture.py` draws it again without timing.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from statistics import median

import common
from contestants import CONTESTANTS, Problem, build, title

CASES = [
    (16, (2, 16, 16, 2)),
    (32, (784, 128, 10)),
    (200, (784, 10)),
    (64, (784, *[64] * 10, 10)),
    (200, (784, 128, 10)),
    (128, (784, 1024, 1024, 10)),
    (1000, (784, 512, 10)),
]
REFERENCES = ("PyTorch", "JAX jit", "NumPy", "matrix products")
CHECKED_STEPS, TOLERANCE = 10, 1e-5
CHECK_RATE = 0.02
TIMING_RATE = 1e-8  # the weights stay as they are: units that die would leave denormal momenta, which are slow


def measure(name, batch, widths, momentum, dropout, adam, read_loss, seconds):
    """In a child: check a contestant, and return the microseconds of its step."""
    problem = Problem(batch, tuple(widths), momentum, dropout, TIMING_RATE, adam=adam)
    check(name, replace(problem, dropout=0.0, lr=CHECK_RATE / 100 if adam else CHECK_RATE))
    return {"us": 1e6 * common.seconds_per_call(runner(name, problem, read_loss), seconds)}


def runner(name, problem, read_loss=False):
    """Return a function that takes as many steps as it is told, and waits until they are done."""
    contestant = build(name, problem)
    step, read = contestant.step, contestant.read
    batches = [contestant.convert(x, y) for x, y in problem.batches()]

    def run(steps):
        for i in range(steps):
            loss = step(*batches[i % len(batches)])
            if read_loss:
                read(loss)
        return read(loss)

    return run


def check(name, problem):
    """Raise ValueError unless the loss after some steps is the NumPy loop's.

    One start of three will do: a unit whose input is 0 but for rounding can send two that are right different ways.
    """
    for seed in range(3):
        start = replace(problem, seed=seed)
        mine, expected = (runner(contestant, start)(CHECKED_STEPS) for contestant in (name, "NumPy"))
        if name == "matrix products" or math.isclose(mine, expected, rel_tol=TOLERANCE):
            return
    raise ValueError(f"loss {mine:.6f} after {CHECKED_STEPS} steps, NumPy's is {expected:.6f}")


def run_case(names, options, batch, widths):
    """Run all rounds of a case; return each contestant's microseconds by round, and the notes of those without."""
    times, notes = {name: [] for name in names}, {}
    for _ in range(options.rounds):
        for name in [name for name in names if name not in notes]:
            request = {key: getattr(options, key) for key in ("momentum", "dropout", "adam", "read_loss", "seconds")}
            answer = common.in_child(__file__, name=name, batch=batch, widths=widths, **request)
            if "us" in answer:
                times[name].append(answer["us"])
            else:
                notes[name] = answer["note"]
    return {name: us for name, us in times.items() if name not in notes}, notes


def print_case(heading, times):
    references = [name for name in REFERENCES if name in times]
    rows = [[heading, "us", "lowest", "highest", *[f"/ {name}" for name in references]]]
    for name, us in times.items():
        ratios = [f"{common.ratio(us, times[reference]):.2f}" for reference in references]
        rows.append([name, *[f"{value:.1f}" for value in (median(us), min(us), max(us))], *ratios])
    common.print_table(rows)


def print_summary(names, results):
    """Print one row for each contestant and one column for each case: microseconds, and the ratio to PyTorch."""
    rows = [["us (ratio to PyTorch)", *results]]
    for name in names:
        cells = []
        for times in results.values():
            cell = f"{median(times[name]):.1f}" if name in times else "-"
            if name in times and "PyTorch" in times:
                cell += f" ({common.ratio(times[name], times['PyTorch']):.2f})"
            cells.append(cell)
        rows.append([name, *cells])
    common.print_table(rows)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--momentum", type=float, default=0.0, metavar="X", help="of the update (0)")
    parser.add_argument("--dropout", type=float, default=0.0, metavar="P", help="after each hidden layer (0)")
    parser.add_argument("--adam", action="store_true", help="instead of SGD, of those who have it in their step")
    parser.add_argument("--read-loss", action="store_true", help="read the loss after every step")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="processes for each contestant (5)")
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S", help="of timing in each process (0.5)")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), metavar="NAME")
    numbers = range(1, len(CASES) + 1)
    parser.add_argument("--cases", nargs="+", type=int, choices=numbers, default=numbers, metavar="N", help="1 to 7")
    parser.add_argument("--csv", type=Path, metavar="OUT", help="write the microseconds of every round")
    parser.add_argument("--picture", type=Path, metavar="OUT", help="draw the CSV (needs matplotlib)")
    options = parser.parse_args()
    if options.picture and not (options.csv and "NumPy" in options.only):
        parser.error("--picture draws what --csv writes, relative to NumPy: it needs both")
    for path in filter(None, (options.csv, options.picture)):
        if not path.parent.is_dir():
            parser.error(f"no directory {path.parent}, in which to write {path.name}")
    return options


def main():
    options = parse_options()
    if options.picture:
        import picture  # now, lest matplotlib prove missing after all is timed
    names = [name for name in CONTESTANTS if name in options.only]
    facts = [common.machine(), common.versions(CONTESTANTS[name][1] for name in names)]
    when = "step" if options.read_loss else "sample"
    rule = "Adam" if options.adam else f"momentum {options.momentum}"
    facts.append(f"{rule}, dropout {options.dropout}, loss read after every {when}")
    print("\n".join(facts))
    results, lines, seen = {}, [], set()
    for number in options.cases:
        batch, widths = CASES[number - 1]
        joined = "-".join(map(str, widths))
        times, notes = run_case(names, options, batch, widths)
        print()
        print_case(title(batch, joined), times)
        new = [f"{name}: {note}" for name, note in notes.items() if (name, note) not in seen]
        print("\n".join(new))
        seen.update(notes.items())
        results[title(batch, joined)] = times
        lines += [
            (batch, joined, name, i, f"{us:.2f}") for name, rounds in times.items() for i, us in enumerate(rounds, 1)
        ]
        if options.csv:
            common.write_csv(options.csv, ["batch", "widths", "contestant", "round", "us"], lines, facts)
    print()
    print_summary(names, results)
    if options.picture:
        picture.draw(options.csv, options.picture)


if __name__ == "__main__":
    if (request := common.child_request()) is not None:
        common.answer(measure, request)
    else:
        main()
