"""What Notes keeps: one table in SQLite."""

import os
from datetime import UTC, datetime

from sqlalchemy import DateTime, Dialect, Text, TypeDecorator, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

DATABASE_URL = os.environ.get("DATABASE_URL", "sqlite:///data/notes.db")

engine = create_engine(DATABASE_URL, connect_args={"timeout": 10})
Session = sessionmaker(engine, expire_on_commit=False)


@event.listens_for(engine, "connect")
def use_wal(connection: DBAPIConnection, _record: object) -> None:
    # Readers do not wait for the writer. The mode is kept in the file: setting it again is free.
    connection.cursor().execute("PRAGMA journal_mode = WAL")


class Base(DeclarativeBase):
    pass


class Instant(TypeDecorator[datetime]):
    """A moment, kept in UTC: SQLite itself knows no time zones."""

    impl = DateTime
    cache_ok = True

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return value and value.replace(tzinfo=UTC)


class Note(Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant, default=lambda: datetime.now(UTC))
