"""A denied release gets another chance."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from surefoot.errors import ExitCode
from surefoot.releases.ledger import Ledger
from surefoot.update.history import History

if TYPE_CHECKING:
    from tests.cli.conftest import Commands


def test_a_denied_release_is_allowed_again_and_no_other(run: Commands) -> None:
    now = datetime.now(UTC)
    Ledger.load(run.home.ledger, now=now).deny("0123456789ab", "It was ill.", now)

    assert run("allow", "ffffffffffff").code == ExitCode.REFUSED
    assert run("allow", "0123456789ab").code == 0
    assert Ledger.read(run.home.ledger).denied == {}
    [event] = History(run.home).read()
    assert (event.event, event.facts["release"]) == ("allowed", "0123456789ab")
    assert run("allow", "0123456789ab").code == ExitCode.REFUSED
