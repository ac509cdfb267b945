from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from surefoot.health.judge import (
    MAX_RESETS,
    WATCH_CRASHES,
    WATCH_FAILING_FOR_S,
    WATCH_FAILURES,
    Judge,
    Observation,
    Policy,
    Standing,
    Watch,
)

POLICY = Policy(deadline_s=60, successes=3, window_s=1)


def good(at_s: float) -> Observation:
    return Observation(at_s, True, "answered 200", answered=True)


def silent(at_s: float) -> Observation:
    return Observation(at_s, False, "connection refused")


def wrong(at_s: float) -> Observation:
    return Observation(at_s, False, "answered 500, expected 200", answered=True)


def test_good_answers_in_a_row_over_the_whole_window_are_healthy() -> None:
    judge = Judge(POLICY, 100.0)
    judge.observe(silent(101))
    for at in (102.0, 102.4, 102.8):
        judge.observe(good(at))
    assert judge.verdict(102.9).standing is Standing.PENDING
    judge.observe(good(103.0))
    verdict = judge.verdict(103.0)
    assert verdict.standing is Standing.HEALTHY
    assert "after 2.0 s" in verdict.reason


def test_a_long_window_does_not_replace_the_number_of_answers() -> None:
    judge = Judge(POLICY, 0)
    judge.observe(good(1))
    judge.observe(good(20))
    assert judge.verdict(20).standing is Standing.PENDING
    judge.observe(good(40))
    assert judge.verdict(40).standing is Standing.HEALTHY


def test_silence_until_the_deadline_is_unhealthy_and_not_before() -> None:
    judge = Judge(POLICY, 0)
    for at in range(60):
        judge.observe(silent(at))
    assert judge.verdict(60).standing is Standing.PENDING
    verdict = judge.verdict(60.1)
    assert verdict.standing is Standing.UNHEALTHY
    assert verdict.reason == "There was no good answer within 60 s: connection refused."


def test_a_first_good_answer_after_the_deadline_comes_too_late() -> None:
    judge = Judge(POLICY, 0)
    judge.observe(good(61))
    assert judge.verdict(61).standing is Standing.UNHEALTHY


def test_a_wrong_answer_that_stays_is_not_given_the_whole_deadline() -> None:
    judge = Judge(POLICY, 0)
    at = 0.0
    while judge.verdict(at).standing is Standing.PENDING:
        judge.observe(wrong(at))
        at += 0.1
    assert at < 6
    assert "answered 500, expected 200" in judge.verdict(at).reason


def test_slow_wrong_answers_are_counted_not_only_timed() -> None:
    judge = Judge(POLICY, 0)
    for at in range(0, 18, 2):
        judge.observe(wrong(at))
    assert judge.verdict(18).standing is Standing.PENDING
    judge.observe(wrong(18))
    assert judge.verdict(18).standing is Standing.UNHEALTHY


def test_a_server_that_answers_503_while_it_starts_has_the_whole_deadline() -> None:
    judge = Judge(POLICY, 0)
    for at in range(59):
        judge.observe(Observation(at, False, "answered 503, expected 200"))
    for late in (59.0, 59.5, 60.0):
        judge.observe(good(late))
    assert judge.verdict(60).standing is Standing.HEALTHY


def test_a_bad_answer_begins_the_count_anew() -> None:
    judge = Judge(POLICY, 0)
    for seen in (good(1), good(1.5), silent(1.9), good(2), good(2.5)):
        judge.observe(seen)
    assert judge.verdict(2.5).standing is Standing.PENDING
    judge.observe(good(3))
    assert judge.verdict(3).standing is Standing.HEALTHY


def test_a_server_whose_workers_die_one_after_another_does_not_pass() -> None:
    judge = Judge(POLICY, 0)
    for at in range(MAX_RESETS):
        judge.observe(good(at))
        judge.observe(silent(at + 0.5))
    assert judge.verdict(MAX_RESETS).standing is Standing.PENDING
    judge.observe(good(MAX_RESETS))
    judge.observe(silent(MAX_RESETS + 0.5))
    assert judge.verdict(MAX_RESETS + 1).standing is Standing.UNHEALTHY


def test_an_app_that_was_good_once_is_not_waited_for_for_ever() -> None:
    judge = Judge(Policy(deadline_s=10, successes=3, window_s=2), 0)
    judge.observe(good(1))
    judge.observe(silent(2))
    assert judge.verdict(14).standing is Standing.PENDING
    assert judge.verdict(14.1).standing is Standing.UNHEALTHY


def test_slow_probes_may_take_longer_than_the_window() -> None:
    judge = Judge(Policy(deadline_s=10, successes=3, window_s=1), 0)
    for at in (9, 13, 17):
        judge.observe(good(at))
    assert judge.verdict(17).standing is Standing.HEALTHY


def test_an_exit_with_code_0_in_probation_is_a_failure() -> None:
    judge = Judge(POLICY, 0)
    judge.observe(good(1))
    judge.exited("web", 0, 1.2)
    verdict = judge.verdict(1.3)
    assert verdict.standing is Standing.UNHEALTHY
    assert verdict.reason == "The process `web` ended with exit code 0 while it was judged."


policies = st.builds(
    Policy,
    deadline_s=st.floats(0.1, 1000),
    successes=st.integers(1, 20),
    window_s=st.floats(0, 100),
)
steps = st.lists(st.tuples(st.floats(0, 20), st.sampled_from([good, silent, wrong])), max_size=80)


def shown(policy: Policy, path: list[tuple[float, object]]) -> tuple[Judge, list[Observation]]:
    judge, now, seen = Judge(policy, 0.0), 0.0, []
    for delay, kind in path:
        now += delay
        seen.append(kind(now))  # type: ignore[operator]
        judge.observe(seen[-1])
        if judge.verdict(now).standing is not Standing.PENDING:
            break
    return judge, seen


@given(policies, steps)
def test_healthy_always_ends_in_enough_good_answers_over_the_window(
    policy: Policy, path: list[tuple[float, object]]
) -> None:
    judge, seen = shown(policy, path)
    now = seen[-1].at_s if seen else 0.0
    if judge.verdict(now).standing is Standing.HEALTHY:
        row = []
        for each in reversed(seen):
            if not each.healthy:
                break
            row.append(each.at_s)
        assert len(row) >= policy.successes
        assert row[0] - row[-1] >= policy.window_s
        assert min(e.at_s for e in seen if e.healthy) <= policy.deadline_s


@given(policies, steps)
def test_a_decision_stands_whatever_comes_after(
    policy: Policy, path: list[tuple[float, object]]
) -> None:
    judge, seen = shown(policy, path)
    now = seen[-1].at_s if seen else 0.0
    decided = judge.verdict(now)
    if decided.standing is not Standing.PENDING:
        judge.observe(good(now + 1))
        judge.observe(wrong(now + 2))
        judge.exited("app", 1, now + 3)
        assert judge.verdict(now + 10_000) == decided


@given(policies, steps)
def test_there_is_a_decision_within_a_known_time(
    policy: Policy, path: list[tuple[float, object]]
) -> None:
    judge, _ = shown(policy, path)
    limit = max(2 * (policy.deadline_s + policy.window_s), sum(delay for delay, _ in path)) + 1
    assert judge.verdict(limit).standing is not Standing.PENDING


@given(policies, steps)
def test_when_the_verdict_is_asked_for_changes_nothing(
    policy: Policy, path: list[tuple[float, object]]
) -> None:
    asked, quiet, now = Judge(policy, 0.0), Judge(policy, 0.0), 0.0
    for delay, kind in path:
        now += delay
        asked.verdict(now)
        asked.observe(kind(now))  # type: ignore[operator]
        asked.verdict(now)
        quiet.observe(kind(now))  # type: ignore[operator]
    assert asked.verdict(now) == quiet.verdict(now)


@given(policies, steps)
def test_an_app_that_never_answers_well_never_passes(
    policy: Policy, path: list[tuple[float, object]]
) -> None:
    judge, seen = shown(policy, [(d, k) for d, k in path if k is not good])
    now = seen[-1].at_s if seen else 0.0
    assert judge.verdict(now).standing is not Standing.HEALTHY


def test_the_watch_overlooks_a_short_stumble() -> None:
    watch = Watch(0)
    for at in range(5):
        watch.observe(silent(at))
    watch.observe(good(5))
    for at in range(6, 15):
        watch.observe(silent(at))
    assert watch.verdict(15).standing is Standing.PENDING


def test_the_watch_fails_an_app_that_stays_away() -> None:
    watch = Watch(0)
    watch.observe(silent(0))
    for at in range(20, 20 + WATCH_FAILURES - 1):
        assert watch.verdict(at).standing is Standing.PENDING
        watch.observe(silent(at))
    verdict = watch.verdict(40)
    assert verdict.standing is Standing.UNHEALTHY
    assert "connection refused" in verdict.reason


def test_the_watch_does_not_fail_on_many_bad_answers_in_a_moment() -> None:
    watch = Watch(0)
    for tenth in range(int(WATCH_FAILING_FOR_S * 10)):
        watch.observe(silent(tenth / 10))
    assert watch.verdict(WATCH_FAILING_FOR_S).standing is Standing.PENDING


def test_the_watch_overlooks_a_crash_and_fails_when_they_repeat() -> None:
    watch = Watch(0)
    for at in range(1, WATCH_CRASHES):
        watch.exited("web", 139, at)
    assert watch.verdict(3).standing is Standing.PENDING
    watch.exited("worker", 1, 3)
    verdict = watch.verdict(3)
    assert verdict.standing is Standing.UNHEALTHY
    assert f"crashed {WATCH_CRASHES} times" in verdict.reason


def test_ending_normally_or_asking_for_an_update_is_no_crash() -> None:
    watch = Watch(0)
    for at, code in enumerate((0, 10) * 5):
        watch.exited("app", code, at)
    assert watch.verdict(20).standing is Standing.PENDING
