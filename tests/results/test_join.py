"""Results joined with their inputs: every input has exactly one, whatever the files hold."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import tempfile
import threading
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings, strategies as st
from support.http_servers import RawServer, answer, batch_json, chat_line, json_answer
from support.result_lines import read_result, result_line

from openai_batches import Batch, BatchFailedError, BatchStatus, InputError, Outcome, RequestCounts, TransportError
from openai_batches.requests.request import BatchRequest
from openai_batches.results import join as join_module
from openai_batches.results.join import ResultJoin
from openai_batches.results.parse import ResultReader
from openai_batches.results.stream import BatchResults
from openai_batches.results.summary import ResultSummary

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
    from pathlib import Path

    from support.http_servers import Asked

    from openai_batches import BatchResult, BatchSession

    OpenSession = Callable[..., BatchSession]

DONE = Batch(id="b", status=BatchStatus.COMPLETED, output_file_id="out", error_file_id="err")


def collected(out: bytes, err: bytes = b"", *, batch: Batch = DONE, given: bytes = b"", **options: Any) -> BatchResults:
    """Return the results in files that are at hand."""
    files = {"out": out, "err": err, "in": given}

    async def ended() -> Batch:
        return batch

    async def read_file(file_id: str) -> AsyncGenerator[bytes, None]:
        for block in files[file_id].splitlines(keepends=True):
            yield block

    return BatchResults(ended, read_file, **options)


async def found(results: BatchResults) -> list[tuple[str | None, str]]:
    return [(result.custom_id, str(result.outcome)) async for result in results]


def joined(
    inputs: list[str], files: Iterable[bytes], *, ordered: bool = True
) -> tuple[list[BatchResult], ResultSummary]:
    """Return the results of a join, without an event loop."""
    summary = ResultSummary()
    with closing(ResultJoin(body_type=None, ordered=ordered, summary=summary)) as join:
        join.add_inputs(inputs)
        join.check_inputs()
        for data in files:
            join.add_lines(ResultReader(), data)
        results: list[BatchResult] = []
        while (piece := join.next_piece()) is not None:
            results += piece
        assert join.next_piece() is None
    return results, summary


# Every input has one outcome

ids = st.text(st.sampled_from('ab\u2028\ud83d\u00e9"\\ \n'), max_size=3)
kinds = st.sampled_from(["succeeded", "failed", "expired", "cancelled", "invalid"])


def line_of(kind: str, custom_id: str) -> bytes:
    made = {
        "succeeded": result_line(custom_id, text=kind),
        "failed": result_line(custom_id, 400),
        "expired": result_line(custom_id, None, code="batch_expired"),
        "cancelled": result_line(custom_id, None, code="batch_cancelled"),
        "invalid": json.dumps({"custom_id": custom_id})[:-1].encode() + b', "response": [\n',
    }
    return made[kind]


def expected_outcome(kinds: list[str]) -> str:
    """The first success counts, else the first line that can be read, else an unreadable one."""
    readable = [kind for kind in kinds if kind != "invalid"]
    return "succeeded" if "succeeded" in kinds else next(iter(readable), kinds[0] if kinds else "missing")


@given(
    inputs=st.lists(ids, unique=True, max_size=12),
    lines=st.lists(st.tuples(ids, kinds), max_size=24),
    ordered=st.booleans(),
    cut=st.integers(0, 24),
)
@settings(deadline=None, max_examples=150)
def test_every_input_has_one_outcome(inputs: list[str], lines: list[tuple[str, str]], ordered: bool, cut: int) -> None:
    """Whatever order, doubles and strangers the files hold: one result for each input, and nothing goes unsaid."""
    files = [b"".join(line_of(kind, custom_id) for custom_id, kind in part) for part in (lines[:cut], lines[cut:])]
    results, summary = joined(inputs, files, ordered=ordered)
    # What is broken and has half of an emoji in its id belongs to nobody.
    said = [(None if kind == "invalid" and "\ud83d" in custom_id else custom_id, kind) for custom_id, kind in lines]
    mine = [result for result in results if result.outcome is not Outcome.FOREIGN and result.custom_id is not None]
    expected = {
        custom_id: expected_outcome([kind for other, kind in said if other == custom_id]) for custom_id in inputs
    }
    assert {result.custom_id: str(result.outcome) for result in mine} == expected
    assert len(mine) == len(inputs)
    strangers = [custom_id for custom_id, _ in said if custom_id is not None and custom_id not in inputs]
    assert [result.custom_id for result in results if result.outcome is Outcome.FOREIGN] == strangers
    assert sum(result.custom_id is None for result in results) == sum(custom_id is None for custom_id, _ in said)
    doubles = Counter(custom_id for custom_id, _ in said if custom_id in expected)
    assert summary.doubled == sum(count - 1 for count in doubles.values())
    assert summary.foreign == len(strangers)
    assert (summary.inputs, summary.total) == (len(inputs), len(results))
    if ordered:
        assert [result.custom_id for result in results[: len(inputs)]] == inputs


@given(st.integers(0, 60), st.randoms(use_true_random=False), st.booleans())
@settings(deadline=None, max_examples=40)
def test_shuffled_results_come_in_order(count: int, chance: random.Random, ordered: bool) -> None:
    """The order of the files does not matter: each input gets its own answer, in its own place."""
    inputs = [f"r{number}" for number in range(count)]
    lines = [result_line(custom_id, text=custom_id) for custom_id in inputs]
    chance.shuffle(lines)
    results, summary = joined(inputs, [b"".join(lines)], ordered=ordered)
    assert sorted(results, key=lambda result: int((result.custom_id or "")[1:])) == [
        read_result(
            result_line(custom_id, text=custom_id)[:-1],
            line_number=lines.index(result_line(custom_id, text=custom_id)) + 1,
        )
        for custom_id in inputs
    ]
    assert all(result.body == {"text": result.custom_id} for result in results)
    numbers = [result.line_number for result in results]
    if ordered:
        assert [result.custom_id for result in results] == inputs
    else:
        assert numbers == sorted(numbers)
    assert summary.outcomes[Outcome.SUCCEEDED] == count


def test_more_than_fits_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is spread over buckets goes to the disk in time, and comes back whole."""
    monkeypatch.setattr(join_module, "_WAITING", 50)
    monkeypatch.setattr(join_module, "_PIECE_BYTES", 500)
    monkeypatch.setattr(join_module, "_PIECE_ITEMS", 7)
    inputs = [f"r{number}" for number in range(2_000)]
    lines = [result_line(custom_id) for custom_id in inputs[::2]] + [result_line(f"x{number}") for number in range(300)]
    random.Random(1).shuffle(lines)
    for ordered in (True, False):
        results, summary = joined(inputs, [b"".join(lines[:600]), b"".join(lines[600:])], ordered=ordered)
        assert Counter(result.outcome for result in results) == {"succeeded": 1_000, "missing": 1_000, "foreign": 300}
        if ordered:
            assert [result.custom_id for result in results[:2_000]] == inputs
        else:
            assert [result.custom_id for result in results[1_300:]] == inputs[1::2]
        assert len(summary.foreign_ids) == 100


def test_ids_whose_hashes_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids are compared as text: that they fall into the same bucket mixes nothing."""
    monkeypatch.setattr(join_module, "hash", lambda _: 0, raising=False)
    inputs = [f"r{number}" for number in range(50)]
    results, _ = joined(inputs, [b"".join(result_line(custom_id, text=custom_id) for custom_id in reversed(inputs))])
    assert [(result.custom_id, result.body["text"]) for result in results] == [(each, each) for each in inputs]


def test_a_disk_that_takes_little_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that is done in part is gone on with."""
    opened = tempfile.TemporaryFile

    class Short:
        def __init__(self, **options: Any) -> None:
            self.file = opened(**options)
            self.seek, self.read, self.close = self.file.seek, self.file.read, self.file.close

        def write(self, data: bytes) -> int:
            return self.file.write(data[:5])

    monkeypatch.setattr(join_module.tempfile, "TemporaryFile", Short)
    results, _ = joined(["a", "b"], [result_line("b") + result_line("a")])
    assert [result.custom_id for result in results] == ["a", "b"]


@pytest.mark.parametrize("doubled", [["a", "b", "a"], ["a", "a"]])
def test_inputs_that_cannot_be_told_apart(doubled: list[str]) -> None:
    """Two inputs with one id are refused before a file is read, and both are named."""
    with pytest.raises(InputError, match=rf"inputs 1 and {len(doubled)} have the same custom_id 'a'"):
        joined(doubled, [])


def test_a_join_that_is_closed_while_a_thread_is_at_work() -> None:
    """Closing waits for the thread, which stops at the next bucket."""
    join = ResultJoin(body_type=None, ordered=True, summary=ResultSummary())
    join.add_inputs(["a"])
    join.check_inputs()
    closing: list[threading.Thread] = []
    match = join._match

    def slow(bucket: int) -> None:
        if not closing:
            closing.append(threading.Thread(target=join.close))
            closing[0].start()
            while not join._is_closed:
                pass
            assert join.is_busy
        match(bucket)

    join._match = slow  # type: ignore[method-assign]
    assert join.next_piece() is None
    closing[0].join(timeout=60)
    assert not join.is_busy


# As an iterator


class TestIterating:
    async def test_without_inputs(self) -> None:
        """Both files are read as they stand, the output first."""
        results = collected(result_line("a") + result_line("b"), result_line("c", 400))
        assert await found(results) == [("a", "succeeded"), ("b", "succeeded"), ("c", "failed")]
        assert results.summary.is_complete
        assert results.summary.batch is DONE

    @pytest.mark.parametrize("ordered", [True, False])
    async def test_with_inputs(self, ordered: bool) -> None:
        """In the order of the inputs, or of the files; missing and foreign ones are named."""
        results = collected(
            result_line("c") + result_line("x") + b"<html>\n",
            result_line("a", 400),
            inputs=["a", "b", "c"],
            ordered=ordered,
        )
        if ordered:
            expected = [("a", "failed"), ("b", "missing"), ("c", "succeeded"), ("x", "foreign"), (None, "invalid")]
        else:
            expected = [("c", "succeeded"), ("x", "foreign"), (None, "invalid"), ("a", "failed"), ("b", "missing")]
        assert await found(results) == expected
        summary = results.summary
        assert (summary.inputs, summary.foreign, summary.foreign_ids, summary.is_complete) == (3, 1, ["x"], True)

    async def test_the_first_success_wins(self) -> None:
        """Of several lines for one input the first success counts; the others are told, never two results given."""
        out = result_line("a", text=1) + result_line("b", 500) + result_line("a", text=2)
        results = collected(out, result_line("a", 400) + result_line("b", text=3), inputs=["a", "b"], ordered=True)
        assert [result.body async for result in results] == [{"text": 1}, {"text": 3}]
        assert results.summary.doubled == 3
        assert sorted(results.summary.doubled_ids) == ["a", "a", "b"]

    async def test_the_batchs_own_order(self) -> None:
        """Ordered without inputs is the order of the batch's input file, which is read from the service."""
        batch = Batch(id="b", status=BatchStatus.COMPLETED, input_file_id="in", output_file_id="out")
        out = result_line("b") + result_line("a")
        results = collected(out, batch=batch, given=chat_line("a") + chat_line("b"), ordered=True)
        assert await found(results) == [("a", "succeeded"), ("b", "succeeded")]
        with pytest.raises(InputError, match="Batch b does not name its input file: give the inputs"):
            await anext(collected(out, ordered=True))

    async def test_large_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Blocks go to threads together, and what is left over too."""
        monkeypatch.setattr("openai_batches.results.stream._GATHERED_BYTES", 300)
        inputs = [f"r{number}" for number in range(20)]
        results = collected(b"".join(map(result_line, reversed(inputs))), inputs=inputs, ordered=True)
        assert [result.custom_id async for result in results] == inputs
        results = collected(b"".join(map(result_line, inputs[:2])) + b" " * 300 + b"\n", inputs=inputs[:2])
        assert len(await found(results)) == 2

    async def test_anext_and_async_for(self) -> None:
        """The results are an iterator: what was taken does not come again."""
        results = collected(result_line("a") + result_line("b") + result_line("c"))
        assert (await anext(results)).custom_id == "a"
        assert [result.custom_id async for result in results] == ["b", "c"]
        with pytest.raises(StopAsyncIteration):
            await anext(results)

    @pytest.mark.parametrize("options", [{}, {"inputs": ["a", "b"]}], ids=["streamed", "joined"])
    async def test_closing_early(self, options: Any) -> None:
        """Leaving the block, or closing, ends it; what was read is counted, and it is not called complete."""
        async with collected(result_line("a") + result_line("b"), **options) as results:
            async for _ in results:
                break
        await results.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(results)
        assert not results.summary.is_complete
        assert results.summary.outcomes[Outcome.SUCCEEDED] > 0
        unused = collected(b"", **options)
        await unused.aclose()

    @pytest.mark.parametrize("ways", ["close", "forget", "cancel"])
    async def test_no_temporary_file_is_left(self, ways: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Closed, forgotten or cancelled: the temporary files are closed, and with that gone."""
        opened = self.watch(monkeypatch)
        results = collected(result_line("a") + result_line("b"), inputs=["a", "b"], ordered=True)
        if ways == "cancel":
            begun, blocked = threading.Event(), threading.Event()
            monkeypatch.setattr(ResultJoin, "next_piece", lambda _: begun.set() or blocked.wait(10))
            task = asyncio.ensure_future(results.__anext__())
            await asyncio.to_thread(begun.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            blocked.set()
        else:
            await anext(results)
            if ways == "close":
                await results.aclose()
        del results
        gc.collect()
        for _ in range(100):
            if all(file.closed for file in opened):
                break
            await asyncio.sleep(0.01)
        assert [file.closed for file in opened] == [True] * 5

    async def test_cancelled_while_a_thread_is_at_work(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The event loop does not wait for the thread, and the files are closed once it is done."""
        opened = self.watch(monkeypatch)
        begun, blocked = threading.Event(), threading.Event()

        def slow(self: ResultJoin) -> None:
            with self._lock:
                begun.set()
                blocked.wait(10)

        monkeypatch.setattr(ResultJoin, "check_inputs", slow)
        task = asyncio.ensure_future(collected(result_line("a"), inputs=["a"]).__anext__())
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not any(file.closed for file in opened)
        blocked.set()
        for _ in range(100):
            if all(file.closed for file in opened):
                break
            await asyncio.sleep(0.01)
        assert [file.closed for file in opened] == [True] * 5

    @staticmethod
    def watch(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """Return the list to which every temporary file is added."""
        opened: list[Any] = []
        make = tempfile.TemporaryFile

        def watched(**options: Any) -> Any:
            opened.append(make(**options))
            return opened[-1]

        monkeypatch.setattr(join_module.tempfile, "TemporaryFile", watched)
        return opened


# Over HTTP: what other clients get wrong


class TestOverHTTP:
    """Defects that cost the users of other clients results they had paid for."""

    @staticmethod
    def server(**files: bytes | int) -> RawServer:
        """A server of files; a number is a status that is answered instead."""

        async def handler(asked: Asked) -> bytes:
            if asked.path.startswith("/v1/batches/"):
                return json_answer(batch_json("b", status="completed", output_file_id="out", input_file_id="in"))
            held = files[asked.path.split("/")[3]]
            return answer(held) if isinstance(held, int) else answer(200, held)

        return RawServer(handler)

    async def test_a_stranger_does_not_end_the_reading(self, open_session: OpenSession) -> None:
        """One custom_id that nobody knows costs no other result."""
        async with self.server(out=result_line("stranger") + result_line("a")) as server:
            batch = Batch(id="b", status=BatchStatus.COMPLETED, output_file_id="out")
            results = open_session(server).batches.results(batch, inputs=["a"], ordered=True)
            assert await found(results) == [("a", "succeeded"), ("stranger", "foreign")]

    @pytest.mark.parametrize("options", [{}, {"inputs": ["a", "b"]}])
    async def test_a_download_that_fails_is_no_failure_of_requests(
        self, options: Any, open_session: OpenSession
    ) -> None:
        """A 500 while reading raises; it does not turn requests into failed or missing ones."""
        async with self.server(out=result_line("a"), err=500) as server:
            results = open_session(server).batches.results(DONE, **options)
            with pytest.raises(Exception, match="500"):
                await found(results)
            assert not results.summary.is_complete
            assert results.summary.disagreements == ()

    @pytest.mark.parametrize("status", ["expired", "cancelled"])
    async def test_finished_rows_of_an_unfinished_batch(self, status: str, open_session: OpenSession) -> None:
        """What an expired or cancelled batch had finished was paid for, and is given."""
        unrun = result_line("b", None, code=f"batch_{status}")
        async with self.server(out=result_line("a"), err=unrun) as server:
            batch = Batch(id="b", status=BatchStatus(status), output_file_id="out", error_file_id="err")
            results = open_session(server).batches.results(batch, inputs=["a", "b", "c"], ordered=True)
            assert await found(results) == [("a", "succeeded"), ("b", status), ("c", "missing")]

    async def test_a_line_without_a_response_in_the_output(self, open_session: OpenSession) -> None:
        """``response: null`` in the output file is a result like any other."""
        async with self.server(out=result_line("a", None) + result_line("b")) as server:
            batch = Batch(id="b", status=BatchStatus.COMPLETED, output_file_id="out")
            assert await found(open_session(server).batches.results(batch)) == [("a", "failed"), ("b", "succeeded")]

    @pytest.mark.parametrize("output_file_id", [None, ""])
    async def test_completed_without_an_output_file(
        self, output_file_id: str | None, open_session: OpenSession
    ) -> None:
        """Every request failed: they are in the error file, and a summary says what is missing."""
        async with self.server(err=result_line("a", 400)) as server:
            batch = Batch(
                id="b", status=BatchStatus.COMPLETED, output_file_id=output_file_id, error_file_id="err",
                request_counts=RequestCounts(total=2, completed=0, failed=2),
            )  # fmt: skip
            results = open_session(server).batches.results(batch, inputs=["a", "b"], ordered=True)
            assert await found(results) == [("a", "failed"), ("b", "missing")]
            assert results.summary.disagreements == (
                "the service counts 2 failed requests, 1 failed",
                "the batch is completed, and 1 input is in neither file",
            )

    async def test_completed_without_any_file(self, open_session: OpenSession) -> None:
        """Without files every input is missing, none is lost silently."""
        async with self.server() as server:
            batch = Batch(id="b", status=BatchStatus.COMPLETED)
            results = open_session(server).batches.results(batch, inputs=["a", "b"], ordered=True)
            assert await found(results) == [("a", "missing"), ("b", "missing")]

    async def test_one_file_for_all(self, open_session: OpenSession) -> None:
        """Successes and failures in one file, errors as objects or text, are told apart line by line."""
        failed = {"id": "vllm-1", "custom_id": "b", "response": {"status_code": 400, "request_id": "r", "body": None}}
        out = result_line("a") + json.dumps({**failed, "error": {"message": "m", "code": 400}}).encode() + b"\n"
        out += json.dumps({**failed, "custom_id": "c", "error": "text"}).encode() + b"\n"
        out += b'{"id": "x", "custom_id": "d", "error": {"type": "t", "message": "m"}}\n'
        async with self.server(out=out) as server:
            batch = Batch(id="b", status=BatchStatus.COMPLETED, output_file_id="out")
            results = open_session(server).batches.results(batch)
            assert await found(results) == [("a", "succeeded"), ("b", "failed"), ("c", "failed"), ("d", "failed")]
            assert results.summary.error_codes == {"400": 1, "": 2}

    async def test_by_id_in_the_batchs_own_order(self, open_session: OpenSession) -> None:
        """The batch's id is enough: batch, inputs and results are fetched."""
        requests = b"".join(map(chat_line, ("a", "b", "c")))
        async with self.server(
            out=result_line("c") + result_line("a") + result_line("b"), **{"in": requests}
        ) as server:
            results = open_session(server).batches.results("b", ordered=True)
            assert await found(results) == [("a", "succeeded"), ("b", "succeeded"), ("c", "succeeded")]

    async def test_inputs_of_every_kind(self, open_session: OpenSession, tmp_path: Path) -> None:
        """A path, requests, mappings, lines, ids: whatever the batch was made of is what it is joined with."""
        path = tmp_path / "in.jsonl"
        path.write_bytes(chat_line("a") + chat_line("b"))

        async def later() -> AsyncGenerator[Any, None]:
            yield {"custom_id": "a"}
            yield "b"

        def kinds() -> Iterator[Any]:
            yield path
            yield str(path)
            yield [BatchRequest("a", {}, "/v1/x"), chat_line("b")]
            yield later()

        async with self.server(out=result_line("b") + result_line("a")) as server:
            batch = Batch(id="b", status=BatchStatus.COMPLETED, output_file_id="out")
            for inputs in kinds():
                results = open_session(server).batches.results(batch, inputs=inputs, ordered=True)
                assert await found(results) == [("a", "succeeded"), ("b", "succeeded")]

    async def test_a_body_type(self, open_session: OpenSession) -> None:
        """Bodies are of the type asked for, joined or not."""
        async with self.server(out=result_line("a", text="t")) as server:
            batch = Batch(id="b", status=BatchStatus.COMPLETED, output_file_id="out")
            for options in ({}, {"inputs": ["a"]}):
                results = open_session(server).batches.results(batch, body_type=dict[str, str], **options)
                assert [result.body async for result in results] == [{"text": "t"}]

    async def test_a_batch_without_results(self, open_session: OpenSession) -> None:
        """With inputs, too, a batch that was refused or still runs says so."""
        async with self.server() as server:
            session = open_session(server)
            with pytest.raises(BatchFailedError):
                await anext(session.batches.results(Batch(id="b", status=BatchStatus.FAILED), inputs=["a"]))
            assert not server.asked

    @pytest.mark.parametrize("options", [{}, {"inputs": ["a"]}])
    async def test_a_file_that_is_cut(self, options: Any, open_session: OpenSession) -> None:
        """A file that ends early is no whole file: the missing lines are not called missing."""

        async def handler(asked: Asked) -> None:
            asked.writer.write(answer(200, result_line("a") * 3)[:-20])
            await asked.writer.drain()

        async with RawServer(handler) as server:
            batch = Batch(id="b", status=BatchStatus.COMPLETED, output_file_id="out")
            with pytest.raises(TransportError):
                await found(open_session(server).batches.results(batch, **options))
