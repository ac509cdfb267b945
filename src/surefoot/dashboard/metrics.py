"""`/metrics` for Prometheus: where the dashboard runs, nothing else has to."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from surefoot.observe import need

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from starlette.requests import Request

    from surefoot.dashboard.board import Board

PATH = "/metrics"


def routes(board: Board) -> list[Route]:
    return [Route(PATH, _Metrics(board).answer, methods=["GET"])]


@dataclass
class _Metrics:
    """Asks for the token like everything else. What it needs is loaded when it is first asked."""

    board: Board

    async def answer(self, request: Request) -> Response:
        """Raises NotLoggedInError, and ConfigurationError without `surefoot[metrics]`."""
        return await run_in_threadpool(self._answer, request)

    def _answer(self, request: Request) -> Response:
        self.board.access.admit(request)
        need("metrics", "prometheus_client")
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return Response(
            generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    @functools.cached_property
    def _registry(self) -> CollectorRegistry:
        from surefoot.observe.metrics import registry

        return registry(self.board.home)
