"""The roofline: its algebra, and that what is measured is what was asked for. No speed is asserted."""

import time

import pytest

from course_lib import roofline
from course_lib.measure import Latency
from course_lib.roofline import Placed, Roof, Work, product_work

ROOF = Roof(bandwidth=10e9, peak=50e9)


def test_the_roof_is_a_slope_and_a_flat():
    assert ROOF.ridge == 5
    assert ROOF.attainable([0.5, 5, 500]).tolist() == [5e9, 50e9, 50e9]
    assert ROOF.seconds(Work(operations=1e9, bytes=1e9)) == 0.1  # memory
    assert ROOF.seconds(Work(operations=1e9, bytes=1e6)) == 0.02  # arithmetic


def test_time_and_rate_say_the_same():
    work = Work(operations=3e9, bytes=1e9)
    assert work.operations / ROOF.seconds(work) == pytest.approx(float(ROOF.attainable(work.intensity)))


def test_a_product_counts_each_array_once():
    work = product_work(10, 20, 3, weight_bytes=1, input_bytes=1, output_bytes=4)
    assert work == Work(operations=1200, bytes=200 + 60 + 120)


def test_a_batch_raises_the_intensity_towards_its_own_size():
    width = dict(weight_bytes=4, input_bytes=4, output_bytes=4)
    intensities = [product_work(4096, 4096, batch, **width).intensity for batch in (1, 8, 64)]
    assert intensities == pytest.approx([0.5, 4, 32], rel=0.05)


def test_placed_under_the_roof():
    slow = Placed("slow", Work(1e9, 1e9), Latency(0.2, 0.0, 9), ROOF)
    assert (slow.rate, slow.share, slow.memory_bound) == (5e9, 0.5, True)
    fast = Placed("fast", Work(50e9, 1e9), Latency(1.0, 0.0, 9), ROOF)
    assert (fast.rate, fast.share, fast.memory_bound) == (50e9, 1.0, False)


def test_place_times_every_call():
    calls = {"sleep": (lambda: time.sleep(2e-3), Work(2e6, 1e6)), "nothing": (lambda: None, Work(10, 100))}
    sleep, nothing = roofline.place(calls, 5e9, repeats=3)
    assert sleep.name == "sleep" and sleep.latency.median_s >= 2e-3 and sleep.rate <= 1e9
    assert nothing.roof.peak == sleep.roof.peak == 5e9
    assert nothing.roof.bandwidth != sleep.roof.bandwidth  # each beside a copy of its own size
    assert [one.roof.peak for one in roofline.place(calls, {"sleep": 1e9, "nothing": 2e9}, repeats=3)] == [1e9, 2e9]


def test_bandwidth_of_one_size_or_of_many():
    one = roofline.copy_bandwidth(4096, budget_s=0.01)
    many = roofline.copy_bandwidth([4096, 65536], budget_s=0.01)
    assert one > 0 and len(many) == 2 and min(many) > 0


@pytest.mark.parametrize("size", [1, [4096, 0], []])
def test_a_copy_needs_something_to_copy(size):
    with pytest.raises(ValueError, match="at least 2 bytes"):
        roofline.copy_bandwidth(size)


def test_the_peak_is_that_of_the_fastest_way():
    calls = {"slow": (lambda: time.sleep(5e-3), 1000), "fast": (lambda: time.sleep(1e-4), 1000)}
    name, rate = roofline.peak_rate(calls, budget_s=0.05)
    assert name == "fast" and rate <= 1e7


def test_a_large_copy_is_tried_past_the_caches_too():
    assert {name.rpartition(" on ")[0] for name in roofline.copies(roofline.LARGE, 2)} == {
        "copy", "copy past the caches"}  # fmt: skip
    assert set(roofline.copies(1000, 2)) == {"copy on 2", "copy on 1"}
    assert set(roofline.copies(1000, 1)) == {"copy on 1"}


@pytest.mark.parametrize("arguments, message", [
    (dict(bandwidth=0, peak=1), "bandwidth=0"), (dict(bandwidth=1, peak=float("nan")), "peak=nan"),
    (dict(bandwidth=float("inf"), peak=1), "bandwidth=inf"),
])  # fmt: skip
def test_a_roof_is_positive_and_finite(arguments, message):
    with pytest.raises(ValueError, match=message):
        Roof(**arguments)


def test_a_product_has_a_size():
    with pytest.raises(ValueError, match="batch=0"):
        product_work(1, 1, 0, weight_bytes=1, input_bytes=1, output_bytes=1)
