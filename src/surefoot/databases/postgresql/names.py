"""What the databases beside the app's are called: `<app's>_surefoot_<role>_<token>`.

    new        a clone: the migration works there, then it is swapped in
    old        the app's own, as it was, while the clone stands in its place
    replaced   what stood in its place when it, or a backup, was put back
    copy       the rehearsal's, as the backup has it
    trial      the same, migrated

The token is the update's.
"""

from __future__ import annotations

import hashlib
import re
from typing import Literal, get_args

Role = Literal["new", "old", "replaced", "copy", "trial"]
ROLES: tuple[Role, ...] = get_args(Role)

LONGEST_BYTES = 63
_BASE_BYTES = 22


def beside(name: str, role: Role, token: str) -> str:
    """The name of a database of ours."""
    made = f"{_base(name)}_surefoot_{role}_{_safe(token)[-22:]}"
    assert len(made.encode()) <= LONGEST_BYTES  # noqa: S101 - by the two limits
    return made


def role(name: str, other: str) -> Role | None:
    """What `other` is to the database `name`; None where it has nothing to do with it."""
    for role in ROLES:
        if re.fullmatch(re.escape(f"{_base(name)}_surefoot_{role}_") + "[a-z0-9]+", other):
            return role
    return None


def _safe(token: str) -> str:
    return re.sub(r"[^a-z0-9]", "", token.lower()) or "0"


def _base(name: str) -> str:
    """The name itself, or what cannot be taken for another one's beginning."""
    if len(name.encode()) <= _BASE_BYTES:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{name.encode()[: _BASE_BYTES - 7].decode(errors='ignore')}~{digest}"
