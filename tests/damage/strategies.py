"""What can become of a file: bytes that are wrong in every way, and other things in its place."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Damage:
    """Done to a file by `do`; `what` tells of it where a test fails."""

    what: str
    content: bytes | None = None
    cut: int | None = None
    tail: bytes = b""
    leaf: int = 0
    value: Any = None

    def do(self, file: Path) -> None:
        whole = file.read_bytes() if file.is_file() else b""
        if file.is_symlink():
            file.unlink()
        if self.what == "cut":
            assert self.cut is not None
            file.write_bytes(whole[: self.cut * len(whole) // 100] + self.tail)
        elif self.what == "bytes":
            assert self.content is not None
            file.write_bytes(self.content)
        elif self.what == "leaf":
            file.write_bytes(_with_leaf(whole, self.leaf, self.value))
        else:
            if os.path.lexists(file):
                file.unlink()
            _PLACES[self.what](file)


def _loop(file: Path) -> None:
    file.symlink_to(file.name)


def _dangling(file: Path) -> None:
    file.symlink_to("nowhere/at/all")


def _to_folder(file: Path) -> None:
    file.symlink_to(".")


def _to_rows(file: Path) -> None:
    home = next(p for p in file.parents if p.name == "home")
    file.symlink_to(home / "data" / "rows.db")


def _nothing(_: Path) -> None:
    pass


def _folder(file: Path) -> None:
    file.mkdir()
    (file / "something").write_text("of the user's")


_PLACES: dict[str, Callable[[Path], None]] = {
    "a loop": _loop,
    "a dangling link": _dangling,
    "a link to a folder": _to_folder,
    "a link to the database": _to_rows,
    "a folder": _folder,
    "a pipe": os.mkfifo,
    "nothing": _nothing,
}

VALUES: list[Any] = [
    *(None, True, -1, 0, 2**63, 2**64, -(10**400), 1e308, "", "x", [], {}, [[]], {"a": {"b": [1]}}),
    *("../../..", "/etc", ".", "a" * 5000, "\x1b[2J\x07\r\n", "é\u202e\u2028", "\x00"),
    *(
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2026-01-01T00:00:00",
        "2026-13-01T00:00:00Z",
    ),
    *("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", 99, "committed", "broken"),
]
_DEEP = [b"[" * 50_000, b'{"facts":' * 50_000, b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"]
_BYTES = [
    *(b"", b"\n", b"\0" * 4096, b"null", b"[]", b"{}", b"0", b"\xff\xfe\x00", b'"\xff"'),
    b"\xef\xbb\xbf{}",
    *(b'{"schema":0}', b'{"schema":99}', b'{"id":"x","schema":99}', b"9" * 5000, *_DEEP),
]  # fmt: skip

PLACES = st.sampled_from(sorted(_PLACES)).map(Damage)
CUTS = st.builds(
    lambda cut, tail: Damage("cut", cut=cut, tail=tail),
    st.integers(0, 100),
    st.one_of(st.just(b""), st.binary(max_size=40), st.sampled_from(_DEEP)),
)
BYTES = st.builds(
    lambda content: Damage("bytes", content=content),
    st.one_of(st.sampled_from(_BYTES), st.binary(max_size=200)),
)
LEAVES = st.builds(
    lambda leaf, value: Damage("leaf", leaf=leaf, value=value),
    st.integers(0, 200),
    st.sampled_from(VALUES),
)
ANY = st.one_of(PLACES, CUTS, BYTES, LEAVES)


def _with_leaf(whole: bytes, number: int, value: Any) -> bytes:
    """The JSON (or the last line of JSON) with one of its values changed."""
    *before, last = whole.strip().split(b"\n") if whole.startswith(b'{"at"') else [whole]
    try:
        document = json.loads(last)
    except ValueError:
        return json.dumps(value).encode()
    places = list(_leaves(document))
    place = places[number % len(places)]
    if not place:
        document = value
    else:
        holder = document
        for step in place[:-1]:
            holder = holder[step]
        holder[place[-1]] = value
    return b"\n".join([*before, json.dumps(document).encode()]) + b"\n"


def _leaves(document: Any, place: Path_ = ()) -> Iterator[Path_]:
    yield place
    found = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for key, value in found:
        yield from _leaves(value, (*place, key))
