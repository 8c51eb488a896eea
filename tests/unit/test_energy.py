"""The picojoule table and what it says about a network's layers."""

import pytest

from course_lib import energy
from course_lib.energy import ADD, MULTIPLY, NETWORKS, estimate

LENET = NETWORKS["LeNet-300-100"]


def ratio(table, field):
    return getattr(table["float32"], field) / getattr(table["int8"], field)


def test_the_ratios_of_the_source():
    assert ratio(ADD, "energy_pj") == pytest.approx(30)
    assert ratio(MULTIPLY, "energy_pj") == pytest.approx(18.5)
    assert round(ratio(ADD, "area_um2")) == 116
    assert round(ratio(MULTIPLY, "area_um2")) == 27


def test_a_multiply_add_sums_in_a_wide_number():
    assert energy.multiply_add_pj(32) == pytest.approx(3.7 + 0.9)
    assert energy.multiply_add_pj(16) == pytest.approx(1.1 + 0.9)
    assert energy.multiply_add_pj(8) == energy.multiply_add_pj(3) == pytest.approx(0.2 + 0.1)


@pytest.mark.parametrize("name, ours", [("LeNet-300-100", "LeNet300100"), ("LeNet-5", "LeNet5")])
def test_the_layers_are_those_of_the_courses_networks(name, ours):
    torch = pytest.importorskip("torch")
    from course_lib import nets

    model = getattr(nets, ours)().eval()
    counted = []

    def count(module, arguments, result):
        weights = module.weight.numel()
        counted.append((weights * result[0, 0].numel(), weights, arguments[0][0].numel(), result[0].numel()))

    for module in model:
        if hasattr(module, "weight"):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, 1, 28, 28))
    assert counted == [(one.multiply_adds, one.weights, one.inputs, one.outputs) for one in NETWORKS[name]]


def test_the_weights_of_alexnet_are_those_the_review_lists():
    convolutions = [layer.weights for layer in NETWORKS["AlexNet"][:5]]
    assert convolutions == pytest.approx([35_000, 307_000, 885_000, 663_000, 442_000], abs=1000)  # printed in thousands
    assert round(sum(layer.weights for layer in NETWORKS["AlexNet"]), -6) == 61_000_000


def test_one_layer_by_hand():
    layer = energy.linear("fc", 100, 10)
    (one,) = estimate([layer], bits=8, batch=4, sparsity=0.5, index_bits=4).layers
    assert one.arithmetic_pj == pytest.approx(500 * 0.3)
    assert one.stored_bytes == 500 * 12 / 8
    assert one.weights_pj == pytest.approx(750 * 10 / 8 / 4)  # 750 bytes in the 8 kB cache, read once for four
    assert one.activations_pj == pytest.approx(110 * 10 / 8)
    assert one.operations == 1000 and one.bytes == 750 / 4 + 110
    assert one.energy_pj == one.arithmetic_pj + one.weights_pj + one.activations_pj


def test_weights_that_fit_on_the_chip_cost_less():
    assert estimate(LENET, bits=32).level == "DRAM"
    assert estimate(LENET, bits=8).level == "1 MB cache"
    assert estimate(LENET, bits=4, sparsity=0.92, index_bits=4).level == "32 kB cache"
    assert energy.memory_for(8192) == "8 kB cache" and energy.memory_for(8193) == "32 kB cache"


def test_fewer_bits_a_larger_batch_and_more_zeros_never_cost_more():
    costs = [estimate(LENET, bits=bits).energy_pj for bits in (32, 16, 8, 4, 2, 1)]
    assert costs == sorted(costs, reverse=True)
    weights = [estimate(LENET, batch=batch).layers[0].weights_pj for batch in (1, 2, 64)]
    assert weights[0] == pytest.approx(2 * weights[1]) == pytest.approx(64 * weights[2])
    costs = [estimate(LENET, sparsity=share, index_bits=0).energy_pj for share in (0.0, 0.5, 0.9, 0.99)]
    assert costs == sorted(costs, reverse=True)


def test_activations_live_where_those_of_the_whole_batch_fit():
    """110 numbers of a byte, for one image or for many: in the next memory as soon as the last one is too small."""
    layer = energy.linear("fc", 100, 10)
    for batch, level in ((1, "8 kB cache"), (74, "8 kB cache"), (75, "32 kB cache"), (298, "1 MB cache"),
                         (9533, "DRAM")):  # fmt: skip
        (one,) = estimate([layer], bits=8, batch=batch).layers
        assert one.activations_pj == pytest.approx(110 * energy.MEMORY[level][1] / 8), batch
        assert one.bytes == pytest.approx(1000 / batch + 110)


def test_numbers_between_layers_have_the_width_of_what_is_multiplied():
    for bits, width in ((32, 4), (16, 2), (8, 1), (3, 1)):
        (one,) = estimate([energy.linear("fc", 100, 10)], bits=bits).layers
        assert one.activations_pj == pytest.approx(110 * width * 10 / 8)


def test_places_cost_more_than_few_zeros_save():
    assert estimate(LENET, bits=8, sparsity=0.2).stored_bytes > estimate(LENET, bits=8).stored_bytes
    assert estimate(LENET, bits=8, sparsity=0.5).stored_bytes == estimate(LENET, bits=8).stored_bytes


@pytest.mark.parametrize("arguments, message", [
    (dict(bits=12), "bits=12"), (dict(bits=0), "bits=0"), (dict(batch=0), "batch=0"),
    (dict(sparsity=1.0), "sparsity=1.0"), (dict(sparsity=-0.1), "sparsity=-0.1"),
    (dict(sparsity=float("nan")), "sparsity=nan"), (dict(index_bits=-1), "index_bits=-1"),
])  # fmt: skip
def test_what_it_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        estimate(LENET, **arguments)


def test_no_layers():
    with pytest.raises(ValueError, match="layers is empty"):
        estimate([])


@pytest.mark.parametrize("wrong", [{"bits": True}, {"bits": 8.0}, {"batch": 2.5}, {"batch": float("nan")},
                                   {"batch": "1"}, {"sparsity": "0.5"}, {"sparsity": None},
                                   {"index_bits": float("nan")}, {"index_bits": "4"}])
def test_what_is_no_number_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))}="):
        energy.estimate(energy.NETWORKS["LeNet-5"], **wrong)


def test_layers_of_any_sequence_and_nothing_else():
    layers = energy.NETWORKS["LeNet-5"]
    assert energy.estimate(iter(layers)) == energy.estimate(list(layers)) == energy.estimate(layers)
    for wrong in ("LeNet-5", energy.NETWORKS, [1], None):
        with pytest.raises(TypeError, match="layers holds a .*NETWORKS"):
            energy.estimate(wrong)


@pytest.mark.parametrize("make", [
    lambda: energy.conv2d("c", 4, 8, 3, 28, 26, groups=0), lambda: energy.conv2d("c", 4, 8, 3, 28, 26, groups=3),
    lambda: energy.conv2d("c", 4, 3, 3, 28, 26, groups=2), lambda: energy.conv2d("c", -3, 8, 3, 28, 26),
    lambda: energy.linear("c", 3.5, 2), lambda: energy.linear("c", 3, -2)])
def test_layers_that_cannot_be(make):
    with pytest.raises(ValueError, match="layer 'c': "):
        make()
