"""What a benchmark found, and how it is shown: one row for a lecture, or all of them in one table."""

from dataclasses import asdict, dataclass, field

from course_lib.measure import table as text_table
from course_lib.measure import three_digits, time_text

PAST_A_COPY = ("More than 100 % of memory: the limit is the fastest copy, which reads one byte for each byte that it "
               "writes; a row may read more than it writes.")
PAST_A_PEAK = ("More than 100 % of arithmetic: operations are counted as the definition does them, and the kernel "
               "comes to the same sums with fewer.")
HEADERS = ["time (median)", "against ours", "goal"]
PLAIN = "our plain loop, one thread"         # the name of a loop of ``kernels.plain`` beside the kernel


@dataclass(frozen=True)
class GoalResult:
    """A goal and what became of it: ``reached`` and ``met`` are None where the peer could not be timed here."""

    peer: str
    at_least: float
    reached: float | None
    met: bool | None

    def __str__(self):
        wanted = f"{self.at_least:.0%}" if self.peer == "limit" else times(self.at_least)
        return f"{wanted} {({True: 'met', False: 'missed', None: 'not judged'})[self.met]}"

    def in_words(self) -> str:
        """The goal with its peer and the number reached, for a line of its own."""
        of = {"limit": "of the limit", "best": "the best peer"}.get(self.peer, self.peer)
        reached = self.reached is not None and (f"{self.reached:.0%}" if self.peer == "limit" else times(self.reached))
        wanted = f"{self.at_least:.0%} {of}" if self.peer == "limit" else f"{times(self.at_least)} {of}"
        if self.met is None:
            return f"goal {wanted}: not judged, it was not timed here"
        return f"goal {wanted}: {'met' if self.met else 'missed'}, {reached}"


@dataclass(frozen=True)
class RowResult:
    """A row, timed. Times are medians in milliseconds, spreads interquartile ranges; None where not measured.

    ``speedup`` is the best peer's time over ours. ``limit_ms`` is the least time that the row's bytes or its operations
    take on this machine, whichever is longer (``limited_by`` says which), and ``of_limit`` its share of our time; why
    that may pass 1, ``past_the_limit`` tells. ``in_cache`` is the smallest cache that the bytes fit in. ``beside`` has
    other code of ours, the plain loop for instance; ``skipped`` the peers that could not be timed, each with the
    reason. ``goal`` is the first of the ``goals``, ``met`` says whether all were that could be judged.
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
    limited_by: str | None = None
    copy_ms: float | None = None
    in_cache: str | None = None
    operations: float = 0
    arithmetic: str = ""
    peers_spread: dict[str, float] = field(default_factory=dict)
    beside: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    scaled: dict[str, int] = field(default_factory=dict)
    repeats: int = 0
    threads: int = 1

    def as_json(self) -> dict:
        """A dict of plain numbers, texts, lists and dicts."""
        return {**asdict(self), "reasons": self.reasons()}

    def lines(self) -> list[tuple[str, str, str, str]]:
        """[(who, time, against ours, goal)]: ours, the peers, fastest first, our other rows, the limit."""
        goals = {goal.peer: str(goal) for goal in self.goals}
        found = [("ours", f"{time_text(self.ours_ms / 1e3)} ± {time_text(self.ours_spread / 1e3)}", "", "")]
        for peer, ms in sorted(self.peers.items(), key=lambda item: item[1]):
            who = peer + (f" (1/{self.scaled[peer]} of it, times {self.scaled[peer]})" if peer in self.scaled else "")
            named = [goals[key] for key in (peer, "best") if key in goals and (key == peer or peer == self.best_peer)]
            found.append((who, time_text(ms / 1e3), times(ms / self.ours_ms), ", ".join(named)))
        for name, ms in self.beside.items():
            found.append((name, time_text(ms / 1e3), times(ms / self.ours_ms), goals.get(name, "")))
        found += [(peer, reason, "", goals.get(peer, "")) for peer, reason in self.skipped.items()]
        if self.limit_ms is not None:
            place = f", fits in {self.in_cache}" if self.in_cache and self.in_cache != "memory" else ""
            reached = f"{self.of_limit:.0%} reached"
            limit = f"limit: {self.limited_by}{place}"
            found.append((limit, time_text(self.limit_ms / 1e3), reached, goals.get("limit", "")))
        return found

    def remarks(self) -> list[str]:
        """One line for each goal, and the reasons after those that were missed and after a peer that is faster."""
        reasons = [f"why: {'; '.join(self.reasons())}"] if self.reasons() else []
        return [goal.in_words() for goal in self.goals] + reasons + self.past_the_limit()

    def reasons(self) -> list[str]:
        """Why a goal was missed or a peer is faster, in a list: what the limit of this very run says, then ``why``."""
        missed = [goal for goal in self.goals if goal.met is False]
        behind = self.speedup is not None and self.speedup < 1
        found = [self._beside_the_limit(goal) for goal in missed if goal.peer != "limit"] if self.of_limit else []
        if behind and self.of_limit and not {"best", self.best_peer} & {goal.peer for goal in missed}:
            found.append(f"{self.best_peer} reaches {self.limit_ms / self.peers[self.best_peer]:.0%} of the limit, "
                         f"ours {self.of_limit:.0%}")
        return found + ([self.why] if self.why and (missed or behind) else [])

    def _beside_the_limit(self, goal):
        """What a goal asks for, measured by what the machine allows."""
        asked = self.of_limit * goal.at_least / goal.reached
        if asked > 1:
            return f"the limit, {self.limited_by}, allows {times(goal.reached / self.of_limit)} at most"
        return (f"{times(goal.at_least)} would be {asked:.0%} of the limit, {self.limited_by}; ours reaches "
                f"{self.of_limit:.0%}")

    def past_the_limit(self) -> list[str]:
        """The sentence that says how a row can pass 100 %, in a list; an empty one where it does not."""
        if self.of_limit is None or self.of_limit <= 1:
            return []
        return [PAST_A_COPY if self.limited_by.startswith("memory") else PAST_A_PEAK]

    def title(self) -> str:
        return f"{self.name}, {self.shape}, {self.threads} thread{'s' * (self.threads > 1)}"

    def __str__(self):
        return "\n".join([text_table(self.lines(), headers=[self.title(), *HEADERS]), *self.remarks()])

    def _repr_markdown_(self):
        cells = [[self.title(), *HEADERS], ["---", "---:", "---:", "---"], *self.lines()]
        source = "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in cells)
        return "\n\n".join([source, *self.remarks()])


def summary(results: list[RowResult]) -> str:
    """Several results in one text table: a line for ours, each peer and the limit. Then the goals missed and the peers
    that are faster, with why."""
    lines, missed, behind = [], [], []
    for one in results:
        for number, line in enumerate(one.lines()):
            lines.append([one.name if number == 0 else one.shape if number == 1 else "", *line])
        if one.met is False:
            failed = "; ".join(goal.in_words() for goal in one.goals if goal.met is False)
            missed.append(". ".join([f"{one.name}: {failed}", *one.reasons()]))
        elif one.speedup is not None and one.speedup < 1:
            behind.append(". ".join([f"{one.name}: {times(one.speedup)} {one.best_peer}", *one.reasons()]))
    parts = [text_table(lines, headers=["row", "", *HEADERS])]
    if missed:
        parts += ["Goals missed, and why:", *missed]
    if behind:
        parts += ["Goals met, but a peer is faster:", *behind]
    parts += sorted({sentence for one in results for sentence in one.past_the_limit()})
    judged = [goal.met for one in results for goal in one.goals if goal.met is not None]
    if judged:
        parts.append(f"{sum(judged)} of {len(judged)} goals met, in {len(results)} rows.")
    return "\n".join(parts)


def times(ratio: float) -> str:
    """A ratio with three digits: 0.982 ×, 25.3 ×, 1210 ×."""
    return f"{three_digits(ratio)} ×"
