"""`openai-batches webhook listen`: what is genuine is told once, what is not is refused aloud."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from aiohttp import web
from openai import OpenAI

from openai_batches import Batch, InputError, RequestCounts, make_converter, sign_webhook
from openai_batches.cli.commands import webhook as webhook_module
from openai_batches.cli.commands.webhook import EventCommand, WebhookQueue
from openai_batches.cli.errors import CommandError
from openai_batches.cli.options.local import announced
from openai_batches.cli.output import terminal as terminal_module
from openai_batches.emulator import BackgroundServer, WebhookEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    Cli = Callable[..., Finished]

SECRET = "whsec_c2VjcmV0LW9mLXRoaXMtdGVzdA=="
LINE = '{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "x"}}\n'


def event_of(number: int, kind: str = "batch.completed") -> bytes:
    """Return an event as the service writes it."""
    data = {"id": f"evt_{number}", "object": "event", "created_at": 1_750_000_000, "type": kind}
    return json.dumps({**data, "data": {"id": f"batch_{number}"}}).encode()


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """Return the status of the answer to a webhook."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def make_batch(base_url: str, lines: str) -> str:
    """Return the id of a new batch."""
    with OpenAI(base_url=base_url, api_key="sk-emulator", max_retries=0) as client:
        file = client.files.create(file=("in.jsonl", lines.encode()), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
        return batch.id


def signed(body: bytes, webhook_id: str, *, age_s: float = 0, secret: str = SECRET) -> dict[str, str]:
    return sign_webhook(body, secret, webhook_id=webhook_id, timestamp=time.time() - age_s)


@pytest.fixture
def hear(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finished]:
    """Run the program until a story, which is told its address and runs in a thread, is over; then press Ctrl-C."""

    def run(*arguments: str, story: Callable[[str], None], end: signal.Signals = signal.SIGINT) -> Finished:
        address: Future[str] = Future()
        is_over = threading.Event()
        done: Finished | None = None

        def note(text: str) -> None:
            terminal_module.note(text)
            if text.startswith("Listening at "):
                address.set_result(text.removeprefix("Listening at ").partition(" ")[0])

        def tell() -> None:
            url = address.result(60)
            try:
                story(url)
            finally:
                # Who listens hears the signal; it would end everything where nobody does.
                if not is_over.is_set():
                    os.kill(os.getpid(), end)

        monkeypatch.setattr(webhook_module, "note", note)
        monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
        with ThreadPoolExecutor(1) as pool:
            told = pool.submit(tell)
            try:
                done = cli("webhook", "listen", "--port", "0", *arguments)
            finally:
                is_over.set()
                if not address.done():
                    address.set_exception(AssertionError(f"It ended before it listened: {done}"))
            told.result(60)
        assert SECRET not in done.out + done.err
        return done

    return run


def accepted(url: str, body: bytes, webhook_id: str) -> None:
    assert post(url, body, signed(body, webhook_id)) == 200


def test_an_event_is_a_line_once(hear: Callable[..., Finished]) -> None:
    """What is delivered twice is told once; Ctrl-C is how it is meant to end, and loses nothing that was accepted."""

    def story(url: str) -> None:
        for number, kind in ((1, "batch.completed"), (1, "batch.completed"), (2, "batch.failed")):
            accepted(url, event_of(number, kind), f"wh_{number}")

    done = hear(story=story)
    assert done.code == 0
    first, second = done.out.splitlines()
    when, kind, batch = first.split("  ")
    assert time.mktime(time.strptime(when, "%Y-%m-%d %H:%M:%S")) == 1_750_000_000
    assert (kind, batch) == ("batch.completed", "batch_1")
    assert second.endswith("  batch.failed  batch_2")
    assert "\x1b" not in done.out + done.err


def test_what_is_not_genuine_is_refused_and_told(hear: Callable[..., Finished]) -> None:
    """A bad signature, an old one, too large a body: each with its reason, and none is acted upon."""
    body = event_of(1)

    def story(url: str) -> None:
        assert post(url, body, signed(body, "wh_1", secret="whsec_b3RoZXI=")) == 400
        assert post(url, body, signed(body, "wh_2", age_s=400)) == 400
        assert post(url, body, {}) == 400
        with contextlib.suppress(OSError):  # it may close before all is sent
            assert post(url, b"x" * (1024 * 1024 + 1), {}) == 413
        accepted(url, body, "wh_3")

    done = hear("--jsonl", story=story, end=signal.SIGTERM)
    assert done.code == 0
    forged, old, bare, large = done.err.splitlines()[1:]
    assert "warning: A webhook was refused: No signature of the webhook fits" in forged
    assert "too old: it was sent 40" in old
    assert "has no header" in bare
    assert "larger than" in large
    assert json.loads(done.out) == json.loads(body)


def test_the_batch_as_it_is_now(hear: Callable[..., Finished], service: BackgroundServer) -> None:
    """With --fetch, the service says what became of the batch; one it does not know is a warning, and no end."""
    made: list[str] = []

    def story(url: str) -> None:
        service.call(lambda: service.server.webhooks.endpoints.append(WebhookEndpoint(url, secret=SECRET)))
        made.append(make_batch(service.base_url, LINE))
        while not service.deliveries:
            time.sleep(0.01)
        accepted(url, event_of(7), "wh_7")

    done = hear("--fetch", story=story)
    first, second = done.out.splitlines()
    assert first.endswith(f"  batch.completed  {made[0]}  completed: 1 of 1 request")
    assert second.endswith("  batch.completed  batch_7")
    assert "warning: batch_7 cannot be looked at: 404" in done.err


def test_the_batch_within_the_json(hear: Callable[..., Finished], service: BackgroundServer) -> None:
    """For programs, the record stands in the event, or null where there is none to know of."""
    made = make_batch(service.base_url, LINE)
    service.settle()
    known = event_of(1).replace(b"batch_1", made.encode())
    other = event_of(2, "response.completed")

    def story(url: str) -> None:
        accepted(url, known, "wh_1")
        accepted(url, other, "wh_2")

    first, second = [json.loads(line) for line in hear("--fetch", "--jsonl", story=story).out.splitlines()]
    assert (first["data"]["id"], first["batch"]["id"], first["batch"]["status"]) == (made, made, "completed")
    assert second == {**json.loads(other), "batch": None}


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (None, "completed"),
        (RequestCounts(total=0, completed=0, failed=0), "completed"),
        (RequestCounts(total=2_000, completed=1_990, failed=10), "completed: 1,990 of 2,000 requests, 10 failed"),
    ],
)
def test_what_is_said_of_a_batch(counts: RequestCounts | None, text: str) -> None:
    """Its state, and how far it is; some services do not count."""
    record = {"id": "batch_1", "object": "batch", "endpoint": "/v1/x", "status": "completed", "created_at": 1}
    batch = make_converter().structure(record, Batch)
    assert webhook_module._batch_text(attrs.evolve(batch, request_counts=counts)) == text


def test_a_command_for_each_event(hear: Callable[..., Finished], tmp_path: Path) -> None:
    """It gets the event on standard input; nothing of an event is ever read by a shell; that it fails is told."""
    script = "import sys; d = sys.stdin.read(); open('got', 'a').write(d); print('done'); sys.exit('evil' in d)"
    body = event_of(1)
    evil = event_of(2).replace(b"batch_2", b"$(touch evil)")

    def story(url: str) -> None:
        accepted(url, body, "wh_1")
        accepted(url, evil, "wh_2")

    done = hear("--exec", shlex.join([sys.executable, "-c", script]), story=story)
    assert done.code == 0
    assert [line.split("  ")[2] for line in done.out.splitlines()] == ["batch_1", "$(touch evil)"]
    assert done.err.count("done") == 2
    assert "ended with 1 for evt_2" in done.err
    assert "for evt_1" not in done.err
    got = [json.loads(line) for line in (tmp_path / "work" / "got").read_text().splitlines()]
    assert sorted(event["id"] for event in got) == ["evt_1", "evt_2"]
    assert not (tmp_path / "work" / "evil").exists()


def test_what_runs_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal to the program alone does not cut the command of an event short; a second one does."""
    script = "import time; print('began', flush=True); time.sleep(60)"
    sleeping = shlex.join([sys.executable, "-c", script])
    command = [sys.executable, "-m", "openai_batches.cli", "webhook", "listen", "--port", "0", "--exec", sleeping]
    env = {**os.environ, "OPENAI_WEBHOOK_SECRET": SECRET}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env) as process:
        assert process.stderr is not None
        accepted(process.stderr.readline().decode().split()[2], event_of(1), "wh_1")
        assert process.stderr.readline() == b"began\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == b"Waiting for 1 command; Ctrl-C ends at once\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


async def test_few_commands_run_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    """A thousand events at once start four commands, not a thousand; one that cannot be started is told."""
    handing_on = EventCommand("sleep 60")
    for number in range(4):
        await handing_on.start(b"{}", f"evt_{number}")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(handing_on.start(b"{}", "evt_4"), 0.01)
    waiting = asyncio.create_task(handing_on.finish())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gone = EventCommand("sleep 60")
    await gone.finish()
    gone._argv = ["/nowhere/at-all"]
    await gone.start(b"{}", "evt_5")
    await gone.finish()
    assert "warning: /nowhere/at-all cannot be run for evt_5" in capfd.readouterr().err


async def test_more_than_can_wait_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where events pile up, the service is asked to send the next one again later, instead of it being lost."""
    monkeypatch.setattr(webhook_module, "_MOST_WAITING", 0)
    answer = await WebhookQueue(SECRET).handle(None)  # type: ignore[arg-type]
    assert isinstance(answer, web.Response)
    assert answer.status == 503


def test_with_a_local_emulator(hear: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key or a secret: the emulator of the folder calls, whoever makes the batch."""
    told = threading.Event()

    def say(text: str) -> None:
        terminal_module.say(text)
        told.set()

    def story(url: str) -> None:
        make_batch(Path("openai-batches-local", "emulator.address").read_text("utf-8"), LINE)
        assert told.wait(30)

    monkeypatch.setattr(webhook_module, "say", say)
    done = hear("--local", "--fetch", "--local-speed", "100", story=story)
    assert done.code == 0
    assert "  batch.completed  batch_" in done.out
    assert done.out.endswith("  completed: 1 of 1 request\n")
    assert len(done.err.splitlines()) == 1


def test_the_emulator_ends(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who listens to another command's emulator is told when that has ended, instead of waiting for ever."""
    monkeypatch.setattr(webhook_module, "_LOOK_S", 0.01)
    monkeypatch.setattr("openai_batches.policies.RetryPolicy.delay_s", lambda *_, **__: None)
    data = Path("openai-batches-local")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(BackgroundServer(data=data))
        stack.enter_context(announced(data, server.base_url))

        def end() -> None:
            while not any(record.method == "GET" for record in server.requests):
                time.sleep(0.01)
            server.close()

        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(end)
            done = cli("webhook", "listen", "--port", "0", "--local")
            ended.result(30)
    assert done.code == 3
    assert "error: The emulator has ended" in done.err
    assert "its data is kept in openai-batches-local" in done.err


def test_in_a_terminal(terminal: Callable[..., DrivenTerminal]) -> None:
    """A person sees where it listens, and an event on one line."""
    env = {"OPENAI_WEBHOOK_SECRET": SECRET}
    driven = terminal("webhook", "listen", "--port", "0", "--path", "/x", env=env)
    screen = driven.wait_for("until Ctrl-C")
    url = screen.removeprefix("Listening at ").partition(" ")[0]
    body = event_of(1)
    assert post(url, body, signed(body, "wh_1")) == 200
    driven.wait_for("batch.completed  batch_1")
    driven.interrupt()
    assert driven.finish() == 0
    assert SECRET not in driven.screen


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--path", "hook"], "--path must begin with a slash"),
        (["--port", "70000"], "--port"),
        (["--port", "0"], "There is no webhook secret: the environment variable OPENAI_WEBHOOK_SECRET is not set"),
        (["--port", "0", "--secret-env", "BAD_SECRET"], "what follows is not base64"),
        (["--exec", ""], "There is no program"),
        (["--exec", "no-such-program-here --x"], "There is no program 'no-such-program-here'"),
        (["--exec", "'open"], 'The command "\'open" cannot be read'),
        (["--port", "0", "--fetch"], "There is no key for OpenAI"),
    ],
)
def test_misuse(cli: Cli, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lines and exit code 2, before anything listens."""
    monkeypatch.setenv("BAD_SECRET", "whsec_secret-that-is-not-base64!")
    done = cli("webhook", "listen", *arguments)
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert message in first
    assert second.startswith("advice: ")
    assert "secret-that-is" not in done.err


@pytest.mark.parametrize(("host", "family"), [("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6)])
def test_an_address_of_another_machine(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, host: str, family: socket.AddressFamily
) -> None:
    """The system's reason, and the address; what has colons is of the newer kind."""
    asked: list[tuple[tuple[str, int], socket.AddressFamily]] = []

    def create_server(address: tuple[str, int], *, family: socket.AddressFamily, **_: object) -> None:
        asked.append((address, family))
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    # Some machines may listen on addresses that are not theirs.
    monkeypatch.setattr(socket, "create_server", create_server)
    done = cli("webhook", "listen", "--host", host)
    assert (done.code, done.out) == (2, "")
    assert f"Nothing can listen on {host}, port 8000: Cannot assign requested address" in done.err
    assert asked == [((host, 8000), family)]


def test_addresses() -> None:
    """What listens everywhere is called on this machine."""
    with webhook_module.listener("0.0.0.0", 0) as opened:
        assert webhook_module.url_of(opened, "/x").startswith("http://127.0.0.1:")
    try:
        with webhook_module.listener("::1", 0) as opened:
            assert webhook_module.url_of(opened, "/x").startswith("http://[::1]:")
    except CommandError:
        pytest.skip("no IPv6 loopback")


async def test_a_receiver_without_a_session() -> None:
    """It checks, and wakes nobody; what is no session is still refused."""
    body = event_of(1)
    arrivals: Any = WebhookQueue(SECRET)
    event = await arrivals.receive(signed(body, "wh_1"), body)
    assert event.batch_id == "batch_1"
    with pytest.raises(InputError, match="takes a BatchSession"):
        type(arrivals).__mro__[1]("nothing", SECRET)
