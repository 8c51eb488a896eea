"""8-bit Adam: the map as published, the kernel against its definition bit for bit, the optimizer against torch's."""

import copy
import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.kernels import adam as kernels
from course_lib.machine import threads
from course_lib.mixed import Adam8bit, adam8bit, dequantize_blocks, dynamic_map, quantize_blocks
from course_lib.numerics import nearest_level
from tests.unit.kernels import portable_adam


def published_map(signed):
    """The levels as the authors' library makes them: the middles of equal parts of [0.1, 1], decade by decade, 0, 1."""
    levels = [0.0, 1.0]
    for decade in range(7):
        parts = 2 ** (decade if signed else decade + 1)
        ends = np.linspace(0.1, 1, parts + 1)
        means = 10.0 ** (decade - 6) * (ends[:-1] + ends[1:]) / 2
        levels += [*means, *(-means if signed else [])]
    return np.sort(levels)


@pytest.mark.parametrize("signed", [True, False])
def test_the_map_is_the_published_one(signed):
    levels = dynamic_map(signed)
    assert levels.dtype == np.float32 and levels.size == 256 and (np.diff(levels) > 0).all()
    np.testing.assert_allclose(levels, published_map(signed), rtol=4e-7)
    assert levels[-1] == 1 and levels[kernels.ZERO if signed else 0] == 0
    decades = np.floor(np.log10(np.abs(levels[(levels != 0) & (levels != 1)])))
    assert np.unique(decades).tolist() == [-7, -6, -5, -4, -3, -2, -1]
    assert levels[0] == (np.float32(-0.99296875) if signed else 0)


@pytest.mark.parametrize("signed", [True, False])
def test_every_level_keeps_its_code(signed):
    np.testing.assert_array_equal(adam8bit.nearest_code(dynamic_map(signed), signed), np.arange(256))


@pytest.mark.parametrize("signed", [True, False])
def test_codes_change_halfway_between_levels(signed):
    """Two floats hem in each change of code, and between the changes nothing can happen: the lines only rise."""
    levels = dynamic_map(signed).astype(np.float64)
    halfway = (levels[1:] + levels[:-1]) / 2
    for side, code in ((-1e-6, np.arange(255)), (1e-6, np.arange(1, 256))):
        x = (halfway + side * np.abs(halfway)).astype(np.float32)
        np.testing.assert_array_equal(adam8bit.nearest_code(x, signed), code)
        np.testing.assert_array_equal(nearest_level(x, dynamic_map(signed)), code)


@pytest.mark.parametrize("signed", [True, False])
def test_codes_rise_with_the_numbers(signed):
    magnitudes = np.append(np.geomspace(1e-45, 1, 300_000), [0, 1]).astype(np.float32)
    x = np.sort(np.concatenate([-magnitudes, magnitudes]) if signed else magnitudes)
    assert (np.diff(adam8bit.nearest_code(x, signed).astype(int)) >= 0).all()


def test_no_two_borders_share_a_quarter():
    for signed in (True, False):
        assert len(set(kernels.decade_lines(signed)[2].view(np.int32) >> 24)) == 8


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.sampled_from([16, 48, 256]), st.booleans(), st.integers(0, 2**32))
def test_blocks_come_back_within_half_a_gap(n, block, signed, seed):
    x = (np.random.default_rng(seed).standard_normal(n) * 3).astype(np.float32)
    x = x if signed else np.abs(x)
    codes, scales = quantize_blocks(x, block_size=block, signed=signed)
    back = dequantize_blocks(codes, scales, block_size=block, signed=signed)
    per_entry = np.repeat(scales, block)[:n].astype(float)
    quotients = np.divide(x, per_entry, out=np.zeros(n), where=per_entry > 0)
    levels = dynamic_map(signed).astype(float)
    nearest = np.abs(quotients[:, None] - levels).min(1)
    assert (np.abs(back / per_entry - quotients) <= nearest + 1e-6).all()
    largest = np.maximum.reduceat(np.abs(x), np.arange(0, n, block))
    np.testing.assert_array_equal(scales, largest)


def test_blocks_of_zeros_and_of_almost_nothing():
    x = np.array([0, 0, 1e-40, -1e-41, 5, -5], np.float32)
    codes, scales = quantize_blocks(x, block_size=2)
    assert codes.tolist() == [127, 127, 127, 127, 255, 0] and scales[0] == 0
    back = dequantize_blocks(codes, scales, block_size=2)
    assert back[:4].tolist() == [0, 0, 0, 0] and back[4] == 5 and back[5] == np.float32(5 * -0.99296874)


@pytest.mark.parametrize("block", [16, 256, 2048])
@pytest.mark.parametrize("n", [1, 15, 16, 17, 255, 257, 2047, 2048, 2049, 6000])
def test_kernel_is_its_definition(n, block):
    portable_adam.compare(n, block, seed=n)


@pytest.mark.parametrize("options", [
    {"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled": True}, {"betas": (0.0, 0.0)}, {"eps": 0.1},
    {"betas": (0.5, 0.99), "lr": 10.0},
])
def test_kernel_is_its_definition_with_other_numbers(options):
    portable_adam.compare(5000, 256, steps=6, **options)


def test_kernel_with_gradients_that_vanish():
    """Zeros, the smallest floats and squares that underflow: codes and scales as defined."""
    g = np.zeros(96, np.float32)
    g[16:32], g[32:48], g[48:64], g[64:] = 1e-45, 1e-25, 1e-20, np.geomspace(1e-12, 1, 32)
    p, m_codes, v_codes = np.ones(96, np.float32), np.full(96, 127, np.uint8), np.zeros(96, np.uint8)
    m_scales, v_scales = np.zeros(6, np.float32), np.zeros(6, np.float32)
    right_p, right_m, right_v = p.copy(), *(adam8bit.BlockCodes(codes.copy(), scales.copy()) for codes, scales in
                                            ((m_codes, m_scales), (v_codes, v_scales)))
    for step in range(1, 4):
        numbers = adam8bit.step_numbers(step, lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, decoupled=False)
        right_p, right_m, right_v = adam8bit.adam8bit_step_plain(right_p, g, right_m, right_v, numbers, 16)
        kernels.adam8bit(p, g, m_codes, v_codes, m_scales, v_scales, 16, numbers)
        for ours, right in [(p, right_p), (m_codes, right_m.codes), (v_codes, right_v.codes)]:
            np.testing.assert_array_equal(ours, right)
    assert m_scales[0] == v_scales[0] == 0 and np.isfinite(p).all()


def parameters(*shapes, seed=0):
    rng = torch.Generator().manual_seed(seed)
    found = []
    for shape in shapes:
        p = torch.nn.Parameter(torch.randn(shape, generator=rng))
        p.grad = torch.randn(shape, generator=rng)
        found.append(p)
    return found


def new_gradients(some, seed):
    rng = torch.Generator().manual_seed(seed)
    for p in some:
        p.grad = torch.randn(p.shape, generator=rng)


def test_threads_change_nothing():
    results = []
    for count in (1, 2, 3):
        before = threads.threads()
        threads.set_threads(count)
        try:
            some = parameters((300_007,))
            optimizer = Adam8bit(some, block_size=256)
            for step in range(3):
                new_gradients(some, step)
                optimizer.step()
        finally:
            threads.set_threads(before)
        results.append([some[0].detach(), *(v for v in optimizer.state[some[0]].values() if torch.is_tensor(v))])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


def torchs(decoupled):
    return torch.optim.AdamW if decoupled else torch.optim.Adam


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.03])
def test_small_tensors_do_as_torch_does(decay, decoupled):
    ours, theirs = parameters((5, 7), (30,)), parameters((5, 7), (30,))
    pair = (Adam8bit(ours, lr=0.01, weight_decay=decay, decoupled=decoupled),
            torchs(decoupled)(theirs, lr=0.01, weight_decay=decay))
    for step in range(20):
        for some, optimizer in zip((ours, theirs), pair):
            new_gradients(some, step)
            optimizer.step()
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decoupled", [False, True])
def test_the_first_step_is_that_of_torch(decoupled):
    """Moments that start from zero are not rounded yet."""
    ours, theirs = parameters((70, 100)), parameters((70, 100))
    Adam8bit(ours, lr=0.01, weight_decay=0.1, decoupled=decoupled).step()
    torchs(decoupled)(theirs, lr=0.01, weight_decay=0.1).step()
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-5, atol=1e-6)


def test_bytes_of_state():
    some = parameters((512, 1024), (10,))
    optimizer = Adam8bit(some)
    assert optimizer.state_bytes() == 0
    optimizer.step()
    n = 512 * 1024
    assert optimizer.state_bytes() == 2 * n + 2 * 4 * n // 2048 + 8 * 10
    assert (optimizer.state_bytes() - 80) / n == pytest.approx(2.0039, abs=1e-4)
    theirs = torch.optim.Adam(some)
    theirs.step()
    moments = [state[name] for state in theirs.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert sum(t.nbytes for t in moments) == 8 * (n + 10)


def test_which_tensors_keep_32_bits():
    some = parameters((4095,), (4096,), (64, 64))
    optimizer = Adam8bit([{"params": some[:2]}, {"params": some[2:], "smallest": 5000}])
    optimizer.step()
    assert ["exp_avg" in optimizer.state[p] for p in some] == [True, False, True]


def test_groups_have_their_own_numbers():
    a, b, c = parameters((5000,), (5000,), (5000,))
    start = [p.detach().clone() for p in (a, b, c)]
    optimizer = Adam8bit([{"params": [a]}, {"params": [b], "lr": 0.0}], lr=0.1)
    optimizer.add_param_group({"params": [c], "lr": 0.5, "block_size": 256})
    optimizer.step()
    moved = [(p - s).abs().max().item() for p, s in zip((a, b, c), start)]
    assert moved[0] == pytest.approx(0.1, rel=1e-4) and moved[1] == 0 and moved[2] == pytest.approx(0.5, rel=1e-4)


def test_saved_and_loaded_it_goes_on_as_if_nothing_had_been():
    some = parameters((5000,), (20,))
    optimizer = Adam8bit(some, lr=0.01)
    for step in range(3):
        new_gradients(some, step)
        optimizer.step()
    file = io.BytesIO()
    torch.save({"net": [p.detach() for p in some], "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    others = [torch.nn.Parameter(p.clone()) for p in saved["net"]]
    loaded = Adam8bit(others)
    loaded.load_state_dict(saved["optimizer"])
    assert loaded.state[others[0]]["exp_avg_codes"].dtype == torch.uint8
    assert loaded.state_bytes() == optimizer.state_bytes() and loaded.param_groups[0]["lr"] == 0.01
    copied = copy.deepcopy(optimizer)
    assert copied.state_bytes() == optimizer.state_bytes()
    for parameters_, one in ((some, optimizer), (others, loaded)):
        new_gradients(parameters_, 9)
        one.step()
    assert all(torch.equal(a, b) for a, b in zip(some, others))


def test_tensors_with_gaps_in_memory():
    plain, turned = parameters((60, 100)), parameters((60, 100))
    turned[0] = torch.nn.Parameter(turned[0].detach().T.contiguous().T)
    turned[0].grad = plain[0].grad.T.contiguous().T
    assert not turned[0].is_contiguous()
    for some in (plain, turned):
        Adam8bit(some).step()
    assert torch.equal(plain[0], turned[0])


def test_closure_missing_gradients_empty_tensors_and_versions():
    used, unused, empty = (torch.nn.Parameter(torch.ones(n)) for n in (5000, 5, 0))
    empty.grad = torch.ones(0)
    optimizer = Adam8bit([used, unused, empty])

    def closure():
        optimizer.zero_grad()
        loss = used.square().sum()
        loss.backward()
        return loss

    version = used._version
    assert optimizer.step() is None and used._version == version
    assert optimizer.step(closure).item() == 5000
    assert used._version > version and unused.eq(1).all() and not optimizer.state[unused]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinities_spread_as_documented(bad):
    """At once to the parameter, as in torch; at the next step to its block and no further."""
    ours, theirs = parameters((4096,)), parameters((4096,))
    for p in (*ours, *theirs):
        p.grad[300] = bad
    optimizer = Adam8bit(ours, block_size=256)
    optimizer.step()
    torch.optim.Adam(theirs).step()
    assert torch.equal(ours[0].isnan(), theirs[0].isnan()) and ours[0].isnan().sum() == 1
    new_gradients(ours, 1)
    optimizer.step()
    broken = ours[0].isnan()
    assert broken[300] and broken[256:512].all() and broken.sum() == 256


@pytest.fixture
def one_thread():
    """PyTorch on one thread: these nets are so small that two would wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def spirals(seed):
    """A small problem: three interleaved spirals."""
    rng = torch.Generator().manual_seed(seed)
    t, label = torch.rand(600, generator=rng), torch.arange(600) % 3
    angle = 6 * t + 2.1 * label + 0.1 * torch.randn(600, generator=rng)
    return torch.stack([t * angle.cos(), t * angle.sin()], 1), label


def final_loss(make, seed):
    x, label = spirals(seed)
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU(),
                              torch.nn.Linear(64, 3))
    optimizer = make(net.parameters())
    for _ in range(120):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), label)
        loss.backward()
        optimizer.step()
    return loss.item()


def test_training_ends_where_torch_ends(one_thread):
    """The same nets and data: the mean losses differ by less than three standard errors, from the seeds' spread."""
    seeds = range(8)
    ours = np.array([final_loss(lambda p: Adam8bit(p, lr=0.01, smallest=0), seed) for seed in seeds])
    theirs = np.array([final_loss(lambda p: torch.optim.Adam(p, lr=0.01), seed) for seed in seeds])
    standard_error = np.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / len(seeds))
    assert abs(ours.mean() - theirs.mean()) < 3 * standard_error
    assert ours.mean() < 0.3 * np.log(3)                                        # and both have learned


@pytest.mark.parametrize("options, words", [
    ({"lr": -1.0}, r"lr=-1.0 must be a number that is not negative"),
    ({"eps": -1.0}, "eps=-1.0"),
    ({"betas": (0.9, 1.0)}, r"betas=\(0.9, 1.0\) must be numbers from 0 to below 1"),
    ({"weight_decay": -0.1}, "weight_decay=-0.1"),
    ({"block_size": 100}, "block_size=100 must be a multiple of 16"),
    ({"block_size": 0}, "block_size=0 must be a whole number from 16"),
    ({"smallest": -1}, "smallest=-1"),
])
def test_numbers_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        Adam8bit(parameters((10,)), **options)


def test_tensors_that_are_refused():
    with pytest.raises(TypeError, match="torch.float64 on cpu; Adam8bit takes float32"):
        Adam8bit([torch.nn.Parameter(torch.ones(3, dtype=torch.float64))])
    optimizer = Adam8bit(parameters((10,)))
    with pytest.raises(TypeError, match="bfloat16"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))]})
    assert len(optimizer.param_groups) == 1
    table = torch.nn.Embedding(10, 3, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="sparse"):
        Adam8bit(table.parameters()).step()


@pytest.mark.parametrize("call, words", [
    (lambda: quantize_blocks(np.array([1, np.nan], np.float32)), "NaN"),
    (lambda: quantize_blocks(np.array([1, np.inf], np.float32)), "infinities"),
    (lambda: quantize_blocks(np.zeros(0, np.float32)), "empty"),
    (lambda: quantize_blocks(np.array([-1], np.float32), signed=False), "negative numbers, the lowest -1.0"),
    (lambda: quantize_blocks(np.ones(3, np.float32), block_size=0), "block_size=0"),
    (lambda: dequantize_blocks(np.zeros(5, np.int8), np.ones(1, np.float32)), "int8"),
    (lambda: dequantize_blocks(np.zeros(5, np.uint8), np.ones(2, np.float32)), r"\(2,\)"),
])
def test_errors_of_blocks(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def stepped(optimizer, steps=2):
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        for p in optimizer.param_groups[0]["params"]:
            p.grad = torch.randn(p.shape, generator=generator, device="cpu", dtype=torch.float32)
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("saved, wanted", [((5000,), (9000,)), ((9000,), (5000,)), ((1,), (9,)), ((100,), (9000,)),
                                           ((9000,), (100,))])
def test_the_state_of_another_model_is_refused_and_nothing_is_overwritten(saved, wanted):
    """Before, the kernel wrote beyond the codes."""
    state = stepped(Adam8bit(parameters(saved))).state_dict()
    optimizer = stepped(Adam8bit(parameters(wanted)))
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match="state_dict has 'exp_avg.* of shape .*; it was saved for another model"):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert all(torch.equal(after["state"][0][key], value) for key, value in before["state"][0].items()
               if torch.is_tensor(value))
    stepped(optimizer)


def test_the_state_of_another_optimizer_is_refused():
    state = stepped(torch.optim.Adam(parameters((5000,)))).state_dict()
    with pytest.raises(ValueError, match="no 'decoupled' among its settings; it is that of another optimizer"):
        Adam8bit(parameters((5000,))).load_state_dict(state)


def test_a_parameter_that_changed_after_the_first_step_is_refused():
    layer = torch.nn.Linear(100, 100)
    optimizer = stepped(Adam8bit(layer.parameters()))
    layer.weight.data = torch.zeros(200, 100)
    with pytest.raises(ValueError, match=r"has shape \(200, 100\) now, and had 10000 numbers"):
        stepped(optimizer)
    for size in (10, 100):
        layer = torch.nn.Linear(size, size)
        optimizer = Adam8bit(layer.parameters())
        layer.double()(torch.ones(1, size, dtype=torch.float64)).sum().backward()
        with pytest.raises(TypeError, match="torch.float64 on cpu"):
            optimizer.step()


@pytest.mark.parametrize("set_default, other, usual", [
    (torch.set_default_dtype, torch.float64, torch.float32), (torch.set_default_device, "meta", None)])
def test_torchs_defaults_change_nothing(set_default, other, usual):
    (plain,), (inside,) = parameters((5000,)), parameters((5000,))
    stepped(Adam8bit([plain]))
    set_default(other)
    try:
        stepped(Adam8bit([inside]))
    finally:
        set_default(usual)
    assert torch.equal(plain, inside)


@pytest.mark.parametrize("options", [{"lr": "1e-3"}, {"lr": math.inf}, {"eps": None}, {"eps": math.nan}, {"betas": 0.9},
                                     {"betas": (0.9,)}, {"betas": ("a", "b")}, {"weight_decay": "0"},
                                     {"block_size": 2048.0}])
def test_what_is_no_number_is_refused_by_name(options):
    (name, value), = options.items()
    with pytest.raises(ValueError, match=rf"^{name}="):
        Adam8bit(parameters((10,)), **options)
    assert Adam8bit(parameters((10,)), lr=torch.tensor(1e-3)).param_groups[0]["lr"] == torch.tensor(1e-3)
