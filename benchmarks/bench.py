"""Time the course's code against its peers: one table, and results.json beside this file.

    make bench                              or   python course.py bench
    make bench ARGS="'batch 1' --seconds 20"     only the rows whose name contains a text; more time for each

Every row is timed in one loop with its peers, on the same arrays and with the same number of threads, so that whatever
else the computer does slows all of them alike. A row needs a quiet computer all the same: the load is in the file.
"""

import argparse
import importlib.metadata
import json
import os
import platform
from datetime import date
from pathlib import Path

import course_lib as cl

RESULTS = Path(__file__).with_name("results.json")
PACKAGES = ("course_lib", "numpy", "numba", "torch")


def chosen(rows, texts):
    """Those whose name contains one of ``texts``; all of them without."""
    found = [row for row in rows if not texts or any(text in row.name for text in texts)]
    if not found:
        names = "; ".join(row.name for row in rows)
        raise SystemExit(f"No row contains {' or '.join(map(repr, texts))}. The rows: {names}.")
    return found


def load_average():
    """How many programs want the processor, on average over a minute; ``None`` where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def report(results, threads, load_before):
    """What results.json holds."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "date": date.today().isoformat(),
        "versions": {"python": platform.python_version(), **versions},
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "threads": threads,
        "load": {"before": load_before, "after": load_average()},
        "rows": [result.as_json() for result in results],
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", nargs="*", help="run only the rows whose name contains one of these")
    parser.add_argument("--seconds", type=float, default=6.0, help="time to spend on each row (6)")
    parser.add_argument("--threads", type=int, default=2, help="threads for ours and for every peer (2)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where to write the results")
    options = parser.parse_args(arguments)
    rows = chosen(cl.bench.rows(), options.texts)

    cl.warm_up()
    load_before = load_average()
    results = [cl.bench.run(row, threads=options.threads, budget_s=options.seconds) for row in rows]
    print(cl.bench.table(results))
    found = report(results, options.threads, load_before)
    options.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"Written to {options.out.name}. Load: {load_before} before, {found['load']['after']} after.")
    return 0 if all(result.met is not False for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
