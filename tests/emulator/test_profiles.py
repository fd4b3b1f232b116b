"""What the emulator says and takes where it plays another service than OpenAI."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from support.asking import CHAT, chat_line, form, jsonl, records

from openai_batches.emulator import BatchServer, Profile, SteppedClock
from openai_batches.emulator.profiles.profiles import AZURE, OPENAI, PROFILES
from openai_batches.emulator.profiles.result_style import ResultStyle
from openai_batches.emulator.store.records import Counts

# Answered, refused by the echo with 400, answered.
MIXED = jsonl(chat_line("a"), chat_line("b", body={"model": "m", "messages": []}), chat_line("c"))
MIXED = MIXED.replace(b'"model": "gpt-4o-mini"', b'"model": "m"')
HOUR_S = 3_600


class Client:
    """Asks one server, by paths below its base URL."""

    def __init__(self, server: BatchServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def __call__(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        headers = {"Authorization": "Bearer sk-alice", **options.pop("headers", {})}
        url = path if path.startswith("http") else self.server.base_url + path
        async with self.session.request(method, url, headers=headers, **options) as answer:
            content = await answer.read()
            return answer.status, json.loads(content) if answer.content_type == "application/json" else content

    async def upload(self, content: bytes = MIXED, **fields: str) -> Any:
        status, file = await self("POST", "/files", data=form(content, purpose="batch", **fields))
        assert status == 200, file
        return file

    async def create(self, file_id: str, **more: Any) -> tuple[int, Any]:
        wanted = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **more}
        return await self("POST", "/batches", json=wanted)

    async def batch(self, content: bytes = MIXED, **more: Any) -> Any:
        file = await self.upload(content)
        await self.server.advance(seconds=10)
        status, batch = await self.create(file["id"], **more)
        assert status == 200, batch
        return batch

    async def see(self, batch: Any) -> Any:
        return (await self("GET", f"/batches/{batch['id']}"))[1]

    async def content(self, file_id: str) -> bytes:
        status, body = await self("GET", f"/files/{file_id}/content")
        assert status == 200, body
        return body


Play = Callable[..., Awaitable[Client]]


@pytest.fixture
async def play() -> AsyncIterator[Play]:
    async with AsyncExitStack() as stack:

        async def start(profile: Profile | str, **options: Any) -> Client:
            server = BatchServer(profile=profile, **{"clock": SteppedClock(), **options})
            await stack.enter_async_context(server)
            return Client(server, await stack.enter_async_context(aiohttp.ClientSession()))

        yield start


class TestWhatAProfileIs:
    def test_names(self) -> None:
        """A profile is named, or given."""
        assert [BatchServer(profile=name).profile for name in PROFILES] == list(PROFILES.values())
        assert BatchServer().profile is OPENAI
        for wrong in ("gorq", 7):
            with pytest.raises(ValueError, match=f"a Profile or one of openai, azure, groq, .*, not {wrong!r}"):
                BatchServer(profile=wrong)  # type: ignore[arg-type]

    async def test_one_of_your_own(self, play: Play) -> None:
        """Data and pure functions make another service of a known one."""
        mine = attrs.evolve(OPENAI, name="mine", prefixes=("/api", "/v2"), max_lines=2, batch=lambda _: {"id": "b"})
        client = await play(mine)
        assert client.server.base_url.endswith("/api")
        file = await client.upload()
        assert await client.create(file["id"]) == (200, {"id": "b"})
        origin = client.server.base_url.removesuffix("/api")
        assert (await client("GET", f"{origin}/v2/files/{file['id']}"))[0] == 200
        assert (await client("GET", f"{origin}/v1/files/{file['id']}"))[0] == 404
        assert (await client("GET", f"{origin}/healthz"))[0] == 200
        await client.server.advance(hours=1)
        (stored,) = client.server.store.batches.items.values()
        assert (stored.status, [error["code"] for error in stored.errors or ()]) == ("failed", ["too_many_tasks"])

    async def test_the_servers_own_parameters_come_first(self, play: Play) -> None:
        """What the server is told counts more than what the profile says."""
        client = await play("ogx", max_lines=2, unknown_cursor="empty")
        batch = await client.batch()
        await client.server.advance(hours=1)
        assert (await client.see(batch))["status"] == "failed"
        assert (await client("GET", "/batches?after=batch_no"))[1]["data"] == []


class TestAzure:
    async def test_a_new_file_is_pending(self, play: Play) -> None:
        """For two seconds, or until it was looked at twice, no batch can be made of a new file."""
        client = await play("azure")
        file = await client.upload()
        assert file["status"] == "pending"
        status, refused = await client.create(file["id"])
        assert (status, refused["error"]["param"]) == (400, "input_file_id")
        assert "is not processed yet" in refused["error"]["message"]
        looks = [(await client("GET", f"/files/{file['id']}"))[1]["status"] for _ in range(3)]
        assert looks == ["pending", "processed", "processed"]
        other = await client.upload()
        await client.server.advance(seconds=3)
        assert (await client("GET", "/files"))[1]["data"][0]["status"] == "processed"
        assert (await client.create(other["id"]))[0] == 200
        assert (await client("POST", "/files", data=form(b"x", purpose="assistants")))[1]["status"] == "processed"

    async def test_the_record_of_a_batch(self, play: Play) -> None:
        """Times are text, statuses have a capital, absent files are empty text and unknown counts null."""
        client = await play("azure")
        batch = await client.batch()
        assert batch["status"] == "Validating"
        assert (batch["output_file_id"], batch["error_file_id"]) == ("", "")
        assert batch["request_counts"] == {"total": None, "completed": None, "failed": None}
        assert batch["created_at"] == "2025-06-15T15:06:50Z"
        assert batch["expires_at"] == "2025-06-16T15:06:50Z"
        assert len(batch["id"]) == len("batch_") + 36
        assert len(batch["input_file_id"]) == len("file-") + 32
        await client.server.advance(hours=1)
        done = await client.see(batch)
        assert (done["status"], done["request_counts"]) == ("Completed", {"total": 3, "completed": 2, "failed": 1})

    async def test_result_files(self, play: Play) -> None:
        """Lines have no id, and an error file is there even when nothing failed."""
        client = await play("azure")
        batch = await client.batch(jsonl(chat_line("a"), chat_line("b")))
        await client.server.advance(hours=1)
        done = await client.see(batch)
        lines = records(await client.content(done["output_file_id"]))
        assert [sorted(line) for line in lines] == [["custom_id", "error", "response"]] * 2
        assert "content_filter_results" in lines[0]["response"]["body"]["choices"][0]
        assert await client.content(done["error_file_id"]) == b""

    async def test_it_never_expires(self, play: Play) -> None:
        """A batch runs for as long as it needs."""
        client = await play("azure")
        batch = await client.batch(jsonl(*(chat_line(f"r{index}") for index in range(2_000_000 // 1_000))))
        (stored,) = client.server.store.batches.items.values()
        assert stored.expires_at > client.server.clock.now() + 50 * 365 * 24 * HOUR_S
        await client.server.advance(hours=24 * 30)
        assert (await client.see(batch))["status"] == "Completed"

    async def test_addresses_and_keys(self, play: Play) -> None:
        """The key may stand in its own header; the dated paths want their date, and plain ones are not there."""
        client = await play("azure", api_keys=["sk-alice"])
        origin = client.server.base_url.removesuffix("/openai/v1")
        key = {"Authorization": "", "api-key": "sk-alice"}
        assert (await client("GET", "/batches", headers=key))[0] == 200
        assert (await client("GET", "/batches", headers={**key, "api-key": "sk-bob"}))[0] == 401
        assert (await client("GET", f"{origin}/openai/batches?api-version=2024-10-21"))[0] == 200
        assert (await client("GET", f"{origin}/openai/batches"))[0] == 404
        assert (await client("GET", f"{origin}/v1/batches"))[0] == 404
        assert {request.path for request in list(client.server.requests)[:3]} == {"/v1/batches"}

    async def test_its_own_refusals(self, play: Play) -> None:
        """Codes and words of Azure's own; what has none of its own is said as at OpenAI."""
        client = await play("azure")
        _, body = await client("POST", "/files", data=form(b"{}", purpose="nonsense"))
        assert body == {"error": {"code": "invalidPayload", "message": "Invalid value for purpose."}}
        status, body = await client(
            "POST", "/files", data=form(MIXED, purpose="batch", **{"expires_after[seconds]": "1"})
        )
        assert (status, body["error"]["code"]) == (400, "unknown_parameter")
        expiry = {"expires_after.anchor": "created_at", "expires_after.seconds": "3600"}
        status, body = await client("POST", "/files", data=form(MIXED, purpose="batch", **expiry))
        assert (status, body["error"]["code"]) == (400, "integer_below_min_value")
        bad = jsonl(chat_line("a", url="/v1/other"), chat_line("b", body={"model": "x", "messages": [1]}))
        batch = await client.batch(jsonl(chat_line("z")) + bad + jsonl({"custom_id": "q"}))
        await client.server.advance(hours=1)
        codes = [error["code"] for error in (await client.see(batch))["errors"]["data"]]
        assert codes == ["url_mismatch", "model_mismatch", "invalid_request", "invalid_request", "invalid_request"]
        (stored,) = client.server.store.batches.items.values()
        assert stored.errors is not None
        assert stored.errors[0]["code"] == "invalid_url"

    async def test_it_fails_fast(self, play: Play) -> None:
        """A batch that would exceed the enqueued tokens is refused at once, as long as others run."""
        content = jsonl(chat_line("a"))
        tokens = len(content) // 4
        client = await play("azure", enqueued_token_limit=tokens)
        first = await client.batch(content)
        await client.server.advance(seconds=3)
        file = await client.upload(content)
        await client("GET", f"/files/{file['id']}")
        await client("GET", f"/files/{file['id']}")
        status, refused = await client.create(file["id"])
        assert (status, refused["error"]["code"]) == (400, "token_limit_exceeded")
        await client.server.advance(hours=1)
        assert (await client.see(first))["status"] == "Completed"
        assert (await client.create(file["id"]))[0] == 200

    async def test_what_has_no_model_has_no_limit(self, play: Play) -> None:
        """Fail-fast looks at the first line alone; what is wrong with it, validation says."""
        client = await play("azure", enqueued_token_limit={"gpt-4o-mini": 1})
        for line in (b"[]\n", b'{"body": []}\n', b'{"body": {"model": 7}}\n'):
            assert (await client.batch(line))["status"] == "Validating"

    async def test_paths_without_v1(self, play: Play) -> None:
        """Endpoints may leave /v1 out."""
        client = await play("azure")
        path = "/chat/completions"
        bad = await client.batch(jsonl(chat_line("a", url=path, body={"model": "m"})), endpoint=path)
        good = await client.batch(jsonl(chat_line("a", url=path)), endpoint=path)
        await client.server.advance(hours=1)
        (error,) = (await client.see(bad))["errors"]["data"]
        assert error["message"] == "Messages parameter is required."
        assert (await client.see(good))["request_counts"] == {"total": 1, "completed": 1, "failed": 0}


class TestGroq:
    async def test_lists_are_whole(self, play: Play) -> None:
        """Every reply is the whole list, whatever is asked."""
        client = await play("groq")
        batches = [await client.batch() for _ in range(3)]
        status, page = await client("GET", f"/batches?limit=1&after={batches[0]['id']}")
        assert (status, sorted(page)) == (200, ["data", "object"])
        assert [item["id"] for item in page["data"]] == [batch["id"] for batch in reversed(batches)]
        _, files = await client("GET", "/files")
        keys = {"bytes", "created_at", "filename", "id", "object", "purpose"}
        assert [item.keys() for item in files["data"]] == [keys] * len(client.server.store.files.items)

    async def test_records_and_windows(self, play: Play) -> None:
        """A batch has neither model nor usage, and its window may be up to a week."""
        client = await play("groq")
        batch = await client.batch(completion_window="7d")
        assert batch.keys().isdisjoint({"model", "usage"})
        assert batch["expires_at"] - batch["created_at"] == 7 * 24 * HOUR_S
        file = await client.upload()
        for window in ("8d", "23h", "1 week", ""):
            status, body = await client.create(file["id"], completion_window=window)
            assert (status, body["error"]["param"]) == (400, "completion_window"), window
        assert (await client.create(file["id"], endpoint="/v1/embeddings"))[0] == 400


class TestSiliconflow:
    async def test_lines_wait_in_a_queue(self, play: Play) -> None:
        """A batch waits in a queue, in which nothing is counted, and its lines need little."""
        client = await play("siliconflow")
        line = {"custom_id": "a", "body": {"messages": [{"role": "user", "content": "hi"}]}}
        batch = await client.batch(jsonl(line), completion_window="336h")
        assert (batch["status"], batch["request_counts"]) == ("in_queue", None)
        await client.server.advance(hours=1)
        done = await client.see(batch)
        assert (done["status"], done["request_counts"]["completed"]) == ("completed", 1)
        (result,) = records(await client.content(done["output_file_id"]))
        assert result["response"]["status_code"] == 200

    async def test_a_file_of_too_many_lines(self, play: Play) -> None:
        """5,000 lines are the most; a batch that was refused has counted nothing."""
        client = await play("siliconflow")
        batch = await client.batch(jsonl(*(chat_line(f"r{index}") for index in range(5_001))))
        await client.server.advance(hours=1)
        failed = await client.see(batch)
        assert (failed["status"], failed["request_counts"]) == ("failed", None)


class TestVllm:
    async def test_one_file_for_all(self, play: Play) -> None:
        """Successes and failures stand in one file, in the order of the input, and ids need not be unique."""
        client = await play("vllm")
        content = MIXED + jsonl(chat_line("a", body={"model": "other", "messages": [{"role": "user", "content": "2"}]}))
        batch = await client.batch(content)
        await client.server.advance(hours=1)
        done = await client.see(batch)
        assert (done["status"], done["error_file_id"]) == ("completed", None)
        lines = records(await client.content(done["output_file_id"]))
        assert [line["custom_id"] for line in lines] == ["a", "b", "c", "a"]
        assert [line["response"]["body"]["model"] for line in (lines[0], lines[3])] == ["m", "other"]
        assert all(line["id"].startswith("vllm-") for line in lines)
        assert all(line["response"]["request_id"].startswith("vllm-batch-") for line in lines)
        assert lines[1]["response"]["status_code"] == 400
        assert lines[1]["response"]["body"] is None
        assert lines[1]["error"]["object"] == "error"
        assert "messages" in lines[1]["error"]["message"]

    async def test_upstream_errors_are_sentences(self, play: Play) -> None:
        """The error of a line may be text alone."""

        async def broken(url: str, body: dict[str, Any], custom_id: str) -> tuple[int, dict[str, Any]]:
            return 500, {"error": "no object"} if custom_id == "a" else {"error": {"message": "out of memory"}}

        client = await play("vllm", executor=broken)
        batch = await client.batch(jsonl(chat_line("a"), chat_line("b")))
        await client.server.advance(hours=1)
        lines = records(await client.content((await client.see(batch))["output_file_id"]))
        assert [line["error"] for line in lines] == ["The request failed.", "out of memory"]

    async def test_a_cancelled_batch(self, play: Play) -> None:
        """Lines that never ran stand in the same file."""
        client = await play("vllm")
        batch = await client.batch(jsonl(*(chat_line(f"r{index}") for index in range(100))))
        await client.server.advance(seconds=5)
        await client("POST", f"/batches/{batch['id']}/cancel")
        await client.server.advance(hours=1)
        lines = records(await client.content((await client.see(batch))["output_file_id"]))
        assert [line["custom_id"] for line in lines] == [f"r{index}" for index in range(100)]
        assert [line["error"] for line in lines[:1]] == [None]
        assert lines[-1]["error"]["code"] == "batch_cancelled"


class TestOgx:
    async def test_result_files(self, play: Play) -> None:
        """Bodies are JSON text, failures are an error alone, and both files are always there."""
        client = await play("ogx")
        batch = await client.batch()
        await client.server.advance(hours=1)
        done = await client.see(batch)
        assert all(done[name] is None for name in ("in_progress_at", "finalizing_at", "expires_at"))
        good = records(await client.content(done["output_file_id"]))
        assert json.loads(good[0]["response"]["body"])["object"] == "chat.completion"
        (bad,) = records(await client.content(done["error_file_id"]))
        assert sorted(bad) == ["custom_id", "error", "id"]
        assert bad["error"]["type"] == "invalid_request_error"
        other = await client.batch(jsonl(chat_line("a")))
        await client.server.advance(hours=1)
        assert await client.content((await client.see(other))["error_file_id"]) == b""

    async def test_no_finalizing(self, play: Play) -> None:
        """A batch is in progress until it is completed."""
        client = await play("ogx")
        batch = await client.batch(jsonl(chat_line("a")))
        seen = []
        for _ in range(8):
            seen.append((await client.see(batch))["status"])
            await client.server.advance(seconds=1)
        assert list(dict.fromkeys(seen)) == ["validating", "in_progress", "completed"]

    async def test_cancelled_lines_name_their_reason(self, play: Play) -> None:
        """A line that never ran has its reason as the type of its error."""
        client = await play("ogx")
        batch = await client.batch(jsonl(*(chat_line(f"r{index}") for index in range(100))))
        await client.server.advance(seconds=5)
        await client("POST", f"/batches/{batch['id']}/cancel")
        await client.server.advance(hours=1)
        assert (await client("POST", f"/batches/{batch['id']}/cancel"))[0] == 200
        done = await client.see(batch)
        lines = records(await client.content(done["error_file_id"]))
        assert lines[-1]["error"]["type"] == "batch_cancelled"

    async def test_a_key_makes_one_batch(self, play: Play) -> None:
        """The same key and parameters give the same batch, the same key with others is a conflict."""
        client = await play("ogx")
        first = await client.batch(idempotency_key="k")
        status, again = await client.create(first["input_file_id"], idempotency_key="k")
        assert (status, again["id"]) == (200, first["id"])
        status, _ = await client.create(first["input_file_id"], idempotency_key="k", metadata={"a": "b"})
        assert status == 409
        status, body = await client.create(first["input_file_id"], idempotency_key=7)
        assert (status, body["error"]["code"]) == (400, "invalid_type")

    async def test_an_unknown_cursor_starts_over(self, play: Play) -> None:
        """A cursor that is not known leads to the top again."""
        client = await play("ogx")
        batch = await client.batch()
        assert [item["id"] for item in (await client("GET", "/batches?after=batch_no"))[1]["data"]] == [batch["id"]]


class TestResultStyles:
    @pytest.mark.parametrize("name", ["azure", "vllm", "ogx"])
    def test_rewriting_twice_is_the_same(self, name: str, tmp_path: Path) -> None:
        """What was rewritten already, before a crash, stays as it is."""
        good = {"status_code": 200, "request_id": "f" * 32, "body": {"choices": [{"index": 0}]}}
        bad = {"status_code": 400, "request_id": "e" * 32, "body": {"error": {"message": "no", "type": "t"}}}
        never = {
            "id": "batch_req_3",
            "custom_id": "c",
            "response": None,
            "error": {"code": "batch_expired", "message": "x"},
        }
        source, output, errors = (tmp_path / name for name in ("source", "output", "errors"))
        source.write_bytes(jsonl(*({"custom_id": custom_id} for custom_id in "abc")) + b"\n")
        output.write_bytes(jsonl({"id": "batch_req_1", "custom_id": "a", "response": good, "error": None}))
        errors.write_bytes(jsonl({"id": "batch_req_2", "custom_id": "b", "response": bad, "error": None}, never))
        style = PROFILES[name].results
        style.rewrite(source, output, errors)
        once = [path.read_bytes() if path.exists() else None for path in (output, errors)]
        style.rewrite(source, output, errors)
        assert [path.read_bytes() if path.exists() else None for path in (output, errors)] == once
        assert b"batch_expired" in b"".join(content or b"" for content in once)

    def test_a_mixed_file_without_a_shape(self, tmp_path: Path) -> None:
        """Lines can be brought in order as they are; a line that is missing is left out."""
        source, output, errors = (tmp_path / name for name in ("source", "output", "errors"))
        source.write_bytes(jsonl(*({"custom_id": custom_id} for custom_id in "abc")))
        output.write_bytes(jsonl({"custom_id": "c"}))
        errors.write_bytes(jsonl({"custom_id": "a"}))
        style = ResultStyle(is_mixed=True)
        style.rewrite(source, output, errors)
        assert [line["custom_id"] for line in records(output.read_bytes())] == ["a", "c"]
        assert style.has_file("output", Counts(failed=1))
        assert not style.has_file("output", Counts())
        assert not style.has_file("error", Counts(failed=1))

    def test_files_that_are_always_there(self, tmp_path: Path) -> None:
        """A style may do no more than make the files that would be missing."""
        output, errors = tmp_path / "output", tmp_path / "errors"
        output.write_bytes(b"untouched")
        ResultStyle(always=frozenset({"error"})).rewrite(tmp_path / "source", output, errors)
        assert (output.read_bytes(), errors.read_bytes()) == (b"untouched", b"")


@pytest.mark.parametrize("name", PROFILES)
async def test_a_file_in_an_upload_is_a_file_like_any_other(play: Play, name: str) -> None:
    """The file that an upload became looks in the upload as it does alone."""
    client = await play(name)
    wanted = {"filename": "a.jsonl", "purpose": "batch", "bytes": len(MIXED), "mime_type": "text/jsonl"}
    _, upload = await client("POST", "/uploads", json=wanted)
    data = aiohttp.FormData()
    data.add_field("data", MIXED, filename="upload")
    _, part = await client("POST", f"/uploads/{upload['id']}/parts", data=data)
    _, done = await client("POST", f"/uploads/{upload['id']}/complete", json={"part_ids": [part["id"]]})
    assert done["file"] == (await client("GET", f"/files/{done['file']['id']}"))[1]


def test_files_in_openais_style_are_not_rewritten() -> None:
    """OpenAI's profile shapes nothing."""
    shapes = (OPENAI.batch, OPENAI.file, OPENAI.refusal, OPENAI.results.line)
    assert shapes == (None, None, None, None)
    assert AZURE.plain_path("/v1/batches", {}) is None
