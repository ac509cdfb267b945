"""The sample app as a source of updates: one release after the other, made when it is needed.

Nothing is fetched from outside: what the releases need lies in one folder of wheels.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.releases import wheels as tiny

from surefoot.demo import wheels
from surefoot.demo.changes import Append, Change, Release, Replace, Write
from surefoot.demo.sample import History, notes_folder

if TYPE_CHECKING:
    from pathlib import Path

FASTER = ("httptools==0.9.0", "uvloop==0.23.0")
"""What `uvicorn[standard]` adds: without it, one process does not serve 1,000 requests a second."""
_FOREIGN = (
    "SUREFOOT_", "UPDATE_", "AUTO_UPDATE_", "LISTEN_", "NOTIFY_SOCKET", "DATABASE_URL",
    "PIP_", "UV_", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME",
)  # fmt: skip

# The reader of the load needs no thread, and so the app is not what limits the rate.
_ASYNC = Replace("main.py", "def version() ->", "async def version() ->")
_SICK = (
    Replace("main.py", '    return {"version": VERSION}', '    raise HTTPException(500, "Sick.")'),
    Replace(
        "main.py",
        '    return {"status": "ok", "version": VERSION}',
        '    raise HTTPException(500, "The database cannot be used.")',
    ),
    Replace(
        "main.py",
        "    with Session.begin() as session:\n",
        '    raise HTTPException(500, "Sick too.")\n    with Session.begin() as session:\n',
    ),
)


class Source:
    """A remote repository, and the wheels that its releases need."""

    def __init__(self, folder: Path, like: Source | None = None) -> None:
        """`like`: another source, whose wheels and caches are used."""
        self.folder = folder
        self.history = History(folder)
        self._scratch = like.folder if like else folder
        for made in (self.history.remote, self.history.work, self.history.wheels):
            made.mkdir(parents=True)
        self.history.git("init", "--quiet", "-b", "main", "--bare", folder=self.history.remote)
        self.history.git("init", "--quiet", "-b", "main")
        self._number = 0
        self.latest = ""
        """The tag that was published last."""
        self._good = ""
        self._repairs: tuple[Change, ...] = ()
        if like:
            like.lend(self.history.wheels)
        else:
            download(self.history.wheels)
            wheels.surefoot_wheel(self.history.wheels)
        pins = [next(self.history.wheels.glob("surefoot-*"))]
        pins += [
            next(self.history.wheels.glob(f"{wanted.replace('==', '-')}-*")) for wanted in FASTER
        ]
        text = "".join(map(wheels.pin, pins))
        self._release("v", "the first", (_ASYNC, Append("requirements.txt", text)))

    @property
    def environment(self) -> dict[str, str]:
        """For whatever a contender starts: packages come from the folder alone."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
        links, scratch = str(self.history.wheels), self._scratch
        return kept | {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": links,
            "PIP_CACHE_DIR": str(scratch / "pip-cache"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "UV_NO_CONFIG": "1",
            "UV_NO_INDEX": "1",
            "UV_FIND_LINKS": links,
            "UV_CACHE_DIR": str(scratch / "uv-cache"),
            "UV_LINK_MODE": "copy",
            "GIT_CONFIG_GLOBAL": os.devnull,
        }

    def version(self, tag: str) -> str:
        """What `/api/version` answers."""
        return self.history.releases[tag].version

    def lend(self, folder: Path) -> None:
        """Puts all wheels there."""
        for wheel in self.history.wheels.iterdir():
            os.link(wheel, folder / wheel.name)

    # -- what comes next: each publishes a release on top of the one before, and returns its tag

    def code(self) -> str:
        """A changed line of code."""
        return self._release("v", "code only", (Append("main.py", f"# {self._number + 1}\n"),))

    def dependency(self) -> str:
        """One more package, imported at the start."""
        return self._release("v", "a new dependency", self._new_package())

    def migration(self) -> str:
        """One more column, filled for every row."""
        return self._release("v", "a migration", (self._new_migration(_MIGRATION),))

    def whole(self) -> str:
        """A new dependency and a migration, both needed by the code that writes."""
        column = Append(
            "models.py",
            f'    extra_{self._number + 1}: Mapped[int] = mapped_column(server_default="0")\n',
        )
        changes = (*self._new_package(), self._new_migration(_MIGRATION), column)
        return self._release("v", "a new dependency and a migration", changes)

    def sick(self) -> str:
        """Starts, and answers its health check and its users with 500."""
        return self._release("bad-", "health answers 500", _SICK)

    def crashing(self) -> str:
        """Ends while it starts."""
        change = Replace("main.py", "import secrets\n", "import secrets\nimport not_there_at_all\n")
        return self._release("bad-", "crashes at its start", (change,))

    def uninstallable(self) -> str:
        """Asks for a package that nobody has."""
        change = Append("requirements.txt", f"nobody-has-this==1.0 --hash=sha256:{'0' * 64}\n")
        return self._release("bad-", "a dependency cannot be installed", (change,))

    def half_migrated(self) -> str:
        """Its migration empties a column, commits, and fails."""
        return self._release(
            "bad-", "its migration fails half way", (self._new_migration(_FAILING),)
        )

    def slow(self) -> str:
        """Needs eight seconds to start, and is good then."""
        changes = (
            Replace("main.py", "import secrets\n", "import secrets\nimport time\n"),
            Replace("main.py", "    yield\n", "    time.sleep(8)\n    yield\n"),
        )
        tag = self._release("v", "takes eight seconds to start", changes)
        self._repairs = _reversed(changes)
        return tag

    def _release(self, prefix: str, what: str, changes: tuple[Change, ...]) -> str:
        """A bad release is repaired by the next one, as in life: history only goes on."""
        self._number += 1
        tag = f"{prefix}{self._number}"
        release = Release(tag, what, self.latest or None, (*self._repairs, *changes))
        self.history.add(release)
        self._repairs = _reversed(changes) if prefix == "bad-" else ()
        self.latest = tag
        self.follow(tag)
        return tag

    def follow(self, tag: str) -> None:
        """Publishes it, and makes it what the branch points to."""
        target = f"+{self.history.commits[tag]}:refs/heads/main"
        self.history.git("push", "--quiet", str(self.history.remote), target, f"refs/tags/{tag}")

    def _new_package(self) -> tuple[Change, ...]:
        name = f"notes_extra_{self._number + 1}"
        digest = tiny.make(self.history.wheels, name, "1.0")
        pin = f"{name.replace('_', '-')}==1.0 --hash=sha256:{digest}\n"
        return (
            Append("requirements.txt", pin),
            Replace("main.py", "import html\n", f"import html\nimport {name}\n"),
        )

    def _new_migration(self, template: str) -> Change:
        number = self._number + 1
        versions = self.history.work / "migrations" / "versions"
        before = max(path.name[:4] for path in versions.glob("[0-9]*.py"))
        text = template.format(
            number=number, revision=f"{number:04}", before=before, failure=_FAILURE
        )
        return Write(f"migrations/versions/{number:04}_more.py", text)


def _reversed(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """What undoes them; a migration that failed is mended instead."""
    undone: list[Change] = []
    for change in reversed(changes):
        match change:
            case Replace(file, old, new):
                undone.append(Replace(file, new, old))
            case Append(file, text):
                undone.append(Replace(file, text, ""))
            case Write(file, text):
                undone.append(Write(file, text.replace(_FAILURE, "")))
    return tuple(undone)


def download(folder: Path) -> None:
    """Every wheel that the sample app's requirements name, once, by pip and its cache."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder)]
    for wanted in (["--require-hashes", "-r", str(notes_folder() / "requirements.txt")], FASTER):
        done = subprocess.run(
            [*command, "--only-binary", ":all:", *wanted],
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"The sample app's wheels could not be fetched:\n{done.stderr}")


_FAILURE = """\
        op.execute("UPDATE notes SET text = ''")
    raise RuntimeError("This migration was not tried before it was released.")
"""

_MIGRATION = '''\
"""One more column."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column("extra_{number}", sa.Integer, nullable=False, server_default="0")
    op.add_column("notes", column)
    op.execute("UPDATE notes SET extra_{number} = length(text)")


def downgrade() -> None:
    op.drop_column("notes", "extra_{number}")
'''

_FAILING = '''\
"""It never gets to the end."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Outside a transaction, as with many a real migration: what is done stays done.
    with op.get_context().autocommit_block():
        op.create_table("tags_{number}", sa.Column("id", sa.Integer, primary_key=True))
{failure}

def downgrade() -> None:
    op.drop_table("tags_{number}")
'''
