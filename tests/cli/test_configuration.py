"""Which service is meant: flags before the environment, and that before the configuration file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs
import pytest

from openai_batches.cli.errors import CommandError
from openai_batches.cli.options import service as service_options
from openai_batches.cli.options.service import Service, connected, local_data, provider_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.finished import Finished

    from openai_batches import BatchSession
    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]

FILE = """
profile = "usual"
[profiles.usual]
base_url = "https://usual.test/v1"
api_key_env = "USUAL_KEY"
[profiles.groq]
provider = "groq"
organization = "org-1"
project = "proj-1"
timeout_s = 7.5
api_key_file = "~/groq.key"
[profiles.bare]
base_url = "https://bare.test/v1"
"""


@pytest.fixture
def file(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The usual configuration file, and what it speaks of."""
    path = home / ".config" / "openai-batches.toml"
    path.parent.mkdir()
    path.write_text(FILE, "utf-8")
    (home / "groq.key").write_text("sk-test-from-file\n", "utf-8")
    monkeypatch.setenv("USUAL_KEY", "sk-test-usual")
    monkeypatch.setenv("OTHER_KEY", "sk-test-other")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-openai")
    return path


@pytest.fixture
def meant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """With what a session would be made, given the options of a command."""

    async def ask(**options: Any) -> dict[str, Any]:
        given: dict[str, Any] = {}

        class Session:
            def __init__(self, key: str, **rest: Any) -> None:
                given.update(rest, key=key)

            async def __aenter__(self) -> Self:
                return self

            async def __aexit__(self, *_: object) -> None:
                pass

        monkeypatch.setattr("openai_batches.BatchSession", Session)
        async with connected(Service(**options)):
            return given

    return ask


class TestPrecedence:
    async def test_flags_then_environment_then_file(
        self, file: Path, meant: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The nearest word counts, for the address and for the key."""
        given = await meant()
        assert (given["base_url"], given["key"]) == ("https://usual.test/v1", "sk-test-usual")
        monkeypatch.setenv("OPENAI_BASE_URL", "https://environment.test/v1")
        given = await meant()
        assert given["base_url"] is None  # the session reads the environment itself
        given = await meant(base_url="https://flag.test/v1", api_key_env="OTHER_KEY")
        assert (given["base_url"], given["key"]) == ("https://flag.test/v1", "sk-test-other")

    @pytest.mark.parametrize("named_by", ["flag", "variable"])
    def test_a_profile_that_was_named_beats_the_environment(
        self, file: Path, cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch, named_by: str
    ) -> None:
        """Who names a profile means its address, whatever the environment holds."""
        file.write_text(
            f'[profiles.here]\nbase_url = "{service.base_url}"\n[profiles.away]\nbase_url = "http://127.0.0.1:1/v1"\n',
            "utf-8",
        )
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
        if named_by == "flag":
            done = cli("cancel", "batch_1", "--profile", "here")
        else:
            monkeypatch.setenv("OPENAI_BATCHES_PROFILE", "here")
            done = cli("cancel", "batch_1")
        assert "No batch found" in done.err

    async def test_a_profile_is_all_of_a_service(self, file: Path, meant: Any) -> None:
        """Provider, key file, organization, project and timeout."""
        given = await meant(profile="groq")
        assert given["key"] == "sk-test-from-file"
        assert given["provider"].name == "Groq"
        assert (given["organization"], given["project"], given["timeout"]) == ("org-1", "proj-1", 7.5)

    async def test_a_key_file_of_the_files_own_choice_gives_way_to_the_environment(
        self, file: Path, meant: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As an address does; without the variable it is read."""
        file.write_text(FILE.replace('"usual"', '"groq"', 1), "utf-8")  # noqa: ASYNC240
        assert (await meant())["key"] == "sk-test-from-file"
        monkeypatch.setenv("GROQ_API_KEY", "sk-test-groq")
        assert (await meant())["key"] == "sk-test-groq"

    async def test_a_key_goes_to_its_own_address_alone(
        self, file: Path, meant: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A profile's address gets the profile's key, whatever key the environment holds for another service."""
        file.write_text(  # noqa: ASYNC240
            'profile = "ours"\n[profiles.ours]\nbase_url = "https://ours.test/v1"\napi_key_file = "~/groq.key"\n',
            "utf-8",
        )
        given = await meant()
        assert (given["base_url"], given["key"]) == ("https://ours.test/v1", "sk-test-from-file")
        monkeypatch.setenv("OPENAI_BASE_URL", "https://environment.test/v1")
        given = await meant()
        assert (given["base_url"], given["key"]) == (None, "sk-test-openai")
        file.write_text(FILE, "utf-8")  # noqa: ASYNC240
        given = await meant()
        assert (given["base_url"], given["key"]) == (None, "sk-test-openai")
        assert (await meant(profile="usual"))["key"] == "sk-test-usual"

    def test_a_key_in_the_place_of_a_variable_is_not_shown(self, cli: Cli) -> None:
        """Who writes --api-key-env $OPENAI_API_KEY is told what it takes, and the key is on no screen."""
        done = cli("cancel", "x", "--api-key-env", "sk-test-secret")
        assert done.code == 2
        assert (
            "environment variable\nadvice: Put the key in a variable such as OPENAI_API_KEY and name that: " in done.err
        )
        assert "sk-test" not in done.err

    async def test_a_profile_without_a_key_takes_the_services_usual_variable(self, file: Path, meant: Any) -> None:
        """It need not be said where a key is that is in its usual place; and capitals do not matter."""
        assert (await meant(profile="bare"))["key"] == "sk-test-openai"
        assert provider_of(Service(provider="GROQ", profile="bare")).name == "Groq"

    async def test_a_service_without_a_usual_variable(self, meant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """The advice names the flag."""
        monkeypatch.setattr(
            service_options, "_provider", lambda *_: attrs.evolve(_openai(), api_key_env="", name="Mine")
        )
        with pytest.raises(CommandError, match="There is no key for Mine") as caught:
            await meant()
        assert "--api-key-env" in caught.value.advice

    def test_the_folder_of_local(self, file: Path) -> None:
        """A flag, then the file, then the usual name."""
        assert local_data(Service(local=True, local_data=Path("~/x"))) == Path("~/x").expanduser()
        assert local_data(Service()) == Path("openai-batches-local")
        file.write_text('local_data = "~/emulated"', "utf-8")
        assert local_data(Service()) == Path("~/emulated").expanduser()


def _openai() -> Any:
    import openai_batches

    return openai_batches.OPENAI


class TestPlaces:
    def test_xdg(self, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The file is where other programs keep theirs; without the variable, in ~/.config."""
        elsewhere = tmp_path / "xdg"
        elsewhere.mkdir()
        (elsewhere / "openai-batches.toml").write_text('profile = "gone"', "utf-8")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(elsewhere))
        assert f"There is no profile 'gone' in {elsewhere}" in cli("cancel", "x").err
        monkeypatch.delenv("XDG_CONFIG_HOME")
        assert "There is no key for OpenAI" in cli("cancel", "x").err

    def test_named_by_flag_or_variable(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that was named has to be there, and the flag goes first."""
        Path("a.toml").write_text('profile = "in-a"', "utf-8")
        Path("b.toml").write_text('profile = "in-b"', "utf-8")
        monkeypatch.setenv("OPENAI_BATCHES_CONFIG", "a.toml")
        assert "'in-a'" in cli("cancel", "x").err
        assert "'in-b'" in cli("cancel", "x", "--config", "b.toml").err
        monkeypatch.setenv("OPENAI_BATCHES_CONFIG", "gone.toml")
        done = cli("cancel", "x")
        assert done.code == 2
        assert "There is no configuration file gone.toml" in done.err

    def test_no_file_at_all(self, cli: Cli) -> None:
        """A profile cannot be meant then, which is said."""
        assert (
            "There is no profile 'work', as there is no configuration file" in cli("cancel", "x", "--profile=work").err
        )


class TestFilesThatCannotBeUsed:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"profile = ", "is not TOML"),
            (b"[profiles.work\n", "is not TOML"),
            (b"profile = \xff", "is not UTF-8"),
            (b"profile = 5", "profile must be text in quotes"),
            (b"[profiles.home]\n[profiles.work]\ntimeout_s = 'long'", "profiles.work.timeout_s must be a number"),
            (b"[profiles.work]\nbase_ulr = 'x'", "profiles.work.base_ulr is not known: did you mean base_url?"),
            (b"[profiles.work]\ntimeout_s = 0", "profiles.work.timeout_s must be a number above 0"),
            (b"[profiles.work]\ntimeout_s = -1.5", "profiles.work.timeout_s must be a number above 0"),
            (b"[profiles.work]\ntimeout_s = nan", "profiles.work.timeout_s must be a number above 0"),
            (b"[profiles.work]\ntimeout_s = inf", "profiles.work.timeout_s must be a number above 0 and below inf"),
            (b"[profiles.work]\nconfirm_above_usd = -1", "work.confirm_above_usd must be a number, 0 or above"),
            (b"[profiles.work]\napi_key_env = 'A'\napi_key_file = 'b'", "profiles.work has both api_key_env and api_"),
            (b"colour = 'x'", "colour is not known\nadvice: Known names are profile, local_data, profiles"),
            (b"[profiles]\nwork = 3", "profiles.work must be a table of its own, [profiles.work]"),
            (b"profiles = 3", "profiles must be tables, such as [profiles.work]"),
            (b"profile = 'work'\n[profiles.home]", "There is no profile 'work' in"),
        ],
    )
    def test_what_is_wrong_is_named(self, file: Path, cli: Cli, content: bytes, message: str) -> None:
        """The file and the line or the field, in two lines, with exit code 2."""
        file.write_bytes(content)
        done = cli("cancel", "x")
        assert (done.code, done.out) == (2, "")
        first, second = done.err.splitlines()
        assert str(file) in first
        assert message in done.err
        assert second.startswith("advice: ")

    @pytest.mark.parametrize("place", ["api_key = 'sk-test-secret'", "[profiles.work]\napi_key = 'sk-test-secret'"])
    def test_a_key_in_it_is_refused_and_not_shown(self, file: Path, cli: Cli, place: str) -> None:
        """Configuration files are shared and backed up; the advice says where keys belong."""
        file.write_text(place, "utf-8")
        done = cli("cancel", "x", "--debug")
        assert done.code == 2
        assert "holds an api_key, and keys must not be in this file" in done.err
        assert "api_key_env" in done.err
        assert "sk-test" not in done.err

    def test_one_written_by_an_editor_on_windows(self, file: Path, cli: Cli) -> None:
        """A byte order mark is nobody's mistake."""
        file.write_bytes(b"\xef\xbb\xbfprofile = 'gone'")
        assert "There is no profile 'gone'" in cli("cancel", "x").err

    def test_a_folder_in_its_place(self, file: Path, cli: Cli) -> None:
        """What is no file is not read: as if there were none, unless it was named."""
        file.unlink()
        file.mkdir()
        done = cli("cancel", "x", "--config", file)
        assert done.code == 2
        assert f"{file} is a folder, not a configuration file" in done.err

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
    def test_one_that_may_not_be_read(self, file: Path, cli: Cli) -> None:  # pragma: no cover
        """The reason is the system's own."""
        file.chmod(0)
        assert "cannot be read: Permission denied" in cli("cancel", "x").err

    def test_one_that_cannot_be_read(self, file: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """The reason is the system's own."""

        def read_text(*_: object) -> str:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "read_text", read_text)
        done = cli("cancel", "x")
        assert done.code == 2
        assert f"{file} cannot be read: Permission denied" in done.err


class TestKeyFiles:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "No such file or directory"),
            (b"\xff\xfe", "it is not UTF-8"),
            (b"", "must hold a key and nothing else"),
            (b"sk-test-a sk-test-b", "must hold a key and nothing else"),
        ],
    )
    def test_what_is_no_key_file(self, file: Path, home: Path, cli: Cli, content: bytes | None, message: str) -> None:
        """The file is named, what is in it is not shown."""
        (home / "groq.key").unlink()
        if content is not None:
            (home / "groq.key").write_bytes(content)
        done = cli("cancel", "x", "--profile", "groq")
        assert done.code == 2
        assert str(home / "groq.key") in done.err
        assert message in done.err
        assert "sk-test" not in done.err


async def test_a_session_is_made(service: BackgroundServer) -> None:
    """What is given is what a session takes."""
    session: BatchSession
    async with connected(Service()) as session:
        assert (await session.batches.list()).data == ()
