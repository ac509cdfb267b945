from __future__ import annotations

import pytest
from tests.simulation.__main__ import main
from tests.simulation.explore import Exploration
from tests.simulation.replay import parsed, replay, told
from tests.simulation.scenarios import SCENARIOS

NO_FSYNC = frozenset({"fsync app.db"})


def test_a_history_is_replayed_from_its_text_alone() -> None:
    lines, violation = replay("migration,kill-engine@57,power-1@21")

    assert violation is None
    assert sum(kind == "FAULT" for kind, _ in lines) == 2


@pytest.mark.parametrize("fault", ["kill-engine@57", "power-2@3", "fails-half-done@9"])
def test_a_fault_is_written_as_it_is_read(fault: str) -> None:
    assert str(parsed(fault)) == fault


def test_the_replay_breaks_the_same_promise_as_the_exploration() -> None:
    found = Exploration(SCENARIOS["migration"], 2, left_out=NO_FSYNC, violations=30).run().found

    assert found
    for one in found:
        _, violation = replay(one.replay, left_out=NO_FSYNC)
        assert violation is not None
        assert (violation.rule, violation.text) == (one.rule, one.text)


def test_a_replay_shows_the_calls_around_a_fault_and_counts_the_others() -> None:
    lines, _ = replay("migration,kill-all@60")

    text = "\n".join(told(lines))
    assert "engine: advance requested (" in text
    assert "  * FAULT: kill all, at: " in text
    assert len(text.splitlines()) < len(list(told(lines, full=True)))


def test_the_command_ends_with_0_where_every_promise_was_kept(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--scenario", "rollback-over-a-migration", "--workers", "1"]) == 0
    assert " distinct histories of up to 3 faults, 0 violations" in capsys.readouterr().out


def test_the_command_replays(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--replay", "unhealthy,kill-all@100"]) == 0
    assert "Every promise was kept." in capsys.readouterr().out


def test_a_fault_that_cannot_happen_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot happen"):
        replay("migration,is-unhealthy@3")
