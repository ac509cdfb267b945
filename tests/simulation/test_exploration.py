"""Nothing is lost, whatever fails and wherever: at least 100,000 distinct histories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.simulation.explore import Exploration
from tests.simulation.host import SimulatedHost
from tests.simulation.replay import replay, told
from tests.simulation.scenarios import SCENARIOS

from surefoot.update.states import Step

if TYPE_CHECKING:
    from surefoot.update.host import Host

THREE_FAULTS = {"migration": 200_000, "first-install": 90_000, "rollback-over-a-migration": 2_000}
"""With how many histories that are explored at the least."""
SELDOM = {
    "first-install",
    *("shared-environment", "rollback-by-downgrade", "restore-of-a-bad-backup", "pinned"),
    *("pinned-failing-migration", "pinned-migrates-by-itself", "pinned-in-place"),
    *("pinned-in-place-failing-migration", "cloned", "cloned-failing-migration"),
    *("cloned-in-its-place-unhealthy", "both-unhealthy", "unhealthy-code-only"),
}
"""Much like others; `make simulate` explores them, and `make test` does."""
TWO_FAULTS = [
    pytest.param(name, marks=pytest.mark.slow) if name in SELDOM else name
    for name in sorted(SCENARIOS.keys() - THREE_FAULTS.keys())
]


def explore(scenario: str, faults: int) -> int:
    result = Exploration(SCENARIOS[scenario], faults).run()
    for found in result.found:
        lines, _ = replay(found.replay)
        pytest.fail("\n".join([f"{found.rule}: {found.text}", found.replay, *told(lines)]))
    return result.histories


@pytest.mark.timeout(900)  # seconds; it takes 40 of one core's
@pytest.mark.parametrize(
    "scenario",
    [pytest.param(s, marks=pytest.mark.slow) if s in SELDOM else s for s in THREE_FAULTS],
)
def test_no_three_faults_in_one_update_break_a_promise(scenario: str) -> None:
    assert explore(scenario, 3) > THREE_FAULTS[scenario]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", TWO_FAULTS)
def test_no_two_faults_on_top_of_what_is_wrong_break_a_promise(scenario: str) -> None:
    assert explore(scenario, 2) > 2_000


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_update_without_faults_ends_as_it_should(scenario: str) -> None:
    lines, violation = replay(scenario)

    assert violation is None
    committed = any(text == "engine: conclude committed" for _, text in lines)
    assert committed == (
        scenario
        in {
            *("migration", "code-only", "overlap", "first-install", "asked-by-the-app", "rollback"),
            *("rollback-by-downgrade", "rollback-to-a-backup", "migration-that-can-go-back"),
            *("restore", "shared-environment", "pinned", "pinned-in-place", "cloned"),
        }
    )


def test_the_simulated_host_is_a_host() -> None:
    scenario = SCENARIOS["migration"]
    host: Host = SimulatedHost(scenario.world(), scenario)  # mypy says so

    assert {step.value for step in Step} <= set(dir(host))
