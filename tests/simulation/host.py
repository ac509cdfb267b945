"""The simulated host: the steps of `surefoot.update.local`, call by call, on a simulated world."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from tests.simulation.database import Database, works_on
from tests.simulation.disk import ABSENT, TORN
from tests.simulation.primitives import SimulatedError, change_main
from tests.simulation.world import (
    BACKWARDS,
    BACKWARDS_NEW,
    CODE,
    CURRENT,
    CURRENT_NEW,
    DB,
    ENV_MARKER,
    ENV_MARKER_NEW,
    ENVIRONMENT,
    HISTORY,
    IN_FLIGHT,
    LEDGER,
    LEDGER_NEW,
    LOCK,
    LOCK_NEW,
    LOG,
    MARKER,
    MARKER_NEW,
    NEW,
    OLD,
    RECORD,
    RECORD_NEW,
    WHOLE,
    Data,
    Ledger,
    Violation,
)  # fmt: skip

from surefoot.errors import DatabaseError, MigrationError, SupervisorError, UnhealthyError
from surefoot.update.causes import Cause
from surefoot.update.lock import Update
from surefoot.update.states import ENDED, State

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
BUDGET = {
    State.REQUESTED: 3, State.STAGED: 3, State.PROVEN: 3, State.STOPPED: 3, State.SNAPSHOTTED: 3,
    State.MIGRATED: 3, State.SWITCHED: 3, State.PROBATION: 3, State.ACCEPTED: 3,
    State.ROLLING_BACK: 5, State.RESTORED: 3,
}  # fmt: skip
"""How often a step may be begun in one update: what is promised, whatever the table says."""


class SimulatedHost(Database):
    """Implements `surefoot.update.host.Host`."""

    def save(self, update: Update) -> None:
        self.replace(LOCK, LOCK_NEW, encoded(update))
        self.world.ended = outcome(update) if update.state in ENDED else None

    def pause(self, attempt: int) -> None:
        del attempt

    # -- towards the new release

    def stage(self, update: Update) -> Update:
        self._begins(update)
        self.call("is there room on the disk?")
        if not (update.to == OLD or (self.files[MARKER] == WHOLE and self._has_environment())):
            self._make()
        elif update.to == NEW:
            self.confirm("releases/2", "releases", "environments/e", "environments")
        if update.kind == "rollback" and self._schema() != self._schema_of(update.to):
            update = self._undoing(update)
        if self.files[DB] is not ABSENT:
            self.call("write, check and fsync a backup of app.db")
        overlaps = self.scenario.overlaps and update.kind == "update"
        return msgspec.structs.replace(update, overlaps=overlaps)

    def _undoing(self, update: Update) -> Update:
        """`going_back.decide`."""
        match self.scenario.undoes_by:
            case "downgrade":
                return msgspec.structs.replace(update, downgrades={"main": ["back"]})
            case "backup":
                return msgspec.structs.replace(update, restores={"main": "backup"})
        raise SimulatedError("The database has been migrated since.")

    def _make(self) -> None:
        self.call("fetch the release")
        self.remove_tree("releases/2", (CODE, MARKER))
        if self.call("make releases/2"):
            self.disk.link(CODE, TORN)
        self.sync_folder("releases")
        self.write(CODE, WHOLE)
        if not self._has_environment():
            self.remove_tree("environments/e", (ENVIRONMENT, ENV_MARKER))
            self.write(ENVIRONMENT, WHOLE)
            if self.at("build the environment", ("fails",)) or not self.scenario.builds:
                self.remove_tree("environments/e", (ENVIRONMENT, ENV_MARKER))
                raise SimulatedError("The environment could not be built.")
            self.sync(ENVIRONMENT)
            self.replace(ENV_MARKER, ENV_MARKER_NEW, WHOLE)
            self.sync_folder("environments")
        else:
            self.confirm("environments/e", "environments")
        self.sync(CODE)
        self.replace(MARKER, MARKER_NEW, WHOLE)

    def confirm(self, *folders: str) -> None:
        """What a crash has left may be seen, and yet not be on the disk."""
        for folder in folders:
            self.sync_folder(folder)

    def _has_environment(self) -> bool:
        return bool(self.files[ENV_MARKER] == WHOLE and self.files[ENVIRONMENT] == WHOLE)

    def overlap(self, update: Update) -> Update:
        self._begins(update)
        self._ask_supervisor("run the new release beside the old one")
        self.world.beside = update.to
        self._opens_database(update.to)
        if self.at("judge it in private", ("is unhealthy",)) or not self._works(update.to):
            self.at("drop what runs beside")
            self.world.beside = None
            raise UnhealthyError("The new release is unhealthy.")
        return update

    def take_over(self, update: Update) -> Update:
        self._begins(update)
        self._switch(update.to)
        self._ask_supervisor("hand the sockets over")
        self._ask_supervisor("adopt what runs beside")
        self.world.app, self.world.beside = self.world.beside, None
        return update

    def stop(self, update: Update) -> Update:
        self._begins(update)
        if update.origin == "app" and update.attempts.get(State.STAGED) == 1:
            self.at("hold")
            self.world.goal = "hold"
            self.at("the app ends itself")
            self.world.app = None
        self._stop()
        return update

    def snapshot(self, update: Update) -> Update:
        self._begins(update)
        self._stop()
        self.undo_clone()
        self.remove_tree("in_flight", IN_FLIGHT)
        record = self.take_copy() if self._is_replaced(update) else self.take()
        pending = ["main"] if self._is_pending(update) else []
        update = msgspec.structs.replace(update, snapshots=[record], pending=pending)
        self.replace(RECORD, RECORD_NEW, encoded(update))
        return update

    def _is_replaced(self, update: Update) -> bool:
        """By a backup."""
        return update.kind == "restore" or bool(update.restores)

    def _is_pending(self, update: Update) -> bool:
        is_migrated = self.scenario.migrates and update.kind == "update"
        return is_migrated or bool(update.downgrades) or self._is_replaced(update)

    def migrate(self, update: Update) -> Update:
        self._begins(update)
        self._stop()
        (record,) = update.snapshots
        self.prepare(record)
        if update.pending and self._is_replaced(update):
            self.put_backup()
        elif update.pending:
            self._run_migration(record, 1 if update.downgrades else self.scenario.new_schema)
        self.adopt(record)
        return update

    def _run_migration(self, record: dict[str, Any], schema: int) -> None:
        fault = self.at("start the migration", ("fails", "fails half done"))
        if fault == "fails":
            raise MigrationError("The migration failed.")
        self.world.orphan = works_on(record)
        self.migrate_to(record, "half")
        if self.at("the migration goes on") or fault or not self.scenario.migration_works:
            self.world.orphan = ""
            raise MigrationError("The migration failed half done.")
        self.world.orphan = ""
        self.migrate_to(record, schema)

    def switch(self, update: Update) -> Update:
        self._begins(update)
        self._stop()
        self._switch(update.to)
        return update

    def start(self, update: Update) -> Update:
        self._begins(update)
        return self._start(update)

    def _start(self, update: Update) -> Update:
        for record in update.snapshots:
            self.keep(record)
        self.world.listening = True
        self._tell_supervisor("try")
        return update

    def judge(self, update: Update) -> Update:
        self._begins(update)
        if self.files[CURRENT] != update.to:
            raise SimulatedError(f"`current` is not release {update.to}.")
        if not self.world.listening:
            self._stop()
            self._start(update)
        self.world.listening = False
        if self.at("judge the new release", ("is unhealthy",)) or not self._is_healthy():
            raise SimulatedError("The new release is unhealthy.")
        return update

    def open(self, update: Update) -> Update:
        self._begins(update)
        self.replace(RECORD, RECORD_NEW, encoded(update))
        return update

    # -- and back

    def put_back(self, update: Update) -> Update:
        self._begins(update)
        if self.has_folder():
            self.replace(BACKWARDS, BACKWARDS_NEW, WHOLE)
        self._stop()
        if not update.snapshots:
            self.undo_clone()
        for record in update.snapshots:
            if update.pending or self.has_changed(record):
                self.restore(record)
        self._switch(update.from_)
        return update

    def resume_old(self, update: Update) -> Update:
        self._begins(update)
        self._give_up_snapshots(update)
        if update.from_ is None:
            return msgspec.structs.replace(update, healthy=False)
        self._tell_supervisor("run")
        if self.at("judge the old release", ("is unhealthy",)) or not self._is_healthy():
            reason = f"{update.reason} The release before is not healthy either."
            return msgspec.structs.replace(update, healthy=False, reason=reason)
        return update

    # -- the end

    def conclude(self, update: Update) -> None:
        if update.state is not State.COMMITTED:  # then it is done before anybody is let in
            self._give_up_snapshots(update)
        if self.files[CURRENT] is not ABSENT:
            self._tell_supervisor("run")
        self.settle_ledger(update)
        self.append_once(update, update.state)
        self._give_up_snapshots(update)
        self.forget(update)
        self.at("prune what is not needed any more")
        self.sweep()

    def settle_ledger(self, update: Update) -> None:
        ledger = self.ledger()
        if update.state is State.COMMITTED and update.to:
            commits = ledger.commits
            if commits[-1:] != (update.to,):
                commits = (*commits, update.to)
            ledger = Ledger(commits, _without(ledger.denied, update.to), ledger.abandoned)
            self.replace(LEDGER, LEDGER_NEW, ledger)
            if update.kind == "rollback" and update.from_:
                self._deny(ledger, update.from_)
        elif update.state is State.ROLLED_BACK and update.from_ not in {None, update.to}:
            self._deny(ledger, update.to or "")
        elif update.cause == Cause.UNHEALTHY and update.overlaps and update.to:
            self._deny(ledger, update.to)
        elif update.state is State.ABANDONED and update.to:
            self.replace(LEDGER, LEDGER_NEW, ledger._replace(abandoned=ledger.abandoned + 1))

    def ledger(self) -> Ledger:
        found = self.files[LEDGER]
        if not isinstance(found, Ledger):
            raise Violation("reads", "A power cut has left a ledger that cannot be read.")
        return found

    def _deny(self, ledger: Ledger, release: str) -> None:
        denied = (*_without(ledger.denied, release), release)
        self.replace(LEDGER, LEDGER_NEW, ledger._replace(denied=denied))

    def append_once(self, update: Update, event: str) -> None:
        """Who asked, what became of it, and of what."""
        line = outcome(update, event)
        if line not in self.files[HISTORY]:
            self.write(HISTORY, (*self.files[HISTORY], line), torn=False)
        self.sync(HISTORY)

    def append(self, event: str, release: str | None) -> None:
        line = ("-", event, release)
        self.write(HISTORY, (*(h for h in self.files[HISTORY] if h != line), line), torn=False)
        self.sync(HISTORY)

    def forget(self, update: Update) -> None:
        del update
        self.remove(LOCK)
        self.world.begun = ()

    # -- parts of the steps

    def _begins(self, update: Update) -> None:
        """Keeps count, as the world sees it, of how often a step is begun."""
        begun = dict(self.world.begun)
        count = begun[update.state] = begun.get(update.state, 0) + 1
        if count > BUDGET[update.state]:
            raise Violation("budget", f"The step of `{update.state}` is begun {count} times.")
        self.world.begun = tuple(begun.items())

    def _stop(self) -> None:
        if self.world.stopped:
            return
        self._ask_supervisor("stop the app")
        self.world.app = None
        self.world.beside = None
        self.world.goal = "stop"
        self.world.stopped = True

    def _tell_supervisor(self, goal: str) -> None:
        self.world.stopped = False
        self._ask_supervisor(f"{goal} what is current")
        self.start_app(goal)

    def _ask_supervisor(self, what: str) -> None:
        if self.at(what, FAILS_TO_ANSWER):
            raise SupervisorError("The supervisor has not answered.")

    def start_app(self, goal: str) -> None:
        """What the supervisor does when it is told `try` or `run`."""
        world = self.world
        world.goal = goal
        world.beside = None
        if world.app is not None or self.files[CURRENT] is ABSENT:
            return
        world.app = self.files[CURRENT]
        self._opens_database(world.app)

    def _opens_database(self, release: str | None) -> None:
        seen = self.world.database()
        if self.world.on_server:
            if self.scenario.migrates_by_itself and release == NEW and not self.world.is_closed():
                self.files[DB] = seen._replace(schema=2)
        elif isinstance(seen, Data):  # the app opens it, and leaves a log beside it
            if not self.world.guard and self.files[LOG] is not ABSENT:
                change_main(self.world, seen)  # the last to close it has brought it in, durably
                self.disk.sync(DB)
            if self.scenario.migrates_by_itself and release == NEW:
                seen = seen._replace(schema=2)
            seen = seen._replace(file=self.files[DB].base)
            if self.files[LOG] != seen:
                self.disk.write(LOG, seen, torn=False)

    def _is_healthy(self) -> bool:
        return self._works(self.world.app)

    def _works(self, release: str | None) -> bool:
        return release is not None and self.scenario.works(self.world, release)

    def _switch(self, release: str | None) -> None:
        if release is None:
            self.remove(CURRENT)
            return
        if release == NEW and self.files[CODE] is ABSENT:
            raise SimulatedError("The release is not there; nothing was switched.")
        if self.call("symlink .current.new"):
            self.disk.link(CURRENT_NEW, release)
        self.rename(CURRENT_NEW, CURRENT)
        self.sync_folder("home")

    def _give_up_snapshots(self, update: Update) -> None:
        if self.has_folder():
            self.remove(RECORD)  # first: it must not name a copy that is not there any more
        for record in update.snapshots:
            self.release_snapshot(record)
        self.remove_tree("in_flight", IN_FLIGHT)

    def _schema(self) -> Any:
        seen = self.world.database()
        if seen is ABSENT:
            return ""
        if not isinstance(seen, Data):
            raise DatabaseError("The database cannot be read.")
        return seen.schema

    def _schema_of(self, release: str | None) -> int:
        return self.scenario.new_schema if release == NEW else 1


FAILS_TO_ANSWER = ("is not answered",)


def _without(releases: tuple[str, ...], release: str) -> tuple[str, ...]:
    return tuple(r for r in releases if r != release)


def outcome(update: Update, event: str = "") -> tuple[str, str, str | None]:
    """What the history says of an update that has ended."""
    return (update.id, str(event or update.state), update.to)


def encoded(update: Update) -> bytes:
    """What the real lock would hold, but for the time, which is no part of any decision."""
    return msgspec.json.encode(
        msgspec.structs.replace(update, requested_at=EPOCH, since=EPOCH, durations={})
    )


@cache
def decoded(content: bytes | str) -> Update | None:
    """The update that a lock holds; None for one that cannot be read."""
    return msgspec.json.decode(content, type=Update) if isinstance(content, bytes) else None
