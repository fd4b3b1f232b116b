"""The emulator in a thread of its own: for code that blocks, from any thread, and never in anybody's way."""

import asyncio
import gc
import inspect
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from support.asking import CHAT, chat_file

from openai_batches.emulator import (
    BackgroundServer,
    BatchServer,
    EchoExecutor,
    Fault,
    RealClock,
    SteppedClock,
    Timings,
    WebhookEndpoint,
    background as module,
)

THREAD = "openai-batches-emulator"


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD)] == []


def ask(server: BackgroundServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0)


def create(client: openai.OpenAI, count: int = 1) -> str:
    file = client.files.create(file=("in.jsonl", chat_file(count)), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h").id


class TestUse:
    def test_the_official_blocking_client_goes_the_whole_way(self) -> None:
        """A test without asyncio turns the clock and reads the results."""
        with BackgroundServer(clock=SteppedClock(), timings=Timings(line_s=3600)) as server, ask(server) as client:
            batch_id = create(client, 3)
            server.advance(hours=1, minutes=30)
            assert client.batches.retrieve(batch_id).status == "in_progress"
            server.advance(hours=2)
            batch = client.batches.retrieve(batch_id)
            assert (batch.status, batch.output_file_id is not None) == ("completed", True)
            assert client.files.content(str(batch.output_file_id)).content.count(b"\n") == 3
            assert server.clock.now() == SteppedClock().now() + 3.5 * 3600
            assert server.store.batches.items[batch_id].status == "completed"

    def test_settle_waits_for_a_clock_that_runs(self) -> None:
        """A fast clock needs no turning."""
        with BackgroundServer(speed=100_000) as server, ask(server) as client:
            batch_id = create(client)
            server.settle()
            assert client.batches.retrieve(batch_id).status == "completed"
            with pytest.raises(TypeError, match="SteppedClock"):
                server.advance(hours=1)

    async def test_the_official_asynchronous_client(self) -> None:
        """A test with a loop of its own may use it too."""
        with BackgroundServer(clock=SteppedClock()) as server:
            async with openai.AsyncOpenAI(base_url=server.base_url, api_key="sk-test", max_retries=0) as client:
                await client.files.create(file=("in.jsonl", chat_file(1)), purpose="batch")
                await asyncio.to_thread(server.advance, hours=1)
                assert len((await client.files.list()).data) == 1

    def test_faults_and_requests(self) -> None:
        """Faults are added while it runs, and what was asked can be read then and afterwards."""
        with BackgroundServer(faults=Fault.error_before(503)) as server, ask(server) as client:
            with pytest.raises(openai.InternalServerError):
                client.files.list()
            server.faults.add(Fault.error_before(418))
            with pytest.raises(openai.APIStatusError, match="418"):
                client.files.list()
            before = server.requests
            client.files.list()
            assert len(before) == 2
        assert [asked.status for asked in server.requests] == [503, 418, 200]
        assert [fault.fired for fault in server.faults] == [1, 1]

    def test_call_reaches_the_rest(self) -> None:
        """A function of the caller's runs where nothing else happens, and its errors come back."""
        with BackgroundServer() as server, ask(server) as client:
            create(client)
            thread, batches = server.call(lambda: (threading.current_thread(), list(server.store.batches.items)))
            assert thread.name.startswith(THREAD)
            assert len(batches) == 1
            with pytest.raises(ZeroDivisionError):
                server.call(lambda: 1 // 0)

    def test_webhooks_that_were_delivered(self) -> None:
        """Each attempt can be read as it can be read of a `BatchServer`."""
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = f"http://127.0.0.1:{closed.getsockname()[1]}/hook"
        webhook = WebhookEndpoint(url)
        with BackgroundServer(clock=SteppedClock(), webhooks=webhook) as server, ask(server) as client:
            create(client)
            server.advance(seconds=6)
            assert [delivery.status for delivery in server.deliveries] == [None]

    @pytest.mark.parametrize(
        ("keys", "key"), [(None, "sk-emulator"), ([], "sk-emulator"), (["sk-test-1", "sk-test-2"], "sk-test-1")]
    )
    def test_the_key(self, keys: Any, key: str) -> None:
        """`api_key` is one that the server accepts."""
        assert BackgroundServer(api_keys=keys).api_key == key

    def test_it_takes_what_a_batch_server_takes(self) -> None:
        """The parameters are those of `BatchServer`, for `help` and for the errors."""
        own = inspect.signature(BackgroundServer).parameters
        assert dict(own) == dict(inspect.signature(BatchServer).parameters)
        with pytest.raises(TypeError, match="model"):
            BackgroundServer(model="m")  # type: ignore[call-arg]
        with pytest.raises(ValueError, match="either clock or speed"):
            BackgroundServer(clock=RealClock(), speed=2)

    def test_several_threads_at_once(self) -> None:
        """Threads ask, turn and look at the same time."""
        with BackgroundServer(clock=SteppedClock()) as server, ThreadPoolExecutor(8) as pool:

            def work(_: int) -> str:
                with ask(server) as client:
                    batch_id = create(client)
                    server.advance(hours=1)
                    assert server.requests
                    return client.batches.retrieve(batch_id).status

            assert set(pool.map(work, range(16))) == {"completed"}

    def test_several_servers_at_once(self) -> None:
        """Servers know nothing of each other."""
        with BackgroundServer() as one, BackgroundServer() as two, ask(one) as client:
            client.files.list()
            assert (len(one.requests), len(two.requests)) == (1, 0)
            assert one.base_url != two.base_url


class TestStart:
    def test_an_error_is_raised_in_the_callers_thread(self) -> None:
        """Where the port is taken, the caller is told, and nothing is left."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = BackgroundServer(port=taken.getsockname()[1])
            with pytest.raises(OSError, match="address already in use"):
                server.start()
        server.close()

    def test_no_loop_at_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A thread that gets no loop says so instead of letting the caller wait."""

        def run(coroutine: Any) -> None:
            coroutine.close()
            raise OSError("too many open files")

        monkeypatch.setattr(asyncio, "run", run)
        with pytest.raises(OSError, match="too many open files"):
            BackgroundServer().start()

    def test_it_starts_once(self) -> None:
        """As a `BatchServer` does."""
        with BackgroundServer() as server, pytest.raises(RuntimeError, match="starts once"):
            server.start()

    def test_a_caller_that_is_interrupted_leaves_no_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C while it starts ends the thread as soon as that has started."""

        class Interrupted(module.Future[Any]):
            def result(self, timeout: float | None = None) -> Any:
                monkeypatch.undo()
                raise KeyboardInterrupt

        server = BackgroundServer()
        monkeypatch.setattr(module, "Future", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            server.start()

    def test_a_server_starts_quickly(self) -> None:
        """Once imported, a server comes and goes without waiting for anything: each test can have its own."""
        took = []
        for _ in range(5):
            begun = time.perf_counter()
            with BackgroundServer():
                pass
            took.append(time.perf_counter() - begun)
        assert min(took) < 2


class TestEnd:
    def test_closing_twice_does_nothing(self) -> None:
        """Nor does closing what was never started."""
        server = BackgroundServer()
        server.close()
        server = BackgroundServer().start()
        server.close()
        server.close()
        with pytest.raises(RuntimeError, match="not running"):
            _ = server.base_url
        with pytest.raises(RuntimeError, match="not running"):
            server.settle()
        assert server.requests == []

    def test_a_client_that_stays_connected_does_not_hold_it_up(self) -> None:
        """Idle connections are cut."""
        with BackgroundServer() as server:
            host, port = server.base_url.split("/")[2].split(":")
            client = socket.create_connection((host, int(port)))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
            begun = time.monotonic()
        assert time.monotonic() - begun < 30
        client.close()

    def test_callers_that_wait_get_an_error(self) -> None:
        """A thread that settles a batch of many hours does not wait for ever."""
        server = BackgroundServer(timings=Timings(line_s=3600)).start()
        with ask(server) as client, ThreadPoolExecutor(1) as pool:
            create(client)
            waiter = pool.submit(server.settle)
            while server.call(lambda: len(asyncio.all_tasks())) < 3:
                time.sleep(0.001)
            server.close()
            with pytest.raises(RuntimeError, match="closed meanwhile"):
                waiter.result(5)

    def test_a_call_while_it_closes_runs_afterwards(self) -> None:
        """What another thread wants to see while the server closes is not looked at beside the server's own thread."""
        closing, order = threading.Event(), []

        class Lingering(EchoExecutor):
            async def close(self) -> None:
                closing.set()
                await asyncio.sleep(0.05)
                order.append("closed")

        server = BackgroundServer(executor=Lingering()).start()
        with ThreadPoolExecutor(1) as pool:
            closer = pool.submit(server.close)
            assert closing.wait(5)
            server.call(lambda: order.append("looked"))
            closer.result(5)
        assert order == ["closed", "looked"]

    def test_a_loop_that_breaks_is_told(self) -> None:
        """Who waits for a loop that is gone is told, and so is who closes it."""
        server = BackgroundServer().start()
        loop = server._loop
        assert loop is not None

        def end() -> None:
            raise SystemExit("broken")

        with pytest.raises((RuntimeError, SystemExit)):
            server.call(end)
        with pytest.raises(SystemExit, match="broken"):
            server.close()

    def test_an_interrupted_wait_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C in the test ends what it waited for, too."""
        with BackgroundServer(timings=Timings(line_s=3600)) as server, ask(server) as client:
            create(client)
            tasks = server.call(lambda: len(asyncio.all_tasks()))

            def interrupt(*_: Any, **__: Any) -> Any:
                monkeypatch.undo()
                raise KeyboardInterrupt

            monkeypatch.setattr(module, "wait", interrupt)
            with pytest.raises(KeyboardInterrupt):
                server.settle()
            while server.call(lambda: len(asyncio.all_tasks())) > tasks:
                time.sleep(0.001)

    def test_an_executor_that_blocks_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Closing gives up on a thread that does not end, and says why."""
        monkeypatch.setattr(module, "_STOP_S", 0.05)
        block, blocked = threading.Event(), threading.Event()

        async def executor(url: Any, body: Any, custom_id: Any) -> Any:
            blocked.set()
            block.wait(10)
            return 200, {}

        server = BackgroundServer(speed=100_000, executor=executor).start()
        with ask(server) as client:
            create(client)
            assert blocked.wait(5)
            with pytest.raises(TimeoutError, match="an executor blocks it"):
                server.close()
        block.set()
        monkeypatch.undo()
        server.close()

    def test_its_own_thread_cannot_wait_for_itself(self) -> None:
        """An executor that settles its own server would wait for ever; looking is allowed."""
        seen: list[Any] = []

        async def executor(url: Any, body: Any, custom_id: Any) -> Any:
            seen.append(len(server.requests))
            with pytest.raises(RuntimeError, match="cannot wait for itself"):
                server.settle()
            return 200, {}

        with BackgroundServer(speed=100_000, executor=executor) as server, ask(server) as client:
            batch_id = create(client)
            server.settle()
            assert client.batches.retrieve(batch_id).request_counts == openai.types.batch.BatchRequestCounts(
                completed=1, failed=0, total=1
            )
        assert seen == [2]

    def test_nothing_is_left_when_it_is_forgotten(self) -> None:
        """A program that never closes it ends all the same."""
        code = "from openai_batches.emulator import BackgroundServer; print(BackgroundServer().start().base_url)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        gc.collect()
