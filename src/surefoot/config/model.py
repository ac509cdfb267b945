"""The sections and keys of `surefoot.toml`, with their defaults.

Durations are seconds. Paths are relative to the home, the folder that holds `surefoot.toml`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import field

if TYPE_CHECKING:
    from pathlib import Path

_SERVER_DEFAULT_PORTS = {"uvicorn": 8000, "gunicorn": 8000, "hypercorn": 8000, "daphne": 8000}


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class App(_Section, frozen=True, kw_only=True):
    """`[app]`: what to run, and how to end it."""

    name: str = "app"
    command: str | None = None
    """Started through `sh -c 'exec ...'` in the release's code, its environment first on PATH."""
    processes: dict[str, str] = field(default_factory=dict)
    """Several commands by name, instead of one `command`."""
    listen: list[str] = field(default_factory=list)
    """Addresses, `host:port` or `unix:/path`, that are held open across releases and passed to
    the app as LISTEN_FDS. At most four."""
    overlap: bool = False
    """A release that migrates nothing is judged, and takes over, beside the one in use."""
    directory: str = "."
    """Where in the repository the commands are run."""
    environment: dict[str, str] = field(default_factory=dict)
    stop_grace_s: float = field(default=10, name="stop_grace")
    """How long a process may take to end before its whole group is killed."""
    crash_delay_s: float = field(default=1, name="crash_delay")
    crash_delay_max_s: float = field(default=60, name="crash_delay_max")
    stable_after_s: float = field(default=60, name="stable_after")
    """A run this long resets the back-off."""

    def commands(self) -> dict[str, str]:
        return dict(self.processes) if self.processes else {"app": self.command or ""}


class Source(_Section, frozen=True, kw_only=True):
    """`[source]`: where releases come from. With neither branch nor tags: the remote's default."""

    git: str = ""
    branch: str | None = None
    tags: str | None = None
    """A pattern such as `v*`: the newest tag (by version) that matches is followed."""
    timeout_s: float = field(default=300, name="timeout")
    max_size_mb: int = field(default=2048, name="max_size")
    submodules: bool = False


class Build(_Section, frozen=True, kw_only=True):
    """`[build]`: how a release is made ready. Whatever is not named is found out."""

    python: str | None = None
    """A version or a specifier such as `3.12` or `>=3.12`; else what the release asks for."""
    dependencies: str | None = None
    """uv.lock, pylock.toml, requirements.txt or pyproject.toml; else the first of these found."""
    extras: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    """Run one after another in the new release's code, its environment first on PATH."""
    timeout_s: float = field(default=1800, name="timeout")


class Database(_Section, frozen=True, kw_only=True):
    """`[database]`, or `[database.NAME]` where there are several."""

    url: str
    """As the app itself would be told: `sqlite:///data/app.db`, relative to the home, or
    `postgresql://user@host/name`; each with a driver (`sqlite+aiosqlite:///`) or without."""
    migrate: str = "auto"
    """`auto` (Alembic where the release has an alembic.ini), `none`, or a command."""
    variable: str | None = None
    """The environment variable by which the app is told the URL; set for every process."""
    timeout_s: float = field(default=3600, name="timeout")

    @property
    def is_postgresql(self) -> bool:
        return re.match(r"postgres(ql)?(\+\w+)?://", self.url) is not None

    def url_in(self, home: Path) -> str:
        """What the app is told: the same from wherever it is run."""
        return self.url if self.is_postgresql else f"{self.scheme}{self.path(home)}"

    @property
    def scheme(self) -> str:
        """Of a SQLite URL, what stands before the path; empty where it is none."""
        found = re.match(r"sqlite(\+\w+)?:///(?=.)", self.url)
        return found[0] if found else ""

    def path(self, home: Path) -> Path:
        """The file of a SQLite database."""
        return home / self.url.removeprefix(self.scheme)


class Health(_Section, frozen=True, kw_only=True):
    """`[health]`: what counts as alive. With nothing set: staying up."""

    path: str | None = None
    """Asked over HTTP of the app's first address."""
    http: str | None = None
    status: list[int] = field(default_factory=lambda: [200])
    tcp: str | None = None
    command: str | None = None
    notify: bool = False
    """Wait for READY=1 on NOTIFY_SOCKET."""
    deadline_s: float = field(default=60, name="deadline")
    """How long a start may take until the first good answer."""
    timeout_s: float = field(default=5, name="timeout")
    interval_s: float = field(default=0.1, name="interval")
    successes: int = 3
    """Good answers in a row; one bad answer after the first good one begins the count anew."""
    window_s: float | None = field(default=None, name="window")
    """How long the app must go on being healthy before the commit. Unset: 1 second, or 10 where a
    migration ran."""
    watch_s: float = field(default=60, name="watch")
    """How long the app is watched after the commit."""


class Gate(_Section, frozen=True, kw_only=True):
    """`[gate]`: what visitors meet while no app process may serve. Needs `app.listen`."""

    hold_s: float = field(default=5, name="hold")
    """How long connections wait unanswered before they get the maintenance answer."""
    api: list[str] = field(default_factory=lambda: ["/api"])
    """Paths under these get JSON, all others the maintenance page."""
    page: str | None = None
    """The app's own maintenance page; relative to the home, such as `current/app/closed.html`."""


class Keep(_Section, frozen=True, kw_only=True):
    """`[keep]`: what survives an update, and how much of the past is kept."""

    paths: list[str] = field(
        default_factory=lambda: ["data", "logs", "temp", "sessions", ".env"],
    )
    """Belong to the user: they live in the home and are linked into every release."""
    releases: int = 3
    backups: int = 5
    """Of each database. The newest of each, and of each release on disk, stays in any case."""
    backups_days: float | None = None
    """Older ones go, however few they are."""
    backups_size_mb: int | None = field(default=None, name="backups_size")
    """Megabytes that all of them may have."""


class Update(_Section, frozen=True, kw_only=True):
    """`[update]`: when a new release is looked for, and what it must show before it may come."""

    auto: bool = False
    interval_s: float = field(default=3600, name="interval")
    rehearse_s: float = field(default=3, name="rehearse")
    """How long the new release must be healthy on a copy of the databases, on a private address,
    before anybody is interrupted. 0: not at all."""
    rehearse_migrations: bool = True
    """Whether migrations are first run on a copy."""
    windows: list[str] = field(default_factory=list)
    """When updates may begin by themselves, such as `Mon-Fri 02:00-05:00`; else at any time."""
    timezone: str | None = None
    """Whose clock the windows go by, such as `Europe/Berlin`; else this machine's."""
    busy_deadline_s: float = field(default=86400, name="busy_deadline")
    """How long the app may put off what comes by itself, by saying that it is busy."""
    max_window_s: float | None = field(default=None, name="max_window")
    """A migration that took longer in the rehearsal holds an update that nobody has asked for."""

    def zone(self) -> ZoneInfo | None:
        """None for the clock of this machine."""
        return ZoneInfo(self.timezone) if self.timezone else None


class Dashboard(_Section, frozen=True, kw_only=True):
    """`[dashboard]`: where `surefoot serve` is to be found, and who may use it."""

    listen: str = "127.0.0.1:8710"
    origin: str | None = None
    """How browsers call it where that is not an IP address or localhost: `https://host`."""
    token: str | None = None
    """What opens it; else it is made at the first start and kept in `dashboard/token`."""
    user_header: str | None = None
    """The header by which an authenticating proxy says who it is."""
    trusted: list[str] = field(default_factory=lambda: ["127.0.0.1", "::1"])
    """The addresses that this header is believed from."""
    read_only: bool = False
    session_s: float = field(default=43200, name="session")
    """How long a log-in lasts."""


class Notify(_Section, frozen=True, kw_only=True):
    """`[notify]`: what administrators are told. The addresses are in SUREFOOT_NOTIFY_URLS."""

    events: list[str] = field(
        default_factory=lambda: [
            "committed", "rolled_back", "abandoned", "held", "broken", "crashing"
        ]
    )  # fmt: skip
    language: Literal["en", "zh"] = "en"
    quiet: str | None = None
    """Hours such as `22:00-07:00`, by the machine's clock, in which only what is urgent is told."""
    interval_s: float = field(default=60, name="interval")
    """Messages are at least so far apart; what happens meanwhile is told in one."""
    telegram_api: str | None = None
    """The address of a Telegram Bot API server of one's own."""


class Logs(_Section, frozen=True, kw_only=True):
    """`[logs]`: where else what happens is said. With nothing set: plain lines on stderr."""

    format: Literal["json", "human", "auto"] | None = None
    """Of lines on stdout, in place of the plain ones; `auto`: human on a terminal, else JSON."""
    syslog: str | None = None
    """`udp://host:514`, `tcp://host:514` or `unix:/dev/log`, in the form of RFC 5424."""
    otlp: str | None = None
    """The address of an OTLP/HTTP receiver, `http://host:4318`, for logs and a trace per update."""


class Config(_Section, frozen=True, kw_only=True):
    """The whole of it, checked."""

    app: App = field(default_factory=App)
    source: Source = field(default_factory=Source)
    build: Build = field(default_factory=Build)
    database: dict[str, Database] = field(default_factory=dict)
    health: Health = field(default_factory=Health)
    gate: Gate = field(default_factory=Gate)
    keep: Keep = field(default_factory=Keep)
    update: Update = field(default_factory=Update)
    dashboard: Dashboard = field(default_factory=Dashboard)
    notify: Notify = field(default_factory=Notify)
    logs: Logs = field(default_factory=Logs)

    def address(self) -> str | None:
        """Where the app can be asked, as `host:port`: the first of `app.listen`, else what the
        commands say, else None. Never a wildcard: loopback stands for every address."""
        for address in self.app.listen:
            if not address.startswith("unix:"):
                return _askable(address)
        for command in self.app.commands().values():
            if found := re.search(r"(?:--bind|-b|--http)[ =](\S*:\d+)\b", command):
                return _askable(found[1])
            port = re.search(r"(?:--port|-p)[ =](\d+)\b", command)
            host = re.search(r"--host[ =](\S+)", command)
            default = next((p for s, p in _SERVER_DEFAULT_PORTS.items() if s in command), None)
            if port or default:
                name = host[1] if host else ""
                name = f"[{name}]" if ":" in name else name
                return _askable(f"{name}:{port[1] if port else default}")
        return None


def _askable(address: str) -> str:
    host, _, port = address.rpartition(":")
    loopback = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - compared, not bound
    return f"{loopback.get(host, host)}:{port}"


OVERRIDABLE: dict[str, type[msgspec.Struct]] = {
    name: type(getattr(Config(), name)) for name in Config.__struct_fields__ if name != "database"
}
"""The sections whose keys can be set from outside as SUREFOOT_<SECTION>_<KEY>."""
