"""What a release does to the data is known before anybody is interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.system.conftest import PATIENCE_S, wait_until

from surefoot.demo.changes import Release, Write
from surefoot.demo.client import Client
from surefoot.errors import ExitCode

if TYPE_CHECKING:
    from tests.system.notes import Notes

    from surefoot.demo.sample import History

TAG = "bad-links"
# As a published release did: the table is made anew, and what was in it is forgotten.
LOSES = """\
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE TABLE kept AS SELECT * FROM notes WHERE id > 3")
    op.execute("DELETE FROM notes WHERE id <= 3")
    op.drop_table("kept")
"""


@pytest.fixture(scope="module")
def lossy(history: History) -> str:
    """The tag of a release that starts and answers well, and has lost three notes."""
    change = Write("migrations/versions/0003_links.py", LOSES)
    history.add(Release(TAG, "loses notes", "v1.2", (change,)))
    history.publish(TAG)
    return TAG


def test_a_migration_that_loses_rows_waits_until_it_is_accepted(
    server: Notes, history: History, lossy: str
) -> None:
    server._first = "v1.2"
    server.start()
    server.wait_for("1.2", PATIENCE_S)
    with Client(server.url) as client:
        wait_until(lambda: len(client.acknowledged) > 5, "some notes are there")
        before = client.mark()
        held = server.command("update", "--to", lossy, "--wait")
        assert held.returncode == ExitCode.ABANDONED, held
        assert "notes loses 3 of" in held.stdout
        assert "rows before" in held.stdout
        assert f"surefoot update --to {lossy} --accept-data-changes" in held.stdout
        assert "held" in server.events()
        assert server.version() == "1.2"
        client.stop()
        assert client.lost() == []
        assert client.summary(before).failures == 0
    accepted = server.command("update", "--to", lossy, "--accept-data-changes", "--wait", "--json")
    assert accepted.returncode == ExitCode.OK, accepted
    assert server.version() == history.releases[lossy].version
    assert len(client.lost()) == 3
