"""Content that is read as it comes survives connections that break, and nothing of it is doubled or lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from http_servers import ONCE

from openai_batches import DecodeError, NotFoundError, TransportError, rereading
from openai_batches.emulator import BatchServer, Fault
from openai_batches.rereading import iter_bytes, iter_line_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai_batches import BatchSession

DATA = b"".join(b'{"custom_id": "r%06d", "body": {}}\n' % number for number in range(20_000))


@pytest.fixture
async def emulator() -> Any:
    async with BatchServer() as server:
        yield server


async def uploaded(session: BatchSession) -> str:
    return (await session.files.create(DATA, filename="x.jsonl")).id


@pytest.mark.parametrize("cut", [1, 40_000, len(DATA) // 2, len(DATA) - 1])
async def test_a_file_that_is_cut_is_whole_all_the_same(
    emulator: BatchServer, open_session: Callable[..., BatchSession], cut: int
) -> None:
    """Every byte once, whether it is read as bytes or as lines."""
    session = open_session(emulator)
    file_id = await uploaded(session)
    for read in (iter_bytes, iter_line_blocks):
        emulator.faults.clear()
        emulator.faults.add(
            Fault.cut_body(path="/content$", after_bytes=cut // 2 or 1),
            Fault.cut_body(path="/content$", after_bytes=cut + 10_000),
        )
        assert b"".join([block async for block in read(session.files, file_id)]) == DATA


async def test_an_answer_that_gets_no_further_ends_it(
    emulator: BatchServer, open_session: Callable[..., BatchSession]
) -> None:
    """A server that always cuts at the same place is not asked for ever."""
    session = open_session(emulator)
    file_id = await uploaded(session)
    emulator.faults.add(Fault.cut_body(path="/content$", after_bytes=100_000, times=None))
    found = []
    with pytest.raises(TransportError):
        found = [chunk async for chunk in iter_bytes(session.files, file_id)]
    assert found == []
    asked = [request for request in emulator.requests if request.path.endswith("/content")]
    assert len(asked) == 2


async def test_a_file_that_has_changed_is_not_mixed_with_itself(
    emulator: BatchServer, open_session: Callable[..., BatchSession]
) -> None:
    """What was yielded belongs to another file: that is an error, and no guess."""
    session = open_session(emulator)
    file_id = await uploaded(session)
    emulator.faults.add(Fault.cut_body(path="/content$", after_bytes=100_000))
    chunks = iter_bytes(session.files, file_id)
    found = await anext(chunks)
    stored = emulator.store.files.items[file_id]
    stored.path.write_bytes(DATA * 2)
    stored.bytes *= 2
    with pytest.raises(TransportError, match="not as long as it was"):
        found += b"".join([chunk async for chunk in chunks])
    assert DATA.startswith(found)


async def test_a_service_that_says_no_is_not_asked_again(
    emulator: BatchServer, open_session: Callable[..., BatchSession]
) -> None:
    """There is no such file."""
    with pytest.raises(NotFoundError):
        await anext(iter_bytes(open_session(emulator, retry=ONCE).files, "file-nope"))


async def test_a_line_without_end_is_refused_and_a_last_one_needs_none(
    emulator: BatchServer, open_session: Callable[..., BatchSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded by the longest line that is allowed."""
    session = open_session(emulator)
    file_id = await uploaded(session)
    emulator.store.files.items[file_id].path.write_bytes(DATA[:-1])
    emulator.store.files.items[file_id].bytes -= 1
    assert b"".join([block async for block in iter_line_blocks(session.files, file_id)]) == DATA[:-1]
    emulator.store.files.items[file_id].path.write_bytes(b"x" * (len(DATA) - 1))
    monkeypatch.setattr(rereading, "_MAX_LINE_BYTES", 1_000)
    with pytest.raises(DecodeError):
        await anext(iter_line_blocks(session.files, file_id))
