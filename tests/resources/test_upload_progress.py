"""Who uploads can watch: from the start of each attempt to its last byte, and never backwards within one."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.http_servers import RawServer, answer, chat_lines, error_answer, file_json, json_answer

from openai_batches import TransportError

if TYPE_CHECKING:
    from pathlib import Path

    from support.http_servers import Asked, OpenSession

DATA = chat_lines(20_000)
SIZE = len(DATA)


def attempts_of(told: list[tuple[int, int]]) -> list[list[int]]:
    """What was told, attempt by attempt."""
    attempts: list[list[int]] = []
    for sent, total in told:
        assert total == SIZE
        if sent == 0:
            attempts.append([])
        attempts[-1].append(sent)
    return attempts


@pytest.mark.parametrize("kind", ["path", "bytes"])
async def test_each_attempt_is_told_from_its_start(kind: str, open_session: OpenSession, tmp_path: Path) -> None:
    """Each attempt is told from 0 to its last byte, piece by piece, and each has the whole body."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(DATA)
    told: list[tuple[int, int]] = []
    bodies: list[bytes] = []

    async def handler(asked: Asked) -> bytes:
        bodies.append(await asked.body())
        return error_answer(503) if len(bodies) < 3 else json_answer(file_json())

    async with RawServer(handler) as server:
        source = path if kind == "path" else DATA
        await open_session(server).files.create(source, progress=lambda *now: told.append(now))
    attempts = attempts_of(told)
    assert len(attempts) == len(bodies) == 3
    for sent in attempts:
        assert sent == sorted(set(sent))
        assert sent[-1] == SIZE
        assert len(sent) > 5
    assert all(DATA in body for body in bodies)


async def test_an_attempt_that_breaks(open_session: OpenSession) -> None:
    """An attempt that breaks on its way is told as far as it came, and the next one from 0."""
    told: list[tuple[int, int]] = []

    async def handler(asked: Asked) -> bytes | None:
        if len(server.asked) == 1:
            await asked.reader.readexactly(10_000)
            asked.reset()
            return None
        await asked.body()
        return json_answer(file_json())

    async with RawServer(handler) as server:
        await open_session(server).files.create(DATA, progress=lambda *now: told.append(now))
    first, second = attempts_of(told)
    assert first == sorted(set(first))
    assert second[-1] == SIZE


async def test_a_redirect_starts_again(open_session: OpenSession) -> None:
    """A body that is sent to another address within the origin is sent, and told, from its start."""
    told: list[tuple[int, int]] = []

    async def handler(asked: Asked) -> bytes:
        await asked.body()
        return answer(307, Location="/v1/files2") if asked.path == "/v1/files" else json_answer(file_json())

    async with RawServer(handler) as server:
        await open_session(server).files.create(DATA, progress=lambda *now: told.append(now))
    assert [sent[-1] for sent in attempts_of(told)] == [SIZE, SIZE]


async def test_it_is_called_in_the_event_loop(open_session: OpenSession, tmp_path: Path) -> None:
    """The function may touch what belongs to the loop."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(DATA)
    threads: set[int] = set()
    loops: set[Any] = set()

    def progress(*_: int) -> None:
        threads.add(threading.get_ident())
        loops.add(asyncio.get_running_loop())

    async def handler(asked: Asked) -> bytes:
        await asked.body()
        return json_answer(file_json())

    async with RawServer(handler) as server:
        await open_session(server).files.create(path, progress=progress)
    assert threads == {threading.get_ident()}
    assert loops == {asyncio.get_running_loop()}


@pytest.mark.parametrize("error", [KeyError("mine"), OSError("mine"), TransportError("mine", can_pass=False)])
async def test_what_it_raises_ends_the_upload(error: Exception, open_session: OpenSession) -> None:
    """An exception of the function is raised as it is, and the upload is not repeated."""

    def progress(sent: int, _: int) -> None:
        if sent:
            raise error

    async def handler(asked: Asked) -> bytes:
        await asked.body()
        return json_answer(file_json())

    async with RawServer(handler) as server:
        with pytest.raises(type(error), match="mine"):
            await open_session(server).files.create(DATA, progress=progress)
        assert server.connections == 1
