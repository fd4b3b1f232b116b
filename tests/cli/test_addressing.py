"""Whose key goes where: the nearest address counts, and a profile's key, organization and project go to its own."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from openai_batches import AZURE, GROQ, OPENAI
from openai_batches.cli.options.service import Service, confirm_above_usd, local_data, resolve_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from support.finished import Finished

    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]

OURS, ELSEWHERE = "https://ours.test/v1", "https://elsewhere.test/v1"
PROFILES = f"""
[profiles.ours]   # an address and a key
base_url = "{OURS}"
KEY
organization = "org-ours"
[profiles.keyed]   # a key alone
KEY
organization = "org-keyed"
[profiles.placed]   # an address alone
base_url = "{OURS}"
organization = "org-placed"
[profiles.plain]   # neither
organization = "org-plain"
[profiles.azure]   # a service that is where the environment says it is
provider = "azure"
KEY
"""
KEY, URL, ORG = {"OPENAI_API_KEY": "sk-test"}, {"OPENAI_BASE_URL": ELSEWHERE}, {"OPENAI_ORG_ID": "org-env"}
SAME = {"OPENAI_BASE_URL": f"{OURS}/ "}
AZURE_URL = {"AZURE_OPENAI_ENDPOINT": "https://mine.test"}
THERE, HERE, OTHER = {"base_url": ELSEWHERE}, {"base_url": f"{OURS}/"}, {"api_key_env": "OTHER"}
# Where a key is from.
PROFILES_OWN, USUAL = "the profile", "OPENAI_API_KEY"


class Row(NamedTuple):
    """What is given, and what comes of it: the address, where the key is from, and the organization."""

    profile: str
    flags: Mapping[str, str]
    environment: Mapping[str, str]
    expected: tuple[str | None, str, str | None]


CHOSEN = (
    Row("ours", {}, {}, (OURS, PROFILES_OWN, "org-ours")),
    Row("ours", {}, KEY | ORG, (OURS, PROFILES_OWN, "org-ours")),
    Row("ours", {}, URL, (None, USUAL, None)),
    Row("ours", {}, URL | KEY, (None, USUAL, None)),
    Row("ours", {}, SAME, (None, PROFILES_OWN, "org-ours")),
    Row("ours", {}, SAME | KEY, (None, USUAL, None)),
    Row("ours", {}, {"OPENAI_BASE_URL": " ", "OPENAI_API_KEY": " "}, (OURS, PROFILES_OWN, "org-ours")),
    Row("ours", THERE, {}, (ELSEWHERE, USUAL, None)),
    Row("ours", THERE, KEY, (ELSEWHERE, USUAL, None)),
    Row("ours", HERE, URL | KEY, (f"{OURS}/", PROFILES_OWN, "org-ours")),
    Row("ours", OTHER, KEY, (OURS, "OTHER", None)),
    Row("ours", THERE | OTHER, KEY, (ELSEWHERE, "OTHER", None)),
    # An address without a provider leaves open what is there.
    Row("ours", {"provider": "groq"}, {}, (OURS, PROFILES_OWN, "org-ours")),
    Row("keyed", {}, {}, (None, PROFILES_OWN, "org-keyed")),
    Row("keyed", {}, KEY, (None, USUAL, None)),
    Row("keyed", {}, URL, (None, USUAL, None)),
    Row("keyed", {}, URL | KEY, (None, USUAL, None)),
    Row("keyed", THERE, {}, (ELSEWHERE, USUAL, None)),
    Row("keyed", THERE, KEY, (ELSEWHERE, USUAL, None)),
    Row("keyed", {"base_url": OPENAI.base_url}, {}, (OPENAI.base_url, PROFILES_OWN, "org-keyed")),
    Row("keyed", OTHER, {}, (None, "OTHER", None)),
    Row("keyed", {"provider": "groq"}, {}, (None, "GROQ_API_KEY", None)),
    Row("keyed", {"provider": "OpenAI"}, {}, (None, PROFILES_OWN, "org-keyed")),
    Row("placed", {}, KEY | ORG, (OURS, USUAL, "org-placed")),
    Row("placed", {}, KEY | URL, (None, USUAL, None)),
    Row("placed", THERE, KEY, (ELSEWHERE, USUAL, None)),
    Row("placed", OTHER, KEY, (OURS, "OTHER", "org-placed")),
    Row("plain", {}, KEY, (None, USUAL, "org-plain")),
    Row("plain", {}, KEY | ORG, (None, USUAL, None)),
    Row("plain", {}, KEY | URL, (None, USUAL, None)),
    Row("plain", THERE, KEY, (ELSEWHERE, USUAL, None)),
    Row("azure", {}, AZURE_URL, (None, PROFILES_OWN, None)),
    Row("azure", THERE, AZURE_URL, (ELSEWHERE, "AZURE_OPENAI_API_KEY", None)),
)
NAMED = (
    Row("ours", {}, URL | KEY | ORG, (OURS, PROFILES_OWN, "org-ours")),
    Row("ours", THERE, KEY, (ELSEWHERE, PROFILES_OWN, "org-ours")),
    Row("ours", OTHER, KEY, (OURS, "OTHER", "org-ours")),
    Row("ours", THERE | OTHER, KEY, (ELSEWHERE, "OTHER", "org-ours")),
    Row("keyed", {}, URL | KEY, (None, PROFILES_OWN, "org-keyed")),
    Row("keyed", THERE, KEY, (ELSEWHERE, PROFILES_OWN, "org-keyed")),
    Row("placed", {}, URL | KEY, (OURS, USUAL, "org-placed")),
    Row("placed", THERE, URL | KEY, (ELSEWHERE, USUAL, "org-placed")),
    Row("plain", {}, KEY | ORG, (None, USUAL, "org-plain")),
)


@pytest.mark.parametrize("field", ["api_key_env", "api_key_file"])
@pytest.mark.parametrize("way", ["chosen", "flag", "variable"])
def test_whose_key_goes_where(monkeypatch: pytest.MonkeyPatch, way: str, field: str) -> None:
    """What a flag or a variable names is as good as flags; the file's own choice gives way to the environment.

    Whether the profile names a variable or a file makes no difference.
    """
    text = PROFILES.replace("KEY", f'{field} = "OURS"')
    for row in CHOSEN if way == "chosen" else NAMED:
        with monkeypatch.context() as patch:
            for name, value in row.environment.items():
                patch.setenv(name, value)
            if way == "variable":
                patch.setenv("OPENAI_BATCHES_PROFILE", row.profile)
            Path("c.toml").write_text((f'profile = "{row.profile}"' if way == "chosen" else "") + text, "utf-8")
            flags = {**row.flags, "profile": row.profile} if way == "flag" else row.flags
            service = Service(config=Path("c.toml"), **flags)  # type: ignore[arg-type]
            _, profile = service.configured()
            known = {"groq": GROQ, "azure": AZURE}
            found = resolve_service(
                service.flags(), profile, known.get(flags.get("provider") or profile.provider or "", OPENAI)
            )
        assert (found.api_key_env is None) != (found.api_key_file is None)
        source = found.api_key_env or found.api_key_file
        from_whom = PROFILES_OWN if source == "OURS" else source
        assert (found.base_url, from_whom, found.organization) == row.expected, row
        assert found.project is None


@pytest.fixture
def sink() -> Iterator[Sink]:
    """An address that keeps what it is shown."""
    with Sink(("127.0.0.1", 0), Answering) as opened:
        serving = threading.Thread(target=opened.serve_forever)
        serving.start()
        yield opened
        opened.shutdown()
        serving.join()


class Sink(http.server.HTTPServer):
    """A service whose list is empty, and the headers of those who asked for it."""

    seen: list[dict[str, str]]

    def server_activate(self) -> None:
        self.seen = []
        super().server_activate()


class Answering(http.server.BaseHTTPRequestHandler):
    server: Sink

    def do_GET(self) -> None:
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})
        body = b'{"object": "list", "data": [], "has_more": false}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_profiles_key_is_not_sent_to_a_strange_address(cli: Cli, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """What --base-url names sees the environment's key, and nothing of a profile that nobody named."""
    Path("key").write_text("sk-test-of-ours", "utf-8")
    Path("c.toml").write_text(
        'profile = "ours"\n[profiles.ours]\nbase_url = "http://127.0.0.1:9/v1"\napi_key_file = "key"\n'
        'organization = "org-ours"\nproject = "proj-ours"',
        "utf-8",
    )
    command = ("list", "--config", "c.toml", "--base-url", f"http://127.0.0.1:{sink.server_port}/v1")
    done = cli(*command)
    assert done.code == 2
    assert (
        "advice: Set OPENAI_API_KEY, or name the profile, whose key is otherwise sent to its own address only"
        in done.err
    )
    assert sink.seen == []
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-env")
    assert cli(*command).code == 0
    (headers,) = sink.seen
    assert headers["authorization"] == "Bearer sk-test-env"
    assert not {"openai-organization", "openai-project"} & set(headers)
    assert cli(*command, "--profile", "ours").code == 0
    headers = sink.seen[-1]
    assert headers["authorization"] == "Bearer sk-test-of-ours"
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-ours", "proj-ours")


class TestTheLimitOfCost:
    @pytest.mark.parametrize(
        ("named", "environment", "expected"),
        [(False, None, 1), (False, "7", 7), (False, " ", 1), (True, "7", 1), (True, None, 1), (None, "$7", 7)],
    )
    def test_the_nearest_counts(
        self, monkeypatch: pytest.MonkeyPatch, named: bool | None, environment: str | None, expected: float
    ) -> None:
        """A profile that was named, the variable, the profile that the file has chosen."""
        Path("c.toml").write_text('profile = "a"\n[profiles.a]\nconfirm_above_usd = 1.0\n[profiles.b]', "utf-8")
        if environment is not None:
            monkeypatch.setenv("OPENAI_BATCHES_CONFIRM_ABOVE_USD", environment)
        profile = {True: "a", False: None, None: "b"}[named]
        assert confirm_above_usd(Service(config=Path("c.toml"), profile=profile)) == expected

    def test_a_variable_that_holds_none(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is named, before anything is done."""
        monkeypatch.setenv("OPENAI_BATCHES_CONFIRM_ABOVE_USD", "much")
        done = cli("run", "requests.jsonl", "--local")
        assert (done.code, done.out) == (2, "")
        assert "OPENAI_BATCHES_CONFIRM_ABOVE_USD: 'much' is not an amount of dollars" in done.err


class TestVariables:
    @pytest.mark.parametrize("text", ["", " "])
    def test_an_empty_one_is_not_set(self, cli: Cli, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        """Every one of them, as where a script has nothing to say."""
        for name in ("CONFIG", "PROFILE", "LOCAL_DATA", "CONFIRM_ABOVE_USD", "DEBUG"):
            monkeypatch.setenv(f"OPENAI_BATCHES_{name}", text)
        assert local_data(Service(local=True)) == Path("openai-batches-local")
        assert Service().profile_name() is None
        assert confirm_above_usd(Service()) is None
        done = cli("show", "batch_1", "--local")
        assert done.code == 3
        assert "Traceback" not in done.err

    def test_the_folder_of_local(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The variable alone asks for nothing; with --local it names the folder, and a flag goes before it."""
        monkeypatch.setenv("OPENAI_BATCHES_LOCAL_DATA", "~/there")
        assert local_data(Service()) == Path("~/there").expanduser()
        assert local_data(Service(local=True, local_data=Path("here"))) == Path("here")

    def test_each_is_in_the_help(self, cli: Cli) -> None:
        """Where the flag is that goes before it."""
        told = "".join(cli("run", "--help").out.split("\n")).replace("│", "").replace(" ", "")
        for name in ("CONFIG", "PROFILE", "LOCAL_DATA", "CONFIRM_ABOVE_USD", "DEBUG"):
            assert f"OPENAI_BATCHES_{name}" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list", "--local-data", "d"), "--local-data is only used with --local, the emulator on this machine"),
        (("list", "--local-speed", "1"), "--local-speed is only used with --local, the emulator on this machine"),
        (("serve", "--local-data", "d"), "--local-data is only used with --local, the emulator on this machine"),
        (("list", "--local", "--provider", "nope"), "--provider cannot be used with --local"),
        (("validate", "r.jsonl", "--local", "--provider", "groq"), "--provider cannot be used with --local"),
        (("list", "--local", "--base-url", ELSEWHERE), "--base-url cannot be used with --local"),
        (("list", "--local", "--api-key-env", "A"), "--api-key-env cannot be used with --local"),
    ],
)
def test_what_would_count_for_nothing(
    cli: Cli, service: BackgroundServer, arguments: tuple[str, ...], message: str
) -> None:
    """Options of an emulator do not send a request to a service, and those of a service not to an emulator."""
    done = cli(*arguments)
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert message in first
    assert second.startswith("advice: ")
    assert service.requests == []
