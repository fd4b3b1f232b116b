"""The inputs of a batch: their ids, and those that have to be sent again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.http_servers import CHAT, chat_line, chat_lines
from support.result_lines import read_result, result

from openai_batches import InputError
from openai_batches.requests.request import BatchRequest, as_line
from openai_batches.results import inputs as inputs_module
from openai_batches.results.inputs import ids_in_block, iter_ids, to_requests
from openai_batches.results.result import missing_result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from pathlib import Path

    from openai_batches import BatchSession
    from openai_batches.emulator import BatchServer


async def ids(inputs: Any) -> list[str]:
    lists = [found async for found in iter_ids(inputs)]
    assert all(lists)
    return [custom_id for found in lists for custom_id in found]


async def sent(unfinished: Any, inputs: Any, **options: Any) -> list[bytes]:
    return [line async for line in to_requests(unfinished, inputs, **options)]


async def later(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


# Ids


@pytest.mark.parametrize(
    "item",
    [
        BatchRequest("a", {}, CHAT),
        {"custom_id": "a"},
        b'{"custom_id": "a"}',
        bytearray(b'{"custom_id": "a"}\n'),
        '{"custom_id": "a"}',
        ' \n{"custom_id": "a", "body": {"x": NaN}}',
        '\ufeff{"custom_id": "a"}',
        b'\xef\xbb\xbf{"custom_id": "a"}',
        "a",
    ],
)
async def test_an_input_of_any_kind_has_its_id(item: Any) -> None:
    """Requests, mappings, lines and bare ids, in any mixture, from plain and async iterables."""
    assert await ids([item, "b"]) == ["a", "b"]
    assert await ids(later([item, "b"])) == ["a", "b"]


@pytest.mark.parametrize("text", ["", " ", "{", "{not json}", '{"x": 1}', "[]", "{[}", "a\nb", '"'])
async def test_a_text_that_is_no_request_is_an_id(text: str) -> None:
    """Ids may look like anything."""
    assert await ids([text]) == [text]


@pytest.mark.parametrize("item", [{}, {"custom_id": None}, b"{}", b"[]", b"<", b'{"custom_id": []}', b"[" * 100_000])
async def test_an_input_without_an_id(item: Any) -> None:
    """What has no id cannot be joined, and is shown."""
    for inputs in ([item], later([item])):
        with pytest.raises(InputError, match=r"an input has no custom_id: .{1,200}$"):
            await ids(inputs)


@pytest.mark.parametrize("inputs", [5, None, {"custom_id": "a"}])
async def test_no_inputs(inputs: Any) -> None:
    """What cannot be inputs is refused."""
    with pytest.raises(InputError, match="inputs are a path or an iterable"):
        await ids(inputs)
    for wrong in ([5], later([5])):
        with pytest.raises(InputError, match=r"an input is a request, .* not int"):
            await ids(wrong)


async def test_a_number_is_the_text_it_was() -> None:
    """Numbers for ids are matched as results with numbers for ids are."""
    assert await ids([{"custom_id": 5}, b'{"custom_id": 6}']) == ["5", "6"]


async def test_files(tmp_path: Path) -> None:
    """A path, a file that is open, its bytes, several paths: all the same."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n" + chat_line("a") + b"  \r\n" + chat_line("b")[:-1])
    blank = tmp_path / "blank.jsonl"
    blank.write_bytes(b"\n\n")
    assert await ids(path) == ["a", "b"]
    assert await ids(str(path)) == ["a", "b"]
    assert await ids(path.read_bytes()) == ["a", "b"]
    with path.open("rb") as file:
        assert await ids(file) == ["a", "b"]
    assert await ids(["x", path, blank, path, "y"]) == ["x", "a", "b", "a", "b", "y"]
    assert await ids(later(["x", path, blank, path, "y"])) == ["x", "a", "b", "a", "b", "y"]
    assert await ids([path]) == ["a", "b"]
    assert await ids(blank) == []
    assert await ids(later([path])) == ["a", "b"]
    with pytest.raises(FileNotFoundError):
        await ids(tmp_path / "nothing")


async def test_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids come many at a time, and none is forgotten between two lots."""
    monkeypatch.setattr(inputs_module, "_ITEMS", 10)
    many = [f"r{number}" for number in range(25)]
    assert [len(found) async for found in iter_ids(many)] == [10, 10, 5]
    assert [len(found) async for found in iter_ids(later(many))] == [10, 10, 5]
    assert await ids(iter(many[:20])) == many[:20]
    assert await ids(later(many[:20])) == many[:20]
    assert await ids([]) == []


def test_a_block_with_a_line_that_strict_json_refuses() -> None:
    """It costs the others nothing."""
    block = b'{"custom_id": "a", "x": NaN}\n{"custom_id": 5}\n' + chat_line("b")
    assert ids_in_block(block) == ["a", "5", "b"]


async def test_a_generator_is_closed() -> None:
    """Who stops early gets his generator closed."""
    closed: list[bool] = []

    def many() -> Iterator[str]:
        try:
            while True:
                yield "a"
        finally:
            closed.append(True)

    found = iter_ids(many())
    await anext(found)
    await found.aclose()
    for _ in range(100):
        if closed:
            break
        await asyncio.sleep(0.01)
    assert closed == [True]


# Sending again


FINISHED = [result("ok", 200), result("bad", 400), result("quota", 429, code="insufficient_quota")]
UNRUN = [result("e", None, code="batch_expired"), result("c", None, code="batch_cancelled"), missing_result("m")]
PASSING = [result("busy", 500), result("late", None, code="request_timeout")]
NAMES = ["busy", "c", "ok", "m", "late", "bad", "e", "quota"]


@pytest.mark.parametrize(
    ("retry_failed", "expected"), [(False, ["c", "m", "e"]), (True, ["busy", "c", "m", "late", "e"])]
)
async def test_what_did_not_run_is_sent_again(retry_failed: bool, expected: list[str], tmp_path: Path) -> None:
    """Of all results those that never ran, and if asked those that failed in passing; the lines as they stood."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"".join(map(chat_line, NAMES)))
    unreadable = read_result(b"<", line_number=1)
    results = [*FINISHED, *UNRUN, *PASSING, unreadable]
    lines = [chat_line(name) for name in expected]
    assert await sent(results, path, retry_failed=retry_failed) == lines
    assert await sent(later(results), later(map(chat_line, NAMES)), retry_failed=retry_failed) == lines


async def test_ids_are_enough() -> None:
    """Ids say what to send again, however often they are named; requests of any kind are written as lines."""
    request = BatchRequest("a", {"model": "m"}, CHAT)
    mapping = {"custom_id": "b", "method": "POST", "url": CHAT, "body": {"model": "m"}}
    text = chat_line("c").decode()
    lines = await sent(["c", "b", "a", "a"], [request, mapping, text])
    assert lines == [as_line(request) + b"\n", as_line(mapping) + b"\n", chat_line("c")]


async def test_a_doubled_input_is_sent_once() -> None:
    """One request is sent again for each id."""
    assert await sent(["a"], [chat_line("a"), chat_line("a")]) == [chat_line("a")]


async def test_nothing_to_send(tmp_path: Path) -> None:
    """Where all ran, nothing is read and nothing is given."""
    assert await sent(FINISHED, tmp_path / "nothing") == []


async def test_what_is_not_among_the_inputs() -> None:
    """A request that cannot be found is no request that is forgotten."""
    found: list[bytes] = []

    async def take() -> None:
        async for line in to_requests(["x", "a", "y", "z", "v"], [chat_line("a")]):
            found.append(line)  # noqa: PERF401  # what comes before the error counts too

    with pytest.raises(InputError, match=r"4 requests to send again are not among the inputs: 'v', 'x', 'y'$"):
        await take()
    assert found == [chat_line("a")]
    with pytest.raises(InputError, match=r"1 request to send again is not among the inputs: 'x'$"):
        await sent(["x"], [chat_line("a")])


async def test_inputs_that_are_only_ids() -> None:
    """An id is not enough to write a request again."""
    with pytest.raises(InputError, match="which are custom_ids only"):
        await sent(["a"], ["a"])


async def test_they_can_be_uploaded(server: BatchServer, session: BatchSession) -> None:
    """What comes out is an input file."""
    inputs = chat_lines(5)
    file = await session.files.create(to_requests(["r1", "r3"], inputs), filename="again.jsonl")
    assert server.store.read(file.id) == chat_line("r1", "question 1") + chat_line("r3", "question 3")
