"""What cannot be meant, although every key and type is right."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from zoneinfo import ZoneInfoNotFoundError

from surefoot.config import windows
from surefoot.config.explaining import at
from surefoot.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from surefoot.config.model import (
        App,
        Config,
        Dashboard,
        Database,
        Gate,
        Health,
        Keep,
        Logs,
        Notify,
        Source,
        Update,
    )

Problem = tuple[str, str, str]
"""The dotted place, what is wrong there, and what would be right."""

LAUNCHER = "surefoot.app.serve"
_OFF_AT_ZERO = frozenset({"rehearse_s"})
"""Durations that may be 0."""

LEAST_TOKEN = 20


def check(config: Config, text: str, name: str, overridden: dict[str, str]) -> None:
    """Raises ConfigurationError for the first thing that cannot be meant.

    `overridden` says which settings came from outside `text`, and under which name.
    """
    for place, message, right in _problems(config):
        where = at(text, name, place.split("."))
        if place in overridden:
            where = f"{overridden[place]} (in .env or the environment)"
        raise ConfigurationError(f"{where}: {message}", next_step=right)


def _problems(config: Config) -> Iterator[Problem]:
    yield from _app(config.app)
    if config.app.overlap:
        yield from not_in_private(config)
    yield from _source(config.source)
    yield from _health(config.health, config.address())
    for key, database in config.database.items():
        yield from _database(key, database)
    yield from _keep(config.keep)
    yield from _dashboard(config.dashboard)
    yield from _gate(config.gate)
    yield from _update(config.update)
    yield from _notify(config.notify)
    yield from _logs(config.logs)
    yield from _durations(config)


def _app(app: App) -> Iterator[Problem]:
    if bool(app.command) == bool(app.processes):
        yield (
            "app.command",
            "[app] needs either `command` or [app.processes].",
            'For example: command = "uvicorn main:app --port 8000".',
        )
    for process, command in app.processes.items():
        if not _is_name(process):
            yield _bad_name(f"app.processes.{process}", "a process")
        if not command.strip():
            yield f"app.processes.{process}", f"`{process}` has no command.", ""
    if len(app.listen) > 4:
        yield "app.listen", "at most four addresses can be held.", ""
    for address in app.listen:
        if not _is_address(address):
            right = "Write host:port or unix:/path."
            yield "app.listen", f"`{address}` is not an address.", right


def not_in_private(config: Config) -> Iterator[Problem]:
    """Why a release cannot be judged where nobody else reaches it. Only `overlap` needs that."""
    app, health = config.app, config.health
    place = "app.overlap"
    if not app.listen:
        yield place, "`overlap` needs addresses that outlive a release.", "Name them in `listen`."
    if len(app.commands()) != 1 or not any(LAUNCHER in c for c in app.commands().values()):
        yield (
            place,
            "`overlap` is for an app of one process that can serve in private first.",
            f"Let the only command be: python -m {LAUNCHER} main:app",
        )
    if any("--workers" in command or "--reload" in command for command in app.commands().values()):
        yield place, "`overlap` is for a server of one process: without --workers and --reload.", ""
    if health.path is None or health.http or health.tcp or health.command:
        yield (
            place,
            "with `overlap` a release is asked at its private place.",
            "Use `path` in [health], and neither `http`, `tcp` nor `command`.",
        )


def _source(source: Source) -> Iterator[Problem]:
    if not source.git:
        yield (
            "source.git",
            "[source] needs `git`, the address of the repository.",
            'For example: git = "https://example.org/me/app.git".',
        )
    if source.branch and source.tags:
        yield "source.tags", "follow either a branch or tags, not both.", ""
    if source.max_size_mb < 1:
        yield "source.max_size", "`max_size` is at least 1 (megabyte).", ""


def _health(health: Health, address: str | None) -> Iterator[Problem]:
    if health.path is not None and not health.path.startswith("/"):
        right = f'For example: path = "/{health.path}".'
        yield "health.path", "`path` begins with a slash.", right
    if health.path is not None and address is None:
        yield (
            "health.path",
            "the port that the app answers on is not known.",
            'Say it: [app] listen = ["127.0.0.1:8000"], '
            'or [health] http = "http://127.0.0.1:8000/health".',
        )
    if health.http is not None and urlsplit(health.http).scheme not in {"http", "https"}:
        right = 'For example: "http://127.0.0.1:8000/health".'
        yield "health.http", "`http` is a whole address.", right
    if health.successes < 1:
        yield "health.successes", "`successes` is at least 1.", ""


def _database(key: str, database: Database) -> Iterator[Problem]:
    if re.search(r"\balembic\b.*\s--sql\b", database.migrate):
        yield (
            f"database.{key}.migrate",
            "with `--sql`, Alembic prints what it would do, and does nothing.",
            "Leave it out; what is pending is tried on a copy first anyway.",
        )
    if not _is_name(key):
        yield _bad_name(f"database.{key}", "a database")
    if database.is_postgresql:
        if not re.fullmatch(
            r"[^:]+://(?:.*@)?[^/?]*(?:/[^/?]+(?:\?.*)?|/?\?.*\bdbname=.+)", database.url
        ):
            yield (
                f"database.{key}.url",
                "no database is named in this URL of PostgreSQL.",  # and no word of its password
                "Write postgresql://user:password@host:5432/name.",
            )
    elif not database.scheme:
        yield (
            f"database.{key}.url",
            f"`{_without_password(database.url)}` is not a database that Surefoot can put back.",
            "Write sqlite:///data/app.db, or with four slashes for an absolute path; or "
            "postgresql://user:password@host:5432/name.",
        )


def _without_password(url: str) -> str:
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)


def _keep(keep: Keep) -> Iterator[Problem]:
    for path in keep.paths:
        if Path(path).is_absolute() or ".." in Path(path).parts or path in {"", "."}:
            yield "keep.paths", f"`{path}` does not lie in the app's folder.", ""
    if keep.releases < 2:
        what = "at least 2 releases are kept: the current one and the one before it."
        yield "keep.releases", what, ""
    for name, value in (
        ("backups_days", keep.backups_days),
        ("backups_size", keep.backups_size_mb),
    ):
        if value is not None and value <= 0:
            yield f"keep.{name}", "it must be more than 0; leave it out for no limit.", ""
    if keep.backups < 1:
        yield "keep.backups", "at least one backup is kept.", ""


def _dashboard(dashboard: Dashboard) -> Iterator[Problem]:
    if not is_tcp_address(dashboard.listen):
        yield "dashboard.listen", f"`{dashboard.listen}` is not an address.", "Write host:port."
    if dashboard.origin is not None:
        parts = urlsplit(dashboard.origin)
        if (
            parts.scheme not in {"http", "https"}
            or not parts.hostname
            or parts.path not in {"", "/"}
        ):
            right = 'For example: "https://updates.example.org".'
            yield "dashboard.origin", "`origin` is a scheme and a host, without a path.", right
    if dashboard.token is not None and len(dashboard.token) < LEAST_TOKEN:
        what = f"`token` has at least {LEAST_TOKEN} characters."
        yield "dashboard.token", what, "Make one: `openssl rand -hex 32`."
    for address in dashboard.trusted:
        try:
            ipaddress.ip_network(address)
        except ValueError:
            right = "Write an IP address, or a network such as 10.0.0.0/24."
            yield "dashboard.trusted", f"`{address}` is not an address.", right


def _gate(gate: Gate) -> Iterator[Problem]:
    for prefix in gate.api:
        if not prefix.startswith("/"):
            yield "gate.api", f"`{prefix}` does not begin with a slash.", ""
    if gate.page is not None and not gate.page.strip():
        yield "gate.page", "`page` names no file.", 'For example: page = "current/app/closed.html".'


def _update(update: Update) -> Iterator[Problem]:
    try:
        update.zone()
    except (ZoneInfoNotFoundError, ValueError):
        right = 'For example: timezone = "Europe/Berlin".'
        yield "update.timezone", f"`{update.timezone}` is not a time zone.", right
    for text in update.windows:
        try:
            window = windows.parse(text)
        except ValueError as error:
            right = 'Write "02:00-05:00", or "Mon-Fri 02:00-05:00".'
            yield "update.windows", str(error), right
        else:
            if window.lasts.total_seconds() < update.interval_s:
                yield (
                    "update.windows",
                    f"`{text}` is shorter than `interval`, so it would be missed.",
                    f"Look more often: interval = {window.lasts.total_seconds():.0f}.",
                )


def _notify(notify: Notify) -> Iterator[Problem]:
    hour = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
    if notify.quiet and not re.fullmatch(f"{hour} *- *{hour}", notify.quiet):
        yield (
            "notify.quiet",
            f"`{notify.quiet}` are no hours.",
            'For example: quiet = "22:00-07:00".',
        )
    if notify.telegram_api and urlsplit(notify.telegram_api).scheme not in {"http", "https"}:
        right = 'For example: "http://127.0.0.1:8081".'
        yield "notify.telegram_api", "`telegram_api` is a whole address.", right


def _logs(logs: Logs) -> Iterator[Problem]:
    syslog = urlsplit(logs.syslog or "udp://x:1")
    if not (syslog.scheme == "unix" and syslog.path) and not (
        syslog.scheme in {"udp", "tcp"} and syslog.hostname
    ):
        right = "Write udp://host:514, tcp://host:514 or unix:/dev/log."
        yield "logs.syslog", f"`{logs.syslog}` is not where a syslog is.", right
    if logs.otlp and urlsplit(logs.otlp).scheme not in {"http", "https"}:
        right = 'For example: "http://127.0.0.1:4318".'
        yield "logs.otlp", "`otlp` is a whole address.", right


def _durations(config: Config) -> Iterator[Problem]:
    sections = {
        name: getattr(config, name) for name in config.__struct_fields__ if name != "database"
    }
    sections |= {f"database.{name}": database for name, database in config.database.items()}
    for name, section in sections.items():
        for attribute, key in zip(
            section.__struct_fields__, section.__struct_encode_fields__, strict=True
        ):
            value = getattr(section, attribute)
            if not attribute.endswith("_s") or value is None or 0 < value < 10**8:
                continue
            if value == 0 and attribute in _OFF_AT_ZERO:
                continue
            least = "of at least 0" if attribute in _OFF_AT_ZERO else "above 0"
            yield f"{name}.{key}", f"`{key}` is a number of seconds {least}, not {value:g}.", ""


def _is_name(name: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name))


def _bad_name(place: str, what: str) -> Problem:
    name = place.rpartition(".")[2]
    return place, f"`{name}` cannot name {what}.", "Use letters, digits, - and _."


def is_tcp_address(address: str) -> bool:
    """Whether it is `host:port`."""
    return not address.startswith("unix:") and _is_address(address)


def _is_address(address: str) -> bool:
    if address.startswith("unix:"):
        return address != "unix:"
    found = re.fullmatch(r"(?:\[[0-9a-fA-F:]+\]|[^:\s]*):(\d{1,5})", address)
    return bool(found) and 0 < int(address.rpartition(":")[2]) < 2**16
