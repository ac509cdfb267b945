"""The URLs that apps write, and what libpq makes of them.

`postgresql://user:password@host:port/name?key=value`, with or without a driver
(`postgresql+asyncpg://`). What libpq does not know is the driver's own business and left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote

from psycopg.pq import Conninfo

from surefoot.errors import DatabaseError

_FORM = re.compile(
    r"(?P<scheme>postgres(?:ql)?(?:\+[a-z0-9_]+)?)://"
    r"(?:(?P<user>[^:/@]*)(?::(?P<password>[^/]*))?@)?"
    r"(?P<host>\[[^]]*\]|[^:/?]*)(?::(?P<port>\d*))?"
    r"(?:/(?P<name>[^?]*))?(?:\?(?P<query>.*))?",
    re.DOTALL,
)
_OWN = {"dbname", "user", "password", "host", "port"}
_LIBPQ = {option.keyword.decode() for option in Conninfo.get_defaults()}


@dataclass(frozen=True)
class Address:
    """Where one database is."""

    name: str
    parameters: dict[str, str]
    """By libpq's keywords; without the database's name and the password."""
    password: str | None = field(repr=False)
    _url: str = field(repr=False)

    def url(self, name: str) -> str:
        """The app's own URL, leading to another database of the same server."""
        found = _FORM.fullmatch(self._url)
        assert found is not None  # noqa: S101 - it was read already
        before = self._url[: found.end("host" if found["port"] is None else "port")]
        query = [p for p in (found["query"] or "").split("&") if p and not p.startswith("dbname=")]
        return f"{before}/{quote(name, safe='')}{'?' if query else ''}{'&'.join(query)}"

    @property
    def server(self) -> str:
        """For people."""
        host = self.parameters.get("host", "")
        port = self.parameters.get("port", "")
        return f"{host or 'the local socket'}{f':{port}' if port else ''}"


def read(url: str) -> Address:
    """Raises DatabaseError, without a word of the URL, where it is none or names no database."""
    found = _FORM.fullmatch(url)
    if found is None:
        raise DatabaseError(
            "The URL of the PostgreSQL database cannot be understood.",
            next_step="Write postgresql://user:password@host:5432/name; in the user's name and the "
            "password, write @ as %40, : as %3A, / as %2F and % as %25.",
        )
    query = dict(parse_qsl(found["query"] or "", keep_blank_values=True))
    given = {key: unquote(found[key] or "") for key in ("user", "host", "port")}
    given |= {key: query[key] for key in ("user", "host", "port") if query.get(key)}
    given["host"] = given["host"].removeprefix("[").removesuffix("]")
    name = query.get("dbname") or unquote(found["name"] or "")
    password = query.get("password", unquote(found["password"]) if found["password"] else None)
    if not name:
        raise DatabaseError(
            "The URL of the PostgreSQL database names no database.",
            next_step="Write postgresql://user:password@host:5432/name.",
        )
    if "," in given["host"]:
        raise DatabaseError(
            "The URL of the PostgreSQL database names several servers.",
            next_step="Name the one that takes writes.",
        )
    if "ssl" in query and "sslmode" not in query:  # as asyncpg calls it
        query["sslmode"] = {"true": "require", "false": "disable"}.get(query["ssl"], query["ssl"])
    parameters = {key: value for key, value in given.items() if value}
    parameters |= {key: value for key, value in query.items() if key in _LIBPQ - _OWN and value}
    return Address(name, parameters, password, url)
