"""The API under schemathesis: what it answers is what its description says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from tests.cli.conftest import engine, install
from tests.dashboard.serving import TOKEN, dashboard

from surefoot.config import Dashboard
from surefoot.dashboard.api import OPERATIONS
from surefoot.update.history import History

if TYPE_CHECKING:
    from tests.cli.conftest import Supervisor
    from tests.releases.remote import Remote

    from surefoot.home import Home

EXAMPLES = 6
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_schema_conformance, unsupported_method,
]  # fmt: skip


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def call(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"}, checks=CHECKS)


def test_no_call_ends_in_a_server_error_and_every_answer_is_as_described(
    home: Home, supervisor: Supervisor, remote: Remote
) -> None:
    install(home, remote.git("rev-parse", "HEAD"), "v1.0")
    facts: dict[str, Any] = {
        "kind": "update",
        "to": "b" * 12,
        "ref": "v2",
        "durations": {"stage": 1.5},
    }
    History(home).append("u1", "requested", "Update.", **facts)
    History(home).append("u1", "committed", "Committed.", **facts)
    supervisor.engine = engine(home, ("refused", "No.", {"reason": "No."}))
    tried = set()
    with dashboard(home, Dashboard(token=TOKEN)) as client:
        schema = schemathesis.openapi.from_url(f"{client.origin}/api/openapi.json")
        for found in schema.get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()
            tried.add((operation.method.upper(), operation.path.removeprefix("/api")))
            given(case=operation.as_strategy())(call)()
    assert tried == {(operation.method, operation.path) for operation in OPERATIONS}
