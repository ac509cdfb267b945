"""Describes the API as OpenAPI 3.1, from its table."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from surefoot import __version__
from surefoot.dashboard.api import OPERATIONS, Error, Operation

_REFS = "#/components/schemas/{name}"
_ANY = (401, 413, 421, 429, 502, 503)
"""Statuses that every operation may answer: who asks, from where, and an unreadable home."""
_CHANGE = (400, 403, 409, 415)
_MEANINGS = {
    400: "What was asked for is not understood.",
    401: "Who asks has not shown that they may.",
    403: "The dashboard only shows, the CSRF token is missing or stale, or the origin is foreign.",
    404: "There is no such thing.",
    409: "Turned down; nothing was changed.",
    413: "The request is too large.",
    415: "The body is not JSON.",
    421: "The host is not one of ours.",
    429: "Too many wrong tokens came from this address.",
    502: "The source, or the disk, is at fault.",
    503: "The supervisor does not run, or the configuration is wrong.",
}


def describe(server: str) -> dict[str, Any]:
    """The description, for an API below `server`."""
    types = [kind for each in OPERATIONS for kind in (each.answer, each.body) if kind is not None]
    _, components = msgspec.json.schema_components([*types, Error], ref_template=_REFS)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Surefoot",
            "version": __version__,
            "description": "How an app's updates stand, and asking for them. Times are RFC 3339, "
            "durations are seconds.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server}],
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "surefoot_*",
                    "description": "Set by the log-in form. A change also needs X-CSRF-Token.",
                },
            },
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    schema = None
    if operation.answer is not None:
        (schema,), _ = msgspec.json.schema_components([operation.answer], ref_template=_REFS)
    answered: dict[str, Any] = {"description": operation.summary}
    if schema is not None:
        answered["content"] = {"application/json": {"schema": schema}}
    statuses = {*_ANY, *operation.errors, *(_CHANGE if operation.changes else ())}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": {str(operation.status): answered}
        | {str(status): _error(status) for status in sorted(statuses)},
    }
    if operation.body is not None:
        (body,), _ = msgspec.json.schema_components([operation.body], ref_template=_REFS)
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": body}},
        }
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    found += [
        {"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()
    ]
    if operation.changes:
        found.append(
            {
                "name": "X-CSRF-Token",
                "in": "header",
                "description": "`csrf_token` of the session; not needed with a bearer token.",
                "schema": {"type": "string"},
            }
        )
    return found


def _error(status: int) -> dict[str, Any]:
    return {
        "description": _MEANINGS[status],
        "content": {"application/json": {"schema": {"$ref": _REFS.format(name="Error")}}},
    }
