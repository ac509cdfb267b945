"""How far an update is, step by step; pure."""

from __future__ import annotations

from surefoot.update.states import RULES, State, Step, rule_of

STAGING = (Step.STAGE,)
BESIDE = (Step.OVERLAP, Step.TAKE_OVER)
CUTOVER = (Step.STOP, Step.SNAPSHOT, Step.MIGRATE, Step.SWITCH, Step.START, Step.JUDGE)
BACKWARDS = (Step.PUT_BACK, Step.RESUME_OLD)
BACK_STATES = frozenset({State.ROLLING_BACK, State.RESTORED, State.ROLLED_BACK, State.BROKEN})


def steps(
    state: State | None, durations: dict[str, float], *, overlaps: bool
) -> list[tuple[Step, str, float | None]]:
    """Each step with how far it is: `done`, `current`, `failed` or `pending`."""
    wanted: tuple[Step, ...] = (*STAGING, *(BESIDE if overlaps else CUTOVER))
    failed = None
    if state in BACK_STATES or state is State.ABANDONED:
        failed = next((step for step in wanted if step not in durations), None)
        begun = (step for step in wanted if step in durations or step is failed)
        wanted = (*begun, *(BACKWARDS if state in BACK_STATES else ()))
    under_way = rule_of(state, overlaps=overlaps).step if state in RULES else None

    def standing(step: Step) -> str:
        if step == under_way:
            return "current"
        if step is failed:
            return "failed"
        return "done" if step in durations else "pending"

    known = dict(durations)
    if Step.JUDGE not in known:
        known.pop(Step.START, None)  # it lasts until the first good answer
    return [(step, standing(step), known.get(step)) for step in wanted]
