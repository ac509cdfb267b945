"""How much of it is measured."""

from __future__ import annotations

from enum import StrEnum


class Effort(StrEnum):
    """What a run may cost."""

    WHOLE = "whole"
    BRIEF = "brief"
    """Everything, about half as often."""
    QUICK = "quick"
    """Each once, with less of everything: to try it."""

    def repeats(self, planned: int) -> int:
        """How often that is measured which is planned to be measured so often."""
        match self:
            case Effort.WHOLE:
                return planned
            case Effort.BRIEF:
                return (planned + 1) // 2
            case Effort.QUICK:
                return min(1, planned)
