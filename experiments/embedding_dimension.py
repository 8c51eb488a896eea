"""Mean average precision of Euclidean and Poincaré embeddings against dimension, for lecture 02.

    python experiments/embedding_dimension.py        writes embedding_dimension.csv beside this file, in about half an hour

Two graphs in dimensions 2 to 10: a full tree, and every exception class that a list of standard-library modules names,
with its bases. Then full trees of other depths in dimension 2. Each geometry gets two learning rates, and three
seeds at each (one for the largest tree).
"""

import csv
import importlib
import sys
import warnings
from pathlib import Path

import torch

import course_lib as cl

OUT = Path(__file__).with_suffix(".csv")
MODULES = """builtins argparse ast asyncio binascii calendar codecs concurrent.futures configparser copy csv dataclasses decimal
email.errors ftplib getopt gzip http.client http.cookies http.cookiejar imaplib ipaddress json locale mailbox netrc optparse
pickle plistlib poplib queue re sched shelve shutil smtplib socket statistics string struct subprocess tarfile tempfile
threading tokenize unittest urllib.error urllib.request uuid wave weakref xml.dom xml.sax xmlrpc.client zipfile
zipimport zlib""".split()
RATES = {"poincare": (0.05, 0.1), "euclidean": (0.3, 1.0)}
STEPS = 300


def exceptions_of_the_standard_library():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of these modules are going to be retired
        modules = [importlib.import_module(name) for name in MODULES]
    return cl.nets.class_hierarchy(BaseException, modules)


def runs():
    """(graph, dimension, seed) of everything to train, the slowest last."""
    trees = {depth: cl.nets.full_tree(3, depth) for depth in (2, 3, 4, 5, 6)}
    for seed in range(3):
        for graph in (exceptions_of_the_standard_library(), trees[5]):
            for dimension in range(2, 11):
                yield graph, dimension, seed
    for depth in (2, 3, 4):
        for seed in range(3):
            yield trees[depth], 2, seed
    yield trees[6], 2, 0


def main():
    torch.set_num_threads(1)
    python = ".".join(map(str, sys.version_info[:2]))
    with OUT.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["graph", "nodes", "edges", "geometry", "dimension", "rate", "seed", "steps", "map", "loss", "python"])
        for graph, dimension, seed in runs():
            for geometry, rates in RATES.items():
                for rate in rates:
                    got = cl.nets.embed(graph, geometry, dimension, steps=STEPS, rate=rate, every=STEPS, seed=seed)
                    score = cl.nets.reconstruction(got.points, graph, geometry)
                    table.writerow([graph.name, len(graph.nodes), len(graph.edges), geometry, dimension, rate, seed, STEPS,
                                    f"{score:.4f}", f"{got.loss:.4f}", python])  # fmt: skip
            file.flush()
            print(f"{graph.name}, dimension {dimension}, seed {seed} done")


if __name__ == "__main__":
    main()
