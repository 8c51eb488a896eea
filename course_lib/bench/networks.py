"""Whole networks and what trains them: the integer engine, a step of 8-bit Adam, a Monarch layer."""

import numpy as np

from course_lib.bench.inference import inference_row
from course_lib.measure import Case, Goal, Growth, Row

PARAMETERS = 2**24
FEATURES, BATCH = 4096, 64


def rows():
    """The rows of this family."""
    return [
        inference_row("lenet_300_100", batch=1, goal=2.0),
        inference_row("lenet_300_100", batch=64),
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


def _adam(n, *, peers=True):
    """A step over n parameters and their gradients, states in 8 bits against states in 32."""
    import torch

    from course_lib.mixed import Adam8bit

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

    def same():
        for one in (ours, *others.values()):                # from zero moments all do the same
            one.param_groups[0]["params"][0].data.copy_(start)
            one.state.clear()
            one.step()
        p, *rest = (one.param_groups[0]["params"][0].detach() for one in (ours, *others.values()))
        for other in rest:
            torch.testing.assert_close(p, other, rtol=1e-5, atol=1e-6)

    # parameters and two codes come and go, the gradient comes
    return Case(ours.step, {name: one.step for name, one in others.items()}, bytes=16 * n, same=same)


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

    def same():
        np.testing.assert_allclose(layer(x).numpy(), others["torch dense"]().numpy(), rtol=1e-3, atol=1e-3)

    size = 4 * (weights + 2 * x.numel())
    return Case(lambda: layer(x), others, bytes=size, operations=2 * BATCH * weights, same=same)
