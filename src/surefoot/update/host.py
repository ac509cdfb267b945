"""What the machine asks of the world: one interface, for the real and the simulated host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from surefoot.update.lock import Update


class Host(Protocol):
    """Carries out steps. Each one

    - may be begun again after a crash at any instant inside it, and then ends the same;
    - is durably done when it returns;
    - raises SurefootError or OSError when it failed, and then has undone nothing by itself.

    It returns the update with what it has learned, in the same state.
    """

    def save(self, update: Update) -> None:
        """Makes the lock say this, durably."""

    def stage(self, update: Update) -> Update:
        """Fetches, verifies and builds the release. The app is not touched."""

    def stop(self, update: Update) -> Update:
        """Ends every process of the app."""

    def overlap(self, update: Update) -> Update:
        """Starts the release beside the old one, and returns when it is healthy; where it is not,
        it is ended, and the old one was not disturbed."""

    def take_over(self, update: Update) -> Update:
        """Lets `current` be the release that runs beside, and the app; the old one ends."""

    def snapshot(self, update: Update) -> Update:
        """Makes it possible to put the databases back exactly as they are now."""

    def migrate(self, update: Update) -> Update:
        """Migrates the databases, from the snapshot's state, whatever an earlier try has left."""

    def switch(self, update: Update) -> Update:
        """Lets `current` be the new release."""

    def start(self, update: Update) -> Update:
        """Starts `current`, behind the gate."""

    def judge(self, update: Update) -> Update:
        """Returns when the new release is healthy; raises when it is not."""

    def open(self, update: Update) -> Update:
        """Sees to it that nothing is put back any more. When this is recorded, the public is in."""

    def put_back(self, update: Update) -> Update:
        """Ends the app; database and `current` become exactly what they were."""

    def resume_old(self, update: Update) -> Update:
        """Gives up the snapshot, starts the old release and judges it."""

    def pause(self, attempt: int) -> None:
        """Waits before a failed step is tried again."""

    def conclude(self, update: Update) -> None:
        """Tidies up after an update that has ended, tells of it, and removes the lock."""
