from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.examples.deployed import Deployed

from surefoot.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system

PAID = """\
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_orders")]
    operations = [migrations.AddField("Order", "paid", models.BooleanField(default=False))]
"""


@pytest.mark.slow
def test_a_release_with_a_migration_keeps_every_order(tmp_path: Path, wheel: Path) -> None:
    app = Deployed("django", tmp_path, wheel)
    app.release("v1.0")
    app.start()
    try:
        app.wait_for_version("1.0")
        app.wait_until_quiet()
        assert [app.ask("/api/orders", f"tea {i}")[0] for i in range(3)] == [201] * 3
        models = app.work / "shop" / "models.py"
        models.write_text(models.read_text() + "    paid = models.BooleanField(default=False)\n")
        (app.work / "shop" / "migrations" / "0002_paid.py").write_text(PAID)
        app.release("v1.1")
        updated = app.command("update", "--wait")
        assert updated.returncode == ExitCode.OK, updated
        assert app.ask("/health") == (200, {"version": "1.1", "orders": 3})
        assert {"migration_rehearsed", "rehearsed"} <= set(app.events())
    finally:
        app.stop()
