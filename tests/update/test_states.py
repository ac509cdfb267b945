"""The table of states, checked as a whole graph rather than by example."""

from surefoot.update.states import (
    CLOSED,
    ENDED,
    OVERLAPPING,
    RULES,
    UNTOUCHED,
    State,
    may_follow,
    rule_of,
)


def test_every_state_has_a_rule_or_is_an_end_or_waits_for_a_person() -> None:
    assert set(State) == set(RULES) | ENDED | {State.BROKEN}


def test_without_a_person_no_state_is_reached_twice() -> None:
    def walk(state: State, path: tuple[State, ...]) -> None:
        assert state not in path, f"{state} is reached again over {path}"
        if state is State.BROKEN:
            return
        for following in may_follow(state):
            walk(following, (*path, state))

    walk(State.REQUESTED, ())


def test_every_step_may_be_begun_only_so_often() -> None:
    assert all(1 <= rule.attempts <= 10 for rule in (*RULES.values(), *OVERLAPPING.values()))


def test_every_state_can_reach_an_end_in_which_an_app_runs() -> None:
    def ends(state: State) -> bool:
        return state in ENDED or any(ends(s) for s in may_follow(state) - {State.BROKEN})

    assert all(ends(state) for state in State if state is not State.BROKEN)


def test_a_commit_is_reached_only_through_every_step() -> None:
    path = [State.REQUESTED]
    while path[-1] in RULES:
        path.append(RULES[path[-1]].done)
    assert path == [
        State.REQUESTED,
        State.STAGED,
        State.STOPPED,
        State.SNAPSHOTTED,
        State.MIGRATED,
        State.SWITCHED,
        State.PROBATION,
        State.ACCEPTED,
        State.COMMITTED,
    ]


def test_the_gate_is_closed_exactly_while_something_could_still_be_taken_back() -> None:
    touched = {state for state in State if state not in UNTOUCHED}
    assert touched - {State.PROVEN, State.RESTORED, State.ROLLED_BACK, State.COMMITTED} == CLOSED


def test_only_what_was_rolled_back_can_be_broken() -> None:
    assert [s for s in State if State.BROKEN in may_follow(s)] == [State.ROLLING_BACK]


def test_beside_the_old_release_the_gate_never_closes() -> None:
    path = [State.STAGED]
    while path[-1] not in ENDED:
        path.append(rule_of(path[-1], overlaps=True).done)
    assert path == [State.STAGED, State.PROVEN, State.COMMITTED]
    assert not CLOSED & set(path)
