"""What became of the cases, by scenario and kind of instant."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.crash.cases import Case
    from tests.crash.verdict import Verdict

_COLUMNS = ("instants", "cases", "struck", "whole", "old", "new", "lost")


@dataclass
class Row:
    """One line of the table."""

    instants: int = 0
    """With those that leave the same behind as one that was struck."""
    cases: int = 0
    struck: int = 0
    whole: int = 0
    old: int = 0
    new: int = 0
    lost: int = 0
    violations: list[str] = field(default_factory=list)

    def count(self, case: Case, verdict: Verdict) -> None:
        self.instants += case.instants
        self.cases += 1
        self.struck += verdict.struck
        self.lost += verdict.lost
        self.new += verdict.serves == case.scenario.aim
        self.old += verdict.serves == case.scenario.old
        if verdict.problems:
            self.violations.append(f"{case}: {'; '.join(verdict.problems)}")
        else:
            self.whole += 1

    def line(self, name: str, kind: str) -> str:
        return (
            f"{name:<38} {kind:<30} {self.instants:>8} {self.cases:>6} {self.struck:>7} "
            f"{self.whole:>6} {self.old:>6} {self.new:>6} {self.lost:>9}"
        )


class Table:
    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = defaultdict(Row)

    def count(self, case: Case, verdict: Verdict) -> None:
        self.rows[case.scenario.name, case.instant.kind].count(case, verdict)

    @property
    def violations(self) -> list[str]:
        return [one for row in self.rows.values() for one in row.violations]

    def __str__(self) -> str:
        head = f"{'update':<38} {'instant':<30} {'instants':>8} {'cases':>6} {'reached':>7} " \
               f"{'whole':>6} {'old':>6} {'new':>6} {'rows lost':>9}"  # fmt: skip
        rule = "-" * len(head)
        by_kind: dict[str, Row] = defaultdict(Row)
        for (_, kind), row in self.rows.items():
            for total in (by_kind[kind], by_kind["all"]):
                for column in _COLUMNS:
                    setattr(total, column, getattr(total, column) + getattr(row, column))
        lines = [row.line(name, kind) for (name, kind), row in sorted(self.rows.items())]
        whole = by_kind.pop("all", Row())
        totals = [row.line("all updates", kind) for kind, row in sorted(by_kind.items())]
        return "\n".join([head, rule, *lines, rule, *totals, rule, whole.line("all", "")])
