"""What the documents say around the figures, and which figures go into which table."""

from __future__ import annotations

from dataclasses import dataclass

Column = tuple[str, str, str]
"""Scenario, metric, and the title above them."""


@dataclass(frozen=True)
class Table:
    title: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Readme:
    """The section of a README."""

    intro: str
    head: str
    more: str
    not_measured: str
    names: dict[str, str]


HEAD = """\
# Side by side

What a user would otherwise do, measured beside Surefoot, on the same app. This page is made from
`bench/results` by `python -m bench --render`; `make bench` measures again: the cutover in a quarter of
an hour on two cores, the other parts in some minutes each.

```sh
make bench                                      # everything, in some 35 minutes
make bench BENCH_OPTIONS=--brief                # about half as often
make bench BENCH=cutover                        # or staging, faults, database, footprint
make bench BENCH=cutover BENCH_OPTIONS=--quick  # each once, to try it; nothing is written
```

"""

MEASURED = """\
Measured {date} with {cores} cores, {memory} of memory, an ext4 disk, {system}, Python {python}, SQLite
{sqlite}, all over loopback. A cell is the median, and in brackets the worst where it is another.
Trust ratios more than seconds: both figures of a ratio come from the same round of the same run.
How it is measured, and why so, is in [decision 11](adr/0011-benchmarks.md).

The app is the sample app of this repository: FastAPI, SQLAlchemy, Alembic, SQLite in WAL mode, one
uvicorn process.
"""

OTHERS = {
    "surefoot_serve": (
        "`surefoot serve`, the dashboard; optional",
        "supervise: it only shows and asks",
    ),
    "fresh_pip": ("a fresh clone, `python -m venv`, `pip install -r`", "keep anything"),
    "fresh_uv": ("a fresh clone, `uv venv`, `uv pip install -r`", "keep anything"),
    "copy2": (
        "`shutil.copy2` of the closed database, and back",
        "see a database that is still open: what lies in its WAL is lost; survive a power cut, as "
        "nothing is synced",
    ),
    "backup_api": ("SQLite's backup API, and a rename back", "put the same bytes back"),
    "vacuum_into": ("`VACUUM INTO`, and a rename back", "put the same bytes back"),
    "circus": ("circusd, idle", "update anything"),
    "s6": ("s6-svscan, idle", "update anything"),
}

PARTS = {
    "cutover": """\
## Cutover: what visitors notice

Requests come at a fixed rate, whatever becomes of those before; half of them over new connections,
half over connections that are kept alive. Failed is a request that did not get what it asked for:
refused, reset, answered with an error, turned away with a 503, or not answered within 30 s. The gap is
the longest time without any good answer; the ratio is that to a plain stop and start of the same app
in the same round (for a migration: stop, migrate, start). Surefoot and the limit are measured ten times,
the others three times; at other rates, and where the rehearsal turns a bad release away, three times and
once. With a migration there is no overlap.

In the rollback a release comes that answers every request with 500. Surefoot's rehearsal would keep it
out (the table "a bad release"), so here it is switched off, and Surefoot finds out behind the gate
(with a deadline of 3 s). For the others the first bad answer counts as the verdict, and a person as
quick as a program types the way back. Of them the visitors see the bad release's answers.
""",
    "staging": """\
## Staging: what it costs to make a release ready

While the old release serves. The app does nothing; git and packages come over HTTP from a server on
loopback that counts bytes. All caches are warm from the release before.
""",
    "faults": """\
## Faults: whole by itself within 60 seconds?

Whole is an app that is healthy, serves a good release, takes a new note and has every note that it ever
acknowledged. Kills are SIGKILL for everything at once, at a random moment of an update with a new
dependency and a migration, followed by one boot.
""",
    "database": """\
## Database: being able to go back

Downtime that is added so that a failed migration can be undone (with the app stopped, before and after
the migration, which is not counted), and the time that undoing takes.
""",
    "footprint": """\
## Footprint: what it costs while nothing happens

Every supervisor runs one process that sleeps, which is not counted. Memory is the proportional set
size. Wake-ups are counted over half a minute. The disk is what a home grows by with a further release that is
kept; the script and the published design overwrite the release before.
""",
}


def _each(metric: str, scenarios: tuple[str, ...]) -> tuple[Column, ...]:
    return tuple((scenario, metric, scenario) for scenario in scenarios)


_UPDATES = ("code", "dependency", "migration", "code, 50/s", "code, 1000/s")
_SEEN = (
    ("failed_requests", "failed"),
    ("failed_kept", "of them kept alive"),
    ("refused_requests", "refused"),
    ("reset_requests", "reset"),
    ("turned_away", "turned away (503)"),
    ("slow_requests", "slower than 1 s"),
    ("longest_gap", "longest gap"),
    ("wait_above_usual", "longest wait above the usual"),
    ("window_ratio", "ratio to the limit"),
    ("rollback_after_verdict", "back after the verdict"),
    ("rollback_ratio", "ratio to the limit"),
    ("lost_rows", "rows lost"),
    ("whole_update", "whole update"),
    ("not_completed", "updates not completed"),
)
_TITLES = {
    "code": "A code-only release, 200 requests a second",
    "migration": "A release with a migration, 200 requests a second",
    "dependency": "A release with a new dependency, 200 requests a second",
    "rollback": "A rollback, 200 requests a second",
    "bad release": "A bad release, Surefoot as it is set by default, 200 requests a second",
    "code, 50/s": "A code-only release, 50 requests a second",
    "code, 1000/s": "A code-only release, 1,000 requests a second",
}
_STAGED = ("code", "one new dependency", "forty new dependencies", "code, 3,000 files")
_GROWTH = (
    "code", "grows: 300 files", "code, 3,000 files", "grows: 10,000 files",
    "grows: 2,000 commits", "grows: 10 releases kept",
)  # fmt: skip
_FAULTS = (
    "crashes at its start", "health answers 500", "dependency cannot be installed",
    "migration fails half way", "starts slowly, and is good", "killed at a random moment",
)  # fmt: skip
_SIZES = ("50 MB", "1 GB", "4 GB")

TABLES: dict[str, tuple[Table, ...]] = {
    "cutover": tuple(
        Table(title, tuple((scenario, metric, name) for metric, name in _SEEN))
        for scenario, title in _TITLES.items()
    ),
    "staging": (
        Table("Seconds", _each("seconds", _STAGED)),
        Table("CPU seconds", _each("cpu_seconds", _STAGED)),
        Table("Over the wire", _each("wire_bytes", _STAGED)),
        Table("How a code-only release grows: seconds", _each("seconds", _GROWTH)),
    ),
    "faults": (
        Table("Share that ends whole and by itself", _each("whole_within_60_s", _FAULTS)),
        Table("Rows lost", _each("lost_rows", _FAULTS)),
        Table("Until it was whole, where it was", _each("until_whole", _FAULTS)),
    ),
    "database": (
        Table("Downtime added", _each("downtime_added", _SIZES)),
        Table("Undoing a failed migration", _each("rollback", _SIZES)),
        Table("Put back byte for byte", _each("digest_identical", _SIZES)),
    ),
    "footprint": (
        Table(
            "Idle",
            (
                ("idle", "memory_pss", "memory"),
                ("idle", "processes", "processes"),
                ("idle", "cpu_per_hour", "CPU per hour"),
                ("idle", "wakeups_per_hour", "wake-ups per hour"),
            ),
        ),
        Table(
            "Disk of one more release",
            (
                ("kept release, code", "disk", "code only"),
                ("kept release, dependency", "disk", "a new dependency"),
            ),
        ),
    ),
}

BEHIND = """\
## Where Surefoot is behind, and why

- **The whole update takes longer** than the five-line script, because the release is tried on a copy
  before anybody is interrupted. Nobody waits for that; `rehearse = 0` switches it off.
- **Without the overlap the window is that of a restart**, and no shorter: beside it the lock is written
  durably at every step, the database is secured, and a few good answers are waited for before the
  public gets in. The script lets the public in untested.
- **With a migration the scripts' window is shorter**, because they migrate under the running app: old
  code works on a changed schema for a while, and nothing can be put back. Surefoot and the limit stop
  the app first.
- **With the rehearsal switched off, a rollback's gap is longer**: for three seconds it is waited for the
  bad release to become healthy, and so are the visitors, who get none of its errors. From the verdict
  on, Surefoot is as quick as a restart. With the rehearsal there is no gap at all.
- **A release that starts slowly** is started twice, once in the rehearsal: nobody waits for that one.
- **Two processes** stand beside the app, as with s6: a shell waits for each process. They share nearly
  all of their memory and never wake up by themselves. The dashboard, which nobody needs, wakes up ten
  times a second: that is uvicorn's own clock.
- **A release of thousands of files takes longer than a clone** in seconds, not in bytes: each file is
  checked against its hash, byte-compiled where it has changed, and flushed to the disk.
- **A new dependency makes a new environment**, whole and beside the old one. It costs disk and time that
  an update in place does not; it is what makes going back a rename.
"""

README = {
    "en": Readme(
        intro="Median and, in brackets, worst of one update, 200 requests a second, measured in one run "
        "([how, and everything else](docs/bench.md)):",
        head="| | failed requests, code only | with a migration | longest gap | gap ÷ plain restart "
        "| bad releases and kills survived |",
        more="Survived (measured in a run of its own): whole by itself within a minute, with every row.",
        not_measured="Not measured yet: `make bench`.",
        names={
            "surefoot": "**Surefoot**",
            "surefoot_overlap": "**Surefoot**, `overlap = true`",
            "published": "the published design",
            "script": "`git pull`, `pip`, `alembic`, restart",
            "supervisord": "the same under supervisord",
            "symlink": "release folders, a symlink",
            "restart": "*limit: plain stop and start*",
        },
    ),
    "zh": Readme(
        intro="一次更新的中位数，括号内为最差值；每秒 200 个请求，同一次运行中测得（[方法与全部数据](docs/bench.md)，英文）：",
        head="| | 失败请求（仅代码） | 含迁移 | 最长间断 | 间断 ÷ 单纯重启 | 经受住的坏版本与强杀 |",
        more="经受住（另一次运行中测得）：一分钟内自行恢复完好，一行数据不少。",
        not_measured="尚未测量：`make bench`。",
        names={
            "surefoot": "**Surefoot**",
            "surefoot_overlap": "**Surefoot**，`overlap = true`",
            "published": "已发表的设计",
            "script": "`git pull`、`pip`、`alembic`、重启",
            "supervisord": "同上，由 supervisord 运行",
            "symlink": "版本目录加符号链接",
            "restart": "*极限：单纯停止再启动*",
        },
    ),
}
