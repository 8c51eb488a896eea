"""What a benchmark found, and how it is shown: one row for a lecture, all of them as a table, or as results.json."""

from dataclasses import asdict, dataclass, field

from course_lib.measure import table as text_table
from course_lib.measure import time_text


@dataclass(frozen=True)
class GoalResult:
    """A goal and what became of it: ``reached`` and ``met`` are None where the peer could not be timed here."""

    peer: str
    at_least: float
    reached: float | None
    met: bool | None

    def __str__(self):
        if self.peer == "limit":
            wanted, reached = f"{self.at_least:.0%} of the limit", "" if self.reached is None else f"{self.reached:.0%}"
        else:
            peer = {"best": "the best peer"}.get(self.peer, self.peer)
            wanted, reached = f"{self.at_least:g} × {peer}", "" if self.reached is None else f"{_ratio(self.reached)} ×"
        if self.met is None:
            return f"{wanted}: not judged"
        return f"{wanted}: {'met' if self.met else 'missed'}, {reached}"


@dataclass(frozen=True)
class RowResult:
    """A row, timed. Times are medians in milliseconds, spreads interquartile ranges; None where not measured.

    ``speedup`` is the best peer's time over ours, ``limit_ms`` the least time that the bytes or the operations take on
    this machine (``limited_by`` says which), ``of_limit`` its share of our time. ``beside`` has other rows of ours,
    timed in the same loop; ``skipped`` the peers that could not be timed, with the reason.
    """

    name: str
    shape: str
    ours_ms: float
    ours_spread: float
    peers: dict[str, float]
    best_peer: str | None
    speedup: float | None
    bytes: int
    limit_ms: float | None
    of_limit: float | None
    goal: float | None
    met: bool | None
    goals: tuple[GoalResult, ...] = ()
    why: str = ""
    operations: float = 0
    arithmetic: str = ""
    limited_by: str | None = None
    in_cache: str | None = None
    spreads: dict[str, float] = field(default_factory=dict)
    beside: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    scaled: dict[str, int] = field(default_factory=dict)
    repeats: int = 0
    threads: int = 1
    growth: dict | None = None

    def as_json(self):
        """A dict of plain numbers and texts."""
        return asdict(self)

    def lines(self):
        """[(who, time, against ours)], ours first, then the peers, fastest first, then the limit."""
        spread = f" ± {time_text(self.ours_spread / 1e3)}"
        found = [("ours", time_text(self.ours_ms / 1e3) + spread, "")]
        for peer, ms in sorted(self.peers.items(), key=lambda item: item[1]):
            part = f" (on 1/{self.scaled[peer]} of the data, times {self.scaled[peer]})" if peer in self.scaled else ""
            found.append((peer + part, time_text(ms / 1e3), f"{_ratio(ms / self.ours_ms)} ×"))
        found += [(name, time_text(ms / 1e3), f"{_ratio(ms / self.ours_ms)} ×") for name, ms in self.beside.items()]
        found += [(peer, reason, "") for peer, reason in self.skipped.items()]
        if self.limit_ms is not None:
            found.append((f"the limit: {self.limited_by}", time_text(self.limit_ms / 1e3), f"{self.of_limit:.0%} reached"))
        return found

    def remarks(self):
        """One line for each goal, and the reason after those that were missed."""
        found = [f"goal {goal}" for goal in self.goals]
        if self.met is False and self.why:
            found.append(f"why: {self.why}")
        return found

    def __str__(self):
        title = f"{self.name}, {self.shape}, {self.threads} thread{'s' * (self.threads > 1)}"
        return "\n".join([text_table(self.lines(), headers=[title, "time", "against ours"]), *self.remarks()])

    def _repr_markdown_(self):
        cells = [[f"{self.name}, {self.shape}", "time", "against ours"], ["---", "---:", "---:"], *self.lines()]
        source = "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in cells)
        return "\n\n".join([source, *self.remarks()])


def table(results):
    """Several results as one text table: a line for each row with its best peer, its limit and its goals."""
    lines = []
    for one in results:
        ours = f"{time_text(one.ours_ms / 1e3)} ± {time_text(one.ours_spread / 1e3)}"
        best = "" if one.best_peer is None else f"{one.best_peer} {time_text(one.peers[one.best_peer] / 1e3)}"
        speedup = "" if one.speedup is None else f"{_ratio(one.speedup)} ×"
        limit = "" if one.limit_ms is None else time_text(one.limit_ms / 1e3)
        reached = "" if one.of_limit is None else f"{one.of_limit:.0%}"
        met = {True: "met", False: "missed", None: ""}[one.met]
        lines.append([one.name, one.shape, ours, best, speedup, limit, reached, one.in_cache or "", met])
    headers = ["row", "shape", "ours", "best peer", "faster", "limit", "reached", "fits in", "goals"]
    return text_table(lines, headers=headers)


def _ratio(value):
    return f"{value:.0f}" if value >= 100 else f"{float(f'{value:.3g}'):g}"
