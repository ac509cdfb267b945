"""What the dashboard turns down, and which HTTP status says so."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING

from surefoot.errors import (
    ConfigurationError,
    NotRunningError,
    RefusedError,
    SourceError,
    SurefootError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class RequestError(SurefootError):
    """A request that is not answered with what it asks for."""

    status = HTTPStatus.BAD_REQUEST
    code = "bad_request"

    @property
    def headers(self) -> Mapping[str, str]:
        return {}


class NotLoggedInError(RequestError):
    status = HTTPStatus.UNAUTHORIZED
    code = "not_logged_in"

    def __init__(self) -> None:
        super().__init__("You are not logged in.", next_step="Log in with the token.")

    @property
    def headers(self) -> Mapping[str, str]:
        return {"WWW-Authenticate": 'Bearer realm="surefoot"'}


class WrongTokenError(NotLoggedInError):
    code = "wrong_token"

    def __init__(self) -> None:
        RequestError.__init__(
            self,
            "This is not the token.",
            next_step="`surefoot serve` says at its start where it lies.",
        )


class TooManyTriesError(RequestError):
    status = HTTPStatus.TOO_MANY_REQUESTS
    code = "too_many_tries"

    def __init__(self, wait_s: float) -> None:
        self.wait_s = max(1, math.ceil(wait_s))
        super().__init__(
            "Too many wrong tokens came from your address.",
            next_step=f"Try again in {self.wait_s} s.",
        )

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self.wait_s)}


class StaleTokenError(RequestError):
    status = HTTPStatus.FORBIDDEN
    code = "stale_csrf_token"

    def __init__(self) -> None:
        super().__init__(
            "The form is not of this session. Nothing was changed.",
            next_step="Load the page again, and repeat what you did.",
        )


class CrossOriginError(RequestError):
    status = HTTPStatus.FORBIDDEN
    code = "cross_origin"

    def __init__(self) -> None:
        super().__init__(
            "The request does not come from a page of this dashboard. Nothing was changed.",
            next_step="Behind a proxy, set `origin` in [dashboard] to what browsers call it.",
        )


class ReadOnlyError(RequestError):
    status = HTTPStatus.FORBIDDEN
    code = "read_only"

    def __init__(self) -> None:
        super().__init__("This dashboard only shows. Nothing was changed.")


class WrongHostError(RequestError):
    status = HTTPStatus.MISDIRECTED_REQUEST
    code = "wrong_host"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"This dashboard is not known as {host[:100]!r}.",
            next_step="Set `origin` in [dashboard] to what browsers call it.",
        )


class NotFoundError(RequestError):
    status = HTTPStatus.NOT_FOUND
    code = "not_found"


class BadMethodError(RequestError):
    status = HTTPStatus.METHOD_NOT_ALLOWED
    code = "method_not_allowed"


class BadRequestError(RequestError):
    """The request does not say what it must."""


class TooLargeError(RequestError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "too_large"

    def __init__(self) -> None:
        super().__init__("The request is too large.")


_STATUSES: tuple[tuple[type[SurefootError], HTTPStatus, str], ...] = (
    (RefusedError, HTTPStatus.CONFLICT, "refused"),
    (NotRunningError, HTTPStatus.SERVICE_UNAVAILABLE, "not_running"),
    (ConfigurationError, HTTPStatus.SERVICE_UNAVAILABLE, "configuration"),
    (SourceError, HTTPStatus.BAD_GATEWAY, "source"),
    (SurefootError, HTTPStatus.BAD_GATEWAY, "failed"),
)


def status_of(error: SurefootError) -> tuple[HTTPStatus, str]:
    """The status, and the code that programs tell it by."""
    if isinstance(error, RequestError):
        return error.status, error.code
    return next((status, code) for kind, status, code in _STATUSES if isinstance(error, kind))
