"""What a job does where a service says no: to a request, to a batch, to a file, or to the account."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest
from support.http_servers import ONCE
from support.job_service import Front, open_shop, stopped_shop
from support.request_lines import request

from openai_batches import (
    AmbiguousCreateError,
    APIError,
    BadRequestError,
    BatchError,
    BatchFailedError,
    BatchSession,
    DecodeError,
    InternalServerError,
    JobError,
    JobPausedError,
    NotFoundError,
    Outcome,
    RateLimitError,
)
from openai_batches.emulator import EchoExecutor, Fault, Timings
from openai_batches.jobs import collect, runner, state
from openai_batches.jobs.journal.records import Step
from openai_batches.jobs.journal.sqlite import read_attempts
from openai_batches.resources import poller

if TYPE_CHECKING:
    from pathlib import Path

    from support.job_service import Shop

    from openai_batches import BatchJob

# Five lines, of which four are due within the 24 hours that a batch has.
SLOW = Timings(validating_s=60, line_s=5.5 * 3_600, finalizing_s=60, cancelling_s=60)
QUOTA = "You exceeded your current quota, please check your plan and billing details."
ROOM = "Enqueued token limit reached for m in organization org-1. Limit: 2,000,000 enqueued tokens."
NO_FILE = "Cannot find file file-1, or organization org-1 does not have access to it."


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are those of a test."""
    monkeypatch.setattr(state, "_FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(collect, "_UNSEEN_DELAY_S", 0.01)
    monkeypatch.setattr(runner, "_FIRST_PROBE_S", 0.05)
    monkeypatch.setattr(runner, "_LAST_PROBE_S", 0.1)


async def begun(shop: Shop, job: BatchJob) -> None:
    """Carry a job so far that its four batches run."""
    running = asyncio.create_task(job.run())
    await shop.until(lambda: shop.kinds()["created"] == 4)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


class Answers:
    """Answers requests as it is told, and counts."""

    def __init__(self, **said: list[tuple[int, str | None]]) -> None:
        self.said = said
        self.asked: list[str] = []
        self._echo = EchoExecutor()

    async def __call__(self, url: str, body: dict[str, Any], custom_id: str) -> tuple[int, dict[str, Any]]:
        self.asked.append(custom_id)
        status, code = self.said[custom_id].pop(0) if self.said.get(custom_id) else (200, None)
        if status == 200:
            return self._echo.answer(url, body, custom_id)
        return status, {"error": {"message": "no", "type": "some_error", "param": None, "code": code}}


class TestRequests:
    async def test_what_may_pass_is_sent_again_and_nothing_else(self, tmp_path: Path) -> None:
        """5xx and 429 are run again, alone; 400 is final; after three times enough is enough."""
        answers = Answers(
            r0=[(500, None)],
            r1=[(429, "rate_limit_exceeded")] * 2,
            r2=[(400, "bad_thing")],
            r3=[(503, "overloaded")] * 5,
        )
        async with open_shop(tmp_path, requests=5, executor=answers) as shop, shop.job() as job:
            ledger = await job.run()
            assert sorted(answers.asked) == sorted(["r0"] * 2 + ["r1"] * 3 + ["r2"] + ["r3"] * 3 + ["r4"])
            assert ledger.outcomes[Outcome.SUCCEEDED] == 3
            assert ledger.error_codes == {"bad_thing": 1, "overloaded": 1}
            assert (ledger.balances, ledger.shards[0].attempts) == (True, 3)
            assert shop.kinds()["resent"] == 2
            results = {result.custom_id: result.outcome async for result in job.results()}
            assert results == {
                **dict.fromkeys(("r0", "r1", "r4"), Outcome.SUCCEEDED),
                **dict.fromkeys(("r2", "r3"), Outcome.FAILED),
            }
            assert shop.inputs() == 0

    async def test_once_only(self, tmp_path: Path) -> None:
        answers = Answers(r0=[(500, None)])
        async with open_shop(tmp_path, requests=2, executor=answers) as shop, shop.job(max_attempts=1) as job:
            ledger = await job.run()
            assert (ledger.succeeded, ledger.outcomes[Outcome.FAILED], len(answers.asked)) == (1, 1, 2)


class TestBatchesThatEndEarly:
    async def test_what_expired_is_sent_again(self, tmp_path: Path) -> None:
        """The answers that an expired batch has are kept, and only the others are asked for again."""
        answers = Answers()
        async with stopped_shop(tmp_path, requests=5, executor=answers, timings=SLOW) as shop, shop.job() as job:
            driven = asyncio.create_task(shop.drive(minutes=60))
            ledger = await job.run()
            driven.cancel()
            assert (ledger.succeeded, ledger.balances) == (5, True)
            assert sorted(answers.asked) == ["r0", "r1", "r2", "r3", "r4"]
            assert shop.statuses() == {"expired": 1, "completed": 1}
            assert [result.custom_id async for result in job.results(ordered=True)] == ["r0", "r1", "r2", "r3", "r4"]

    @pytest.mark.parametrize("resend", [False, True])
    async def test_what_somebody_cancelled(self, tmp_path: Path, *, resend: bool) -> None:
        """What a cancelled batch had finished is kept; the rest is sent again only if that is wanted."""
        async with stopped_shop(tmp_path, requests=5, timings=SLOW) as shop, shop.job(resend_cancelled=resend) as job:
            running = asyncio.create_task(job.run())
            await shop.until(lambda: shop.kinds()["created"] == 1)
            await shop.server.advance(hours=12)
            (batch,) = shop.server.store.batches.items
            await shop.session.batches.cancel(batch)
            driven = asyncio.create_task(shop.drive(minutes=60))
            ledger = await running
            driven.cancel()
            assert ledger.outcomes[Outcome.CANCELLED] == (0 if resend else 3)
            assert ledger.succeeded == (5 if resend else 2)
            assert ledger.balances
            assert len([result async for result in job.results()]) == 5

    @pytest.mark.parametrize("resend", [False, True])
    async def test_what_somebody_cancelled_before_it_ran(self, tmp_path: Path, *, resend: bool) -> None:
        """Such a batch has no files at all; its requests are cancelled, not missing, which would send them again."""
        async with stopped_shop(tmp_path, requests=5) as shop, shop.job(resend_cancelled=resend) as job:
            running = asyncio.create_task(job.run())
            await shop.until(lambda: shop.kinds()["created"] == 1)
            (batch,) = shop.server.store.batches.items
            await shop.session.batches.cancel(batch)
            driven = asyncio.create_task(shop.drive())
            ledger = await running
            driven.cancel()
            wanted = Outcome.SUCCEEDED if resend else Outcome.CANCELLED
            assert (ledger.outcomes[wanted], ledger.balances) == (5, True)
            assert [result.outcome async for result in job.results()] == [wanted] * 5
            assert [result.outcome async for result in job.results(ordered=True)] == [wanted] * 5
            assert shop.asked("POST", "/v1/batches") == 1 + resend


class TestValidation:
    async def test_lines_that_the_service_names(self, tmp_path: Path) -> None:
        """The requests on these lines failed; the others never ran, and are sent again without them."""
        lines = [request(name) for name in "abc"]
        del lines[1]["body"]["messages"]
        async with open_shop(tmp_path) as shop, shop.job(lines, directory=tmp_path / "job", strict=False) as job:
            ledger = await job.run()
            results = {result.custom_id: result async for result in job.results(ordered=True)}
        assert {name: result.outcome for name, result in results.items()} == {
            "a": Outcome.SUCCEEDED,
            "b": Outcome.FAILED,
            "c": Outcome.SUCCEEDED,
        }
        assert results["b"].error is not None
        assert "messages" in (results["b"].error.message or "").lower()
        assert (ledger.shards[0].attempts, ledger.balances) == (2, True)

    async def test_a_batch_that_is_refused_as_a_whole(self, tmp_path: Path) -> None:
        """Where no line is named, all its requests failed, for good; other batches are not touched."""
        async with open_shop(tmp_path, requests=10) as shop:
            front = Front(shop.session)
            front.batches.failures = [BatchError(code="too_many_tasks", message="Too many.")]
            async with shop.job(session=front) as job:
                ledger = await job.run()
                assert (ledger.succeeded, ledger.outcomes[Outcome.FAILED]) == (5, 5)
                assert ledger.error_codes == {"too_many_tasks": 5}
                assert len([result async for result in job.results(ordered=True)]) == 10

    async def test_a_file_that_validation_does_not_see(self, tmp_path: Path) -> None:
        """A file that is there is used once more; one that is gone is uploaded again."""
        async with open_shop(tmp_path, requests=5) as shop:
            front = Front(shop.session)
            front.batches.failures = [BatchError(code="invalid_request", message=NO_FILE)] * 2
            async with shop.job(session=front) as job:
                async for event in job.events():
                    if event.kind == "postponed" and front.batches.created == 2:
                        (file,) = [one for one in shop.server.store.files.items.values() if one.purpose == "batch"]
                        shop.server.store.remove_file(file)
                assert (await job.run()).succeeded == 5
            assert (front.batches.created, shop.asked("POST", "/v1/files")) == (3, 2)

    async def test_a_file_that_is_never_seen(self, tmp_path: Path) -> None:
        """After ten times it is what the service says it is: a failure."""
        async with open_shop(tmp_path, requests=5) as shop:
            front = Front(shop.session)
            front.batches.failures = [BatchError(code="invalid_request", message=NO_FILE)] * 20
            collect._UNSEEN_DELAY_S = 0.001
            async with shop.job(session=front) as job:
                assert (await job.run()).outcomes[Outcome.FAILED] == 5
            assert front.batches.created == 11


class TestCapacity:
    async def test_capacity_for_three(self, tmp_path: Path) -> None:
        """A lack of capacity is no failure: the file stays, and a batch is created again when another one has ended."""
        async with open_shop(tmp_path, requests=200, enqueued_token_limit=600) as shop, shop.job() as job:
            ledger = await job.run()
            assert (ledger.succeeded, ledger.balances) == (200, True)
            assert shop.asked("POST", "/v1/files") == 40
            statuses = shop.statuses()
            assert statuses["completed"] == 40
            assert 0 < statuses["failed"] == shop.kinds()["refused"] <= 37

    async def test_others_use_the_capacity(self, tmp_path: Path) -> None:
        """Where the job has no other batch open, it is tried again from time to time."""
        async with open_shop(tmp_path, requests=10) as shop:
            front = Front(shop.session)
            front.batches.failures = [BatchError(code="token_limit_exceeded", message=ROOM)] * 6
            async with shop.job(session=front) as job:
                assert (await job.run()).succeeded == 10
            assert shop.kinds()["refused"] == 6
            assert shop.asked("POST", "/v1/files") == 2

    async def test_a_shard_that_will_never_have_capacity(self, tmp_path: Path) -> None:
        """It is said at the first refusal, with the limit that would do; and the next run tries again."""
        async with open_shop(tmp_path, requests=5, enqueued_token_limit=40) as shop, shop.job() as job:
            with pytest.raises(BatchFailedError, match=r"ShardLimits\(max_tokens=20\)"):
                await job.run()
            assert shop.kinds()["refused"] == 1
            (refused,) = [event for event in shop.events if event.kind == "refused"]
            assert re.search(r"\(this shard has about \d+ tokens of a limit of 40\)", refused.message)
            with pytest.raises(BatchFailedError):
                await job.run()
            assert (shop.kinds()["refused"], shop.asked("POST", "/v1/files")) == (2, 1)

    # Six count; one that is refused while the other shard's batch is open does not, and how often that happens depends
    # on which of them is first.
    @pytest.mark.parametrize(("shards", "refusals"), [(1, {6}), (2, {6, 7, 8})])
    @pytest.mark.parametrize("said", [ROOM, "Too many tokens are enqueued."])
    async def test_a_service_that_never_has_capacity(
        self, tmp_path: Path, said: str, shards: int, refusals: set[int]
    ) -> None:
        """Each look costs a batch: after six in a row with none of ours open the job says so, and can be run again."""
        async with open_shop(tmp_path, requests=5 * shards) as shop:
            front = Front(shop.session)
            front.batches.failures = [BatchError(code="token_limit_exceeded", message=said)] * 99
            async with shop.job(session=front) as job:
                with pytest.raises(BatchFailedError, match="If others use the capacity, run the job again") as no:
                    await job.run()
                assert no.value.batch is not None
                assert shop.kinds()["refused"] in refusals
                front.batches.failures.clear()
                assert (await job.run()).succeeded == 5 * shards
            assert shop.asked("POST", "/v1/files") == shards

    async def test_a_service_that_never_has_capacity_and_says_so_at_once(self, tmp_path: Path) -> None:
        refusal = BadRequestError(ROOM, status=400, code="token_limit_exceeded")
        async with open_shop(tmp_path, requests=5) as shop:
            front = Front(shop.session)
            front.batches.refusals = [refusal] * 99
            async with shop.job(session=front) as job:
                with pytest.raises(BadRequestError, match="Limit: 2,000,000"):
                    await job.run()
                assert shop.kinds()["refused"] == 6

    async def test_a_job_that_is_cancelled_needs_no_capacity(self, tmp_path: Path) -> None:
        async with open_shop(tmp_path, requests=5, enqueued_token_limit=40) as shop, shop.job() as job:
            running = asyncio.create_task(job.run())
            await shop.until(lambda: shop.kinds()["created"] == 1)
            assert (await job.cancel()).outcomes[Outcome.CANCELLED] == 5
            await running

    async def test_a_service_that_says_so_at_once(self, tmp_path: Path) -> None:
        """Azure fails fast, with 400: nothing was created, and it is tried again when there is capacity."""
        refusal = BadRequestError(ROOM, status=400, code="token_limit_exceeded")
        async with open_shop(tmp_path, requests=20) as shop:
            front = Front(shop.session)
            front.batches.refusals = [None, refusal, refusal]
            async with shop.job(session=front) as job:
                assert (await job.run()).succeeded == 20
            assert shop.kinds()["refused"] == 2
            assert shop.asked("POST", "/v1/files") == 4


class TestQuota:
    @pytest.mark.parametrize("is_at_once", [True, False])
    async def test_the_job_is_paused(self, tmp_path: Path, *, is_at_once: bool) -> None:
        """What runs is collected, nothing more is created, and the next run goes on with the same files."""
        async with open_shop(tmp_path, requests=60) as shop:
            front = Front(shop.session)
            if is_at_once:
                error = RateLimitError(QUOTA, status=429, code="insufficient_quota", type="insufficient_quota")
                front.batches.refusals = [None, error] + [error] * 20
            else:
                failure = BatchError(code="billing_hard_limit_reached", message="Billing hard limit has been reached")
                front.batches.failures = [None, failure] + [failure] * 20
            async with shop.job(session=front) as job:
                with pytest.raises(JobPausedError) as caught:
                    await job.run()
                assert caught.value.reason
                assert shop.kinds()["paused"] == 1
                tried = 22 - len(front.batches.refusals if is_at_once else front.batches.failures)
                assert tried <= 9  # one, four more when it has passed validation, and those with an answer on its way
                paused = await job.summary()
                assert 5 <= paused.succeeded == paused.inputs - paused.unfinished < 60
                front.batches.refusals, front.batches.failures = [], []
                assert (await job.run()).succeeded == 60
            assert shop.asked("POST", "/v1/files") == 12


class TestCreating:
    async def test_a_file_that_is_gone_is_uploaded_again(self, tmp_path: Path) -> None:
        async with open_shop(tmp_path, requests=5) as shop:
            front = Front(shop.session)
            front.batches.refusals = [NotFoundError("No such File object: file-1", status=404)]
            async with shop.job(session=front) as job:
                assert (await job.run()).succeeded == 5
            assert shop.asked("POST", "/v1/files") == 2
            assert shop.inputs() == 0

    async def test_a_refusal_that_is_none_of_these(self, tmp_path: Path) -> None:
        """It is raised, and the shard can be created later: nothing is uploaded twice."""
        async with open_shop(tmp_path, requests=5) as shop:
            front = Front(shop.session)
            front.batches.refusals = [BadRequestError("no", status=400)]
            async with shop.job(session=front) as job:
                with pytest.raises(BadRequestError):
                    await job.run()
                assert (await job.run()).succeeded == 5
            assert shop.asked("POST", "/v1/files") == 1

    async def test_no_clear_answer_for_too_long(self, tmp_path: Path) -> None:
        """The key stays in the journal, and the batch that was created after all is found by it."""
        fault = Fault.error_after(500, method="POST", path="/batches$", times=None)
        blind = Fault.error_before(500, method="GET", path="/batches$", times=None)
        async with open_shop(tmp_path, requests=5, faults=[fault, blind]) as shop:
            async with shop.job(patience_s=0.05) as job:
                with pytest.raises(AmbiguousCreateError):
                    await job.run()
            (attempt,) = read_attempts(tmp_path / "requests.jsonl.job")
            assert (attempt.step, attempt.key is not None) == (Step.CREATING, True)
            shop.server.faults.clear()
            async with shop.job() as job:
                assert (await job.run()).succeeded == 5
            assert shop.kinds()["adopted"] == 1
            assert shop.asked("POST", "/v1/batches") == 1

    @pytest.mark.parametrize("error", [InternalServerError("down", status=500), APIError("late", status=408)])
    async def test_5xx_or_408_for_too_long(self, tmp_path: Path, error: APIError) -> None:
        """It is not known whether the service created the batch: the key is kept, so that it is looked for."""
        async with open_shop(tmp_path, requests=5) as shop:
            front = Front(shop.session)
            front.batches.refusals = [error] * 9
            async with shop.job(session=front, patience_s=0.0) as job:
                with pytest.raises(APIError, match=str(error)):
                    await job.run()
                (attempt,) = read_attempts(job.directory)
                assert (attempt.step, attempt.key is not None) == (Step.CREATING, True)

    async def test_a_batch_in_doubt_that_was_created_is_not_created_again(self, tmp_path: Path) -> None:
        """Within one run too: what a later look finds is taken."""
        async with open_shop(tmp_path, requests=5) as shop:
            front = Front(shop.session)
            create = front.batches.create

            async def lose_the_answer(**fields: Any) -> Any:
                await create(**fields)
                raise InternalServerError("down", status=500)

            front.batches.create = lose_the_answer  # type: ignore[method-assign]
            async with shop.job(session=front) as job:
                assert (await job.run()).succeeded == 5
            assert front.batches.created == 1

    async def test_a_service_whose_answers_come_late(self, tmp_path: Path) -> None:
        """Batches that run already when they are first seen hold up no others."""
        timings = Timings(validating_s=0, line_s=0.02, finalizing_s=1)
        faults = Fault.lost_answer(method="POST", path="/batches$", times=None)
        async with open_shop(tmp_path, requests=40, timings=timings, faults=faults) as shop, shop.job() as job:
            assert (await job.run()).succeeded == 40


class TestTrouble:
    async def test_what_fails_in_passing_is_tried_again(self, tmp_path: Path) -> None:
        """Uploads, creations and downloads outlive a service that is down for a while."""
        async with open_shop(tmp_path, requests=5) as shop:
            async with (
                BatchSession("k", base_url=shop.server.base_url, retry=ONCE) as session,
                shop.job(session=session) as job,
            ):
                for method, path in (("POST", "/files$"), ("POST", "/batches$"), ("GET", "/content$")):
                    shop.server.faults.add(Fault.error_before(503, method=method, path=path, times=2))
                assert (await job.run()).succeeded == 5
            assert shop.kinds()["postponed"] == 6

    async def test_a_service_that_is_down_for_too_long(self, tmp_path: Path) -> None:
        down = Fault.error_before(503, method="POST", path="/files$", times=None)
        async with open_shop(tmp_path, requests=5, faults=down) as shop, shop.job(patience_s=0.02) as job:
            with pytest.raises(InternalServerError):
                await job.run()
            shop.server.faults.clear()
            assert (await job.run()).succeeded == 5

    async def test_an_answer_that_cannot_be_read(self, tmp_path: Path) -> None:
        """A garbled answer now and then ends no job: an upload is made again, and the double is deleted."""
        async with open_shop(tmp_path, requests=5) as shop, shop.job() as job:
            shop.server.faults.add(Fault.garbled_json(method="POST", path="/files$", times=4))
            shop.server.faults.add(Fault.garbled_json(method="DELETE", times=1))
            assert (await job.run()).succeeded == 5
            assert shop.asked("POST", "/v1/files") == 5
            assert shop.asked("POST", "/v1/batches") == 1
            assert shop.inputs() == 0

    async def test_answers_that_can_never_be_read(self, tmp_path: Path) -> None:
        """Five in a row are no accident: this is not the service, or not its protocol."""
        garbled = Fault.garbled_json(method="POST", path="/files$", times=None)
        async with open_shop(tmp_path, requests=5, faults=garbled) as shop, shop.job() as job:
            with pytest.raises(DecodeError):
                await job.run()
            assert shop.asked("POST", "/v1/files") == 5
            shop.server.faults.clear()
            assert (await job.run()).succeeded == 5
            assert shop.inputs() == 0

    async def test_batches_that_this_key_does_not_see(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A job that goes on with the key of another project is told so, once; with the right key it goes on."""
        monkeypatch.setattr(poller, "_UNSEEN_S", 0.1)
        async with stopped_shop(tmp_path, requests=20) as shop:
            async with shop.job() as job:
                await begun(shop, job)
            unseen = Fault.error_before(404, method="GET", path="/batches", times=None)
            shop.server.faults.add(unseen)
            async with shop.job() as job:
                with pytest.raises(JobError, match=r"does not show batch_.* to this key.*another key") as caught:
                    await job.run()
            assert isinstance(caught.value.__cause__, NotFoundError)
            assert caplog.text.count("could not be looked at") == 1
            shop.server.faults.clear()
            await shop.server.advance(hours=1)
            async with shop.job() as job:
                assert (await job.run()).succeeded == 20

    @pytest.mark.parametrize("verb", ["run", "cancel"])
    async def test_a_service_that_knows_nothing_of_the_job(self, tmp_path: Path, verb: str) -> None:
        """Neither its batches nor their files: it is told at once, and with the right service the job goes on."""
        async with stopped_shop(tmp_path, requests=20) as shop:
            async with shop.job() as job:
                await begun(shop, job)
            shop.server.faults.add(Fault.error_before(404, method="GET", path="/(batches|files)/", times=None))
            async with asyncio.timeout(60), shop.job() as job:
                with pytest.raises(
                    JobError, match=r"knows none of the 4 batches .* begun with another service, key or project"
                ) as caught:
                    await getattr(job, verb)()
            assert isinstance(caught.value.__cause__, NotFoundError)
            assert sum(shop.statuses().values()) == 4
            assert shop.inputs() == 4
            shop.server.faults.clear()
            await shop.server.advance(hours=1)
            async with shop.job() as job:
                ledger = await job.run()
            assert ledger.inputs == sum(ledger.outcomes.values()) == 20
            assert ledger.is_complete

    @pytest.mark.parametrize("missing", [1, 3])
    async def test_a_batch_of_several_that_has_vanished(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int
    ) -> None:
        """Where the service knows one of them it is the right one: the others are waited for as long as ever."""
        monkeypatch.setattr(poller, "_UNSEEN_S", 0.1)
        async with stopped_shop(tmp_path, requests=20) as shop:
            async with shop.job() as job:
                await begun(shop, job)
            gone = "|".join(list(shop.server.store.batches.items)[:missing])
            shop.server.faults.add(Fault.error_before(404, method="GET", path=f"/batches/({gone})$", times=None))
            shop.server.faults.add(Fault.error_before(404, method="GET", path="/batches$|/files/", times=None))
            async with shop.job() as job:
                with pytest.raises(JobError, match=r"does not show batch_.* to this key"):
                    await job.run()

    async def test_a_service_in_trouble_says_nothing_of_where_it_was_begun(self, tmp_path: Path) -> None:
        """Only what is not there counts: a job goes on through everything that passes."""
        async with stopped_shop(tmp_path, requests=20) as shop:
            async with shop.job() as job:
                await begun(shop, job)
            shop.server.faults.add(Fault.error_before(503, method="GET", path="/batches/", times=3))
            await shop.server.advance(hours=1)
            async with shop.job() as job:
                assert (await job.run()).succeeded == 20

    async def test_requests_that_are_gone(self, tmp_path: Path) -> None:
        """Without its shards a job cannot go on, and says so."""
        async with stopped_shop(tmp_path, requests=5) as shop:
            down = Fault.error_before(400, method="POST", path="/files$", times=None)
            shop.server.faults.add(down)
            async with shop.job() as job:
                with pytest.raises(BadRequestError):
                    await job.run()
                for shard in job.directory.glob("*/requests/*.jsonl"):
                    shard.unlink()
                with pytest.raises(JobError, match="is not there any more"):
                    await job.run()

    async def test_results_that_are_gone(self, tmp_path: Path) -> None:
        """They were paid for: somebody has to know."""
        gone = Fault.error_before(404, method="GET", path="/content$", times=None)
        async with open_shop(tmp_path, requests=5, faults=gone) as shop, shop.job() as job:
            with pytest.raises(JobError, match="were paid for"):
                await job.run()

    async def test_files_that_cannot_be_deleted_fail_no_job(self, tmp_path: Path) -> None:
        """The results are there; the next run clears up what this one could not."""
        no = Fault.error_before(403, method="DELETE", times=None)
        async with open_shop(tmp_path, requests=5, faults=no) as shop, shop.job() as job:
            assert (await job.run()).succeeded == 5
            assert shop.inputs() == 1
            assert shop.kinds()["postponed"] >= 1
            shop.server.faults.clear()
            assert (await job.run()).succeeded == 5
            assert shop.inputs() == 0

    async def test_files_that_cannot_be_listed_fail_no_job(self, tmp_path: Path) -> None:
        no = Fault.error_before(403, method="GET", path="/files$", times=None)
        async with open_shop(tmp_path, requests=5, faults=no) as shop, shop.job() as job:
            assert (await job.run()).succeeded == 5
            assert "tried again" not in str(shop.events[-2])
            assert shop.kinds()["postponed"] == 1

    async def test_a_file_that_somebody_else_has_deleted(self, tmp_path: Path) -> None:
        async with open_shop(tmp_path, requests=5) as shop, shop.job() as job:
            async for event in job.events():
                if event.kind == "ended":
                    (file,) = [one for one in shop.server.store.files.items.values() if one.purpose == "batch"]
                    shop.server.store.remove_file(file)
            assert (await job.run()).succeeded == 5

    async def test_a_batch_that_stalls_is_told_of(self, tmp_path: Path) -> None:
        """Nothing is cancelled: it may go on."""
        async with stopped_shop(tmp_path, requests=5) as shop, shop.job(stall_after=0.02) as job:
            async for event in job.events():
                if event.kind == "stalled":
                    assert event.delay_s is not None
                    await shop.server.advance(hours=1)
            assert (await job.run()).succeeded == 5
