from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.releases import programs, wheels
from uv import find_uv_bin

from surefoot.config import Build
from surefoot.errors import BuildError
from surefoot.releases import environment

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.home import Home

THIS = platform.python_version()
BACKEND = """\
import zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    import os
    name = "own-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as archive:
        archive.writestr("own.pth", os.path.join(os.getcwd(), "src"))
        archive.writestr("own-1.0.dist-info/METADATA",
                         "Metadata-Version: 2.1\\nName: own\\nVersion: 1.0\\n"
                         "Requires-Dist: alpha\\n")
        archive.writestr("own-1.0.dist-info/entry_points.txt",
                         "[console_scripts]\\nown = own:main\\n")
        archive.writestr("own-1.0.dist-info/WHEEL",
                         "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr("own-1.0.dist-info/RECORD", "")
    return name

build_wheel = build_editable

def get_requires_for_build_editable(config_settings=None):
    return []
"""


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, known to uv by pip's names; nothing else can be reached."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "releases" / "0123456789ab" / "app"
    folder.mkdir(parents=True)
    return folder


def silent(_line: str) -> None:
    pass


def built(code: Path, home: Home, build: Build | None = None) -> Path:
    chosen = build or Build(timeout_s=100)
    return environment.build(environment.plan(code, chosen), home.environments, silent)


def says(folder: Path, program: str) -> str:
    return subprocess.run(
        [folder / "bin/python", "-I", "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()


class TestPython:
    def test_without_a_wish_a_python_of_the_machine_is_taken(self, code: Path) -> None:
        (code / "requirements.txt").write_text("")
        plan = environment.plan(code, Build())
        assert plan.python.is_file()
        assert plan.kind == "requirements.txt"

    def test_the_setting_goes_before_the_file_and_the_file_before_the_project(
        self, code: Path
    ) -> None:
        (code / "requirements.txt").write_text("")
        (code / "pyproject.toml").write_text('[project]\nrequires-python = ">=3.99"\n')
        with pytest.raises(BuildError, match="requires-python"):
            environment.plan(code, Build())
        (code / ".python-version").write_text("3.98\n")
        with pytest.raises(BuildError, match=r"Python 3\.98 is not .*\.python-version"):
            environment.plan(code, Build())
        with pytest.raises(BuildError, match=r"3\.97 .*`python` in \[build\]"):
            environment.plan(code, Build(python="3.97"))
        assert environment.plan(code, Build(python=THIS)).python_version == THIS

    def test_a_missing_python_is_told_with_those_that_are_there(self, code: Path) -> None:
        (code / "requirements.txt").write_text("")
        with pytest.raises(BuildError) as raised:
            environment.plan(code, Build(python=">=3.99"))
        assert THIS in raised.value.message

    def test_another_patch_release_serves_a_pinned_version(self, code: Path) -> None:
        (code / "requirements.txt").write_text("")
        minor = ".".join(THIS.split(".")[:2])
        (code / ".python-version").write_text(f"{minor}.199\n")
        assert environment.plan(code, Build()).python_version.startswith(minor)

    def test_the_engines_own_environment_is_not_the_apps_python(
        self, code: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (code / "requirements.txt").write_text("")
        before = environment.plan(code, Build(python=THIS))
        monkeypatch.setenv("PATH", f"{sys.prefix}/bin:{os.environ['PATH']}")
        monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
        assert environment.plan(code, Build(python=THIS)) == before
        assert not before.python.is_relative_to(sys.prefix) or sys.prefix == sys.base_prefix


class TestKey:
    def key(self, code: Path, build: Build | None = None) -> str:
        return environment.plan(code, build or Build()).key

    def test_code_alone_changes_nothing(self, code: Path, tmp_path: Path) -> None:
        (code / "requirements.txt").write_text("alpha==1\n")
        other = tmp_path / "other"
        other.mkdir()
        (other / "requirements.txt").write_text("alpha==1\n")
        (other / "main.py").write_text("")
        assert self.key(code) == self.key(other)

    def test_requirements_count_with_all_that_they_refer_to(self, code: Path) -> None:
        (code / "requirements.txt").write_text("-r more.txt\n-c limits.txt\n")
        (code / "more.txt").write_text("alpha\n")
        (code / "limits.txt").write_text("alpha<2\n")
        first = self.key(code)
        (code / "limits.txt").write_text("alpha<3\n")
        second = self.key(code)
        (code / "more.txt").write_text("beta\n")
        assert len({first, second, self.key(code)}) == 3

    def test_extras_groups_and_kind_count(self, code: Path) -> None:
        (code / "requirements.txt").write_text("alpha\n")
        (code / "pyproject.toml").write_text("[project]\nname = 'own'\nversion = '1'\n")
        keys = {
            self.key(code),
            self.key(code, Build(extras=["x"])),
            self.key(code, Build(groups=["x"])),
            self.key(code, Build(dependencies="pyproject.toml")),
            self.key(code, Build(dependencies="none")),
        }
        assert len(keys) == 5

    def test_a_new_version_of_the_app_itself_shares_the_environment(self, code: Path) -> None:
        project = "[project]\nname = 'own'\nversion = '{}'\ndependencies = ['alpha']\n"
        (code / "pyproject.toml").write_text(project.format(1))
        first = self.key(code)
        (code / "pyproject.toml").write_text(project.format(2))
        assert self.key(code) == first

    @pytest.mark.parametrize(
        "line",
        ["-e .", ".", "./lib", "own @ file:lib", "lib/x", "-f wheels", "--find-links=wheels"],
    )
    def test_what_refers_to_the_release_belongs_to_it_alone(
        self, code: Path, tmp_path: Path, line: str
    ) -> None:
        keys = set()
        for folder in (code, tmp_path / "other"):
            (folder / "lib/x").mkdir(parents=True)
            (folder / "requirements.txt").write_text(f"alpha\n{line}\n")
            keys.add(self.key(folder))
        assert len(keys) == 2

    @pytest.mark.parametrize("line", ["-e git+https://example.org/x", "a @ https://example.org/a"])
    def test_what_lies_elsewhere_is_shared(self, code: Path, tmp_path: Path, line: str) -> None:
        (tmp_path / "other").mkdir()
        for folder in (code, tmp_path / "other"):
            (folder / "requirements.txt").write_text(f"{line}\n")
        assert self.key(code) == self.key(tmp_path / "other")

    def test_a_reference_out_of_the_release_is_refused(self, code: Path) -> None:
        (code / "requirements.txt").write_text("-r ../../secret.txt\n")
        with pytest.raises(BuildError, match="outside of it"):
            self.key(code)


class TestDependencies:
    def test_a_release_that_says_none_is_refused_in_one_sentence(self, code: Path) -> None:
        (code / "pyproject.toml").write_text("[tool.ruff]\n")
        with pytest.raises(
            BuildError, match=r"no uv\.lock, pylock\.toml, requirements\.txt or"
        ) as e:
            environment.plan(code, Build())
        assert 'dependencies = "none"' in e.value.next_step

    def test_none_is_a_bare_environment(self, code: Path, home: Home) -> None:
        folder = built(code, home, Build(dependencies="none"))
        assert says(folder, "print('runs')") == "runs"

    def test_a_named_file_that_is_missing_is_refused(self, code: Path) -> None:
        with pytest.raises(BuildError, match=r"no requirements/prod\.txt"):
            environment.plan(code, Build(dependencies="requirements/prod.txt"))

    def test_damaged_toml_is_told(self, code: Path) -> None:
        (code / "uv.lock").write_text("[[[")
        with pytest.raises(BuildError, match=r"uv\.lock cannot be read"):
            environment.plan(code, Build())


class TestBuild:
    def test_requirements_are_installed_with_what_they_need_and_compiled(
        self, code: Path, home: Home, index: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        wheels.make(index, "alpha", "1.0", requires="beta")
        wheels.make(index, "beta", "2.0")
        (code / "requirements.txt").write_text("alpha\n")
        folder = built(code, home)
        assert folder.parent == home.environments
        assert says(folder, "import alpha, beta; print(alpha.version, beta.version)") == "1.0 2.0"
        (module,) = folder.glob("lib/python*/site-packages/alpha.py")
        assert module.stat().st_nlink == 1
        assert list(module.parent.glob("__pycache__/alpha.*.pyc"))
        assert environment.is_whole(home.environments, folder.name)

    def test_the_same_key_runs_nothing_at_all(
        self, code: Path, home: Home, index: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wheels.make(index, "alpha", "1.0")
        (code / "requirements.txt").write_text("alpha\n")
        plan = environment.plan(code, Build())
        folder = environment.build(plan, home.environments, silent)
        before = (folder / "environment.json").stat()
        monkeypatch.setenv("PATH", "")
        (index / "alpha-1.0-py3-none-any.whl").unlink()
        assert environment.build(plan, home.environments, silent) == folder
        assert (folder / "environment.json").stat() == before

    def test_an_unfinished_environment_is_built_anew(
        self, code: Path, home: Home, index: Path
    ) -> None:
        wheels.make(index, "alpha", "1.0")
        (code / "requirements.txt").write_text("alpha\n")
        plan = environment.plan(code, Build())
        left = home.environments / plan.key / "bin"
        left.mkdir(parents=True)
        (left / "rubbish").write_text("")
        assert not environment.is_whole(home.environments, plan.key)
        folder = environment.build(plan, home.environments, silent)
        assert says(folder, "import alpha") == ""
        assert not (folder / "bin/rubbish").exists()

    @pytest.mark.parametrize("was_killed", [True, False])
    def test_what_a_power_cut_may_have_left_in_the_cache_is_not_installed(
        self,
        code: Path,
        home: Home,
        index: Path,
        monkeypatch: pytest.MonkeyPatch,
        was_killed: bool,
    ) -> None:
        for name in ("HOME", "XDG_CACHE_HOME", "UV_CACHE_DIR"):
            monkeypatch.delenv(name, raising=False)
        wheels.make(index, "alpha", "1.0")
        (code / "requirements.txt").write_text("alpha\n")
        built(code, home)
        (cached,) = (home.environments / ".cache").glob("archive-v0/*/alpha.py")
        cached.write_text("")  # as of a file that was not flushed
        if was_killed:  # before the cache had lasted
            (home.environments / ".cache.unflushed").touch()
        (code / "requirements.txt").write_text("alpha  # once more\n")
        folder = built(code, home)
        (module,) = folder.glob("lib/python*/site-packages/alpha.py")
        assert bool(module.read_text()) == was_killed
        assert not (home.environments / ".cache.unflushed").exists()

    def test_a_package_that_is_not_there_is_told_and_leaves_nothing(
        self, code: Path, home: Home
    ) -> None:
        (code / "requirements.txt").write_text("nosuchthing==1\n")
        with pytest.raises(BuildError, match="nosuchthing") as raised:
            built(code, home)
        assert "nosuchthing" in raised.value.output
        assert not [path for path in home.environments.iterdir() if path.is_dir()]

    def test_a_wheel_with_another_hash_is_refused(
        self, code: Path, home: Home, index: Path
    ) -> None:
        digest = wheels.make(index, "alpha", "1.0")
        (code / "requirements.txt").write_text(f"alpha==1.0 --hash=sha256:{digest}\n")
        built(code, home)
        (code / "requirements.txt").write_text(f"alpha==1.0 --hash=sha256:{'0' * 64}\n")
        with pytest.raises(BuildError, match=r"(?i)hash"):
            built(code, home)

    def test_one_hash_means_that_all_must_have_one(
        self, code: Path, home: Home, index: Path
    ) -> None:
        digest = wheels.make(index, "alpha", "1.0", requires="beta")
        wheels.make(index, "beta", "2.0")
        (code / "requirements.txt").write_text(f"alpha==1.0 --hash=sha256:{digest}\n")
        with pytest.raises(BuildError, match="beta"):
            built(code, home)

    def test_a_uv_lock_is_installed_as_it_is(self, code: Path, home: Home, index: Path) -> None:
        wheels.make(index, "alpha", "1.0")
        wheels.make(index, "devtool", "1.0")
        wheels.make(index, "extra", "1.0")
        (code / "pyproject.toml").write_text(
            "[project]\nname = 'own'\nversion = '1'\nrequires-python = '>=3.11'\n"
            "dependencies = ['alpha']\n[project.optional-dependencies]\nmore = ['extra']\n"
            "[dependency-groups]\ndev = ['devtool']\n"
        )
        variables = {"UV_FIND_LINKS": str(index), "UV_NO_INDEX": "1", "UV_OFFLINE": "1"}
        subprocess.run(
            [find_uv_bin(), "lock"], cwd=code, env=os.environ | variables, check=True,
            capture_output=True,
        )  # fmt: skip
        wheels.make(index, "alpha", "2.0")
        folder = built(code, home)
        assert says(folder, "import alpha; print(alpha.version)") == "1.0"
        installed = {path.name for path in folder.glob("lib/python*/site-packages/*.py")}
        assert {"alpha.py"} <= installed
        assert not {"devtool.py", "extra.py"} & installed
        folder = built(code, home, Build(extras=["more"], groups=["dev"]))
        assert says(folder, "import devtool, extra") == ""
        assert not (code / ".venv").exists()

    def test_a_pylock_is_installed(self, code: Path, home: Home, index: Path) -> None:
        digest = wheels.make(index, "alpha", "1.0")
        wheel = index / "alpha-1.0-py3-none-any.whl"
        (code / "pylock.toml").write_text(
            "lock-version = '1.0'\ncreated-by = 'test'\n[[packages]]\nname = 'alpha'\n"
            f"version = '1.0'\nwheels = [{{ name = '{wheel.name}', url = '{wheel.as_uri()}', "
            f"hashes = {{ sha256 = '{digest}' }} }}]\n"
        )
        assert says(built(code, home), "import alpha; print(alpha.version)") == "1.0"

    def test_a_project_without_lock_gets_its_dependencies_extras_and_groups(
        self, code: Path, home: Home, index: Path
    ) -> None:
        for name in ("alpha", "extra", "grouped"):
            wheels.make(index, name, "1.0")
        (code / "pyproject.toml").write_text(
            "[project]\nname = 'own'\nversion = '1'\ndependencies = ['alpha']\n"
            "[project.optional-dependencies]\nmore = ['extra']\n"
            "[dependency-groups]\nweb = ['grouped']\n"
        )
        folder = built(code, home, Build(extras=["more"], groups=["web"]))
        assert says(folder, "import alpha, extra, grouped") == ""

    def test_a_packaged_project_is_installed_from_its_release(
        self, code: Path, home: Home, index: Path
    ) -> None:
        wheels.make(index, "alpha", "1.0")
        (code / "src").mkdir()
        (code / "src/own.py").write_text("def main(): print(__file__)\n")
        (code / "backend.py").write_text(BACKEND)
        (code / "pyproject.toml").write_text(
            "[project]\nname = 'own'\nversion = '1.0'\ndependencies = ['alpha']\n"
            "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
        )
        folder = built(code, home)
        said = subprocess.run([folder / "bin/own"], capture_output=True, text=True, check=True)
        assert said.stdout.strip() == str(code / "src/own.py")
        assert built(code, home) == folder

    def test_a_build_that_takes_too_long_is_ended(
        self, code: Path, home: Home, tmp_path: Path
    ) -> None:
        (code / "backend.py").write_text(
            f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
            "time.sleep(300)\n"
        )
        (code / "pyproject.toml").write_text(
            "[project]\nname = 'own'\nversion = '1.0'\n"
            "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
        )
        with pytest.raises(BuildError, match="did not end within 3 seconds"):
            built(code, home, Build(timeout_s=3))
        assert not [path for path in home.environments.iterdir() if path.is_dir()]
        if (tmp_path / "pid").exists():
            assert programs.ends(int((tmp_path / "pid").read_text()))

    def test_a_vanished_python_makes_an_environment_worthless(self, code: Path, home: Home) -> None:
        folder = built(code, home, Build(dependencies="none"))
        (folder / "bin/python").unlink()
        assert not environment.is_whole(home.environments, folder.name)
