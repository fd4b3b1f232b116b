"""The results of a job come from its files, once for each request, in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
from support.job_parts import batch, failure_line, success_line, unrun_line
from support.request_lines import write_requests

from openai_batches import JournalError, Outcome
from openai_batches.jobs.result_files import AttemptFiles, _Places, attempt_results, shard_results

if TYPE_CHECKING:
    from pathlib import Path


@attrs.frozen
class Answer:
    model: str


def said(pieces: object) -> list[tuple[str | None, Outcome]]:
    return [(result.custom_id, result.outcome) for piece in pieces for result in piece]  # type: ignore[attr-defined]


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    return write_requests(tmp_path / "requests.jsonl", ["a", "b", "c"])


def file(tmp_path: Path, name: str, *lines: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(b"".join(lines))
    return path


def test_plain_files_are_read_as_they_are(tmp_path: Path, requests: Path) -> None:
    """In the order of the files: that is the cheapest one."""
    output = file(tmp_path, "output", success_line("c"), success_line("a"))
    error = file(tmp_path, "error", failure_line("b"))
    files = AttemptFiles(requests=requests, result_files=(output, error))
    assert said(attempt_results(files)) == [
        ("c", Outcome.SUCCEEDED),
        ("a", Outcome.SUCCEEDED),
        ("b", Outcome.FAILED),
    ]


def test_what_is_sent_again_is_left_to_the_next_attempt(tmp_path: Path, requests: Path) -> None:
    error = file(tmp_path, "error", *map(unrun_line, "abc"))
    files = AttemptFiles(requests=requests, result_files=(error,), resent=requests)
    assert list(attempt_results(files)) == []


def test_bodies_are_of_the_type_that_was_asked_for(tmp_path: Path, requests: Path) -> None:
    output = file(tmp_path, "output", *map(success_line, "abc"))
    files = AttemptFiles(requests=requests, result_files=(output,))
    for pieces in (attempt_results(files, Answer), shard_results([files], Answer)):
        (piece,) = pieces
        assert {type(result.body) for result in piece} == {Answer}


def test_lines_keep_their_numbers_and_their_text(tmp_path: Path, requests: Path) -> None:
    """A byte order mark, blank lines and ends of lines as on Windows lie between them."""
    lines = [success_line("c"), success_line("a").replace(b"\n", b"\r\n"), b'{"custom_id": "b", "resp\n']
    output = file(tmp_path, "output", b"\xef\xbb\xbf", lines[0], b"\n \n", lines[1], b"\n", lines[2])
    (piece,) = shard_results([AttemptFiles(requests=requests, result_files=(output,))])
    assert [(result.custom_id, result.line_number, result.raw_line + b"\n") for result in piece] == [
        ("a", 4, lines[1]),
        ("b", 6, lines[2]),
        ("c", 1, lines[0]),
    ]


def test_a_foreign_line_of_a_later_attempt_does_not_change_what_an_earlier_one_found(
    tmp_path: Path, requests: Path
) -> None:
    """The ledger has counted the request where it was sent."""
    first = AttemptFiles(
        requests=requests,
        result_files=(file(tmp_path, "1", failure_line("a"), success_line("b"), unrun_line("c")),),
        resent=write_requests(tmp_path / "again.jsonl", ["c"]),
    )
    second = AttemptFiles(
        requests=tmp_path / "again.jsonl",
        result_files=(file(tmp_path, "2", success_line("a"), success_line("c")),),
        is_plain=False,
    )
    wanted = [("a", Outcome.FAILED), ("b", Outcome.SUCCEEDED), ("c", Outcome.SUCCEEDED)]
    assert said(shard_results([first, second])) == wanted
    assert said(attempt_results(first)) + said(attempt_results(second)) == wanted


def test_a_refused_batch_and_one_that_was_never_sent_have_results_without_files(requests: Path) -> None:
    refused = AttemptFiles(requests=requests, refused=batch(status="failed"), is_plain=False)
    assert {outcome for _, outcome in said(attempt_results(refused))} == {Outcome.FAILED}
    unsent = AttemptFiles(requests=requests, was_sent=False, is_plain=False)
    (piece,) = attempt_results(unsent)
    assert [(result.custom_id, result.outcome) for result in piece] == [(one, Outcome.CANCELLED) for one in "abc"]
    assert all(result.error and "before this request was sent" in result.error.message for result in piece)


def test_what_was_refused_first_may_succeed_later(tmp_path: Path, requests: Path) -> None:
    errors = {"object": "list", "data": [{"code": "bad", "message": "no", "line": 2}]}
    first = AttemptFiles(requests=requests, refused=batch(status="failed", errors=errors), is_plain=False)
    again = write_requests(tmp_path / "again.jsonl", ["a", "c"])
    second = AttemptFiles(requests=again, result_files=(file(tmp_path, "output", *map(success_line, "ca")),))
    assert said(shard_results([first, second])) == [
        ("a", Outcome.SUCCEEDED),
        ("b", Outcome.FAILED),
        ("c", Outcome.SUCCEEDED),
    ]


def test_requests_without_a_line_are_missing_after_the_others(tmp_path: Path) -> None:
    """The lines are given in their order, and read once, though some requests have none."""
    ids = [f"r{number}" for number in range(3_000)]
    requests = write_requests(tmp_path / "many.jsonl", ids)
    output = file(tmp_path, "output", *map(success_line, reversed(ids[:500])))
    files = AttemptFiles(requests=requests, result_files=(output,), is_plain=False, lacks_lines=True)
    pieces = list(attempt_results(files))
    assert said(pieces) == [
        *((custom_id, Outcome.SUCCEEDED) for custom_id in reversed(ids[:500])),
        *((custom_id, Outcome.MISSING) for custom_id in ids[500:]),
    ]
    assert max(map(len, pieces)) == 1_024


def test_many_results_come_in_pieces(tmp_path: Path) -> None:
    ids = [f"r{number}" for number in range(2_500)]
    requests = write_requests(tmp_path / "many.jsonl", ids)
    output = file(tmp_path, "output", *map(success_line, reversed(ids)))
    pieces = list(shard_results([AttemptFiles(requests=requests, result_files=(output,))]))
    assert [len(piece) for piece in pieces] == [1_024, 1_024, 452]
    assert [result.custom_id for piece in pieces for result in piece] == ids


def test_files_in_the_order_of_the_requests_are_read_in_step(tmp_path: Path) -> None:
    """Which is as most services write them: no line is looked up."""
    ids = [f"r{number}" for number in range(4_000)]
    requests = write_requests(tmp_path / "many.jsonl", ids)
    failed = set(ids[7::10])
    output = file(tmp_path, "output", *(success_line(one) for one in ids if one not in failed))
    error = file(tmp_path, "error", *(failure_line(one) for one in ids if one in failed))
    pieces = list(shard_results([AttemptFiles(requests=requests, result_files=(output, error))]))
    assert [result.custom_id for piece in pieces for result in piece] == ids
    assert {result.custom_id for piece in pieces for result in piece if result.outcome is Outcome.FAILED} == failed
    assert len(pieces) > 1


def test_a_file_that_goes_away_is_said_to_be_gone(tmp_path: Path, requests: Path) -> None:
    output = file(tmp_path, "output", *map(success_line, "abc"))
    files = AttemptFiles(requests=requests, result_files=(output,))
    places = _Places(["a", "b", "c"])
    places.add(files)
    output.unlink()
    with pytest.raises(JournalError, match="output, which the job needs, cannot be read: No such file"):
        next(places.results(None, 0))
    with pytest.raises(JournalError, match="cannot be read"):
        next(shard_results([files]))
    with pytest.raises(JournalError, match="cannot be read"):
        next(attempt_results(files))


@pytest.mark.parametrize("content", [b"", success_line("a"), b"".join(map(success_line, "abcd"))])
@pytest.mark.parametrize("is_plain", [True, False])
def test_a_result_file_that_was_cut_or_has_grown_since_it_was_counted_is_refused(
    tmp_path: Path, requests: Path, content: bytes, is_plain: bool
) -> None:
    """Else there were fewer results than requests, and nobody said so."""
    output = file(tmp_path, "output", *map(success_line, "abc"))
    sizes = {output: output.stat().st_size, requests: requests.stat().st_size}
    files = AttemptFiles(requests=requests, result_files=(output,), is_plain=is_plain, sizes=sizes)
    assert len(said(attempt_results(files))) == len(said(shard_results([files]))) == 3
    output.write_bytes(content)
    for pieces in (attempt_results(files), shard_results([files])):
        with pytest.raises(JournalError, match=r"output, which the job needs, was changed.*Put a copy"):
            list(pieces)


def test_a_file_of_requests_that_was_changed_is_refused(tmp_path: Path, requests: Path) -> None:
    output = file(tmp_path, "output", *map(success_line, "abc"))
    files = AttemptFiles(requests=requests, result_files=(output,), resent=requests, sizes={requests: 1})
    with pytest.raises(JournalError, match=r"requests\.jsonl, which the job needs, was changed.* and had 1\."):
        list(attempt_results(files))
    with pytest.raises(JournalError, match=r"requests\.jsonl, which the job needs, was changed.* and had 1\."):
        list(shard_results([files]))
