"""Time the course's code against its peers and against the machine's limit.

    make bench                                    everything, in less than ten minutes; writes the results and two
                                                  pictures of them to results/, under the name of the processor
    make bench ARGS="'XNOR product, batch 1'"     one row, by its name, or all whose name contains a text
    python course.py bench XNOR CSR --seconds 20  the same without make; more time for each row
    make bench ARGS=--list                        the names
    make bench ARGS=--growth                      how the cost of each row grows with its size
    make bench ARGS=--cold                        how long a new installation waits for the compiler

Every row is timed in one loop with its peers, on the same arrays and with the same number of threads, so that whatever
else the computer does slows all of them alike. A row needs a quiet computer all the same: the load is in the file.
A file in results/ holds one whole run on one kind of processor: what runs only a part prints it, and writes it where
--out says, if it says.
"""

import argparse
import gc
import importlib.metadata
import json
import os
import platform
import sys
import time
import traceback
from datetime import date
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before PyTorch: its threads sleep while the others are timed

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm.auto import tqdm

import course_lib as cl
from course_lib.bench import cold, growth, limits, processor
from course_lib.bench.runner import on_threads
from course_lib.machine import ways

RESULTS = cl.bench.RESULTS
PACKAGES = ("course_lib", "numpy", "numba", "torch", "scipy", "scikit-learn", "ml_dtypes", "onnxruntime", "dahuffman")
COPIED = (1 << 15, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28)  # bytes


def chosen(rows, texts):
    """The rows that ``texts`` name: each is a whole name, or part of some."""
    found = []
    for text in texts:
        whole = [row for row in rows if row.name == text]
        some = whole or [row for row in rows if text.casefold() in row.name.casefold()]
        if not some:
            names = "; ".join(row.name for row in rows)
            raise SystemExit(f"No row is called {text!r} or contains it. The rows: {names}.")
        found += [row for row in some if row not in found]
    return found if texts else rows


def each(things, run, word):
    """(results, {name: error}) of ``run`` on every row, with a progress bar.

    One that breaks does not stop the others.
    """
    results, broken = [], {}
    with tqdm(things, desc=word, disable=None) as bar:
        for one in bar:
            bar.set_postfix_str(one.name)
            try:
                results.append(run(one))
            except Exception as error:
                traceback.print_exc()
                broken[one.name] = f"{type(error).__name__}: {error}"
            gc.collect()
    return results, broken


def load_average():
    """How many programs want the processor, on average over a minute; ``None`` where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def machine():
    """What this computer is, as far as times depend on it."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        **processor.this().as_json(),
        "cores": os.cpu_count(),
        "caches": {name: cache.size for name, cache in limits.caches().items()},
    }


def versions():
    """Of Python and of every package at hand that is timed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def roofs(threads):
    """The peaks, in operations a second, and the bandwidths of copies of several sizes, in bytes a second."""
    with on_threads(threads):
        peaks = {name: limits.peak(name, threads)._asdict() for name in limits.PEAKS}
        bandwidth = {size: limits.bandwidth(size, threads) for size in COPIED}
    return {"peaks": peaks, "bandwidth": bandwidth}


def say(text):
    """Print at once. What a pipe does not take, a letter or (its reader gone) anything, does not cost the results."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # or Python tries once more at its end, and fails


def write(path, report):
    """The whole file or, if something breaks meanwhile, the old one."""
    with cl.data.written_aside(path) as aside:
        aside.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def draw(path, report):
    """Beside the file of results: the rows under the roofs, and how much of its limit each reaches;
    each picture holds its own description."""
    with cl.plots.style():
        tall = 1.3 + 0.28 * len(report["rows"])
        for name, height, left, width in (("roofline", 6.5, 0.08, 0.58), ("limits_reached", tall, 0.32, 0.65)):
            figure = Figure(figsize=(12, height))
            FigureCanvasAgg(figure)
            ax = figure.add_axes((left, 0.75 / height, width, 1 - 1.25 / height))
            words = getattr(cl.plots, name)(ax, report)
            figure.savefig(path.with_name(f"{path.stem}_{name}.png"), dpi=100, metadata={"Description": words})


def arguments_of(arguments):
    parser = argparse.ArgumentParser(
        prog="course.py bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="run only the rows of these names, or whose name contains one of them")
    parser.add_argument("--seconds", type=float, default=5.0, help="time to spend on each row (5)")
    parser.add_argument("--threads", type=int, default=2, help="threads for ours and for every peer (2)")
    parser.add_argument("--out", type=Path, help="where to write the results, all or some")
    parser.add_argument("--list", action="store_true", help="print the names of the rows, and stop")
    parser.add_argument("--growth", action="store_true", help="only how the cost grows with the size")
    parser.add_argument("--cold", action="store_true", help="only the time to the first result, cold and warm")
    parser.add_argument("--strict", action="store_true", help="end with an error when a goal is missed")
    return parser.parse_args(arguments)


def main(arguments=None):
    if not __debug__:
        raise SystemExit("Run the benchmark without -O and PYTHONOPTIMIZE: every row asserts that all peers agree.")
    options = arguments_of(arguments)
    rows = chosen(cl.bench.rows(), options.names)
    if options.list:
        say("\n".join(f"{row.name}  ({row.shape})" for row in rows))
        return 0
    everything = not (options.names or options.growth or options.cold)
    began, load_before = time.perf_counter(), load_average()
    report = {"date": date.today().isoformat(), "versions": versions(), "machine": machine(),
              "threads": options.threads}
    results, grown, start, broken = [], [], None, {}

    if everything:
        cl.warm_up(progress=sys.stderr.isatty())
    if everything or not (options.growth or options.cold):
        report["roofs"] = roofs(options.threads) if everything or options.out else None
        run = lambda row: cl.bench.run(row, threads=options.threads, budget_s=options.seconds)
        results, broken = each(rows, run, "rows")
        say(cl.bench.summary(results) if len(results) > 1 else "\n".join(map(str, results)))
    if everything or options.growth:
        growing = [row for row in rows if row.growth]
        run = lambda row: growth.measure_growth(row, budget_s=options.seconds / 2)
        grown, failed = each(growing, run, "growth")
        broken |= {f"growth of {name}": error for name, error in failed.items()}
        say("\nHow cost grows with the work, on one thread:\n" + growth.summary(grown))
    if everything or options.cold:
        start = cold.measure_cold_start()
        say(f"\n{start}")
    for name, error in broken.items():
        say(f"BROKEN {name}: {error}")

    seconds, load_after = time.perf_counter() - began, load_average()
    report |= {
        "load": {"before": load_before, "after": load_after},
        "seconds": round(seconds, 1),
        "rows": [result.as_json() for result in results],
        "growth": [one.as_json() for one in grown],
        "cold_start": start.as_json() if start else None,
        "ways": ways.chosen(),
        "broken": broken,
    }
    say(f"{seconds:.0f} s in all. Load: {load_before} before, {load_after} after.")
    path = options.out or (RESULTS / f"{processor.this().slug}.json" if everything else None)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, report)
        say(f"Written to {path.name}.")
    if everything and results and report["roofs"]:
        draw(path, json.loads(json.dumps(report)))
    missed = any(result.met is False for result in results)
    return 1 if broken or (options.strict and missed) else 0


if __name__ == "__main__":
    raise SystemExit(main())
