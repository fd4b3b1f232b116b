"""Which state follows which, and what a batch shows in each, row by row.

Each row begins with how sure it is: O was seen from the live service, D is documented, S is in the published schema,
T was reported by a third party, I is inferred, U is unknown and a choice.
"""

import re
from typing import Any

import pytest
from support.asking import CHAT, TIMES, MakeRaw, Raw, chat_file, records

from openai_batches.emulator import BatchServer, SteppedClock, Timings

# Seconds: validation ends at 10, ten lines at 20 .. 110, files at 115; a cancel takes 7.
TIMINGS = Timings(validating_s=10, line_s=10, finalizing_s=5, cancelling_s=7)
LINES = 10
DAY = 86_400


async def execute(url: Any, body: Any, custom_id: Any) -> Any:
    """Every third line fails."""
    number = int(custom_id.removeprefix("r"))
    return (400, {"error": {"message": "no"}}) if number % 3 == 2 else (200, {"usage": {"input_tokens": 1}})


async def fail(url: Any, body: Any, custom_id: Any) -> Any:
    return 500, {"error": {"message": "no"}}


CANCEL = "cancel"
BAD = b'{"custom_id": 5}\n'
WALKS: list[tuple[str, str, dict[str, Any], list[tuple[Any, str, dict[str, int], Any, str]]]] = [
    # (certainty, what, the server, [(second or cancel, status, timestamps since creation, counts, files)])
    (
        "S",
        "completed",
        {},
        [
            (0, "validating", {}, (0, 0, 0), ""),
            (9, "validating", {}, (0, 0, 0), ""),
            (10, "in_progress", {"in_progress": 10}, (LINES, 0, 0), ""),
            (60, "in_progress", {"in_progress": 10}, (LINES, 4, 1), ""),
            (110, "finalizing", {"in_progress": 10, "finalizing": 110}, (LINES, 7, 3), ""),
            (115, "completed", {"in_progress": 10, "finalizing": 110, "completed": 115}, (LINES, 7, 3), "oe"),
            (2 * DAY, "completed", {"in_progress": 10, "finalizing": 110, "completed": 115}, (LINES, 7, 3), "oe"),
        ],
    ),
    (
        "O",
        "completed, though every request failed",
        {"executor": fail},
        [(DAY, "completed", {"in_progress": 10, "finalizing": 110, "completed": 115}, (LINES, 0, LINES), "e")],
    ),
    (
        "O",
        "failed in validation",
        {"content": BAD},
        [
            (9, "validating", {}, (0, 0, 0), ""),
            (10, "failed", {"failed": 10}, (0, 0, 0), ""),
            (2 * DAY, "failed", {"failed": 10}, (0, 0, 0), ""),
        ],
    ),
    (
        "S",
        "cancelled while validating",
        {},
        [
            (4, "validating", {}, (0, 0, 0), ""),
            (CANCEL, "cancelling", {"cancelling": 4}, (0, 0, 0), ""),
            (10, "cancelling", {"cancelling": 4}, (0, 0, 0), ""),
            (11, "cancelled", {"cancelling": 4, "cancelled": 11}, (0, 0, 0), ""),
            (2 * DAY, "cancelled", {"cancelling": 4, "cancelled": 11}, (0, 0, 0), ""),
        ],
    ),
    (
        "S",
        "cancelled in progress",
        {},
        [
            (60, "in_progress", {"in_progress": 10}, (LINES, 4, 1), ""),
            (CANCEL, "cancelling", {"in_progress": 10, "cancelling": 60}, (LINES, 4, 1), ""),
            (CANCEL, "cancelling", {"in_progress": 10, "cancelling": 60}, (LINES, 4, 1), ""),
            (67, "cancelled", {"in_progress": 10, "cancelling": 60, "cancelled": 67}, (LINES, 4, 6), "oe"),
            (CANCEL, "cancelled", {"in_progress": 10, "cancelling": 60, "cancelled": 67}, (LINES, 4, 6), "oe"),
        ],
    ),
    (
        "U",
        "cancelled while finalizing",
        {},
        [
            (112, "finalizing", {"in_progress": 10, "finalizing": 110}, (LINES, 7, 3), ""),
            (CANCEL, "cancelling", {"in_progress": 10, "finalizing": 110, "cancelling": 112}, (LINES, 7, 3), ""),
            (
                119,
                "cancelled",
                {"in_progress": 10, "finalizing": 110, "cancelling": 112, "cancelled": 119},
                (LINES, 7, 3),
                "oe",
            ),
        ],
    ),
    (
        "D",
        "expired with some done",
        {"timings": Timings(validating_s=10, line_s=20_000)},
        [
            (60_010, "in_progress", {"in_progress": 10}, (LINES, 2, 1), ""),
            (DAY - 1, "in_progress", {"in_progress": 10}, (LINES, 3, 1), ""),
            (DAY, "expired", {"in_progress": 10, "expired": DAY}, (LINES, 3, 7), "oe"),
            (2 * DAY, "expired", {"in_progress": 10, "expired": DAY}, (LINES, 3, 7), "oe"),
        ],
    ),
    (
        "I",
        "expired with nothing done",
        {"timings": Timings(validating_s=10, line_s=2 * DAY)},
        [(DAY, "expired", {"in_progress": 10, "expired": DAY}, (LINES, 0, LINES), "e")],
    ),
    (
        "I",
        "expired before validation ended",
        {"timings": Timings(validating_s=2 * DAY)},
        [(DAY, "expired", {"expired": DAY}, (0, 0, 0), ""), (3 * DAY, "expired", {"expired": DAY}, (0, 0, 0), "")],
    ),
    (
        "I",
        "cancelling when the window closes",
        {"timings": Timings(validating_s=10, line_s=20_000, cancelling_s=100)},
        [
            (DAY - 50, "in_progress", {"in_progress": 10}, (LINES, 3, 1), ""),
            (CANCEL, "cancelling", {"in_progress": 10, "cancelling": DAY - 50}, (LINES, 3, 1), ""),
        ],
    ),
]


@pytest.mark.parametrize(("options", "steps"), [row[2:] for row in WALKS], ids=[row[1] for row in WALKS])
async def test_states_one_after_the_other(make_raw: MakeRaw, options: Any, steps: Any) -> None:
    """In each state exactly the timestamps of the states before it are set, and everything else of a batch fits."""
    chosen = {"executor": execute, "timings": TIMINGS, **options}
    content = chosen.pop("content", chat_file(LINES))
    async with BatchServer(clock=SteppedClock(), **chosen) as server:
        raw = make_raw(server)
        file = await raw.upload(content)
        batch = await raw.create(file["id"], metadata={"a": "b"})
        start = batch["created_at"]
        assert start == server.clock.now()
        for moment, status, times, counts, files in steps:
            if moment == CANCEL:
                answered, shown, _ = await raw("POST", f"/batches/{batch['id']}/cancel")
                assert answered == 200
            else:
                await server.advance(seconds=start + moment - server.clock.now())
                shown = await raw.batch(batch["id"])
            assert shown["status"] == status, moment
            stamps = {name: shown[name] - start for name in TIMES if shown[name] is not None}
            assert stamps == {"expires_at": DAY, **{f"{name}_at": value for name, value in times.items()}}
            assert tuple(shown["request_counts"].values()) == counts
            assert (shown["output_file_id"] is not None) is ("o" in files)
            assert (shown["error_file_id"] is not None) is ("e" in files)
            assert (shown["errors"] is not None) is (status == "failed")
            assert shown["model"] == ("gpt-4o-mini" if "in_progress" in times else None)
            same = ("id", "created_at", "input_file_id", "metadata", "endpoint", "completion_window", "object")
            assert [shown[name] for name in same] == [batch[name] for name in same]


async def test_ids_carry_their_time(server: BatchServer, raw: Raw) -> None:
    """O: the first eight digits of an id are the time of its creation, and 8190 stands in its middle."""
    file = await raw.upload(chat_file(2))
    assert re.fullmatch("file-[0-9A-Za-z]{22}", file["id"])
    made = []
    for _ in range(3):
        batch = await raw.create(file["id"])
        digits = re.fullmatch("batch_([0-9a-f]{8})[0-9a-f]{4}8190[0-9a-f]{16}", batch["id"])
        assert digits is not None
        assert int(digits[1], 16) == batch["created_at"]
        made.append(batch["id"])
        await server.advance(seconds=1)
    assert made == sorted(made)
    await server.advance(hours=1)
    done = await raw.batch(made[0])
    for line in records(await raw.content(done["output_file_id"])):
        assert re.fullmatch("batch_req_[0-9a-f]{12}8190[0-9a-f]{16}", line["id"])
        assert done["created_at"] <= int(line["id"].removeprefix("batch_req_")[:8], 16) <= done["completed_at"]
        assert re.fullmatch("[0-9a-f]{32}", line["response"]["request_id"])


USAGES: list[tuple[str, str, list[Any], tuple[int, int, int, int]]] = [
    # certainty, what, the lines' usages, (input, cached, output, reasoning)
    ("I", "chat completions", [{"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}] * 2, (6, 0, 8, 0)),
    (
        "I",
        "chat completions with details",
        [
            {
                "prompt_tokens": 3,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 1},
            }
        ],
        (3, 2, 4, 1),
    ),
    (
        "S",
        "responses",
        [
            {
                "input_tokens": 30,
                "output_tokens": 40,
                "input_tokens_details": {"cached_tokens": 20},
                "output_tokens_details": {"reasoning_tokens": 10},
                "total_tokens": 70,
            }
        ]
        * 3,
        (90, 60, 120, 30),
    ),
    ("I", "embeddings", [{"prompt_tokens": 5, "total_tokens": 5}], (5, 0, 0, 0)),
    ("I", "no usage", [None, 5, [], {}, {"prompt_tokens": "x"}, {"input_tokens_details": 5}], (0, 0, 0, 0)),
    ("I", "failed lines cost nothing", [{"fail": True, "prompt_tokens": 9}, {"prompt_tokens": 2}], (2, 0, 0, 0)),
    ("O", "all lines failed", [{"fail": True, "prompt_tokens": 9}] * 2, (0, 0, 0, 0)),
]


@pytest.mark.parametrize(("usages", "expected"), [row[2:] for row in USAGES], ids=[row[1] for row in USAGES])
async def test_usage_is_the_sum_of_the_successes(make_raw: MakeRaw, usages: Any, expected: Any) -> None:
    """A batch's usage sums its successful lines' usages in either spelling; zeros are shown as zeros."""

    async def answer(url: Any, body: Any, custom_id: Any) -> Any:
        usage = usages[int(custom_id.removeprefix("r"))]
        return (500 if isinstance(usage, dict) and usage.get("fail") else 200), {"usage": usage}

    async with BatchServer(clock=SteppedClock(), executor=answer) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(len(usages))))["id"])
        await server.advance(hours=1)
        given, cached, made, reasoned = expected
        assert (await raw.batch(batch["id"]))["usage"] == {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": made,
            "output_tokens_details": {"reasoning_tokens": reasoned},
            "total_tokens": given + made,
        }


CANCELS = [
    # certainty, seconds until the cancel, the input, line_s, status of the answer, status of the batch
    ("S", 0, "good", 1, 200, "cancelling"),
    ("S", 5, "good", 1, 200, "cancelling"),
    ("I", "twice", "good", 1, 200, "cancelling"),
    ("O", "late", "good", 1, 200, "cancelled"),
    ("O", 3600, "good", 0, 409, "completed"),
    ("O", 3600, "bad", 0, 409, "failed"),
    ("I", 90_000, "good", DAY, 409, "expired"),
]


@pytest.mark.parametrize(("when", "content", "line_s", "answered", "status"), [row[1:] for row in CANCELS])
async def test_cancel_in_each_state(
    make_raw: MakeRaw, when: Any, content: Any, line_s: Any, answered: Any, status: Any
) -> None:
    """A cancel is a 200 with the batch as it is then, and a 409 of a batch that ended another way."""
    async with BatchServer(clock=SteppedClock(), timings=Timings(line_s=line_s)) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(20) if content == "good" else BAD))["id"])
        path = f"/batches/{batch['id']}/cancel"
        if isinstance(when, str):
            await raw("POST", path)
            await server.advance(hours=1 if when == "late" else 0)
        else:
            await server.advance(seconds=when)
        before = await raw.batch(batch["id"])
        got, body, _ = await raw("POST", path)
        assert got == answered
        if answered == 409:
            message = f"Cannot cancel a batch with status '{status}'."
            error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
            assert body == {"error": error}
            assert await raw.batch(batch["id"]) == before
        else:
            assert body["status"] == status
            assert (before == body) is isinstance(when, str)
            assert await raw.batch(batch["id"]) == body


async def test_what_a_new_batch_shows(server: BatchServer, raw: Raw) -> None:
    """S, I: every key is there from the start, null where nothing is known."""
    batch = await raw.create((await raw.upload(chat_file(1)))["id"])
    nothing = ("model", "errors", "output_file_id", "error_file_id", "metadata", *(set(TIMES) - {"expires_at"}))
    assert {name: batch[name] for name in nothing} == dict.fromkeys(nothing)
    assert (batch["endpoint"], batch["completion_window"], batch["object"]) == (CHAT, "24h", "batch")
    assert batch["expires_at"] == batch["created_at"] + DAY
