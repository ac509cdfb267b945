"""A cutover that is measured for real: everything is started, updated, asked and ended again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bench.effort import Effort
from bench.parts import cutover

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_script_refuses_what_the_limit_refuses(tmp_path: Path) -> None:
    code = cutover.SCENARIOS[0]
    assert code.name == "code"
    rows = cutover.measure(
        tmp_path / "bench", effort=Effort.QUICK, only=["script"], scenarios=[code]
    )
    found = {(row.contender, row.metric): row.median for row in rows}
    assert found["restart", "window_ratio"] == 1
    for name in ("script", "restart"):
        # Nobody listens while an app that binds for itself is away.
        assert found[name, "refused_requests"] > 0
        assert found[name, "failed_requests"] >= found[name, "refused_requests"]
        assert found[name, "longest_gap"] > 0
        assert found[name, "lost_rows"] == 0
    assert ("script", "not_completed") not in found
