"""Time one training step: forward, softmax cross entropy, backward and SGD update, beside other frameworks.

    python benchmarks/steps.py
    python benchmarks/steps.py --momentum 0.9 --csv steps.csv
    python benchmarks/steps.py --only tinygrad_mlp PyTorch --cases 2 3

Each contestant runs in its own process, with two threads, in turn, in several rounds. It must first arrive at the loss
of the NumPy loop (without dropout, whose masks are random). Whatever is not installed is reported as missing.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from statistics import median

import common
from contestants import CONTESTANTS, NotApplicableError, Problem, build

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


def measure(name, batch, widths, momentum, dropout, read_loss, seconds):
    """In a child: check a contestant, and return the microseconds of its step."""
    problem = Problem(batch, tuple(widths), momentum, dropout, TIMING_RATE)
    try:
        check(name, replace(problem, dropout=0.0, lr=CHECK_RATE))
        contestant = build(name, problem)
    except NotApplicableError as reason:
        return {"note": str(reason)}
    step, read = contestant.step, contestant.read
    batches = [contestant.convert(x, y) for x, y in problem.batches()]

    def run(steps):
        for i in range(steps):
            loss = step(*batches[i % len(batches)])
            if read_loss:
                read(loss)
        read(loss)

    return {"us": 1e6 * common.seconds_per_call(run, seconds)}


def check(name, problem):
    """Raise ValueError unless the loss after some steps is the NumPy loop's.

    One start of three will do: a unit whose input is 0 but for rounding can send two that are right different ways.
    """
    for seed in range(3):
        mine, expected = (loss_after_steps(contestant, replace(problem, seed=seed)) for contestant in (name, "NumPy"))
        if name == "matrix products" or math.isclose(mine, expected, rel_tol=TOLERANCE):
            return
    raise ValueError(f"loss {mine:.6f} after {CHECKED_STEPS} steps, NumPy's is {expected:.6f}")


def loss_after_steps(name, problem):
    contestant = build(name, problem)
    batches = [contestant.convert(x, y) for x, y in problem.batches()]
    for i in range(CHECKED_STEPS):
        loss = contestant.step(*batches[i % len(batches)])
    return contestant.read(loss)


def run_case(names, options, batch, widths):
    """Run all rounds of a case; return each contestant's microseconds by round, and the notes of those without."""
    times, notes = {name: [] for name in names}, {}
    for _ in range(options.rounds):
        for name in [name for name in names if name not in notes]:
            request = {key: getattr(options, key) for key in ("momentum", "dropout", "read_loss", "seconds")}
            answer = common.in_child(__file__, name=name, batch=batch, widths=widths, **request)
            if "us" in answer:
                times[name].append(answer["us"])
            else:
                notes[name] = answer["note"]
    return {name: us for name, us in times.items() if name not in notes}, notes


def title(batch, widths):
    if len(widths) > 6:
        return f"{batch}, {widths[0]}-{len(widths) - 2}x{widths[1]}-{widths[-1]}"
    return f"{batch}, {'-'.join(map(str, widths))}"


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
    parser.add_argument("--read-loss", action="store_true", help="read the loss after every step")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="processes for each contestant (5)")
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S", help="of timing in each process (0.5)")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), metavar="NAME")
    numbers = range(1, len(CASES) + 1)
    parser.add_argument("--cases", nargs="+", type=int, choices=numbers, default=numbers, metavar="N", help="1 to 7")
    parser.add_argument("--csv", type=Path, metavar="OUT", help="write the microseconds of every round")
    return parser.parse_args()


def main():
    options = parse_options()
    names = [name for name in CONTESTANTS if name in options.only]
    facts = [common.machine(), common.versions(CONTESTANTS[name][1] for name in names)]
    when = "step" if options.read_loss else "sample"
    facts.append(f"momentum {options.momentum}, dropout {options.dropout}, loss read after every {when}")
    print("\n".join(facts))
    results, lines, seen = {}, [], set()
    for number in options.cases:
        batch, widths = CASES[number - 1]
        heading = title(batch, widths)
        times, notes = run_case(names, options, batch, widths)
        print()
        print_case(heading, times)
        new = [f"{name}: {note}" for name, note in notes.items() if (name, note) not in seen]
        print("\n".join(new))
        seen.update(notes.items())
        results[heading] = times
        lines += [
            (batch, "-".join(map(str, widths)), name, i, f"{us:.2f}")
            for name, rounds in times.items()
            for i, us in enumerate(rounds, 1)
        ]
    print()
    print_summary(names, results)
    if options.csv:
        common.write_csv(options.csv, ["batch", "widths", "contestant", "round", "us"], lines, facts)


if __name__ == "__main__":
    if (request := common.child_request()) is not None:
        common.answer(measure, request)
    else:
        main()
