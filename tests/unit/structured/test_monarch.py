"""Monarch products: against the dense matrix and against PyTorch, projected and trained."""

import copy

import numpy as np
import pytest
import torch

from course_lib.kernels import monarch as kernels
from course_lib.machine import threads
from course_lib.structured import MonarchLinear, monarch_dense_plain, monarch_matmul, project_monarch
from tests.unit.kernels import portable_monarch

SHAPES = [  # s, r, p, q
    (2, 2, 2, 2),
    (3, 4, 5, 2),
    (4, 1, 3, 7),
    (1, 6, 1, 6),
    (1, 1, 1, 1),
    (16, 16, 16, 16),
    (24, 5, 7, 40),
    (70, 3, 2, 65),
]


def factors(s, r, p, q, *, seed=0, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=rng, dtype=dtype) for shape in ((s, r, p), (p, s, q)))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_dense_matrix_is_what_the_formula_says(shape):
    left, right = factors(*shape)
    s, r, p, q = shape
    right_answer = torch.einsum("jlk,kji->ljki", left, right).reshape(r * s, p * q)
    torch.testing.assert_close(monarch_dense_plain(left, right), right_answer)


def test_a_matrix_by_hand():
    left = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])                       # s = 2, r = 1, p = 2
    right = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[5.0, 6.0], [7.0, 8.0]]])
    assert monarch_dense_plain(left, right).tolist() == [[1, 0, 10, 12], [0, 3, 28, 32]]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [None, 0, 1, 5, 64, 67])
def test_product_against_the_dense_matrix(shape, batch):
    left, right = factors(*shape, dtype=torch.float64)
    n = shape[2] * shape[3]
    shape_of_x = (n,) if batch is None else (batch, n)
    x = torch.randn(shape_of_x, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    dense = monarch_dense_plain(left, right).to(torch.float64)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        y = monarch_matmul(x.to(dtype), left.to(dtype), right.to(dtype))
        assert y.dtype == dtype
        torch.testing.assert_close(y.double(), x @ dense.T, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("batch", [1, 7, 8, 9, 30])
@pytest.mark.parametrize("shape", [(16, 1, 1, 1), (17, 2, 3, 130), (31, 9, 65, 4), (32, 4, 4, 64), (64, 64, 64, 64)])
def test_kernel_is_exact_on_whole_numbers(shape, batch):
    portable_monarch.compare(*shape, batch, parts=1 + batch % 3)


@pytest.mark.parametrize("s", [3, 20])
def test_inputs_with_gaps(s):
    left, right = factors(s, 4, 5, 2)
    left, right = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in (left, right))
    x = torch.randn(20, 14)[::2, 2:12]
    right_answer = monarch_matmul(*(t.contiguous() for t in (x, left, right)))
    torch.testing.assert_close(monarch_matmul(x, left, right), right_answer)


def test_threads_change_nothing(monkeypatch):
    monkeypatch.setattr("course_lib.structured.monarch.GRAIN", 1)
    left, right = factors(50, 9, 11, 13)
    x, before, found = torch.randn(40, 143), threads.threads(), []
    try:
        for count in (1, 2, 3):
            threads.set_threads(count)
            found.append(monarch_matmul(x, left, right))
    finally:
        threads.set_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_nan_and_infinities_stay_where_they_belong():
    left, right = factors(16, 4, 4, 4)
    x = torch.randn(9, 16)
    x[3, 5], x[7, 2] = torch.nan, torch.inf
    y = monarch_matmul(x, left, right)
    assert y[3].isnan().all() and not y[7].isfinite().any()
    assert y[[0, 1, 2, 4, 5, 6, 8]].isfinite().all()


def test_the_fourier_transform_is_a_monarch_matrix():
    """Cooley and Tukey: transforms of the pieces, twiddle factors, transforms across. Inputs in their order k + p i."""
    p = q = 8
    n, k = p * q, np.arange(p)
    right = np.exp(-2j * np.pi * np.outer(np.arange(q), np.arange(q)) / q)[None].repeat(p, 0)   # (p, s, q)
    twiddle = np.exp(-2j * np.pi * np.outer(np.arange(q), k) / n)                               # (s, p)
    left = np.exp(-2j * np.pi * np.outer(np.arange(p), k) / p)[None] * twiddle[:, None]         # (s, r, p)
    x = np.random.default_rng(0).standard_normal(n)
    y = monarch_matmul(*(torch.from_numpy(a) for a in (x.reshape(q, p).T.reshape(-1) + 0j, left, right)))
    np.testing.assert_allclose(y, np.fft.fft(x), atol=1e-12)


def test_gradients():
    left, right = factors(3, 2, 4, 3, dtype=torch.float64)
    x = torch.randn(5, 12, dtype=torch.float64)
    inputs = [t.requires_grad_(True) for t in (x, left, right)]
    assert torch.autograd.gradcheck(monarch_matmul, inputs)


def test_every_way_to_infer_gives_the_same(monkeypatch):
    layer = MonarchLinear(256, 512)
    x = torch.randn(33, 256)
    trained = layer(x)
    used = []
    kernel = kernels.monarch
    monkeypatch.setattr(kernels, "monarch", lambda *arguments: used.append(1) or kernel(*arguments))
    assert layer(x).requires_grad and not used
    with torch.inference_mode():
        inferred = layer(x)
    assert used and not inferred.requires_grad
    torch.testing.assert_close(trained.detach(), inferred)


@pytest.mark.parametrize("shape", SHAPES)
def test_projection_finds_a_monarch_matrix_again(shape):
    left, right = factors(*shape)
    dense = monarch_dense_plain(left, right)
    again = project_monarch(dense, blocks=(shape[2], shape[0]))
    assert [t.shape for t in again] == [left.shape, right.shape]
    torch.testing.assert_close(monarch_dense_plain(*again), dense, rtol=1e-4, atol=1e-4)


def test_projection_is_the_nearest():
    """Its error is what the other singular values weigh, and no step away from it makes it smaller."""
    matrix = torch.randn(12, 20, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    left, right = project_monarch(matrix, blocks=(4, 3))

    def error(left, right):
        return (torch.einsum("jlk,kji->ljki", left, right).reshape(12, 20) - matrix).square().sum()

    slices = matrix.numpy().reshape(4, 3, 4, 5).transpose(1, 2, 0, 3).reshape(12, 4, 5)
    lost = np.square(np.linalg.svd(slices, compute_uv=False)[:, 1:]).sum()
    assert error(left, right).item() == pytest.approx(lost, rel=1e-12)
    rng = torch.Generator().manual_seed(4)
    for size in (1e-3, 1e-1):
        for _ in range(20):
            near = (t + size * torch.randn(t.shape, generator=rng, dtype=t.dtype) for t in (left, right))
            assert error(*near) > lost


def test_zeros_project_to_zeros():
    left, right = project_monarch(torch.zeros(6, 4))
    assert not left.any() and not right.any()


def test_layer_from_linear_keeps_the_bias_and_the_input():
    linear = torch.nn.Linear(30, 24)
    before = copy.deepcopy(linear.state_dict())
    layer = MonarchLinear.from_linear(linear)
    dense = monarch_dense_plain(*project_monarch(linear.weight.detach()))
    x = torch.randn(7, 30)
    torch.testing.assert_close(layer(x), x @ dense.T + linear.bias)
    assert all(torch.equal(linear.state_dict()[name], value) for name, value in before.items())
    assert MonarchLinear.from_linear(torch.nn.Linear(4, 4, bias=False)).bias is None


def test_size_blocks_and_text():
    layer = MonarchLinear(1024)
    assert sum(p.numel() for p in layer.parameters()) == 2 * 1024 * 32 + 1024
    assert str(layer) == "MonarchLinear(1024, 1024, blocks=(32, 32), bias=True)"
    assert MonarchLinear(12, 30, blocks=(2, 3)).left.shape == (3, 10, 2)
    assert MonarchLinear(7, bias=False)(torch.ones(7)).shape == (7,)            # a prime: one piece
    assert layer.extra_repr() and layer(torch.zeros(2, 1024)).shape == (2, 1024)


def test_a_new_layer_has_the_variance_of_a_dense_one():
    torch.manual_seed(0)
    layer = MonarchLinear(1024, 512, bias=False)
    variance = monarch_dense_plain(layer.left.detach(), layer.right.detach()).var().item()
    assert variance == pytest.approx(1 / (3 * 1024), rel=0.05)  # 81 920 numbers make it: its spread is about 1 %


def test_it_trains():
    """A layer that may be any Monarch matrix learns one from examples. (On one thread: two would wait, it is small.)"""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer, truth = MonarchLinear(16, bias=False), MonarchLinear(16, bias=False)
    x = torch.randn(64, 16)
    y = truth(x).detach()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    for _ in range(400):
        optimizer.zero_grad()
        loss = (layer(x) - y).square().mean()
        loss.backward()
        optimizer.step()
    torch.set_num_threads(before)
    assert loss.item() < 1e-2 * y.square().mean().item()


def test_state_dict_and_copy():
    layer, other = MonarchLinear(20, 15), MonarchLinear(20, 15)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(3, 20)
    torch.testing.assert_close(layer(x), other(x))
    torch.testing.assert_close(layer(x), copy.deepcopy(layer)(x))
    with torch.no_grad():                                                   # a changed weight is seen at once
        other.left.mul_(2)
        torch.testing.assert_close(other(x) - other.bias, 2 * (layer(x) - layer.bias))


@pytest.mark.parametrize("call, words", [
    (lambda: monarch_matmul(torch.ones(2, 7), torch.ones(2, 2, 2), torch.ones(2, 2, 4)), r"\(2, 7\).*takes \(8,\)"),
    (lambda: monarch_matmul(torch.ones(2, 2, 2), torch.ones(2, 2, 2), torch.ones(2, 2, 1)), r"\(2, 2, 2\).*takes"),
    (lambda: monarch_matmul(torch.ones(8), torch.ones(2, 2, 3), torch.ones(2, 2, 4)), r"\(s, r, p\)"),
    (lambda: monarch_matmul(torch.ones(8), torch.ones(2, 2), torch.ones(2, 2, 4)), r"\(s, r, p\)"),
    (lambda: project_monarch(torch.ones(3)), r"shape \(3,\)"),
    (lambda: project_monarch(torch.ones(4, 4, dtype=torch.int64)), "int64"),
    (lambda: project_monarch(torch.ones(4, 6), blocks=(4, 2)), "4 should be a whole number that divides in_features"),
    (lambda: MonarchLinear(0), "in_features is 0"),
    (lambda: MonarchLinear(4, 2.5), "out_features is 2.5"),
    (lambda: MonarchLinear(4, 6, blocks=(2, 4)), "4 should be a whole number that divides out_features = 6"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")      # from inside torch.func.jvp
def test_what_looks_like_numbers_and_is_more_goes_through_pytorch():
    """Forward derivatives, vmap and tracing need every operation; the kernel would drop them without a word."""
    generator = torch.Generator().manual_seed(3)
    left, right = (torch.randn(16, 16, 16, generator=generator) for _ in range(2))
    x, tangent = (torch.randn(32, 256, generator=generator) for _ in range(2))
    with torch.no_grad():
        value, derivative = torch.func.jvp(lambda x: monarch_matmul(x, left, right), (x,), (tangent,))
        torch.testing.assert_close(derivative, monarch_matmul(tangent, left, right), rtol=1e-4, atol=1e-3)
        stacked = torch.vmap(lambda x: monarch_matmul(x, left, right))(torch.stack([x, tangent]))
        torch.testing.assert_close(stacked[1], monarch_matmul(tangent, left, right), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("set_default, other, usual", [
    (torch.set_default_dtype, torch.float64, torch.float32), (torch.set_default_device, "meta", None)])
def test_torchs_defaults_change_nothing(set_default, other, usual):
    layer, x = MonarchLinear(256), torch.ones(64, 256)
    with torch.no_grad():
        plain = layer(x)
        set_default(other)
        try:
            inside = layer(x)
        finally:
            set_default(usual)
    assert inside.dtype == torch.float32 and torch.equal(plain, inside)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_from_linear_keeps_the_dtype(dtype):
    linear = torch.nn.Linear(16, 24).to(dtype)
    layer = MonarchLinear.from_linear(linear, blocks=(np.int64(4), 4))
    assert {p.dtype for p in layer.parameters()} == {dtype}
    left, right = project_monarch(linear.weight.detach().double(), blocks=(4, 4))
    expected = monarch_dense_plain(left, right).to(dtype)
    off = (monarch_dense_plain(layer.left.double(), layer.right.double()) - expected.double()).abs().max()
    assert off <= 4 * torch.finfo(dtype).eps * expected.abs().max()
    assert layer(torch.ones(3, 16, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("call, kind, words", [
    (lambda: MonarchLinear(16, blocks=4), ValueError, "blocks=4 should be two numbers"),
    (lambda: MonarchLinear(16, blocks=(2,)), ValueError, r"blocks=\(2,\) should be two numbers"),
    (lambda: MonarchLinear(True), ValueError, "in_features is True"),
    (lambda: MonarchLinear.from_linear(torch.nn.Conv2d(1, 1, 1)), TypeError, "linear is a Conv2d"),
    (lambda: MonarchLinear.from_linear(torch.nn.Linear(4, 4, device="meta")), ValueError, "on meta"),
    (lambda: project_monarch(torch.full((4, 4), float("nan"))), ValueError, "NaN or an infinity"),
    (lambda: project_monarch(np.ones((4, 4))), TypeError, "matrix is a ndarray"),
    (lambda: MonarchLinear(16)(np.ones((2, 16), np.float32)), TypeError, "x is ndarray"),
    (lambda: MonarchLinear(16)(torch.ones(2, 16, dtype=torch.float64)), TypeError, "x is torch.float64"),
])
def test_what_people_pass_is_refused_in_words(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_biases_are_drawn_as_those_of_a_linear_layer():
    """Evenly between ±1/√n: both ends are nearly reached, and the middle is 0 within four standard errors."""
    torch.manual_seed(0)
    bias = MonarchLinear(64, 4096).bias.detach()
    assert -1 / 8 <= bias.min() < -0.124 and 0.124 < bias.max() <= 1 / 8
    assert bias.mean().abs() < 4 * (2 / 8) / 12**0.5 / 4096**0.5
