"""Where releases come from, how they are made, and which of them is in use."""

from surefoot.releases import environment
from surefoot.releases.build import run_build_commands
from surefoot.releases.bytecode import compile_code, reuse
from surefoot.releases.environment import Plan
from surefoot.releases.git import Candidate, Change, GitSource
from surefoot.releases.ledger import Ledger
from surefoot.releases.processes import command_environment, write_processes
from surefoot.releases.prune import prune
from surefoot.releases.store import Release, Store, release_id

__all__ = [
    "Candidate",
    "Change",
    "GitSource",
    "Ledger",
    "Plan",
    "Release",
    "Store",
    "command_environment",
    "compile_code",
    "environment",
    "prune",
    "release_id",
    "reuse",
    "run_build_commands",
    "write_processes",
]
