"""A job from its requests to its results, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from support.http_servers import CHAT, KEY, ONCE
from support.job_service import OFTEN, open_shop, stopped_shop
from support.request_lines import request, write_requests

from openai_batches import (
    BadRequestError,
    BatchJob,
    BatchSession,
    InputError,
    InternalServerError,
    InvalidRequestsError,
    JobError,
    JobEventKind,
    JournalError,
    NotFoundError,
    Outcome,
    ShardLimits,
)
from openai_batches.emulator import Fault
from openai_batches.jobs.context import Service
from openai_batches.jobs.journal.sqlite import Journal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from openai_batches import BatchResult

EMBEDDINGS = "/v1/embeddings"


def pairs(results: list[BatchResult]) -> list[tuple[str | None, str | None]]:
    return [(result.custom_id, result.output_text) for result in results]


class TestRun:
    async def test_every_request_has_its_answer(self, tmp_path: Path) -> None:
        """The requests are cut into shards, sent, waited for and collected; nothing stays at the service."""
        async with open_shop(tmp_path, requests=12) as shop, shop.job() as job:
            ledger = await job.run()
            assert (ledger.inputs, ledger.succeeded, ledger.is_complete, ledger.balances) == (12, 12, True, True)
            assert [(shard.inputs, shard.attempts) for shard in ledger.shards] == [(5, 1), (5, 1), (2, 1)]
            assert pairs([result async for result in job.results(ordered=True)]) == [
                (f"r{number}", f"[echo] r{number}") for number in range(12)
            ]
            assert shop.inputs() == 0
            assert repr(job) == f"<BatchJob {job.directory}>"

    async def test_what_happens_is_told_in_order(self, tmp_path: Path) -> None:
        """Planned, then for each shard its steps, then finished; every event says so in one sentence."""
        async with open_shop(tmp_path, requests=8) as shop, shop.job() as job:
            events = [event async for event in job.events()]
            assert events == shop.events
            assert [events[0].kind, events[-1].kind] == [JobEventKind.PLANNED, JobEventKind.FINISHED]
            for shard in (1, 2):
                kinds = [event.kind.value for event in events if event.shard == shard]
                assert [kind for kind in kinds if kind != "changed"] == ["uploaded", "created", "ended", "verified"]
            assert all(str(event) for event in events)
            assert str(events[-1]) == "8 requests are done, 8 succeeded"
            assert all(event.at.tzinfo is not None for event in events)

    async def test_nothing_is_sent_before_all_requests_are_checked(self, tmp_path: Path) -> None:
        """One bad line, the last one, and the service hears of nothing; and once it is mended all are run."""
        async with open_shop(tmp_path, requests=12) as shop, shop.job() as job:
            good = shop.source.read_text()
            shop.source.write_text(good + '{"custom_id": "r0"}\n')
            with pytest.raises(InvalidRequestsError):
                await job.run()
            assert len(shop.server.requests) == 0
            shop.source.write_text(good)
            assert (await job.run()).succeeded == 12

    async def test_no_source(self, tmp_path: Path) -> None:
        """A directory without a job needs requests, and requests from memory need a directory."""
        async with open_shop(tmp_path) as shop:
            async with shop.job(None, directory=tmp_path / "job") as job:
                with pytest.raises(InputError, match="give it its requests"):
                    await job.run()
                with pytest.raises(JobError, match="There is no job"):
                    await job.summary()
            with pytest.raises(InputError, match="directory says where"):
                shop.job([request("a")])

    @pytest.mark.parametrize("name", ["concurrency", "max_attempts", "max_open"])
    @pytest.mark.parametrize("value", [0, True, 1.5])
    async def test_numbers_that_cannot_be_right(self, tmp_path: Path, name: str, value: Any) -> None:
        """They are refused at once, in our words."""
        async with open_shop(tmp_path) as shop:
            with pytest.raises(InputError, match=f"{name} must be a whole number"):
                shop.job(**{name: value})

    async def test_metadata_leaves_pairs_for_ours(self, tmp_path: Path) -> None:
        """Twelve pairs are the user's, and reach the batch; four are ours."""
        async with open_shop(tmp_path, requests=1) as shop:
            with pytest.raises(InputError, match="12 pairs in a job, not 13"):
                shop.job(metadata={f"k{number}": "v" for number in range(13)})
            mine = {f"k{number}": "v" for number in range(12)}
            async with shop.job(metadata=mine, output_expires_after=3_600) as job:
                await job.run()
            (batch,) = shop.server.store.batches.items.values()
            assert batch.metadata is not None
            assert mine.items() <= batch.metadata.items()
            assert len(batch.metadata) == 16
            assert batch.output_lifetime_s == 3_600

    async def test_input_files_may_stay(self, tmp_path: Path) -> None:
        async with open_shop(tmp_path, requests=7) as shop, shop.job(keep_files=True) as job:
            await job.run()
            assert shop.inputs() == 2
            await job.run()
            assert shop.asked("POST", "/v1/files") == 2

    async def test_no_more_batches_are_open_than_is_wanted(self, tmp_path: Path) -> None:
        async with open_shop(tmp_path, requests=30) as shop:
            most = 0

            def note(_: object) -> None:
                nonlocal most
                most = max(
                    most, sum(not one.status.startswith("comp") for one in shop.server.store.batches.items.values())
                )

            async with shop.job(max_open=2, on_event=note) as job:
                assert (await job.run()).succeeded == 30
            assert most == 2

    async def test_a_thousand_shards_take_no_quadratic_time(self, tmp_path: Path) -> None:
        """Six times as many shards take about six times as long, not thirty-six times."""

        async def cpu_s(count: int) -> float:
            folder = tmp_path / f"{count}"
            folder.mkdir()
            async with open_shop(folder, requests=count) as shop, shop.job(per_shard=1) as job:
                begun = time.process_time()
                assert (await job.run()).succeeded == count
                return time.process_time() - begun

        few, many = await cpu_s(20), await cpu_s(120)
        assert many < 18 * few


class TestResults:
    async def test_they_come_before_the_job_is_done(self, tmp_path: Path) -> None:
        """The first shard's results are there while the others run."""
        async with (
            stopped_shop(tmp_path, requests=10) as shop,
            shop.job(max_open=1) as job,
            aclosing(job.results()) as got,
        ):
            first = asyncio.ensure_future(anext(got))
            await shop.until(lambda: shop.kinds()["created"] == 1)
            await shop.server.advance(hours=1)
            names = {(await first).custom_id} | {(await anext(got)).custom_id for _ in range(4)}
            assert len(names) == 5
            assert shop.kinds()["verified"] == 1
            driven = asyncio.create_task(shop.drive())
            assert len(names | {result.custom_id async for result in got}) == 10
            driven.cancel()

    @pytest.mark.parametrize("is_one_file", [True, False])
    async def test_the_order_of_the_source(self, tmp_path: Path, *, is_one_file: bool) -> None:
        """Requests of several models and endpoints are in different shards, and their results in one order."""
        lines = [
            request(f"r{number}", model="ab"[number % 2], url=EMBEDDINGS if number % 3 == 0 else CHAT)
            for number in range(40)
        ]
        async with open_shop(tmp_path) as shop:
            shop.source.write_text("".join(json.dumps(line) + "\n" for line in lines))
            given: dict[str, Any] = {"source": ...} if is_one_file else {"source": lines, "directory": tmp_path / "job"}
            async with shop.job(**given) as job:
                first = [result.custom_id async for result in job.results(ordered=True)]
                again = [result.custom_id async for result in job.results(ordered=True)]
                anyhow = [result.custom_id async for result in job.results()]
                endpoints = {(shard.endpoint, shard.model) for shard in (await job.summary()).shards}
            assert first == again == [f"r{number}" for number in range(40)]
            assert Counter(anyhow) == Counter(first)
            assert len(endpoints) == 4

    async def test_bodies_of_a_type_of_ones_own(self, tmp_path: Path) -> None:
        async with open_shop(tmp_path, requests=2) as shop, shop.job() as job:
            bodies = [result.body async for result in job.results(body_type=dict[str, Any])]
            assert {body["object"] for body in bodies} == {"chat.completion"}

    async def test_run_events_and_results_beside_each_other(self, tmp_path: Path) -> None:
        """One job is carried once, whoever watches it."""
        async with open_shop(tmp_path, requests=15) as shop, shop.job() as job:

            async def results(*, ordered: bool) -> list[str | None]:
                return [result.custom_id async for result in job.results(ordered=ordered)]

            async def events() -> list[str]:
                return [event.kind.value async for event in job.events()]

            ledger, plain, ordered, told, again = await asyncio.gather(
                job.run(), results(ordered=False), results(ordered=True), events(), job.run()
            )
            assert ledger.succeeded == again.succeeded == 15
            assert sorted(map(str, plain)) == sorted(map(str, ordered))
            assert told[-1] == "finished"
            assert shop.asked("POST", "/v1/batches") == 3

    async def test_nothing_is_needed_of_the_service_any_more(self, tmp_path: Path) -> None:
        """A finished job gives its results from the disk, in another process too, without its source."""
        async with open_shop(tmp_path, requests=7) as shop:
            async with shop.job() as job:
                await job.run()
            asked = len(shop.server.requests)
            shop.source.unlink()
            async with shop.job(None, directory=f"{shop.source}.job") as job:
                assert len([result async for result in job.results()]) == 7
                assert (await job.run()).succeeded == 7
            assert len(shop.server.requests) == asked


class TestResume:
    async def test_what_was_stopped_goes_on(self, tmp_path: Path) -> None:
        """Batches that ran meanwhile are collected; none is created again."""
        async with stopped_shop(tmp_path, requests=20) as shop:
            async with shop.job() as job:
                running = asyncio.create_task(job.run())
                await shop.until(lambda: shop.kinds()["created"] == 4)
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
                assert (await job.summary()).unfinished == 20
            assert shop.statuses() == {"validating": 4}
            await shop.server.advance(hours=1)
            async with shop.job(None, directory=f"{shop.source}.job") as job:
                assert (await job.run()).succeeded == 20
            assert shop.kinds()["resumed"] == 1
            assert shop.asked("POST", "/v1/batches") == shop.asked("POST", "/v1/files") == 4

    async def test_the_same_object_goes_on_too(self, tmp_path: Path) -> None:
        async with stopped_shop(tmp_path, requests=5) as shop, shop.job() as job:
            async for event in job.events():
                if event.kind == JobEventKind.CREATED:
                    break
            await shop.server.advance(hours=1)
            assert (await job.run()).succeeded == 5

    async def test_a_changed_source_is_refused(self, tmp_path: Path) -> None:
        """Its results would be those of other requests."""
        async with open_shop(tmp_path, requests=5) as shop:
            async with shop.job() as job:
                await job.run()
            write_requests(shop.source, 6)
            async with shop.job() as job:
                with pytest.raises(InputError, match="changed since the job"):
                    await job.run()

    async def test_uploads_that_nobody_was_told_of(self, tmp_path: Path) -> None:
        """A file that is whole is used; what is of another size, of somebody else's, or too much is not."""
        async with stopped_shop(tmp_path, requests=10) as shop:
            lost = Fault.error_after(500, method="POST", path="/files$", times=None)
            shop.server.faults.add(lost)
            async with (
                BatchSession(KEY, base_url=shop.server.base_url, retry=ONCE) as session,
                shop.job(session=session, patience_s=0, concurrency=1) as job,
            ):
                with pytest.raises(InternalServerError):
                    await job.run()
            shop.server.faults.clear()
            (whole,) = shop.server.store.files.items.values()
            await shop.session.files.create(b"{}\n", filename=whole.filename)
            await shop.session.files.create(b"{}\n", filename="somebody-elses.jsonl")
            await shop.server.advance(hours=1)
            driven = asyncio.create_task(shop.drive())
            async with shop.job() as job:
                assert (await job.run()).succeeded == 10
            driven.cancel()
            assert whole.id in {batch.input_file_id for batch in shop.server.store.batches.items.values()}
            left = [file.filename for file in shop.server.store.files.items.values() if file.purpose == "batch"]
            assert left == ["somebody-elses.jsonl"]

    async def test_a_journal_that_lacks_a_batch(self, tmp_path: Path) -> None:
        """One that was damaged by hand is told of, in our words."""
        async with stopped_shop(tmp_path, requests=5) as shop, shop.job() as job:
            async for event in job.events():
                if event.kind == JobEventKind.CREATED:
                    break
            await job.close()
            journal = Journal(job.directory)
            (attempt,) = journal.attempts()
            journal.save(attrs.evolve(attempt, batch=None))
            journal.close()
            async with shop.job() as again:
                with pytest.raises(JobError, match="names no batch"):
                    await again.run()

    async def test_what_was_not_begun_leaves_nothing_behind(self, tmp_path: Path) -> None:
        """Not even where an adoption failed: the directory is free for another job."""
        async with stopped_shop(tmp_path, requests=5) as shop:
            directory = tmp_path / "a" / "job"
            async with shop.job(None, directory=directory) as job:
                with pytest.raises(NotFoundError):
                    await job.adopt("batch_1")
                with pytest.raises(InputError, match="give it its requests"):
                    await job.run()
                with pytest.raises(JobError, match="There is no job in"):
                    await job.summary()
                assert not directory.parent.exists()
            sources: list[Any] = [{}, [], ["text"], str(tmp_path / "typo.jsonl"), str(tmp_path)]
            for source in sources:
                async with shop.job(source, directory=directory) as job:
                    with pytest.raises(InputError):
                        await job.run()
                    assert not directory.parent.exists()
            async with shop.job(directory=directory) as job:
                await job.cancel()
            assert directory.exists()

    async def test_a_result_file_that_was_cut_is_refused_by_its_name(self, tmp_path: Path) -> None:
        async with open_shop(tmp_path, requests=5) as shop, shop.job() as job:
            await job.run()
            (output,) = job.directory.rglob("*_output.jsonl")
            output.write_bytes(b"")
            for ordered in (False, True):
                with pytest.raises(JournalError, match=rf"{output.name}, which the job needs, was changed on the disk"):
                    _ = [result async for result in job.results(ordered=ordered)]

    async def test_a_shard_that_was_cut_is_not_sent(self, tmp_path: Path) -> None:
        async with stopped_shop(tmp_path, requests=5) as shop:
            async with shop.job() as job:
                await job._opened()
            (shard,) = job.directory.rglob("shard-00001.jsonl")
            shard.write_bytes(shard.read_bytes()[:-30])
            async with shop.job() as job:
                with pytest.raises(JournalError, match=r"shard-00001\.jsonl, which the job needs, was changed"):
                    await job.run()
            assert shop.kinds()["uploaded"] == 0

    async def test_another_service_is_refused(self, tmp_path: Path) -> None:
        async with open_shop(tmp_path, requests=5) as shop:
            async with shop.job() as job:
                await job.run()
            async with BatchSession("k", base_url="https://other.invalid/v1") as other, shop.job(session=other) as job:
                with pytest.raises(InputError, match="this session is with"):
                    await job.run()

    async def test_one_job_at_a_time(self, tmp_path: Path) -> None:
        """A second one in the same directory is refused, until the first is closed."""
        async with stopped_shop(tmp_path, requests=5) as shop, shop.job() as other:
            async with shop.job() as job:
                running = asyncio.create_task(job.run())
                await shop.until(lambda: shop.kinds()["created"] == 1)
                with pytest.raises(JournalError, match="Another BatchJob of this process"):
                    await other.run()
                running.cancel()
                await asyncio.wait([running])
            await shop.server.advance(hours=1)
            assert (await other.run()).succeeded == 5

    async def test_a_second_process_is_refused(self, tmp_path: Path) -> None:
        """The lock is one between processes."""
        code = (
            "import asyncio, sys\n"
            "from openai_batches import *\n"
            "async def main():\n"
            "    async with BatchSession('k', base_url=sys.argv[1]) as it, BatchJob(it, sys.argv[2]) as job:\n"
            "        await job.run()\n"
            "asyncio.run(main())"
        )
        async with stopped_shop(tmp_path, requests=5) as shop, shop.job() as job:
            running = asyncio.create_task(job.run())
            await shop.until(lambda: shop.kinds()["created"] == 1)
            other = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", code, shop.server.base_url, str(shop.source)), stderr=asyncio.subprocess.PIPE
            )
            _, said = await other.communicate()
            assert other.returncode == 1
            assert b"JournalError: Another process is at work" in said
            running.cancel()
            await asyncio.wait([running])

    async def test_a_closed_job_has_its_ledger_alone(self, tmp_path: Path) -> None:
        async with open_shop(tmp_path, requests=5) as shop:
            async with shop.job() as job:
                await job.run()
            await job.close()
            assert (await job.summary()).succeeded == 5
            job._state = None
            for use in (job.summary, job.adopt):
                with pytest.raises(InputError, match="closed"):
                    await (use() if use == job.summary else job.adopt("batch_1"))


class TestSessionRun:
    def test_a_session_is_what_a_job_needs(self) -> None:
        """Anything else that has these five does as well."""
        names = {name for name in vars(Service) if not name.startswith("_")}
        assert names == {"base_url", "batches", "files", "now", "provider"}
        assert all(hasattr(BatchSession("k"), name) for name in names)

    async def test_it_goes_on_where_it_was_left(self, tmp_path: Path) -> None:
        """The loop is left in the middle, and the second call yields all results, without creating anything again."""
        async with open_shop(tmp_path, requests=20) as shop:
            options: dict[str, Any] = {"limits": ShardLimits(max_requests=5), "poll": OFTEN, "max_open": 1}
            seen = 0
            results = shop.session.run(shop.source, **options)
            async for _ in results:
                seen += 1
                if seen == 7:
                    break
            await results.aclose()
            assert 2 <= shop.asked("POST", "/v1/batches") < 4
            again = [result.custom_id async for result in shop.session.run(shop.source, ordered=True, **options)]
            assert again == [f"r{number}" for number in range(20)]
            assert shop.asked("POST", "/v1/batches") == 4
            assert (tmp_path / "requests.jsonl.job" / "journal.sqlite").is_file()

    async def test_requests_from_memory(self, tmp_path: Path) -> None:
        """They are written to the directory first, so that nobody needs to give them again."""

        async def requests() -> AsyncIterator[dict[str, Any]]:
            for name in "abc":
                yield request(name)

        async with open_shop(tmp_path) as shop:
            results = shop.session.run(requests(), directory=tmp_path / "job", poll=OFTEN)
            assert sorted([str(result.output_text) async for result in results]) == ["[echo] a", "[echo] b", "[echo] c"]
            async with BatchJob(shop.session, directory=tmp_path / "job") as job:
                assert len([result async for result in job.results()]) == 3

    async def test_doctor_and_gc_see_what_a_job_left(self, tmp_path: Path) -> None:
        """Files of a job that was given up are found, and cleared away once they are old enough."""
        no = Fault.error_before(400, method="POST", path="/batches$")
        async with stopped_shop(tmp_path, requests=5, faults=no) as shop:
            async with shop.job() as job:
                with pytest.raises(BadRequestError):
                    await job.run()
            diagnosis = await shop.session.doctor(f"{shop.source}.job")
            assert (len(diagnosis.orphans), diagnosis.files) == (0, 1)
            await shop.server.advance(minutes=1)
            assert (await shop.session.gc(f"{shop.source}.job", older_than_s=10)).files == ()
            assert len((await shop.session.gc(older_than_s=10)).files) == shop.inputs() == 1
            assert not (await shop.session.gc(dry_run=False, older_than_s=10)).is_dry_run
            assert shop.inputs() == 0


class TestAdopt:
    async def test_a_batch_of_somebody_elses_becomes_part_of_the_job(self, tmp_path: Path) -> None:
        """Its results come with the others, the last ones in order, and its input file stays where it is."""
        async with open_shop(tmp_path, requests=5) as shop:
            theirs = tmp_path / "theirs.jsonl"
            theirs.write_text("".join(json.dumps(request(name)) + "\n" for name in "xy"))
            file = await shop.session.files.create(theirs)
            batch = await shop.session.batches.create(input_file_id=file.id, endpoint=CHAT)
            async with shop.job() as job:
                await job.adopt(batch)
                await job.adopt(batch.id)
                ledger = await job.run()
                assert (ledger.inputs, ledger.succeeded, len(ledger.shards)) == (7, 7, 2)
                names = [result.custom_id async for result in job.results(ordered=True)]
            assert names == ["r0", "r1", "r2", "r3", "r4", "x", "y"]
            assert shop.inputs() == 1

    async def test_a_job_of_adopted_batches_alone(self, tmp_path: Path) -> None:
        """A finished job takes up further batches; one that runs does not."""
        async with stopped_shop(tmp_path) as shop:
            batches = []
            for name in "ab":
                path = tmp_path / f"{name}.jsonl"
                path.write_text(json.dumps(request(name)) + "\n")
                file = await shop.session.files.create(path)
                batches.append(await shop.session.batches.create(input_file_id=file.id, endpoint=CHAT))
            async with shop.job(None, directory=tmp_path / "job") as job:
                await job.adopt(batches[0])
                running = asyncio.create_task(job.run())
                await asyncio.sleep(0)
                with pytest.raises(InputError, match="before the job is run"):
                    await job.adopt(batches[1])
                await shop.server.advance(hours=1)
                assert (await running).succeeded == 1
                await job.adopt(batches[1])
                assert (await job.summary()).unfinished == 1
                assert (await job.run()).succeeded == 2
                assert {result.outcome async for result in job.results()} == {Outcome.SUCCEEDED}
