"""Timing one row: ours, its peers and a copy of as many bytes take turns in one loop."""

import contextlib
from time import perf_counter

import torch
from threadpoolctl import threadpool_limits

from course_lib.bench import limits
from course_lib.bench.report import GoalResult, RowResult
from course_lib.kernels import pool
from course_lib.measure import compare

SLOW = 8                                    # a peer that takes more than a SLOWth of the budget does not join the loop


@contextlib.contextmanager
def on_threads(count):
    """Our pool, PyTorch and the BLAS libraries on ``count`` threads inside the block."""
    before, torch_before = pool.threads(), torch.get_num_threads()
    pool.set_threads(count)
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        pool.set_threads(before)
        torch.set_num_threads(torch_before)


def time_row(row, *, threads=None, budget_s=6.0, find=None):
    """See ``bench.run``. ``find`` looks up the rows that a goal "ours: NAME" names."""
    threads = pool.threads() if threads is None else threads
    with on_threads(threads):
        case = row.prepare()
        others = {goal.peer: find(goal.peer.removeprefix("ours: ")) for goal in row.goals if goal.peer[:6] == "ours: "}
        beside = {name: other.prepare().ours for name, other in others.items()}
    with on_threads(threads):               # again: libraries that prepare() loaded hear of it only now
        if case.same is not None:
            case.same()
        callables = {name: peer for name, peer in case.peers.items() if callable(peer)}
        copy = {"copy": limits.copy_of(case.bytes)} if case.bytes else {}
        calls = {("ours", ""): case.ours, **{("peer", name): peer for name, peer in callables.items()}}
        calls |= {("beside", name): call for name, call in beside.items()} | {("copy", name): copy[name] for name in copy}
        times = _time(calls, budget_s)
        peak = limits.peak(case.arithmetic, threads) if case.operations and case.arithmetic else None
    return _judge(row, case, threads, times, peak)


def _time(calls, budget_s):
    """Latencies by name. What is slow is called once or a few times by itself: the others would wait for it in vain."""
    slow = {}
    for name, call in calls.items():
        start = perf_counter()
        call()
        seconds = perf_counter() - start
        if seconds > budget_s / SLOW and name[0] == "peer":
            slow[name] = seconds
    loop = {name: call for name, call in calls.items() if name not in slow}
    times = compare(loop, repeats=1000, budget_s=budget_s)
    for name, seconds in slow.items():
        times |= compare({name: calls[name]}, repeats=3 if seconds < budget_s / 3 else 1, warmup=1, budget_s=budget_s)
    return times


def _judge(row, case, threads, times, peak):
    """The RowResult of what was timed."""
    ours, ms = times["ours", ""], {}
    spreads = {}
    for (kind, name), latency in times.items():
        factor = 1e3 * (case.scaled.get(name, 1) if kind == "peer" else 1)
        ms.setdefault(kind, {})[name] = factor * latency.median_s
        if kind == "peer":
            spreads[name] = factor * latency.spread_s
    peers, beside = ms.get("peer", {}), ms.get("beside", {})
    ours_ms = 1e3 * ours.median_s
    best = min(peers, key=peers.get) if peers else None
    needs = {f"memory, {_bytes_text(case.bytes)}": ms["copy"]["copy"]} if case.bytes else {}
    if peak:
        needs[f"{case.arithmetic} arithmetic"] = 1e3 * case.operations / peak
    limited_by = max(needs, key=needs.get) if needs else None
    limit_ms = needs[limited_by] if needs else None
    rivals = {**peers, **beside, **({"best": peers[best]} if peers else {})}
    goals = []
    for goal in row.goals:
        rival = limit_ms if goal.peer == "limit" else rivals.get(goal.peer)
        reached = None if rival is None else rival / ours_ms
        goals.append(GoalResult(goal.peer, goal.at_least, reached, None if rival is None else reached >= goal.at_least))
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
        of_limit=limit_ms / ours_ms if needs else None,
        goal=row.goals[0].at_least if row.goals else None,
        met=all(verdicts) if verdicts else None,
        goals=tuple(goals),
        why=row.why,
        operations=case.operations,
        arithmetic=case.arithmetic if case.operations else "",
        limited_by=limited_by,
        in_cache=limits.fits_in(case.bytes),
        spreads=spreads,
        beside=beside,
        skipped={name: peer for name, peer in case.peers.items() if not callable(peer)},
        scaled=dict(case.scaled),
        repeats=ours.repeats,
        threads=threads,
    )


def _bytes_text(count):
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("bytes", 1)):
        if count >= size:
            break
    return f"{float(f'{count / size:.3g}'):g} {unit}"
