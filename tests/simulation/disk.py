"""A disk that forgets: what was not flushed may be there after a power cut, or torn, or not.

Every file is a slot. A slot at rest holds one content. A slot in motion also knows what a power
cut may leave of it: `contents` (what the file that has the name now may hold) and `names` (what the
name may stand for, as long as its folder has not been flushed). Slots are lost independently of
each other, which is more than any real file system does: it keeps to the letter of POSIX. But a
folder has one name: what is in it goes with that.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ABSENT = None
TORN = "(torn)"
"""A file that was cut short, is empty, or holds what happened to lie on the disk."""

DAMAGED = "(damaged)"
"""A file that something else than a power cut has spoilt."""


class Disk:
    """The files of one home, by slot number."""

    __slots__ = ("files", "moving", "together")

    def __init__(
        self,
        files: list[Any],
        moving: dict[int, tuple[tuple[Any, ...], tuple[Any, ...]]] | None = None,
        together: tuple[int, ...] = (),
    ) -> None:
        self.files = files
        self.moving = {} if moving is None else moving
        self.together = together

    def copy(self) -> Disk:
        return Disk(self.files.copy(), self.moving.copy(), self.together)

    def key(self) -> tuple[Any, ...]:
        """The same for two disks that cannot be told apart."""
        if self.moving:
            return (*self.files, tuple(sorted(self.moving.items())), self.together)
        return tuple(self.files)

    def write(self, slot: int, content: Any, *, torn: bool = True) -> None:
        """Writes in place; with `torn` a part of it may be all that is there after a power cut."""
        before = self.files[slot]
        contents, names = self.moving.get(slot, ((before,), ()))
        if before is ABSENT:
            names = _united(contents, names)
            contents = ()
        news = (TORN, content) if torn else (content,)
        self.files[slot] = content
        self.moving[slot] = (_united(contents, news), names)

    def sync(self, slot: int) -> None:
        """fsync of the file: its content stays, its name may not."""
        moving = self.moving.get(slot)
        if moving is None:
            return
        self._put(slot, (self.files[slot],), moving[1])

    def rename(self, source: int, target: int) -> None:
        contents, names = self.moving.get(source, ((self.files[source],), ()))
        self.moving[target] = (contents, self.possible(target))
        self.moving[source] = ((ABSENT,), _united(contents, names))
        self.files[target] = self.files[source]
        self.files[source] = ABSENT

    def unlink(self, slot: int) -> None:
        if self.files[slot] is ABSENT:
            return
        self.moving[slot] = ((ABSENT,), self.possible(slot))
        self.files[slot] = ABSENT

    def unlink_together(self, slots: tuple[int, ...]) -> None:
        """The folder that they are in gets another name: a power cut leaves all of them or none."""
        for slot in slots:
            self.unlink(slot)
        self.together = tuple(slot for slot in slots if slot in self.moving)

    def link(self, slot: int, target: Any) -> None:
        """Makes a symlink (or a folder): a name alone, there whole or not at all."""
        self.moving[slot] = ((target,), self.possible(slot))
        self.files[slot] = target

    def sync_names(self, slots: tuple[int, ...]) -> None:
        """fsync of the folder that holds these slots: the names stay, the contents may not."""
        for slot in tuple(self.moving):
            if slot in slots:
                self._put(slot, self.moving[slot][0], ())

    def possible(self, slot: int) -> tuple[Any, ...]:
        """All that a power cut may leave, what is seen now first."""
        moving = self.moving.get(slot)
        if moving is None:
            return (self.files[slot],)
        return _united((self.files[slot],), _united(*moving))

    def after_power_cuts(self) -> Iterator[list[Any]]:
        """The files as every possible power cut would leave them; the first lost nothing."""
        slots = sorted(self.moving)
        for choice in product(*(self.possible(slot) for slot in slots)):
            files = self.files.copy()
            for slot, content in zip(slots, choice, strict=True):
                files[slot] = content
            if self._is_possible_together(files):
                yield files

    def _is_possible_together(self, files: list[Any]) -> bool:
        removed = [slot for slot in self.together if self.moving.get(slot, ((),))[0] == (ABSENT,)]
        if len(removed) < len(self.together):  # something has come since
            return True
        return all(files[slot] is ABSENT for slot in removed) or all(
            files[slot] in self.moving[slot][1] for slot in removed
        )

    def change_all(self, slot: int, change: Callable[[Any], Any]) -> None:
        """Applies a change to whatever the slot holds or may turn out to hold."""
        self.files[slot] = change(self.files[slot])
        moving = self.moving.get(slot)
        if moving is not None:
            contents, names = moving
            self.moving[slot] = (
                _united((), tuple(map(change, contents))),
                _united((), tuple(map(change, names))),
            )

    def _put(self, slot: int, contents: tuple[Any, ...], names: tuple[Any, ...]) -> None:
        if names:
            names = tuple(n for n in names if n not in contents)
        if names or contents != (self.files[slot],):
            self.moving[slot] = (contents, names)
        else:
            self.moving.pop(slot, None)


def _united(first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[Any, ...]:
    """Both, each value once, in order."""
    return tuple(dict.fromkeys(first + second))
