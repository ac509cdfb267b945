"""The two wheels that the sample app needs and no index has: Surefoot's own, and a tiny library."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

SOURCE_TREE = Path(__file__).parents[3]

# The rest of .dist-info is what the installer has noted down.
_METADATA = {"METADATA", "WHEEL", "entry_points.txt", "licenses"}

_WORDS = """\
def count(text: str) -> int:
    return len(text.split())
"""


def surefoot_wheel(folder: Path) -> Path:
    """Surefoot's wheel, made in `folder`: from its source tree, else from the installed files.

    The same source gives the same bytes.
    """
    if not (SOURCE_TREE / "pyproject.toml").is_file():
        return _packed_again(folder)
    if importlib.util.find_spec("hatchling"):
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    else:
        command = [
            sys.executable,
            "-m",
            "uv",
            "build",
            "--quiet",
            "--wheel",
            "--out-dir",
            str(folder),
        ]
    done = subprocess.run(command, cwd=SOURCE_TREE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"Surefoot's wheel could not be built:\n{done.stdout}{done.stderr}")
    return next(folder.glob("surefoot-*.whl"))


def words_wheel(folder: Path) -> Path:
    """A library of one function, as the new dependency of release v1.2."""
    content = {
        "notes_words.py": _WORDS.encode(),
        "notes_words-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: notes-words\n"
        b"Version: 1.0\nSummary: Counts words, for the sample app of Surefoot.\n",
        "notes_words-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: surefoot\n"
        b"Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    return _written(folder / "notes_words-1.0-py3-none-any.whl", content)


def pin(wheel: Path) -> str:
    """The line of a requirements file that asks for just this wheel."""
    name, version, *_ = wheel.name.split("-")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"{name.replace('_', '-')}=={version} \\\n    --hash=sha256:{digest}\n"


def _packed_again(folder: Path) -> Path:
    distribution = metadata.distribution("surefoot")
    kept = [
        file
        for file in sorted(distribution.files or [])
        if file.suffix != ".pyc"
        and (file.parts[0] == "surefoot" or {*file.parts} & _METADATA)
        and ".." not in file.parts
    ]
    content = {str(file): Path(str(file.locate())).read_bytes() for file in kept}
    return _written(folder / f"surefoot-{distribution.version}-py3-none-any.whl", content)


def _written(wheel: Path, content: dict[str, bytes]) -> Path:
    record = next(name.partition("/")[0] for name in content if ".dist-info/" in name) + "/RECORD"
    lines = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in content.items()]
    content |= {record: ("\n".join([*lines, f"{record},,"]) + "\n").encode()}
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            # Dates would make every build a different file, with a different hash.
            entry = zipfile.ZipInfo(name, (2025, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return wheel


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
