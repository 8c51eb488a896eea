"""Timing one row: ours, its peers and a copy of as many bytes take turns in one loop."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from course_lib import roofline
from course_lib.bench import limits
from course_lib.bench.report import PLAIN, GoalResult, RowResult
from course_lib.machine.threads import given, set_threads
from course_lib.machine.threads import threads as thread_count
from course_lib.measure import Case, Latency, Row, bytes_text, compare

SLOW = 8                                    # who takes more than an eighth of the budget does not join the loop
FEW = 5                                     # calls of it at the most
TAKE_TURNS = ("ours", "copy")               # always in the loop, however long they take
FAST_S = 2e-3                               # a peer that takes less may be better off on one thread


@contextlib.contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Our pool, PyTorch and the BLAS libraries on ``count`` threads inside the block."""
    before, torch_before = given(), torch.get_num_threads()     # None where nobody has set it: stays so
    set_threads(count)
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        set_threads(before)
        torch.set_num_threads(torch_before)


def time_row(row: Row, *, threads: int | None = None, budget_s: float = 6.0,
             find: Callable[[str], Row] | None = None) -> RowResult:
    """See ``bench.run``. ``find`` looks up the rows that a goal "ours: NAME" names."""
    threads = thread_count() if threads is None else threads
    with on_threads(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")     # what the peers find out of date in each other is no news here
        case = row.prepare()
        others = {goal.peer: find(goal.peer.removeprefix("ours: ")) for goal in row.goals if goal.peer[:6] == "ours: "}
        beside = {name: other.prepare().ours for name, other in others.items()}
    with on_threads(threads):               # again: libraries that prepare() loaded hear of it only now
        if case.same is not None:
            case.same()
        callables = callables_of(case)
        beside |= {name: callables.pop(name) for name in list(callables) if name.startswith("our ")}    # no peer, then
        copies = roofline.copies(case.bytes, threads) if case.bytes else {}
        calls = {("ours", ""): case.ours}
        for kind, some in (("peer", callables), ("beside", beside), ("copy", copies)):
            calls |= {(kind, name): call for name, call in some.items()}
        times = _time(calls, threads, budget_s)
        peak = limits.peak(case.arithmetic, threads) if case.operations and case.arithmetic else None
    return _judge(row, case, threads, times, peak)


def callables_of(case: Case) -> dict[str, Callable]:
    """The peers that can be timed here."""
    return {name: peer for name, peer in case.peers.items() if callable(peer)}


def _time(calls, threads, budget_s):
    """Latencies by (kind, name).

    Who is slow is called by itself, a few times: the others would wait for it in vain. So is a plain loop, whose result
    would push what the others work on out of the caches. A peer that is fast also runs with PyTorch on one thread,
    under the kind "peer alone", in case waking a second one costs more than it brings.
    """
    slow, alone = {}, {}
    for (kind, name), call in calls.items():
        seconds = _seconds(call)            # the first call is nobody's best: tables are made, weights are packed
        if name == PLAIN or kind not in TAKE_TURNS and seconds > budget_s / SLOW:
            slow[kind, name] = _by_itself(call, budget_s / 2)
        elif kind == "peer" and threads > 1 and min(seconds, _seconds(call)) < FAST_S:
            alone["peer alone", name] = partial(_on_one_thread, call, threads)
    loop = {name: call for name, call in calls.items() if name not in slow} | alone
    return compare(loop, repeats=1000, budget_s=budget_s) | slow


def _by_itself(call, budget_s):
    """The Latency of a slow call: once at the least, then as long as another one fits into the budget."""
    times = [_seconds(call)]
    while len(times) < FEW and sum(times) + times[-1] < budget_s:
        times.append(_seconds(call))
    low, median, high = np.percentile(times, [25, 50, 75])
    return Latency(float(median), float(high - low), len(times))


def _seconds(call):
    start = perf_counter()
    call()
    return perf_counter() - start


def _on_one_thread(call, threads):
    torch.set_num_threads(1)                # and back: a fifth of a microsecond
    call()
    torch.set_num_threads(threads)


def _judge(row, case, threads, times, peak):
    """The RowResult of what was timed."""
    ours = times["ours", ""]
    ours_ms = 1e3 * ours.median_s
    peers, spreads = _peers(case, times)
    beside, copies = (_medians(times, kind) for kind in ("beside", "copy"))
    copy_ms = min(copies.values(), default=None)
    limited_by, limit_ms = _limit(case, copy_ms, peak)
    best = min(peers, key=peers.get, default=None)
    goals = _goals(row, case, ours_ms, {**peers, **beside}, best, limit_ms)
    verdicts = [goal.met for goal in goals if goal.met is not None]
    return RowResult(
        name=row.name,
        shape=row.shape,
        ours_ms=ours_ms,
        ours_spread=1e3 * ours.spread_s,
        peers=peers,
        best_peer=best,
        speedup=peers[best] / ours_ms if peers else None,
        bytes=case.bytes,
        limit_ms=limit_ms,
        of_limit=limit_ms / ours_ms if limit_ms else None,
        goal=row.goals[0].at_least if row.goals else None,
        met=all(verdicts) if verdicts else None,
        goals=goals,
        why=row.why,
        limited_by=limited_by,
        copy_ms=copy_ms,
        in_cache=limits.fits_in(case.bytes, threads),
        operations=case.operations,
        arithmetic=case.arithmetic if case.operations else "",
        peers_spread=spreads,
        beside=beside,
        skipped={name: peer for name, peer in case.peers.items() if not callable(peer)},
        scaled=dict(case.scaled),
        repeats=ours.repeats,
        threads=threads,
    )


def _medians(times, kind):
    """{name: median in milliseconds} of what was timed under this kind."""
    return {name: 1e3 * latency.median_s for (found, name), latency in times.items() if found == kind}


def _peers(case, times):
    """{name: milliseconds} and {name: spread} of the peers: each as fast as on all threads or on one, and as if it had
    had all of the data."""
    medians, spreads = {}, {}
    for (kind, name), latency in times.items():
        if kind == "peer":
            latency = min(latency, times.get(("peer alone", name), latency))
            scale = 1e3 * case.scaled.get(name, 1)
            medians[name], spreads[name] = scale * latency.median_s, scale * latency.spread_s
    return medians, spreads


def _limit(case, copy_ms, peak):
    """(what limits this case, the least milliseconds that it takes): moving its bytes, or its operations; or Nones."""
    needs = {}
    if copy_ms:
        needs[f"memory, {bytes_text(case.bytes)}"] = copy_ms
    if peak:
        needs[f"{case.arithmetic} arithmetic"] = 1e3 * case.operations / peak.rate
    limited_by = max(needs, key=needs.get, default=None)
    return limited_by, needs.get(limited_by)


def _goals(row, case, ours_ms, rivals, best, limit_ms):
    """What became of each goal of the row."""
    rivals = {**rivals, "limit": limit_ms, "best": rivals.get(best)}
    judged = []
    for goal in row.goals:
        rival = rivals.get(goal.peer)
        reached = None if rival is None else rival / ours_ms
        met = None if rival is None else reached >= goal.at_least
        if met and goal.peer == "best" and len(callables_of(case)) < len(case.peers):
            met = None                      # the one that is missing here may be the best
        judged.append(GoalResult(goal.peer, goal.at_least, reached, met))
    return tuple(judged)
