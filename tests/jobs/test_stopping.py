"""How a job stops: where it can go on from, with its batches at the service; or for good, when it is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from support.job_service import Front, open_shop, stopped_shop

from openai_batches import InputError, InternalServerError, JobStoppedError, JournalError, Outcome
from openai_batches.emulator import Fault
from openai_batches.jobs import ownership, submit
from openai_batches.jobs.journal.records import Step
from openai_batches.jobs.journal.sqlite import Journal, read_attempts

if TYPE_CHECKING:
    from pathlib import Path

    from support.job_service import Shop

    from openai_batches import BatchJob


async def begun(shop: Shop, job: BatchJob, *, created: int = 4) -> asyncio.Task[Any]:
    """A run of a job that has come so far that its batches exist."""
    running = asyncio.create_task(job.run())
    await shop.until(lambda: shop.kinds()["created"] == created)
    return running


async def broken_off(job: BatchJob, moment: asyncio.Event) -> None:
    """A run of a job is cancelled at a moment, and has ended."""
    running = asyncio.create_task(job.run())
    await moment.wait()
    running.cancel()
    await asyncio.wait([running])


async def goes_on(shop: Shop, *, requests: int = 20, batches: int = 4) -> None:
    """The batches run at the service; the next job collects them, and creates none again."""
    assert "cancelling" not in shop.statuses()
    assert "cancelled" not in shop.statuses()
    await shop.server.advance(hours=1)
    driven = asyncio.create_task(shop.drive())
    async with shop.job() as job:
        assert (await job.run()).succeeded == requests
    driven.cancel()
    assert shop.asked("POST", "/v1/batches") == batches


async def expires(shop: Shop, limit: asyncio.Timeout) -> None:
    """Let a timeout expire as soon as all batches are created."""
    await shop.until(lambda: shop.kinds()["created"] == 4)
    limit.reschedule(0)


class TestStop:
    async def test_who_cancels_run_stops_the_job(self, tmp_path: Path) -> None:
        """A timeout around it is a cancellation as any other, and cancels no batch."""
        async with stopped_shop(tmp_path, requests=20) as shop:
            async with shop.job() as job:
                limit = asyncio.timeout(None)
                expiring = asyncio.create_task(expires(shop, limit))
                with pytest.raises(TimeoutError):
                    async with limit:
                        await job.run()
                await expiring
            assert shop.kinds()["created"] == 4
            await goes_on(shop)

    async def test_who_leaves_the_results_stops_the_job(self, tmp_path: Path) -> None:
        async with stopped_shop(tmp_path, requests=20) as shop:
            async with shop.job() as job:
                driven = asyncio.create_task(shop.drive())
                async with aclosing(job.results()) as results:
                    await anext(results)
                driven.cancel()
                assert job._task is not None
                assert job._task.done()
            await goes_on(shop)

    async def test_who_leaves_the_events_stops_the_job(self, tmp_path: Path) -> None:
        async with stopped_shop(tmp_path, requests=20) as shop:
            async with shop.job() as job, aclosing(job.events()) as events:
                async for _ in events:
                    if shop.kinds()["created"] == 4:
                        break
            await goes_on(shop)

    async def test_closing_stops_the_job(self, tmp_path: Path) -> None:
        """Who waits for it then is told so, and is not taken for cancelled himself."""
        async with stopped_shop(tmp_path, requests=20) as shop:
            job = shop.job()
            running = await begun(shop, job)

            async def take(what: Any) -> None:
                async for _ in what:
                    pass

            others = [asyncio.create_task(one) for one in (job.run(), take(job.events()), take(job.results()))]
            ordered = asyncio.create_task(take(job.results(ordered=True)))
            await asyncio.sleep(0.05)
            await job.close()
            for task in (running, *others, ordered):
                with pytest.raises(JobStoppedError, match="elsewhere"):
                    await task
            await goes_on(shop)

    async def test_one_who_came_later_leaves_without_stopping_it(self, tmp_path: Path) -> None:
        async with open_shop(tmp_path, requests=10) as shop, shop.job() as job:
            running = asyncio.create_task(job.run())
            await shop.until(lambda: shop.kinds()["planned"] == 1)
            for later in (job.run(), anext(job.results()), anext(job.results(ordered=True))):
                task = asyncio.ensure_future(later)
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            async for _ in job.events():
                break
            assert (await running).succeeded == 10

    async def test_results_in_order_that_nobody_waits_for_any_more(self, tmp_path: Path) -> None:
        """Before anything is planned too."""
        async with stopped_shop(tmp_path) as shop:
            for models in (("m",), ("a", "b")):
                from support.request_lines import write_requests

                write_requests(shop.source, 20, models=models)
                async with shop.job(directory=tmp_path / models[0], strict=True) as job:
                    ordered = job.results(ordered=True)
                    first = asyncio.ensure_future(anext(ordered))
                    await shop.until(lambda models=models: shop.kinds()["created"] >= 4)
                    assert job._task is not None
                    job._task.cancel()
                    with pytest.raises(JobStoppedError):
                        await first
                    shop.events.clear()

    async def test_a_stop_waits_for_the_answer_that_says_whether_a_batch_exists(self, tmp_path: Path) -> None:
        """A request that is on its way is not abandoned: its answer comes into the journal first."""
        async with stopped_shop(tmp_path, requests=5) as shop:
            front = Front(shop.session)
            create, has_begun = front.batches.create, asyncio.Event()

            async def slowly(**fields: Any) -> Any:
                has_begun.set()
                await asyncio.sleep(0.1)
                return await create(**fields)

            front.batches.create = slowly  # type: ignore[method-assign]
            async with shop.job(session=front) as job:
                await broken_off(job, has_begun)
                (attempt,) = read_attempts(job.directory)
                assert attempt.step is Step.CREATED
            await goes_on(shop, requests=5, batches=1)

    async def test_it_does_not_wait_for_ever(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """After a while the key in the journal has to do."""
        monkeypatch.setattr(submit, "_GRACE_S", 0.05)
        async with stopped_shop(tmp_path, requests=5) as shop:
            front = Front(shop.session)
            create, has_begun = front.batches.create, asyncio.Event()

            async def never(**fields: Any) -> Any:
                await create(**fields)
                has_begun.set()
                await asyncio.Event().wait()

            front.batches.create = never  # type: ignore[method-assign]
            async with shop.job(session=front) as job:
                await broken_off(job, has_begun)
                (attempt,) = read_attempts(job.directory)
                assert (attempt.step, attempt.key is not None) == (Step.CREATING, True)
            await goes_on(shop, requests=5, batches=1)
            assert shop.kinds()["adopted"] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="an event loop watches no signals there")
class TestSignals:
    CODE = """
import asyncio, signal, sys
from openai_batches import *
async def main():
    async with BatchSession('sk-test-4f5a0b7c1d9e', base_url=sys.argv[1]) as session:
        limits, poll = ShardLimits(max_requests=5), PollPolicy.every(0.01)
        async with BatchJob(session, sys.argv[2], limits=limits, poll=poll) as job:
            try:
                await job.run(stop_on=[getattr(signal, name) for name in sys.argv[3:]])
            except JobStoppedError as error:
                print(error)
asyncio.run(main())
"""

    @pytest.mark.parametrize(
        ("number", "watched", "said"),
        [
            (signal.SIGTERM, ["SIGTERM", "SIGINT"], b"SIGTERM stopped the job"),
            (signal.SIGINT, ["SIGTERM", "SIGINT"], b"SIGINT stopped the job"),
            (signal.SIGINT, [], b""),
        ],
    )
    async def test_a_process_stops_where_it_can_go_on_from(
        self, tmp_path: Path, number: signal.Signals, watched: list[str], said: bytes
    ) -> None:
        """SIGTERM if that is wanted, and Ctrl-C in any case: the batches go on, and so does the job."""
        async with stopped_shop(tmp_path, requests=20) as shop:
            pipe = asyncio.subprocess.PIPE
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", self.CODE, shop.server.base_url, str(shop.source), *watched),
                stdout=pipe,
                stderr=pipe,
            )
            await shop.until(lambda: len(shop.server.store.batches.items) == 4)
            child.send_signal(number)
            out, err = await child.communicate()
            assert out.startswith(said)
            assert (child.returncode, err.rstrip().endswith(b"KeyboardInterrupt")) == (
                (0, False) if said else (child.returncode, True)
            )
            await goes_on(shop)

    async def test_a_signal_stops_only_while_the_job_is_run(self, tmp_path: Path) -> None:
        """Here the process is this one; what came before is what comes afterwards."""
        async with stopped_shop(tmp_path, requests=5) as shop, shop.job() as job:
            running = asyncio.create_task(job.run(stop_on=[signal.SIGUSR1]))
            await shop.until(lambda: shop.kinds()["created"] == 1)
            signal.raise_signal(signal.SIGUSR1)
            with pytest.raises(JobStoppedError, match="SIGUSR1 stopped the job"):
                await running
            assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
            await goes_on_here(shop, job)

    async def test_elsewhere_than_in_the_main_thread(self, tmp_path: Path) -> None:
        """Signals cannot be watched there, which is said at once."""
        said: list[str] = []

        async def main() -> None:
            async with open_shop(tmp_path, requests=5) as shop, shop.job() as job:
                try:
                    await job.run(stop_on=[signal.SIGTERM])
                except InputError as error:
                    said.append(str(error))

        thread = threading.Thread(target=asyncio.run, args=(main(),))
        thread.start()
        await asyncio.to_thread(thread.join)
        assert said
        assert "stop_on cannot watch" in said[0]


async def goes_on_here(shop: Shop, job: BatchJob) -> None:
    await shop.server.advance(hours=1)
    assert (await job.run()).is_complete


class TestLeft:
    """An iterator that is left without being closed stops its job a moment later, which nobody has to know."""

    @pytest.mark.parametrize("what", ["run", "results", "events"])
    async def test_the_next_call_goes_on(self, tmp_path: Path, what: str) -> None:
        async with stopped_shop(tmp_path, requests=20) as shop, shop.job() as job:
            async for event in job.events():
                if event.kind == "created":
                    break
            driven = asyncio.create_task(shop.drive())
            if what == "run":
                assert (await job.run()).succeeded == 20
            else:
                assert [one async for one in getattr(job, what)()]
                assert (await job.summary()).succeeded == 20
            driven.cancel()
            assert shop.asked("POST", "/v1/batches") == 4

    async def test_it_can_be_cancelled(self, tmp_path: Path) -> None:
        async with stopped_shop(tmp_path, requests=20) as shop, shop.job() as job:
            async for _ in job.events():
                if shop.kinds()["created"] == 4:
                    break
            cancelling = asyncio.create_task(job.cancel())
            await shop.until(lambda: shop.statuses()["cancelling"] == 4)
            driven = asyncio.create_task(shop.drive())
            assert (await cancelling).outcomes[Outcome.CANCELLED] == 20
            driven.cancel()
            assert shop.statuses() == {"cancelled": 4}

    async def test_who_cancels_is_not_stopped_by_who_runs(self, tmp_path: Path) -> None:
        """A job that is cancelled ends with its batches cancelled, whoever leaves meanwhile; or it is closed."""
        async with stopped_shop(tmp_path, requests=20) as shop, shop.job() as job:
            running = await begun(shop, job)
            cancelling = asyncio.create_task(job.cancel())
            await shop.until(lambda: shop.statuses()["cancelling"] == 4)
            running.cancel()
            await asyncio.wait([running])
            driven = asyncio.create_task(shop.drive())
            assert (await cancelling).outcomes[Outcome.CANCELLED] == 20
            driven.cancel()

    async def test_who_cancels_is_stopped_by_closing(self, tmp_path: Path) -> None:
        async with stopped_shop(tmp_path, requests=20) as shop, shop.job() as job:
            running = await begun(shop, job)
            cancelling = asyncio.create_task(job.cancel())
            await shop.until(lambda: shop.statuses()["cancelling"] == 4)
            await asyncio.sleep(0.05)
            await job.close()
            for task in (running, cancelling):
                with pytest.raises(JobStoppedError):
                    await task

    async def test_one_that_is_collected_late_stops_nothing_new(self, tmp_path: Path) -> None:
        """An iterator stops the work that it has begun, and no other."""
        async with open_shop(tmp_path, requests=5) as shop, shop.job() as job:
            late = job.events()
            await anext(late)
            await shop.until(lambda: shop.kinds()["finished"] == 1)
            await asyncio.sleep(0)
            assert job._state is not None
            await job._state.reopen()
            running = asyncio.create_task(job.run())
            await asyncio.sleep(0)
            await late.aclose()
            assert (await running).succeeded == 5

    async def test_the_file_is_not_asked_about_jobs_of_this_process(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While one lets go, the next does not try the lock: what it then said could be outdated when it is read."""
        opened: list[Path] = []

        def journal(directory: Path) -> Journal:
            opened.append(directory)
            return Journal(directory)

        monkeypatch.setattr(ownership, "Journal", journal)
        first = await ownership.hold(tmp_path)
        first.is_leaving = True
        next_one = asyncio.create_task(ownership.hold(tmp_path))
        await asyncio.sleep(0.05)
        assert opened == [tmp_path]
        await asyncio.to_thread(first.close)
        await asyncio.to_thread((await next_one).close)
        assert opened == [tmp_path] * 2

    async def test_a_short_run_hands_over(self, tmp_path: Path) -> None:
        """The next one waits until the first has let go of the directory."""
        async with open_shop(tmp_path, requests=20) as shop:
            for _ in range(3):
                async for _ in shop.session.run(shop.source, poll=0.01):
                    break
            results = [one async for one in shop.session.run(shop.source, poll=0.01)]
            assert len(results) == 20
            assert shop.asked("POST", "/v1/batches") == 1

    async def test_a_job_that_is_never_closed_is_not_waited_for_long(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ownership, "_PATIENCE_S", 0.05)
        async with open_shop(tmp_path, requests=5) as shop, shop.job() as job, shop.job() as other:
            await job.run()
            assert job._hold is not None
            job._hold.is_leaving = True
            with pytest.raises(JournalError, match="Another BatchJob of this process"):
                await other.run()

    async def test_who_is_stopped_while_the_journal_is_opened_leaves_no_lock(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def slowly(directory: Path) -> Journal:
            time.sleep(0.05)
            return Journal(directory)

        monkeypatch.setattr(ownership, "Journal", slowly)
        async with open_shop(tmp_path, requests=5) as shop:
            for _ in range(2):
                async with shop.job() as job:
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.02):
                            await job.run()
            with contextlib.closing(Journal(tmp_path / "requests.jsonl.job")):
                async with shop.job() as job:
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.02):
                            await job.run()
            async with shop.job() as job:
                assert (await job.run()).succeeded == 5


class TestCancel:
    async def test_before_anything_was_sent(self, tmp_path: Path) -> None:
        """It is planned, and every request of it is cancelled: the ledger balances."""
        async with open_shop(tmp_path, requests=12) as shop, shop.job() as job:
            ledger = await job.cancel()
            assert (ledger.outcomes[Outcome.CANCELLED], ledger.balances) == (12, True)
            assert {result.outcome async for result in job.results(ordered=True)} == {Outcome.CANCELLED}
            assert shop.asked("POST", "/v1/batches") == shop.asked("POST", "/v1/files") == 0

    async def test_while_it_runs(self, tmp_path: Path) -> None:
        """Its batches are cancelled, what they had finished is collected, and nothing is sent again."""
        async with stopped_shop(tmp_path, requests=20) as shop, shop.job(max_open=2, resend_cancelled=True) as job:
            running = await begun(shop, job, created=2)
            await shop.server.advance(seconds=1.03)
            cancelling = asyncio.create_task(job.cancel())
            await shop.until(lambda: shop.statuses()["cancelling"] == 2)
            driven = asyncio.create_task(shop.drive())
            ledger = await cancelling
            assert await running == ledger
            driven.cancel()
            assert (ledger.inputs, ledger.balances, ledger.is_complete) == (20, True, True)
            assert ledger.succeeded == 2
            assert ledger.outcomes[Outcome.CANCELLED] == 18
            assert shop.kinds()["cancelled"] == 1
            assert shop.asked("POST", "/v1/batches") == 2
            assert shop.inputs() == 0
            results = [result async for result in job.results(ordered=True)]
            assert [result.custom_id for result in results] == [f"r{number}" for number in range(20)]

    async def test_after_it_was_stopped(self, tmp_path: Path) -> None:
        """The batches of an earlier run are cancelled too; and once cancelled it stays so."""
        async with stopped_shop(tmp_path, requests=20) as shop:
            async with shop.job() as job:
                running = await begun(shop, job)
                running.cancel()
                await asyncio.wait([running])
            driven = asyncio.create_task(shop.drive())
            async with shop.job() as job:
                ledger = await job.cancel()
                assert ledger.outcomes[Outcome.CANCELLED] + ledger.succeeded == 20
                assert await job.run() == ledger
            driven.cancel()
            assert set(shop.statuses()) <= {"cancelled", "completed"}

    async def test_after_its_end(self, tmp_path: Path) -> None:
        """There is nothing to cancel, and the results stay what they are."""
        async with open_shop(tmp_path, requests=5) as shop, shop.job() as job:
            await job.run()
            assert (await job.cancel()).succeeded == 5
            assert shop.kinds()["cancelled"] == 0

    async def test_while_it_is_planned(self, tmp_path: Path) -> None:
        """A cancellation that comes before the first step is noticed all the same."""
        async with stopped_shop(tmp_path, requests=20) as shop, shop.job() as job:
            running = asyncio.create_task(job.run())
            await asyncio.sleep(0)
            driven = asyncio.create_task(shop.drive())
            ledger = await job.cancel()
            await running
            driven.cancel()
            assert ledger.is_complete
            assert shop.kinds()["cancelled"] == 1
            assert shop.asked("POST", "/v1/batches") <= 4

    async def test_a_batch_that_was_about_to_be_created(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where an earlier run wrote its key down, and it does not exist, it is never created."""
        monkeypatch.setattr(submit, "_GRACE_S", 0.0)
        async with stopped_shop(tmp_path, requests=5) as shop:
            front = Front(shop.session)
            has_begun = asyncio.Event()

            async def never(**fields: Any) -> Any:
                has_begun.set()
                await asyncio.Event().wait()

            front.batches.create = never  # type: ignore[method-assign]
            async with shop.job(session=front) as job:
                await broken_off(job, has_begun)
            async with shop.job() as job:
                assert (await job.summary()).unfinished == 5
                assert (await job.cancel()).outcomes[Outcome.CANCELLED] == 5
            assert (shop.asked("POST", "/v1/batches"), shop.inputs()) == (0, 0)

    async def test_a_service_that_does_not_answer_at_first(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Cancelling is tried again like everything else; a batch that has ended meanwhile is no error."""
        from openai_batches.jobs import state

        monkeypatch.setattr(state, "_FIRST_DELAY_S", 0.01)
        async with stopped_shop(tmp_path, requests=10) as shop, shop.job() as job:
            running = await begun(shop, job, created=2)
            first, second = shop.server.store.batches.items
            shop.server.faults.add(Fault.error_before(503, path=f"{first}/cancel$", times=6))
            await shop.session.batches.cancel(second)
            await shop.server.advance(hours=1)
            driven = asyncio.create_task(shop.drive())
            ledger = await job.cancel()
            await running
            driven.cancel()
            assert ledger.is_complete

    async def test_what_fails_then_fails_the_job(self, tmp_path: Path) -> None:
        async with stopped_shop(tmp_path, requests=5) as shop, shop.job(patience_s=0) as job:
            running = await begun(shop, job, created=1)
            shop.server.faults.add(Fault.error_before(503, path="/cancel$", times=None))
            with pytest.raises(InternalServerError):
                await job.cancel()
            shop.server.faults.clear()
            running.cancel()
            await asyncio.wait([running])
            cancelling = asyncio.create_task(job.cancel())
            await shop.until(lambda: shop.statuses()["cancelling"] == 1)
            driven = asyncio.create_task(shop.drive())
            assert (await cancelling).outcomes[Outcome.CANCELLED] == 5
            driven.cancel()
