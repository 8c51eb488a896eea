"""Whole networks, their layers, and what trains them: the integer engine, a step of 8-bit Adam, a Monarch layer."""

import numpy as np

from course_lib.bench.inference import inference_row
from course_lib.bench.report import PLAIN
from course_lib.kernels import layers, matrix_unit, plain
from course_lib.kernels.tiles import ROWS, in_tiles
from course_lib.measure import Case, Goal, Growth, Row

PARAMETERS = 2**24
FEATURES, BATCH = 4096, 64


def rows() -> list[Row]:
    """The rows of this family."""
    return [
        inference_row("lenet_300_100", batch=1, goal=2.0),
        inference_row("lenet_300_100", batch=64),
        Row("integer linear layer, batch 64", "300×784", _integer_linear,
            why="its sums are small, and each is requantized besides"),
        Row("integer convolution, batch 16", "50 filters of 20×5×5, 8×8 positions", _integer_convolution,
            why="every window is copied before it is multiplied"),
        Row(
            "8-bit Adam step", f"{PARAMETERS} parameters", lambda: _adam(PARAMETERS), (Goal("best", 1.0),),
            why="it moves 16 bytes a parameter where 32-bit states move 28, and pays for it with arithmetic: some 70 "
                "instructions for 16 parameters where there are vectors of 16",
            growth=Growth("parameters", tuple(2**k for k in range(12, 25, 2)), lambda n: _adam(n, peers=False).ours,
                          bytes=lambda n: 16 * n),
        ),
        Row(
            "Monarch product", f"batch {BATCH}, n = {FEATURES}", lambda: _monarch(FEATURES),
            (Goal("torch dense", 6.0),),
            why="its products are small: the weights are put in order for them in every call, and a second thread has "
                "to be woken",
            growth=Growth("n", (256, 512, 1024, 2048, 4096, 8192), lambda n: _monarch(n, peers=False).ours, slope=1.5,
                          bytes=lambda n: 4 * (2 * n * n**0.5 + 2 * BATCH * n)),
        ),
    ]


def _requantization(rows):
    """(M0, B0, shift, lowest code, highest code) of a layer: sums of some 2¹⁹ become codes of 8 bits."""
    rng = np.random.default_rng(2)
    return rng.integers(2**28, 2**29, rows), np.full(rows, 2**43), 40, 0, 255


def _integer_linear(rows=300, n=784, batch=64):
    """One layer of the integer engine, codes in and codes out, on one thread."""
    import torch

    from course_lib.quantized.layers.buffers import buffer

    rng, x = np.random.default_rng(0), buffer((batch, n), np.uint8)
    w, x[:] = rng.integers(-128, 128, (rows, n), dtype=np.int8), rng.integers(0, 256, (batch, n))
    tiles, constants, done = in_tiles(w), _requantization(rows), matrix_unit.samples_at_once(batch)
    start, sums = np.zeros(ROWS * len(tiles), np.int32), np.empty((batch, ROWS * len(tiles)), np.int32)
    out, loop_out = np.empty((2, batch, rows), np.uint8)
    real, weights = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(w.astype(np.float32))

    def ours():
        if done:
            matrix_unit.matmul(tiles, x[:done], start, 0, len(tiles), sums[:done])
        layers.linear(x, tiles, start, *constants, done, sums, out)

    peers = {"torch float32": lambda: torch.nn.functional.linear(real, weights).relu_(),
             PLAIN: lambda: plain.linear(x, w, *constants, loop_out)}
    return Case(ours, peers, bytes=w.size + x.size + out.size, operations=2 * batch * w.size, arithmetic="int8",
                same=_same_codes(ours, peers[PLAIN], out, loop_out))


def _integer_convolution(rows=50, channels=20, batch=16):
    """The same for a convolution: LeNet-5's second, which has most of its multiplications."""
    import torch

    from course_lib.quantized.layers.buffers import buffer

    rng, size, positions = np.random.default_rng(0), (12, 12), (8, 8)
    w = rng.integers(-128, 128, (rows, channels, 5, 5), dtype=np.int8)
    x = rng.integers(0, 256, (batch, channels, *size)).astype(np.uint8)
    tiles, constants = in_tiles(w.reshape(rows, -1)), _requantization(rows)
    start, patches = np.zeros(ROWS * len(tiles), np.int32), buffer((64, channels * 25), np.uint8)
    sums, (out, loop_out) = np.empty((64, start.size), np.int32), np.empty((2, batch, rows, 64), np.uint8)
    real, weights = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(w.astype(np.float32))
    windows = (5, 5), (1, 1), (0, 0), 0

    def ours():
        layers.conv2d(x, tiles, start, *constants, *windows, patches, sums, out)

    by_position = loop_out.reshape(batch, rows, *positions)
    peers = {"torch float32": lambda: torch.nn.functional.conv2d(real, weights).relu_(),
             PLAIN: lambda: plain.conv2d(x, w, (1, 1), *constants, by_position)}
    return Case(ours, peers, bytes=w.size + x.size + out.size, operations=2 * batch * 64 * w.size, arithmetic="int8",
                same=_same_codes(ours, peers[PLAIN], out, loop_out))


def _same_codes(ours, loop, out, loop_out):
    def same():
        ours()
        loop()
        assert np.array_equal(out, loop_out), "differs from the plain loop"
        assert len(np.unique(out)) > 100, "codes that say nothing"

    return same


def _adam(n, *, peers=True):
    """A step over n parameters and their gradients, states in 8 bits against states in 32."""
    import torch

    from course_lib.kernels.adam import ZERO
    from course_lib.mixed import Adam8bit
    from course_lib.mixed.adam8bit import dynamic_map, step_numbers

    generator = torch.Generator().manual_seed(0)
    gradient, start = (torch.randn(n, generator=generator) for _ in range(2))

    def optimizer(kind, **options):
        p = start.clone().requires_grad_(True)
        p.grad = gradient
        return kind([p], lr=1e-3, **options)

    ours = optimizer(Adam8bit, smallest=0)
    others = {}
    if peers:
        others = {name: optimizer(torch.optim.Adam, **{option: True})
                  for name, option in (("torch fused Adam", "fused"), ("torch foreach Adam", "foreach"))}
    calls = {name: one.step for name, one in others.items()}
    if peers:
        size, numbers = 2048, step_numbers(1, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, decoupled=False)
        plain_p, codes = start.numpy().copy(), [np.full(n, ZERO, np.uint8), np.zeros(n, np.uint8)]
        state = *codes, *np.zeros((2, -(-n // size)), np.float32), dynamic_map(True), dynamic_map(False), size, numbers
        calls[PLAIN] = lambda: plain.adam8bit(plain_p, gradient.numpy(), *state)

    def same():
        for one in (ours, *others.values()):                # from zero moments all do the same
            one.param_groups[0]["params"][0].data.copy_(start)
            one.state.clear()
            one.step()
        calls[PLAIN]()
        p, *rest = (one.param_groups[0]["params"][0].detach() for one in (ours, *others.values()))
        for other in (*rest, torch.from_numpy(plain_p)):
            torch.testing.assert_close(p, other, rtol=1e-5, atol=1e-6)

    # parameters and two codes come and go, the gradient comes
    return Case(ours.step, calls, bytes=16 * n, same=same)


def _monarch(n, *, peers=True):
    """n features to n, without gradients; dense beside it."""
    import torch

    from course_lib.structured import MonarchLinear, monarch_dense_plain

    generator = torch.Generator().manual_seed(0)
    layer = MonarchLinear(n, bias=False).requires_grad_(False)
    for weight in (layer.left, layer.right):
        weight.normal_(generator=generator).div_(n**0.25)
    x = torch.randn(BATCH, n, generator=generator)
    weights = layer.left.numel() + layer.right.numel()
    others = {}
    if peers:
        dense = torch.nn.Linear(n, n, bias=False).requires_grad_(False)
        dense.weight.copy_(monarch_dense_plain(layer.left, layer.right))
        others["torch dense"] = lambda: dense(x)
        left, right = layer.left.numpy(), layer.right.numpy()
        pieces, out = x.numpy().reshape(BATCH, len(right), -1), np.empty((BATCH, *left.shape[1::-1]), np.float32)
        others[PLAIN] = lambda: plain.monarch(pieces, left, right, out)

    def same():
        others[PLAIN]()
        for theirs in (others["torch dense"]().numpy(), out.reshape(BATCH, -1)):
            np.testing.assert_allclose(layer(x).numpy(), theirs, rtol=1e-3, atol=1e-3)

    size = 4 * (weights + 2 * x.numel())
    return Case(lambda: layer(x), others, bytes=size, operations=2 * BATCH * weights, same=same)
