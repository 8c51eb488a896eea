"""The number of threads decides nothing: every training runs on one, and puts back what was set."""

import re
from contextlib import contextmanager
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from course_lib import embeddings, mixed, nets, qat
from course_lib.data import Dataset


@contextmanager
def on_threads(count):
    before = torch.get_num_threads()
    with threadpool_limits(count, user_api="blas"):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def now():
    """Threads of PyTorch (its own, OpenMP, MKL) and of the BLAS libraries."""
    torchs = re.findall(r"get_(?:num|max)_threads\(\) : (\d+)", torch.__config__.parallel_info())
    blas = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
    return {*map(int, torchs), *blas}


SEEN = []  # the threads that were set whenever a training read its data


class WatchedData(Dataset):
    def train_y(self, n=None):
        SEEN.append(now())
        return super().train_y(n)


class WatchedGraph(embeddings.Graph):
    @property
    def adjacency(self):
        SEEN.append(now())
        return super().adjacency


def flat(model):
    return np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])


def by_train(data):
    model = nets.LeNet5(generator=torch.Generator().manual_seed(0))
    nets.train(model, data, epochs=1, batch_size=64, progress=False)
    return flat(model)


def by_train_qat(data):
    model = nets.LeNet300100(generator=torch.Generator().manual_seed(0))
    twin = qat.train_qat(model, data, weight_bits=3, activation_bits=3, epochs=2, batch_size=64, progress=False)
    layers = [layer for layer in twin.layers if layer.weight_codes is not None]
    return np.concatenate([part.ravel() for layer in layers for part in (layer.weight_qparams.scale, layer.bias)])


def by_train_fixed_point(data):
    net, _ = mixed.train_fixed_point(data, None, hidden=(100,), progress=False)
    return np.concatenate([w.ravel() for w in net.weights])


def by_embed(data):
    tree = embeddings.full_tree(4, 3)
    return embeddings.embed(WatchedGraph(tree.name, tree.nodes, tree.edges), "poincare", 5, steps=50).points


@pytest.fixture(scope="module")
def data(digits):
    parts = {field.name: getattr(digits, field.name) for field in fields(digits) if field.init}
    whole = WatchedData(**parts)
    return replace(whole, train_images=digits.train_images[:640], train_labels=digits.train_labels[:640])


@pytest.mark.parametrize("training", [by_train, by_train_qat, by_train_fixed_point, by_embed])
def test_every_training_runs_on_one_thread_and_gives_the_same(data, training):
    found = []
    for count in (1, 2, 3):
        with on_threads(count):
            before = now()
            SEEN.clear()
            found.append(training(data))
            assert now() == before == {count}
        assert SEEN and all(seen == {1} for seen in SEEN)
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


@pytest.mark.parametrize("wrong", [
    lambda data: nets.train(nets.LeNet300100(), data, epochs=-1),
    lambda data: nets.train(nets.LeNet300100(), data, epochs=1, progress=False, before_epoch=lambda epoch: 1 / 0),
    lambda data: qat.train_qat(nets.LeNet300100(), data, weight_bits=3, activation_bits=9),
    lambda data: mixed.train_fixed_point(data, None, epochs=-1),
    lambda data: embeddings.embed(embeddings.full_tree(2, 1), "euclidean", 0),
])  # fmt: skip
def test_threads_come_back_after_an_error(data, wrong):
    with on_threads(3):
        before = now()
        with pytest.raises((ValueError, ZeroDivisionError)):
            wrong(data)
        assert now() == before
