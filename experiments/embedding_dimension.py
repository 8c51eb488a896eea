"""Mean average precision of Euclidean and Poincaré embeddings against dimension, for lecture 02.

    python experiments/embedding_dimension.py        writes embedding_dimension.csv beside this file, in about half
                                                 an hour on one core; stopped, it goes on where it was

Two graphs in dimensions 2 to 10: a full tree, and every exception class that a list of standard-library modules names,
with its bases. Then full trees of other depths in dimension 2. Each geometry gets two learning rates, and three
seeds at each (one for the largest tree).
"""

import importlib
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

import course_lib as cl

MODULES = """builtins argparse ast asyncio binascii calendar codecs concurrent.futures configparser copy csv dataclasses
decimal email.errors ftplib getopt gzip http.client http.cookies http.cookiejar imaplib ipaddress json locale mailbox
netrc optparse pickle plistlib poplib queue re sched shelve shutil smtplib socket statistics string struct subprocess
tarfile tempfile threading tokenize unittest urllib.error urllib.request uuid wave weakref xml.dom xml.sax xmlrpc.client
zipfile zipimport zlib""".split()
RATES = {"poincare": (0.05, 0.1), "euclidean": (0.3, 1.0)}
STEPS = 300


def exceptions_of_the_standard_library():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of these modules are going to be retired
        modules = [importlib.import_module(name) for name in MODULES]
    return cl.embeddings.class_hierarchy(BaseException, modules)


def graphs():
    """{name: graph}."""
    return {
        graph.name: graph for graph in (exceptions_of_the_standard_library(),
                                        *(cl.embeddings.full_tree(3, depth) for depth in (2, 3, 4, 5, 6)))
    }  # fmt: skip


def settings():
    """Everything to train, the slowest last."""
    exceptions, *trees = graphs().values()
    runs = [
        (graph, dimension, seed)
        for seed in range(3)
        for graph in (exceptions, trees[3])
        for dimension in range(2, 11)
    ]
    runs += [(tree, 2, seed) for tree in trees[:3] for seed in range(3)] + [(trees[4], 2, 0)]
    for graph, dimension, seed in runs:
        for geometry, rates in RATES.items():
            for rate in rates:
                yield {"graph": graph.name, "nodes": len(graph.nodes), "edges": len(graph.edges), "geometry": geometry,
                       "dimension": dimension, "rate": rate, "seed": seed, "steps": STEPS}  # fmt: skip


def compute(graph, nodes, edges, geometry, dimension, rate, seed, steps):
    torch.set_num_threads(1)
    graph = graphs()[graph]
    got = cl.embeddings.embed(graph, geometry, dimension, steps=steps, rate=rate, every=steps, seed=seed)
    score = cl.embeddings.reconstruction(got.points, graph, geometry)
    return {"map": f"{score:.4f}", "loss": f"{got.loss:.4f}", "python": ".".join(map(str, sys.version_info[:2]))}


if __name__ == "__main__":
    with ProcessPoolExecutor() as pool:
        cl.sweep.run(Path(__file__).with_suffix(".csv"), settings(), compute, executor=pool)
