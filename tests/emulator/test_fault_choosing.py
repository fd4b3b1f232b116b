"""How faults are written down, chosen, scheduled, counted and taken away."""

import asyncio
import contextlib
import copy
import itertools
import math
from typing import Any

import pytest
from hypothesis import given, strategies as st
from support.asking import MakeRaw, Raw, chat_file

from openai_batches.emulator import BatchServer, Fault, Faults, SteppedClock
from openai_batches.emulator.faults.kinds import KINDS, SELECTING
from openai_batches.emulator.faults.schedule import ScheduledNumbers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("reset_before", Fault.reset_before()),
        ("lost_answer:method=post,path=/v1$,times=2", Fault.lost_answer(method="POST", path="/v1$", times=2)),
        (" error_before: status=503 , html=true,times=none ", Fault.error_before(503, html=True, times=None)),
        ("reset_before:path=^/v1/[a-z]{5,7}$,after_n=3", Fault.reset_before(path="^/v1/[a-z]{5,7}$", after_n=3)),
        ("rate_limited:retry_after_s=0.5,seed=7", Fault.rate_limited(retry_after_s=0.5, seed=7)),
        ("reset_before:probability=0.25", Fault.reset_before(probability=0.25)),
        ("stuck:state=finalizing,for_s=60", Fault.stuck("finalizing", for_s=60)),
        ("expired_early", Fault.expired_early()),
        ("reordered_webhook:path=batch.failed", Fault.reordered_webhook(path="batch.failed")),
    ],
)  # fmt: skip
def test_a_compact_text_is_a_fault(text: str, expected: Fault) -> None:
    """What the program takes is what the constructors make, with their defaults."""
    parsed = Fault.parse(text)
    names = ("kind", *SELECTING, *expected.about.parameters)
    assert [getattr(parsed, name) for name in names] == [getattr(expected, name) for name in names]
    assert Fault.parse(parsed.text).text == parsed.text == expected.text
    assert repr(expected) == f"<Fault {expected.text}, fired 0>"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("gremlins:times=2", "unknown kind of fault 'gremlins'; there are always_has_more, "),
        ("lost_answer:tims=2", "lost_answer takes no 'tims'; it takes method, path, times, "),
        ("lost_answer:status=500", "lost_answer takes no 'status'"),
        ("lost_answer:times", "lost_answer takes no 'times'|times"),
        ("stuck:method=POST", "stuck takes no 'method'; it takes state, for_s, path, times, "),
        ("lost_answer:times=x", "times must be a whole number or none, not 'x'"),
        ("lost_answer:times=1.5", "times must be a whole number or none, not '1.5'"),
        ("lost_answer:after_n=none", "after_n must be a whole number, not 'none'"),
        ("error_before:html=maybe", "html must be true or false, not 'maybe'"),
        ("lost_answer:probability=often", "probability must be a number, not 'often'"),
        ("lost_answer:path=", "path must be a text or none, not ''"),
        ("lost_answer:times=1,times=2", "times is given twice"),
        ("lost_answer:probability=2", "probability must be 0 to 1, not 2.0"),
        ("lost_answer:times=-1", "times must be 0 or more, not -1"),
        ("slow_drip:bytes_per_s=0", "bytes_per_s must be above 0, not 0.0"),
        ("error_before:status=99", "status must be an HTTP status, not 99"),
        ("stuck:state=paused", "state must be one of validating, in_progress, finalizing, cancelling, not 'paused'"),
        ("missing_lines:file=third", "file must be one of output, error, both, not 'third'"),
        ("lost_answer:path=(", "path '\\(' is no regular expression"),
    ],
)
def test_a_wrong_text_names_what_is_wrong(text: str, complaint: str) -> None:
    """The message holds the text and the part at fault, and says what there is instead."""
    with pytest.raises(ValueError, match=complaint) as caught:
        Fault.parse(text)
    assert str(caught.value).startswith(f"fault {text!r}: ")


@given(
    st.text(max_size=60)
    | st.sampled_from(sorted(KINDS)).flatmap(lambda name: st.text(max_size=40).map(f"{name}:{{}}".format))
)
def test_any_text_is_a_fault_or_a_value_error(text: str) -> None:
    """Nothing that is typed makes anything but a fault or a complaint."""
    with contextlib.suppress(ValueError):
        assert Fault.parse(text).kind in KINDS


@pytest.mark.parametrize("name", sorted(KINDS))
def test_each_kind_is_described_and_made_by_its_name(name: str) -> None:
    """One sentence, a constructor of the same name whose defaults are those of the registry, and a text."""
    about = KINDS[name]
    assert about.sentence.endswith(".")
    made = getattr(Fault, name)()
    assert {parameter: getattr(made, parameter) for parameter in about.parameters} == dict(about.parameters)
    assert (made.kind, made.text, Fault.parse(name).text) == (name, name, name)
    assert Fault(name).kind == name


def test_a_fault_takes_its_own_parameters_only() -> None:
    """What a kind would ignore is refused where it is written."""
    with pytest.raises(ValueError, match="reset_before takes no 'status'; it takes method, path"):
        Fault("reset_before", status=400)
    with pytest.raises(TypeError, match="missing_lines takes no 'method'"):
        Fault.missing_lines(method="GET")
    with pytest.raises(ValueError, match="missing_lines takes no 'method'"):
        Fault("missing_lines", method="GET")


def test_a_parameter_is_an_attribute() -> None:
    """Of its own kind only, and of a copy, too."""
    assert copy.deepcopy(Fault.stuck("finalizing", for_s=5)).for_s == 5
    assert not hasattr(Fault.lost_answer(), "status")


async def asked(raw: Raw, count: int, path: str = "/batches") -> list[int]:
    return [(await raw("GET", path))[0] for _ in range(count)]


async def test_every_firing_is_told(server: BatchServer, raw: Raw) -> None:
    """Which fault, when by the server's clock, and to what."""
    first, second = Fault.error_before(501, path="batches"), Fault.error_before(502)
    server.faults.add(first, second)
    assert await asked(raw, 3) == [501, 502, 200]
    told = [(firing.fault, firing.time, firing.subject) for firing in server.faults.fired]
    now = server.clock.now()
    assert told == [(first, now, "GET /v1/batches"), (second, now, "GET /v1/batches")]
    server.faults.remove(first)
    assert (list(server.faults), first.fired, second.fired) == ([second], 1, 1)


async def test_changed_answers_can_be_lost(server: BatchServer, raw: Raw) -> None:
    """A changed record can be lost too; the first fault on requests wins, and the next one has its turn later."""
    await raw.create("file-x")
    server.faults.add(Fault.missing_has_more(times=2), Fault.error_after(502), Fault.error_after(503))
    assert await asked(raw, 2) == [502, 503]
    assert "has_more" in (await raw("GET", "/batches"))[1]


PLAN = {"error_before": 0.2, "rate_limited": 0.1}


async def test_a_schedule_does_not_depend_on_other_requests(make_raw: MakeRaw) -> None:
    """The n-th request to a path has the same answer, whatever is asked in between, and whichever ids were drawn."""
    answers = []
    for others in (0, 3):
        async with BatchServer(clock=SteppedClock(), faults=Faults.schedule(seed=3, **PLAN)) as server:
            raw = make_raw(server)
            answer = []
            for _ in range(40):
                answer += await asked(raw, 1)
                await asked(raw, others, "/files")
            answer += await asked(raw, 20, f"/batches/batch_{id(server)}")
            answers.append(answer)
    assert answers[0] == answers[1]
    assert {200, 404, 429, 500} == set(answers[0])
    assert answers[0][:20] != answers[0][20:40]


async def test_a_schedule_does_not_depend_on_faults_outside(make_raw: MakeRaw) -> None:
    """A request that another fault takes counts as one; its answer is not handed on to the next."""
    answers = []
    for extra in ([], [Fault.error_before(501, after_n=5)]):
        async with BatchServer(clock=SteppedClock(), faults=[*extra, *Faults.schedule(seed=3, **PLAN)]) as server:
            answers.append(await asked(make_raw(server), 40))
    assert [(before, after) for before, after in zip(*answers, strict=True) if before != after] == [
        (answers[0][5], 501)
    ]


async def test_a_schedule_keeps_its_shares(make_raw: MakeRaw) -> None:
    """Each request has one fault at most, and the shares come out; requests at once have the same answers in all."""
    counted = []
    for at_once in (1, 20):
        faults = Faults.schedule(seed=1, path="batches", method="get", **PLAN)
        async with BatchServer(clock=SteppedClock(), faults=faults) as server:
            raw = make_raw(server)
            for _ in range(400 // at_once):
                await asyncio.gather(*(raw("GET", "/batches") for _ in range(at_once)))
            assert await asked(raw, 50, "/files") == [200] * 50
            counted.append([fault.fired for fault in faults])
    assert counted[0] == counted[1]
    assert 50 < counted[0][0] < 110
    assert 20 < counted[0][1] < 65


async def test_a_schedule_of_faults_of_batches(server: BatchServer, raw: Raw) -> None:
    """Batches are drawn for once in their life, and fail by their share."""
    given = Fault.token_limit_exceeded(limit=5, probability=0.5, times=None)
    server.faults.add(*Faults.schedule(given, seed=4, stuck=0.25))
    file = await raw.upload(chat_file(1))
    made = [(await raw.create(file["id"]))["id"] for _ in range(30)]
    await server.advance(hours=1)
    ended = [(await raw.batch(batch_id))["status"] for batch_id in made]
    assert {"failed", "in_progress", "completed"} == set(ended)
    assert given.fired == ended.count("failed")


@pytest.mark.parametrize(
    ("shares", "complaint"),
    [
        ({"gremlins": 0.5}, "unknown kind of fault 'gremlins'"),
        ({"lost_answer": 1.5}, "probability must be 0 to 1"),
        ({"lost_answer": 0.6, "reset_before": 0.6}, "at most 1 together, not 1.2"),
    ],
)
def test_a_schedule_that_cannot_be(shares: Any, complaint: str) -> None:
    """Shares of unknown kinds, and more than there is to share, are refused."""
    with pytest.raises(ValueError, match=complaint):
        Faults.schedule(seed=1, **shares)


def test_drawn_numbers_are_even_and_differ_by_seed() -> None:
    """Numbers fill the range evenly, and another seed gives others."""
    numbers = [ScheduledNumbers(seed) for seed in range(4)]
    drawn = [each.of(f"batch_{number}") for each, number in itertools.product(numbers, range(500))]
    assert len(set(drawn)) == len(drawn)
    assert math.isclose(sum(drawn) / len(drawn), 0.5, abs_tol=0.05)


async def test_a_schedule_for_a_path_that_is_no_route(server: BatchServer, raw: Raw) -> None:
    """What the server does not know is drawn for by its path."""
    server.faults.add(*Faults.schedule(seed=2, error_before=0.5))
    assert set(await asked(raw, 20, "/nothing")) == {404, 500}
