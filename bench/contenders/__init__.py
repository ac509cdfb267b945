"""What keeps an app up to date, each as well as its users would set it up."""

from bench.contenders.base import Contender
from bench.contenders.published import Published
from bench.contenders.restart import Restart
from bench.contenders.script import Script
from bench.contenders.supervisord import Supervisord
from bench.contenders.surefoot import Overlap, Surefoot
from bench.contenders.symlink import Symlink

__all__ = ["CONTENDERS", "LIMIT", "Contender"]

LIMIT = Restart
CONTENDERS: tuple[type[Contender], ...] = (
    Surefoot, Overlap, Published, Script, Supervisord, Symlink, Restart,
)  # fmt: skip
