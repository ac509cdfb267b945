"""What each release of the sample app changes, as a reader would see it in a diff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Replace:
    """`old` becomes `new`; it must stand in the file exactly once."""

    file: str
    old: str
    new: str

    def apply(self, tree: Path) -> None:
        path = tree / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.old!r} is {text.count(self.old)} times in {self.file}, not 1.")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


@dataclass(frozen=True)
class Write:
    """The file has this text from now on."""

    file: str
    text: str

    def apply(self, tree: Path) -> None:
        path = tree / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text, encoding="utf-8")


@dataclass(frozen=True)
class Append:
    """The text is added at the end of the file."""

    file: str
    text: str

    def apply(self, tree: Path) -> None:
        with (tree / self.file).open("a", encoding="utf-8") as file:
            file.write(self.text)


Change = Replace | Write | Append


@dataclass(frozen=True)
class Release:
    """One commit with one tag."""

    tag: str
    what: str
    """What it brings, in a few words."""
    base: str | None
    """The release that it is built on."""
    changes: tuple[Change, ...] = ()

    @property
    def version(self) -> str:
        """What `/api/version` answers."""
        return self.tag.removeprefix("v")


def good_releases(surefoot_pin: str, words_pin: str) -> tuple[Release, ...]:
    """Four releases, each on top of the one before."""
    return (
        Release("v1.0", "the first", None, (Append("requirements.txt", surefoot_pin),)),
        Release(
            "v1.1",
            "code only",
            "v1.0",
            (Replace("main.py", 'TITLE = "Notes"', 'TITLE = "My notes"'),),
        ),
        Release(
            "v1.2",
            "a new dependency and a migration",
            "v1.1",
            (
                Append("requirements.in", "notes-words\n"),
                Append("requirements.txt", words_pin),
                Write("migrations/versions/0002_words.py", _COUNT_WORDS),
                Append(
                    "models.py",
                    '    words: Mapped[int] = mapped_column(server_default="0")\n',
                ),
                Replace(
                    "main.py", "from fastapi import", "import notes_words\nfrom fastapi import"
                ),
                Replace(
                    "main.py",
                    "note = Note(text=new.text)",
                    "note = Note(text=new.text, words=notes_words.count(new.text))",
                ),
                Replace(
                    "main.py",
                    "    created_at: datetime\n",
                    "    created_at: datetime\n    words: int\n",
                ),
            ),
        ),
        Release(
            "v1.3",
            "code only",
            "v1.2",
            (
                Replace(
                    "main.py",
                    "<li>{html.escape(note.text)}</li>",
                    "<li>{html.escape(note.text)} <small>({note.words} words)</small></li>",
                ),
            ),
        ),
    )


def bad_releases() -> tuple[Release, ...]:
    """What goes wrong with releases in practice, one kind each, all on top of v1.2."""
    return tuple(
        Release(tag, what, "v1.2", changes)
        for tag, what, changes in (
            (
                "bad-import",
                "cannot be imported",
                (
                    Replace(
                        "main.py", "import notes_words\n", "import notes_wrods as notes_words\n"
                    ),
                ),
            ),
            (
                "bad-crash",
                "crashes three seconds later",
                (
                    _importing("threading"),
                    Replace(
                        "main.py",
                        "    yield\n",
                        "    threading.Timer(3, os._exit, [1]).start()\n    yield\n",
                    ),
                ),
            ),
            (
                "bad-hang",
                "hangs at its start",
                (
                    _importing("time"),
                    Replace("main.py", '"My notes"\n', '"My notes"\ntime.sleep(3600)\n'),
                ),
            ),
            (
                "bad-health",
                "says that it is not healthy",
                (
                    Replace(
                        "main.py",
                        'return {"status": "ok", "version": VERSION}',
                        'raise HTTPException(500, "The database cannot be used.")',
                    ),
                ),
            ),
            (
                "bad-migration",
                "its migration fails half way",
                (Write("migrations/versions/0003_tags.py", _FAIL_HALF_WAY),),
            ),
            (
                "bad-dependency",
                "cannot be installed",
                (Replace("requirements.txt", "notes-words==1.0", "notes-words==9.9"),),
            ),
            (
                "bad-stop",
                "hangs when it is told to stop",
                (
                    _importing("time"),
                    Replace("main.py", "    yield\n", "    yield\n    time.sleep(3600)\n"),
                ),
            ),
        )
    )


def _importing(module: str) -> Change:
    return Replace("main.py", "import secrets\n", f"import secrets\nimport {module}\n")


_COUNT_WORDS = '''\
"""Every note knows how many words it has."""

import notes_words
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("notes", sa.Column("words", sa.Integer, nullable=False, server_default="0"))
    connection = op.get_bind()
    for note in connection.execute(sa.text("SELECT id, text FROM notes")).all():
        connection.execute(
            sa.text("UPDATE notes SET words = :words WHERE id = :id"),
            {"words": notes_words.count(note.text), "id": note.id},
        )


def downgrade() -> None:
    with op.batch_alter_table("notes") as notes:
        notes.drop_column("words")
'''

_FAIL_HALF_WAY = '''\
"""Tags; it never gets to the end."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Outside a transaction, as with many a real migration: what is done stays done.
    with op.get_context().autocommit_block():
        op.create_table("tags", sa.Column("id", sa.Integer, primary_key=True))
        op.execute("UPDATE notes SET text = ''")
    raise RuntimeError("This migration was not tried before it was released.")


def downgrade() -> None:
    op.drop_table("tags")
'''
