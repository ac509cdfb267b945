"""What `surefoot.toml`, `.env` and the environment may say, and how a mistake is answered."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from surefoot import config
from surefoot.errors import ConfigurationError, ExitCode

GOOD = """
[app]
command = "uvicorn main:app --port 8123"
[source]
git = "https://example.org/me/app.git"
"""


def refusal(text: str, overrides: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        config.parse(text, overrides)
    assert caught.value.exit_code is ExitCode.CONFIGURATION
    return str(caught.value)


def test_two_settings_are_enough_and_the_rest_has_defaults() -> None:
    loaded = config.parse(GOOD)

    assert loaded.app.commands() == {"app": "uvicorn main:app --port 8123"}
    assert loaded.keep.paths == ["data", "logs", "temp", "sessions", ".env"]
    assert loaded.update.auto is False
    assert loaded.database == {}


def test_a_misspelt_key_is_named_with_its_line_and_the_right_one() -> None:
    said = refusal(GOOD + "[health]\npath = '/health'\ndeadlin = 3\n")

    assert "surefoot.toml, line 8: `deadlin` is not a key of [health]." in said
    assert "Did you mean `deadline`?" in said


def test_a_misspelt_section_is_named_with_its_line_and_the_right_one() -> None:
    said = refusal(GOOD + "[helth]\npath = '/health'\n")

    assert "surefoot.toml, line 6: `helth` is not a key of the file." in said
    assert "Did you mean `health`?" in said


def test_a_rehearsal_can_be_switched_off() -> None:
    assert config.parse(GOOD + "[update]\nrehearse = 0\n", {}).update.rehearse_s == 0


def test_a_key_like_none_is_answered_with_those_that_there_are() -> None:
    assert "Known here: auto, interval, " in refusal(GOOD + "[update]\nzzz = 1\n")


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("[database]\nurl = 'sqlite:///a.db'\nmigrat = 'none'", 8),
        ("[database.users]\nurl = 'sqlite:///a.db'\nmigrat = 'none'", 8),
    ],
)
def test_a_misspelt_key_of_a_database_has_its_line(section: str, line: int) -> None:
    said = refusal(GOOD + section)

    assert f"line {line}: `migrat` is not a key of [database]" in said
    assert "Did you mean `migrate`?" in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[keep]\nreleases = 'three'",
            "line 7: `keep.releases`: expected a whole number, not text",
        ),
        ("[update]\nauto = 'yes'", "line 7: `update.auto`: expected true or false, not text"),
        ("[keep]\npaths = 'data'", "line 7: `keep.paths`: expected a list"),
        ("[keep]\npaths = ['data', 3]", "line 7: `keep.paths`: expected text in quotes"),
        ("[health]\nwindow = 'x'", "line 7: `health.window`: expected a number, not text"),
        ("update = 3", "`update`: expected a table"),
        ("[database]\nmigrate = 'none'", "line 6: [database] needs `url`"),
        ("[database.a]\nmigrate = 'none'", "line 6: [database] needs `url`"),
    ],
)
def test_a_value_of_the_wrong_kind_is_explained_in_words(text: str, expected: str) -> None:
    head = "" if text.startswith("[") else text + "\n"
    assert expected in refusal(head + GOOD + (text if not head else ""))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[source]\ngit = 'x'", "[app] needs either `command` or [app.processes]"),
        ("[app]\ncommand = 'x'", "[source] needs `git`"),
        (GOOD + "tags = 'v*'\nbranch = 'main'", "either a branch or tags"),
        (GOOD + "max_size = 0", "line 6: `max_size` is at least 1"),
        (GOOD + "[health]\npath = 'health'", 'For example: path = "/health".'),
        (GOOD + "[health]\nhttp = 'localhost/health'", "`http` is a whole address"),
        (GOOD + "[health]\nsuccesses = 0", "`successes` is at least 1"),
        (GOOD + "[health]\ndeadline = -1", "line 7: `deadline` is a number of seconds above 0"),
        (GOOD + "[health]\ndeadline = nan", "line 7: `deadline` is a number of seconds above 0"),
        (
            GOOD + "[update]\nrehearse = -1",
            "line 7: `rehearse` is a number of seconds of at least 0",
        ),
        (GOOD + "[update]\nmax_window = 0", "line 7: `max_window` is a number of seconds above 0"),
        (GOOD + "[database]\nurl = 'sqlite:///'", "is not a database that Surefoot can put back"),
        (
            GOOD + "[database]\nurl = 'sqlite+x:a.db'",
            "is not a database that Surefoot can put back",
        ),
        (GOOD + "[database]\nurl = 'mysql://x'", "is not a database that Surefoot can put back"),
        (GOOD + "[database]\nurl = 'sqlite:///a'\ntimeout = 0", "line 8: `timeout` is a number"),
        (GOOD + "[database.'a b']\nurl = 'sqlite:///a'", "`a b` cannot name a database"),
        (GOOD + "[keep]\npaths = ['../x']", "`../x` does not lie in the app's folder"),
        (GOOD + "[keep]\npaths = ['/x']", "`/x` does not lie in the app's folder"),
        (GOOD + "[keep]\nreleases = 1", "at least 2 releases are kept"),
        (GOOD + "[keep]\nbackups = 0", "at least one backup is kept"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, expected: str) -> None:
    assert expected in refusal(text)


@pytest.mark.parametrize(
    "address",
    [
        "8000",
        "localhost",
        "127.0.0.1:0",
        "a:70000",
        "unix:",
        "a b:1",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    text = GOOD.replace("[source]", f"listen = ['{address}']\n[source]")

    assert f"line 4: `{address}` is not an address" in refusal(text)


def test_at_most_four_addresses_are_held() -> None:
    addresses = [f"127.0.0.1:{port}" for port in range(8000, 8005)]

    assert "at most four" in refusal(GOOD.replace("[source]", f"listen = {addresses}\n[source]"))


def test_a_process_needs_a_name_that_can_be_a_file_and_a_command() -> None:
    text = GOOD.replace("command = ", "processes.'a/b' = ")
    assert "`a/b` cannot name a process" in refusal(text)
    empty = GOOD.replace('command = "uvicorn main:app --port 8123"', "processes.web = ''")
    assert "`web` has no command" in refusal(empty)


def test_text_that_is_no_toml_is_refused_with_its_line() -> None:
    assert "is not TOML" in refusal("[app\n")
    assert "line 1" in refusal("[app\n")


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        ("listen = ['0.0.0.0:81']\ncommand = 'x'", "127.0.0.1:81"),
        ("listen = [':81']\ncommand = 'x'", "127.0.0.1:81"),
        ("listen = ['[::]:81']\ncommand = 'x'", "[::1]:81"),
        ("listen = ['unix:/run/a', '10.0.0.1:81']\ncommand = 'x'", "10.0.0.1:81"),
        ("command = 'uvicorn a:b'", "127.0.0.1:8000"),
        ("command = 'uvicorn a:b --host :: --port 82'", "[::1]:82"),
        ("command = 'uvicorn a:b --host 0.0.0.0 --port=82'", "127.0.0.1:82"),
        ("command = 'gunicorn a:b -b 0.0.0.0:83'", "127.0.0.1:83"),
        ("command = 'gunicorn a:b --bind=:83'", "127.0.0.1:83"),
        ("processes = {bot = 'python bot.py', web = 'flask run -p 84'}", "127.0.0.1:84"),
    ],
)
def test_the_address_is_one_that_can_be_asked(app: str, expected: str) -> None:
    loaded = config.parse(f"[app]\n{app}\n[source]\ngit = 'x'\n")

    assert loaded.address() == expected


def test_an_app_without_a_port_has_no_address_and_so_no_health_path() -> None:
    text = GOOD.replace("uvicorn main:app --port 8123", "python bot.py")

    assert config.parse(text).address() is None
    assert "the port that the app answers on is not known" in refusal(text + "[health]\npath='/h'")


def test_the_published_settings_override_the_file() -> None:
    loaded = config.parse(
        GOOD,
        {
            "AUTO_UPDATE_ENABLED": "Yes",
            "UPDATE_CHECK_INTERVAL": "60",
            "UPDATE_REMOTE_URL": "https://example.org/fork.git",
            "UPDATE_BRANCH": "stable",
        },
    )

    assert (loaded.update.auto, loaded.update.interval_s) == (True, 60)
    assert (loaded.source.git, loaded.source.branch) == ("https://example.org/fork.git", "stable")


def test_every_key_can_be_set_from_outside() -> None:
    loaded = config.parse(
        GOOD,
        {
            "SUREFOOT_HEALTH_SUCCESSES": "5",
            "SUREFOOT_HEALTH_WINDOW": "2.5",
            "SUREFOOT_HEALTH_STATUS": "200,204",
            "SUREFOOT_KEEP_PATHS": "data, uploads",
            "SUREFOOT_SOURCE_MAX_SIZE": "10",
            "SUREFOOT_HEALTH_NOTIFY": "on",
            "SUREFOOT_HOME": "/nowhere",
            "SUREFOOT_CHECK_INTERVAL": "3",
        },
    )

    assert (loaded.health.successes, loaded.health.window_s) == (5, 2.5)
    assert loaded.health.status == [200, 204]
    assert loaded.keep.paths == ["data", "uploads"]
    assert loaded.source.max_size_mb == 10
    assert loaded.health.notify is True


def test_an_empty_setting_is_as_if_it_were_not_there() -> None:
    assert config.parse(GOOD, {"UPDATE_BRANCH": "", "SUREFOOT_HEALTH_PATH": ""}).health.path is None


def test_a_branch_named_from_outside_takes_the_place_of_tags_in_the_file() -> None:
    loaded = config.parse(GOOD + "tags = 'v*'\n", {"UPDATE_BRANCH": "main"})

    assert (loaded.source.branch, loaded.source.tags) == ("main", None)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("UPDATE_CHECK_INTERVAL", "often", "UPDATE_CHECK_INTERVAL (in .env or the environment)"),
        ("UPDATE_CHECK_INTERVAL", "-1", "UPDATE_CHECK_INTERVAL (in .env or the environment)"),
        ("AUTO_UPDATE_ENABLED", "maybe", "expected true or false"),
        ("SUREFOOT_HEALTH_STATUS", "ok", "SUREFOOT_HEALTH_STATUS (in .env or the environment)"),
        ("SUREFOOT_HEALTH_PAHT", "/x", "Did you mean `SUREFOOT_HEALTH_PATH`?"),
        ("SUREFOOT_APP_ENVIRONMENT", "A=1", "Write [app.environment] in surefoot.toml."),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_by_its_name(
    name: str, value: str, expected: str
) -> None:
    assert expected in refusal(GOOD, {name: value})


def test_the_environment_wins_over_dotenv_and_dotenv_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "surefoot.toml").write_text(GOOD + "branch = 'file'\n[update]\ninterval = 1\n")
    (tmp_path / ".env").write_text(
        "UPDATE_BRANCH=dotenv\nUPDATE_CHECK_INTERVAL=2\nPASSWORD='a$b'\n"
    )

    loaded = config.load(tmp_path, {"UPDATE_BRANCH": "environment"})

    assert loaded.source.branch == "environment"
    assert loaded.update.interval_s == 2


def test_a_folder_without_the_file_is_answered_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Write one with `surefoot init`"):
        config.load(tmp_path, {})


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "surefoot.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigurationError, match="cannot be read"):
        config.load(tmp_path, {})


def test_the_file_of_a_database_is_relative_to_the_home_or_absolute(tmp_path: Path) -> None:
    relative = config.Database(url="sqlite:///data/app.db")
    absolute = config.Database(url=f"sqlite:///{tmp_path}/app.db")

    assert relative.path(Path("/home")) == Path("/home/data/app.db")
    assert absolute.path(Path("/home")) == tmp_path / "app.db"


def test_every_example_in_the_repository_loads() -> None:
    files = sorted(Path(__file__).parents[1].glob("examples/*/surefoot.toml"))
    assert files
    for file in files:
        config.parse(file.read_text(), name=str(file))


def test_the_reference_documents_every_key_with_its_default() -> None:
    reference = Path(__file__).parents[1].joinpath("docs/reference/configuration.md").read_text()
    for section in ("app", "source", "build", "health", "gate", "keep", "update"):
        assert f"## `[{section}]`" in reference
        for key in type(getattr(config.Config(), section)).__struct_encode_fields__:
            assert f"| `{key}` |" in reference.split(f"## `[{section}]`")[1].split("\n## ")[0], key
    for key in config.Database.__struct_encode_fields__:
        assert f"| `{key}` |" in reference.split("## `[database]`")[1].split("\n## ")[0]
    for setting in config.SETTINGS:
        assert f"`{setting}`" in reference


def test_every_example_of_the_reference_is_toml() -> None:
    reference = Path(__file__).parents[1].joinpath("docs/reference/configuration.md").read_text()
    for block in reference.split("```toml\n")[1:]:
        tomllib.loads(block.split("```")[0])


OVERLAP = """
[app]
command = "python -m surefoot.app.serve main:app"
listen = ["127.0.0.1:8000"]
overlap = true
[source]
git = "https://example.org/me/app.git"
[health]
path = "/health"
"""


def test_two_releases_may_live_for_a_moment_where_all_that_runs_can_serve_in_private() -> None:
    assert config.parse(OVERLAP).app.overlap


@pytest.mark.parametrize(
    ("is_said", "would_be", "problem"),
    [
        ('listen = ["127.0.0.1:8000"]', "", "addresses that outlive a release"),
        ("surefoot.app.serve main:app", "gunicorn main:app", "serve in private first"),
        ("serve main:app", "serve main:app --workers 2", "one process"),
        ('path = "/health"', 'http = "http://127.0.0.1:8000/health"', "at its private place"),
        ('path = "/health"', 'path = "/health"\ncommand = "true"', "at its private place"),
    ],
)
def test_an_app_that_must_not_run_twice_is_refused_its_overlap(
    is_said: str, would_be: str, problem: str
) -> None:
    assert problem in refusal(OVERLAP.replace(is_said, would_be))


def test_a_worker_beside_the_server_is_refused_its_overlap() -> None:
    command = 'command = "python -m surefoot.app.serve main:app"'
    processes = command.replace("command", "processes.web") + '\nprocesses.worker = "python w.py"'
    assert "one process" in refusal(OVERLAP.replace(command, processes))
