from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from surefoot.config import Build
from surefoot.releases import compile_code, reuse

TAG = sys.implementation.cache_tag


def compiled(folder: Path, name: str) -> Path:
    return folder / "__pycache__" / f"{name}.{TAG}.pyc"


def compile_all(code: Path) -> list[str]:
    told: list[str] = []
    compile_code(code, Path(sys.executable), Build(timeout_s=60), told.append)
    return told


def make(code: Path, **sources: str) -> Path:
    (code / "package").mkdir(parents=True)
    for name, text in sources.items():
        (code / "package" / f"{name}.py").write_text(text)
    return code


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """The code of a release that is made, with its record beside it."""
    code = make(
        tmp_path / "before" / "app", same="def f():\n    raise ValueError\n", other="x = 1\n"
    )
    compile_all(code)
    record(code).touch()
    return code


def record(code: Path) -> Path:
    return code.parent / "release.json"


@pytest.fixture
def after(tmp_path: Path) -> Path:
    """The code of the next one, in which one module is the same."""
    return make(
        tmp_path / "after" / "app", same="def f():\n    raise ValueError\n", other="x = 2\n"
    )


def test_a_template_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("x = 1\n")
    (tmp_path / "template.py").write_text("{{ x }} =\n")
    assert len(compile_all(tmp_path)) == 1
    assert compiled(tmp_path, "main").exists()


def test_what_is_the_same_is_not_compiled_again(before: Path, after: Path) -> None:
    reuse(before, after, record=record(before))
    compile_all(after)
    same, other = (compiled(after / "package", name).read_bytes() for name in ("same", "other"))
    # Compiled code holds the place of its source: this one comes from the release before.
    assert str(before).encode() in same
    assert str(after).encode() in other


def test_what_is_taken_over_is_used_and_names_its_new_place(before: Path, after: Path) -> None:
    reuse(before, after, record=record(before))
    code = "import package.same as m, package.other as o; print(o.x, m.__cached__); m.f()"
    done = subprocess.run(
        [sys.executable, "-v", "-c", code], cwd=after, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("2 ")
    assert f"matches {after / 'package' / 'same.py'}" in done.stderr
    assert f'File "{after / "package" / "same.py"}", line 2, in f' in done.stderr
    assert str(before) not in done.stderr


def test_what_the_app_has_compiled_itself_is_not_taken_over(before: Path, after: Path) -> None:
    found = compiled(before / "package", "same")
    later = record(before).stat().st_mtime_ns + 1
    os.utime(found, ns=(later, later))
    reuse(before, after, record=record(before))
    assert not compiled(after / "package", "same").exists()


def test_nothing_is_read_through_a_symlink(tmp_path: Path, before: Path, after: Path) -> None:
    (before / "package").rename(tmp_path / "elsewhere")
    (before / "package").symlink_to(tmp_path / "elsewhere")
    reuse(before, after, record=record(before))
    assert not compiled(after / "package", "same").exists()


def test_a_copy_that_fails_leaves_no_half_of_it(
    before: Path, after: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("shutil.copyfile", fail)
    with pytest.raises(OSError, match="No space"):
        reuse(before, after, record=record(before))
    assert not compiled(after / "package", "same").exists()
