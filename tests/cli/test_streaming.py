"""Standard output in pieces: at once, in order, whole, with no more held than a piece, and never waited for in vain."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from openai_batches.cli.errors import ClosedPipeError, CommandError
from openai_batches.cli.output import streams as streams_module, terminal
from openai_batches.cli.output.streams import OutputStream, gathered
from openai_batches.cli.output.terminal import out_is_file, write_through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


async def numbers(count: int, *, fails: bool = False) -> AsyncIterator[int]:
    for number in range(count):
        yield number
        await asyncio.sleep(0)
    if fails:
        raise OSError(errno.EIO, "broken")


async def test_items_come_together_in_their_order() -> None:
    """None is lost, none is doubled; what came since the last step is one piece."""
    found: list[int] = []
    async with aclosing(gathered(numbers(5_000), weigh=lambda _: 1)) as pieces:
        async for piece in pieces:
            assert piece
            found += piece
            await asyncio.sleep(0.001 if len(found) < 100 else 0)
    assert found == list(range(5_000))


async def test_nothing_gives_nothing() -> None:
    """Not even an empty piece."""
    assert [piece async for piece in gathered(numbers(0), weigh=lambda _: 1)] == []


async def test_no_more_is_read_ahead_than_a_piece() -> None:
    """Many items, or few that weigh much: the source waits until somebody takes them."""
    for weight, most in ((1, 1_025), (100_000, 4)):
        taken = 0

        async def source() -> AsyncIterator[int]:
            nonlocal taken
            while True:
                taken += 1
                yield taken

        async with aclosing(gathered(source(), weigh=lambda _, weight=weight: weight)) as pieces:
            first = await anext(pieces)
            for _ in range(10):
                await asyncio.sleep(0)
            assert taken <= len(first) + most


async def test_what_came_before_an_error_is_given_first() -> None:
    """A person gets all that there is."""
    found: list[int] = []

    async def take() -> None:
        async for piece in gathered(numbers(10, fails=True), weigh=lambda _: 1):
            found.extend(piece)

    with pytest.raises(OSError, match="broken"):
        await take()
    assert found == list(range(10))


async def test_leaving_ends_the_source() -> None:
    """A reader who has enough does not let the source run on."""
    is_over = False

    async def endless() -> AsyncIterator[int]:
        nonlocal is_over
        try:
            while True:
                yield 1
                await asyncio.sleep(0.001)
        finally:
            is_over = True

    async with aclosing(endless()) as source, aclosing(gathered(source, weigh=lambda _: 1)) as pieces:
        await anext(pieces)
    assert is_over


class Output(io.TextIOWrapper):
    """A standard output of our own."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(os.fdopen(descriptor, "wb"), "utf-8")


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, Output]]:
    """Standard output is a pipe: the end it is read from, and itself."""
    reading, writing = os.pipe()
    output = Output(writing)
    monkeypatch.setattr(terminal, "_output", lambda: output)
    yield reading, output
    for close in (lambda: os.close(reading), output.close):
        with contextlib.suppress(OSError):
            close()


def test_bytes_go_through_behind_what_was_written_before(pipe: tuple[int, Output]) -> None:
    """In their order, and without a buffer of their own."""
    reading, output = pipe
    output.write("first ")
    write_through(b"second")
    assert os.read(reading, 100) == b"first second"
    assert not out_is_file()


def test_a_full_pipe_that_does_not_block_is_waited_for_in_the_thread(pipe: tuple[int, Output]) -> None:
    """All bytes arrive."""
    reading, output = pipe
    os.set_blocking(output.fileno(), False)
    data = bytes(range(250)) * 4_000
    writer = threading.Thread(target=write_through, args=(data,))
    writer.start()
    found = b""
    while len(found) < len(data):
        found += os.read(reading, 65_536)
    writer.join(30)
    assert found == data


async def test_a_closed_pipe_and_a_full_disk_are_told_apart(
    pipe: tuple[int, Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one is a silent end, the other an error with advice."""
    reading, _ = pipe

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(terminal.os, "write", full)  # type: ignore[attr-defined]
        with pytest.raises(CommandError, match="No space left"):
            write_through(b"x")
    os.close(reading)
    with pytest.raises(ClosedPipeError):
        await OutputStream().write(lambda: b"x")


async def test_a_terminal_gets_text_that_it_cannot_obey(
    pipe: tuple[int, Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A character may be cut between two pieces; it is whole in the end."""
    reading, _ = pipe
    monkeypatch.setattr(streams_module, "out_is_terminal", lambda: True)
    stream = OutputStream()
    await stream.write(lambda: b"\x1b[2J\xc3")
    await stream.write(lambda: b"\xa9\n")
    assert os.read(reading, 100) == b"\\x1b[2J\xc3\xa9\n"


def test_an_output_without_a_file_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has no standard output where the shell has closed it."""
    monkeypatch.setattr(terminal.sys, "stdout", None)  # type: ignore[attr-defined]
    assert not out_is_file()
