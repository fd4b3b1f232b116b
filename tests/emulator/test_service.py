"""What a service allows: keys and projects, limits, choices of the unknown, and how long it keeps things."""

import io
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from support.asking import CHAT, MakeRaw, Raw, chat_file, chat_line, check_error, form, jsonl, records

from openai_batches.emulator import ApiKey, BatchServer, Choices, RealClock, SteppedClock, Timings
from openai_batches.emulator.answers import APIError
from openai_batches.emulator.http.limits import RateLimit

EXPIRY = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
WANTED = {"endpoint": CHAT, "completion_window": "24h"}


def sizes(data: Path) -> list[int]:
    return [path.stat().st_size for path in (data / "emulator.contents").rglob("*") if path.is_file()]


def stepped(**options: Any) -> BatchServer:
    return BatchServer(clock=SteppedClock(), **options)


async def try_create(raw: Raw, file_id: str = "file-nowhere") -> tuple[int, Any, Any]:
    status, body, answer = await raw("POST", "/batches", json={"input_file_id": file_id, **WANTED})
    return status, body, answer.headers


async def try_upload(raw: Raw, content: bytes = b"{}\n", **fields: str) -> tuple[int, Any, Any]:
    status, body, answer = await raw("POST", "/files", data=form(content, **{"purpose": "batch", **fields}))
    return status, body, answer.headers


class TestKeys:
    async def test_keys_of_a_project_share_what_they_make(self, make_raw: MakeRaw) -> None:
        """A mapping of keys to projects: same project, same batches and files; another, or none, sees nothing."""
        async with stepped(api_keys={"sk-a": "proj_1", "sk-b": "proj_1", "sk-c": "proj_2", "sk-d": None}) as server:
            mine = make_raw(server, "sk-a")
            file = await mine.upload(chat_file(1))
            batch = await mine.create(file["id"])
            await server.advance(minutes=1)
            for key, status in (("sk-b", 200), ("sk-c", 404), ("sk-d", 404)):
                raw = make_raw(server, key)
                assert (await raw("GET", f"/batches/{batch['id']}"))[0] == status
                assert (await raw("GET", f"/files/{file['id']}/content"))[0] == status
                for path in ("/batches", "/files"):
                    assert bool((await raw("GET", path))[1]["data"]) is (status == 200)
            assert (await make_raw(server, "sk-x")("GET", "/files"))[0] == 401

    async def test_answers_name_the_project(self, make_raw: MakeRaw) -> None:
        """Refusals too; a key of no project gets the emulator's names."""
        keys = [ApiKey("sk-a", project="proj_1", organization="org-1"), "sk-b"]
        async with stepped(api_keys=keys) as server:
            for key, path, names in (
                ("sk-a", "/files", ("org-1", "proj_1")),
                ("sk-a", "/files/none", ("org-1", "proj_1")),
                ("sk-b", "/files", ("org-emulator", "proj_emulator")),
                ("sk-z", "/files", ("org-emulator", "proj_emulator")),
            ):
                _, _, answer = await make_raw(server, key)("GET", path)
                assert (answer.headers["openai-organization"], answer.headers["openai-project"]) == names

    @pytest.mark.parametrize("name", ["Organization", "Project"])
    async def test_headers_must_fit_the_key(self, make_raw: MakeRaw, name: Any) -> None:
        """A wrong project or organization is 401; the right one, or none, passes; a free key takes any."""
        keys = [ApiKey("sk-a", project="right", organization="right"), ApiKey("sk-free")]
        async with stepped(api_keys=keys) as server:
            raw = make_raw(server, "sk-a")
            status, body, _ = await raw("GET", "/batches", headers={f"OpenAI-{name}": "wrong"})
            error = check_error(body)
            assert (status, error["code"]) == (401, f"mismatched_{name.lower()}")
            assert error["message"] == f"OpenAI-{name} header should match {name.lower()} for API key"
            assert (await raw("GET", "/batches", headers={f"OpenAI-{name}": "right"}))[0] == 200
            assert (await raw("GET", "/batches"))[0] == 200
            free = make_raw(server, "sk-free")
            assert (await free("GET", "/batches", headers={f"OpenAI-{name}": "any"}))[0] == 200

    async def test_the_official_client_names_its_project(self) -> None:
        """Its `project` and `organization` reach the check."""
        async with stepped(api_keys=[ApiKey("sk-a", project="proj_1")]) as server:
            async with openai.AsyncOpenAI(base_url=server.base_url, api_key="sk-a", project="proj_1") as client:
                assert (await client.batches.list()).data == []
            async with openai.AsyncOpenAI(base_url=server.base_url, api_key="sk-a", project="proj_2") as client:
                with pytest.raises(openai.AuthenticationError) as caught:
                    await client.batches.list()
                assert caught.value.code == "mismatched_project"

    @pytest.mark.parametrize(
        ("scopes", "allowed"),
        [
            ([], set()),
            (["api.files.read"], {"list files"}),
            (["api.files.write"], {"list files", "upload"}),
            (["api.batch.read"], {"list batches"}),
            (["api.batch.write"], {"list batches", "create"}),
            (None, {"list files", "upload", "list batches", "create"}),
        ],
    )
    async def test_a_restricted_key_may_do_what_its_scopes_say(
        self, make_raw: MakeRaw, scopes: Any, allowed: set[str]
    ) -> None:
        """Without the scope: 403, and the message names it."""
        async with stepped(api_keys=[ApiKey("sk-a", scopes=scopes)]) as server:
            raw = make_raw(server, "sk-a")
            answers = {
                "list files": (await raw("GET", "/files"))[:2],
                "upload": (await try_upload(raw))[:2],
                "list batches": (await raw("GET", "/batches"))[:2],
                "create": (await try_create(raw))[:2],
            }
            assert {name for name, (status, _) in answers.items() if status == 200} == allowed
            for name, (status, body) in answers.items():
                if name not in allowed:
                    error = check_error(body)
                    family = "files" if name in {"list files", "upload"} else "batch"
                    verb = "read" if name.startswith("list") else "write"
                    assert (status, error["code"]) == (403, None)
                    assert f"Missing scopes: api.{family}.{verb}." in error["message"]

    async def test_a_missing_scope_can_be_401(self, make_raw: MakeRaw) -> None:
        """As it is at some endpoints."""
        choices = Choices(missing_scope_status=401)
        async with stepped(api_keys=[ApiKey("sk-a", scopes=())], choices=choices) as server:
            assert (await make_raw(server, "sk-a")("GET", "/files"))[0] == 401

    def test_an_unusable_key_is_refused(self) -> None:
        """And no key is shown."""
        with pytest.raises(ValueError, match=r"unknown scope 'files'; there are api\.batch\.read"):
            ApiKey("sk-a", scopes=["files"])
        with pytest.raises(TypeError, match="not one str"):
            ApiKey("sk-a", scopes="api.files.read")
        with pytest.raises(ValueError, match="key"):
            ApiKey("")
        assert "sk-secret" not in repr(ApiKey("sk-secret"))


class TestRates:
    async def test_batches_per_hour(self, make_raw: MakeRaw) -> None:
        """The third of two is 429 until the first is an hour old; another project is not concerned."""
        async with stepped(max_batches_per_hour=2) as server:
            raw = make_raw(server)
            assert (await try_create(raw))[0] == 200
            await server.advance(minutes=20)
            assert (await try_create(raw))[0] == 200
            status, body, headers = await try_create(raw)
            error = check_error(body)
            assert (status, error["type"], error["code"]) == (429, "requests", "rate_limit_exceeded")
            assert "2 in 3600 s" in error["message"]
            assert headers["Retry-After"] == "2400"
            assert (await try_create(make_raw(server, "sk-bob")))[0] == 200
            await server.advance(minutes=39, seconds=59.5)
            assert (await try_create(raw))[2]["Retry-After"] == "1"
            await server.advance(seconds=0.5)
            assert (await try_create(raw))[0] == 200
            assert (await try_create(raw))[0] == 429

    async def test_the_documented_limit_is_the_default(self, make_raw: MakeRaw) -> None:
        """The 2,001st batch of an hour is refused, and the 1,001st upload of a minute."""
        async with stepped() as server:
            for _ in range(1_999):
                server._context.limits.count_batch("sk-alice")
            for _ in range(999):
                server._context.limits.count_upload("sk-alice")
            raw = make_raw(server)
            assert [(await try_create(raw))[0] for _ in range(2)] == [200, 429]
            assert [(await try_upload(raw))[0] for _ in range(2)] == [200, 429]

    async def test_no_limit(self, make_raw: MakeRaw) -> None:
        """None switches it off, and refused requests do not count."""
        async with stepped(max_batches_per_hour=None, max_uploads_per_minute=1) as server:
            raw = make_raw(server)
            for _ in range(5):
                assert (await try_create(raw))[0] == 200
                assert (await try_upload(raw, purpose="x"))[0] == 400
            assert (await try_upload(raw))[0] == 200

    async def test_uploads_per_minute(self, make_raw: MakeRaw) -> None:
        """Counted by key, whole files and uploads in parts together; what is refused leaves nothing on disk."""
        async with stepped(api_keys={"sk-a": "p", "sk-b": "p"}, max_uploads_per_minute=2) as server:
            raw, parts = make_raw(server, "sk-a"), {"filename": "a.jsonl", "mime_type": "text/jsonl"}
            announced = {"purpose": "batch", "bytes": 3, **parts}
            assert (await try_upload(raw))[0] == 200
            assert (await raw("POST", "/uploads", json=announced))[0] == 200
            assert server.store.folder is not None
            before = sorted(server.store.folder.rglob("*"))
            assert (await try_upload(raw))[0] == 429
            status, _, answer = await raw("POST", "/uploads", json=announced)
            assert (status, answer.headers["Retry-After"]) == (429, "60")
            assert sorted(server.store.folder.rglob("*")) == before
            assert (await try_upload(make_raw(server, "sk-b")))[0] == 200
            await server.advance(minutes=1)
            assert (await try_upload(raw))[0] == 200

    def test_waiting_is_told_in_the_clients_time(self) -> None:
        """A clock that runs 60 times as fast lets an hour pass in a minute."""
        limit = RateLimit(clock=RealClock(speed=60), limit=1, span_s=3600, name="x")
        limit.take("a")
        with pytest.raises(APIError) as caught:
            limit.take("a")
        assert 59 <= int(caught.value.headers["Retry-After"]) <= 60

    def test_what_is_remembered_is_bounded(self) -> None:
        """Owners who have been quiet for a span are forgotten; a limit of nothing lets nothing pass."""
        clock = SteppedClock()
        limit = RateLimit(clock=clock, limit=3, span_s=60, name="x")
        for owner in range(1000):
            limit.take(str(owner))
            clock.move_to(clock.now() + 1)
        assert len(limit) <= 60
        with pytest.raises(APIError):
            RateLimit(clock=clock, limit=0, span_s=60, name="x").take("a")


class TestSizes:
    async def test_the_files_of_a_project_together(self, make_raw: MakeRaw) -> None:
        """What is over the limit is refused, until something is deleted; uploads in parts are checked too."""
        async with stepped(api_keys={"sk-a": "p", "sk-b": "p", "sk-c": None}, max_project_bytes=7) as server:
            raw = make_raw(server, "sk-a")
            file = await raw.upload(b"{}\n")
            await make_raw(server, "sk-b").upload(b"{ }\n")
            status, body, _ = await try_upload(raw)
            assert (status, "7 bytes" in check_error(body)["message"]) == (400, True)
            announced = {"filename": "a.jsonl", "purpose": "batch", "bytes": 1, "mime_type": "text/jsonl"}
            assert (await raw("POST", "/uploads", json=announced))[0] == 400
            assert (await try_upload(make_raw(server, "sk-c")))[0] == 200
            await raw("DELETE", f"/files/{file['id']}")
            assert (await try_upload(raw))[0] == 200

    @pytest.mark.parametrize(
        ("options", "endpoint", "content", "code"),
        [
            ({"max_lines": 2}, CHAT, chat_file(3), "too_many_tasks"),
            ({"max_lines": 2, "choices": Choices(too_many_lines_code="many")}, CHAT, chat_file(3), "many"),
            ({"max_bytes": 10}, CHAT, chat_file(1), "invalid_request"),
            ({"max_bytes": 10, "choices": Choices(too_large_code="large")}, CHAT, chat_file(1), "large"),
            ({"enqueued_request_limit": 2}, CHAT, chat_file(3), "request_limit_exceeded"),
            ({"enqueued_token_limit": {"gpt-4o-mini": 5}}, CHAT, chat_file(3), "token_limit_exceeded"),
            (
                {"max_embedding_inputs": 2},
                "/v1/embeddings",
                jsonl(chat_line("a", url="/v1/embeddings", body={"model": "m", "input": ["a", "b", "c"]})),
                "invalid_request",
            ),
        ],
    )
    async def test_limits_of_validation(
        self, make_raw: MakeRaw, options: Any, endpoint: str, content: bytes, code: str
    ) -> None:
        """A batch over a limit fails with one error."""
        async with stepped(**options) as server:
            raw = make_raw(server)
            batch = await raw.create((await raw.upload(content))["id"], endpoint=endpoint)
            await server.advance(minutes=1)
            batch = await raw.batch(batch["id"])
            assert [error["code"] for error in batch["errors"]["data"]] == [code]

    async def test_queues_are_per_model_and_project(self, make_raw: MakeRaw) -> None:
        """A limit by model leaves others alone; running batches count until they are over."""
        limits = {"gpt-4o-mini": 10**6, "small": 100}
        timings = Timings(line_s=600)
        async with stepped(enqueued_token_limit=limits, enqueued_request_limit=3, timings=timings) as server:
            raw = make_raw(server)
            file = await raw.upload(chat_file(2))
            small = await raw.upload(jsonl(chat_line("a", "x" * 900, body={"model": "small", "messages": []})))
            first = await raw.create(file["id"])
            await server.advance(minutes=1)
            second = await raw.create(file["id"])
            other = await make_raw(server, "sk-bob").create("file-x")
            await raw.create(small["id"])
            await server.advance(minutes=1)
            second = await raw.batch(second["id"])
            assert "Limit: 3 enqueued requests" in second["errors"]["data"][0]["message"]
            assert (await raw.batch(first["id"]))["status"] == "in_progress"
            assert other["status"] == "validating"
            await server.advance(hours=1)
            third = await raw.create(file["id"])
            await server.advance(hours=1)
            assert (await raw.batch(third["id"]))["status"] == "completed"


class TestChoices:
    async def run(self, make_raw: MakeRaw, content: bytes, **choices: Any) -> Any:
        async with stepped(choices=Choices(**choices)) as server:
            raw = make_raw(server)
            batch = await raw.create((await raw.upload(content))["id"])
            await server.advance(minutes=1)
            return await raw.batch(batch["id"])

    @pytest.mark.parametrize("choice", ["reject", "fail_batch"])
    async def test_a_file_of_another_purpose(self, make_raw: MakeRaw, choice: Any) -> None:
        """Refused, or found in validation."""
        async with stepped(choices=Choices(wrong_purpose=choice)) as server:
            raw = make_raw(server)
            file = await raw.upload(chat_file(1), purpose="user_data")
            status, body, _ = await try_create(raw, file["id"])
            if choice == "reject":
                assert (status, check_error(body)["param"]) == (400, "input_file_id")
                return
            await server.advance(minutes=1)
            (error,) = (await raw.batch(body["id"]))["errors"]["data"]
            assert (error["param"], "expected 'batch', but got 'user_data'" in error["message"]) == ("file_id", True)

    @pytest.mark.parametrize("choice", ["accept", "reject"])
    @pytest.mark.parametrize("forbids", [False, True])
    async def test_cancelling_at_the_end(self, make_raw: MakeRaw, choice: Any, forbids: Any) -> None:
        """While finalizing: accepted, or 409, on demand with a word against trying again."""
        choices = Choices(cancel_while_finalizing=choice, conflict_forbids_retry=forbids)
        async with stepped(choices=choices) as server:
            raw = make_raw(server)
            batch = await raw.create((await raw.upload(chat_file(1)))["id"])
            await server.advance(seconds=3.5)
            status, body, answer = await raw("POST", f"/batches/{batch['id']}/cancel")
            assert status == (200 if choice == "accept" else 409)
            if choice == "reject":
                assert check_error(body)["message"] == "Cannot cancel a batch with status 'finalizing'."
                assert answer.headers.get("x-should-retry") == ("false" if forbids else None)

    @pytest.mark.parametrize(("choice", "lines"), [("written", 3), ("omitted", 0)])
    async def test_lines_a_cancel_kept_from_running(self, make_raw: MakeRaw, choice: Any, lines: int) -> None:
        """One error line each, or no trace of them."""
        async with stepped(choices=Choices(cancelled_lines=choice), timings=Timings(line_s=1)) as server:
            raw = make_raw(server)
            batch = await raw.create((await raw.upload(chat_file(5)))["id"])
            await server.advance(seconds=5.5)
            await raw("POST", f"/batches/{batch['id']}/cancel")
            await server.advance(minutes=1)
            batch = await raw.batch(batch["id"])
            assert batch["request_counts"] == {"total": 5, "completed": 2, "failed": lines}
            assert len(records(await raw.content(batch["output_file_id"]))) == 2
            assert (batch["error_file_id"] is not None) is bool(lines)

    @pytest.mark.parametrize("choice", ["null", "absent"])
    async def test_the_model_while_validating(self, make_raw: MakeRaw, choice: Any) -> None:
        """The key is null, or not there, until the model is known; in listings too."""
        async with stepped(choices=Choices(model_while_validating=choice)) as server:
            raw = make_raw(server)
            file = await raw.upload(chat_file(1))
            _, batch, _ = await try_create(raw, file["id"])
            (_, page, _) = await raw("GET", "/batches")
            for record in (batch, page["data"][0]):
                assert ("model" in record) is (choice == "null")
            await server.advance(minutes=1)
            assert (await raw.batch(batch["id"]))["model"] == "gpt-4o-mini"

    async def test_the_code_of_an_unknown_batch(self, make_raw: MakeRaw) -> None:
        """Null, or what is chosen."""
        for code in (None, "batch_not_found"):
            async with stepped(choices=Choices(unknown_batch_code=code)) as server:
                status, body, _ = await make_raw(server)("GET", "/batches/none")
                assert (status, check_error(body)["code"]) == (404, code)

    async def test_the_length_of_ids(self, make_raw: MakeRaw) -> None:
        """Any length passes unless there is a longest one."""
        content = jsonl(chat_line("a" * 64), chat_line("b" * 65))
        assert (await self.run(make_raw, content))["status"] == "completed"
        batch = await self.run(make_raw, content, max_custom_id_length=64)
        assert [(e["code"], e["line"], e["param"]) for e in batch["errors"]["data"]] == [
            ("string_above_max_length", 2, "custom_id")
        ]

    async def test_the_number_of_errors(self, make_raw: MakeRaw) -> None:
        """All are shown unless there is a most."""
        assert len((await self.run(make_raw, b"{}\n" * 3))["errors"]["data"]) == 12
        assert len((await self.run(make_raw, b"{}\n" * 3, max_batch_errors=5))["errors"]["data"]) == 5

    @pytest.mark.parametrize("choice", [{"wrong_purpose": "x"}, {"max_batch_errors": 0}, {"missing_scope_status": 400}])
    def test_what_cannot_be_chosen(self, choice: Any) -> None:
        """Mistakes show at once."""
        with pytest.raises(ValueError, match=next(iter(choice))):
            Choices(**choice)


class TestRetention:
    async def test_files_of_batches_expire(self, make_raw: MakeRaw) -> None:
        """Inputs and outputs after 30 days, or as asked; their bytes are gone too, though nobody asked for them."""
        async with stepped() as server:
            raw = make_raw(server)
            file = await raw.upload(chat_file(1))
            kept = await raw.upload(b"x", filename="x.txt", purpose="user_data")
            policy = {"anchor": "created_at", "seconds": 3600}
            batch = await raw.create(file["id"])
            brief = await raw.create(file["id"], output_expires_after=policy)
            await server.advance(minutes=1)
            output = (await raw.batch(batch["id"]))["output_file_id"]
            soon = (await raw.batch(brief["id"]))["output_file_id"]
            await server.advance(hours=1)
            assert (await raw("GET", f"/files/{soon}"))[0] == 404
            assert (await raw("GET", f"/files/{output}"))[0] == 200
            await server.advance(hours=30 * 24 + 6)
            assert list(server.store.files.items) == [kept["id"]]
            assert server.store.folder is not None
            assert sum(path.is_file() for path in server.store.folder.rglob("*")) == 1
            for file_id in (file["id"], output):
                assert (await raw("GET", f"/files/{file_id}/content"))[0] == 404
            # The batch keeps the id of what is gone.
            assert (await raw.batch(batch["id"]))["output_file_id"] == output

    async def test_uploads_that_nobody_completes(self, make_raw: MakeRaw) -> None:
        """Their parts are deleted on their own."""
        async with stepped() as server:
            raw = make_raw(server)
            announced = {"filename": "a.jsonl", "purpose": "batch", "bytes": 3, "mime_type": "text/jsonl"}
            _, upload, _ = await raw("POST", "/uploads", json=announced)
            part = aiohttp.FormData()
            part.add_field("data", io.BytesIO(b"{}\n"), filename="upload")
            assert (await raw("POST", f"/uploads/{upload['id']}/parts", data=part))[0] == 200
            assert server.store.folder is not None
            assert any(path.is_file() for path in server.store.folder.rglob("*"))
            await server.advance(hours=8)
            assert not any(path.is_file() for path in server.store.folder.rglob("*"))

    async def test_a_data_folder_shrinks_too(self, make_raw: MakeRaw, tmp_path: Path) -> None:
        """Without any request that would have it written down; and at a start, for what expired meanwhile."""
        clock = SteppedClock()
        async with BatchServer(clock=clock, data=tmp_path) as server:
            raw = make_raw(server)
            await raw.upload(b"[" + b"1," * 999 + b"1]\n", **EXPIRY)
            await raw.upload(b"[" + b"2," * 999 + b"1]\n")
            assert sizes(tmp_path) == [2002, 2002]
            await server.advance(hours=12)
            assert sizes(tmp_path) == [2002]
            now = clock.now()
        async with BatchServer(clock=SteppedClock(start=now + 30 * 86_400), data=tmp_path):
            assert sizes(tmp_path) == []

    async def test_batches_are_kept_for_ever(self, make_raw: MakeRaw) -> None:
        """Unless it is said how long."""
        async with stepped() as server:
            raw = make_raw(server)
            batch = await raw.create("file-nowhere")
            await server.advance(hours=24 * 400)
            assert (await raw.batch(batch["id"]))["status"] == "failed"

    async def test_old_batches_are_gone(self, make_raw: MakeRaw) -> None:
        """At the very second, from listings too; one that runs stays until it is over; then they are forgotten."""
        timings = Timings(line_s=3 * 3600)
        async with stepped(batch_retention_s=5000, timings=timings) as server:
            raw = make_raw(server)
            long = await raw.create((await raw.upload(chat_file(1)))["id"])
            batch = await raw.create("file-nowhere")
            await server.advance(seconds=4999)
            young = await raw.create("file-nowhere")
            assert (await raw.batch(batch["id"]))["status"] == "failed"
            await server.advance(seconds=1)
            for method, path in (("GET", ""), ("POST", "/cancel")):
                status, body, _ = await raw(method, f"/batches/{batch['id']}{path}")
                assert (status, check_error(body)["message"]) == (404, f"No batch found with id '{batch['id']}'.")
            page = (await raw("GET", "/batches"))[1]
            assert [item["id"] for item in page["data"]] == [young["id"], long["id"]]
            await server.advance(hours=10)
            assert list(server.store.batches.items) == []

    async def test_a_fast_clock_leaves_the_cleanup_time(self) -> None:
        """However fast it runs, there is real time between two runs."""
        async with BatchServer(speed=10**6) as server:
            cleanup = server._cleanup
            assert cleanup._until_next() > 10**5
        async with BatchServer() as server:
            assert server._cleanup._until_next() == 6 * 3600
