"""Each request of an attempt is accounted for once, whatever its files say; what may do better is sent again."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st
from support.job_parts import batch, failure_line, success_line, unrun_line
from support.request_lines import request_line, write_requests as requests_file

from openai_batches import BatchResult, JournalError, Outcome
from openai_batches.jobs import reconcile as reconcile_module
from openai_batches.jobs.reconcile import reconcile
from openai_batches.jobs.resend import ResendRule, write_requests
from openai_batches.jobs.result_files import AttemptFiles, attempt_results, custom_ids, refused_results, shard_results
from openai_batches.models import TokenCounts

if TYPE_CHECKING:
    from openai_batches.jobs.journal.records import Tally

IDS = ["a", "b", "c", "d", "e", "f"]
LINES = {
    "succeeded": success_line,
    "failed": failure_line,
    "passing": lambda custom_id: failure_line(custom_id, 503, "server_error"),
    "expired": unrun_line,
    "cancelled": lambda custom_id: unrun_line(custom_id, "batch_cancelled"),
    "invalid": lambda custom_id: b'{"id": "x", "custom_id": "%s", "response": {{{\n' % custom_id.encode(),
}
kinds = st.sampled_from(sorted(LINES))
# Lines of requests, of nobody's, and such as say nothing or cannot be understood at all.
entries = st.one_of(
    st.tuples(st.sampled_from(IDS), kinds),
    st.tuples(st.sampled_from(["x", "y"]), kinds),
    st.just(("", "blank")),
    st.just(("", "rubbish")),
)
plain_files = st.permutations([(custom_id, "succeeded") for custom_id in IDS])
files = st.one_of(st.lists(entries, max_size=12), plain_files)


def line_of(entry: tuple[str, str]) -> bytes:
    custom_id, kind = entry
    return {"blank": b" \n", "rubbish": b"\xff\xfe{\n"}.get(kind) or LINES[kind](custom_id)


def write(folder: Path, *contents: list[tuple[str, str]]) -> list[Path]:
    paths = []
    for number, content in enumerate(contents):
        path = folder / f"file-{len(list(folder.iterdir()))}-{number}.jsonl"
        path.write_bytes(b"".join(map(line_of, content)))
        paths.append(path)
    return paths


def model(ids: list[str], told: list[tuple[str, str]]) -> tuple[dict[str, str], int, int]:
    """Return what is true of each request, and how many lines were doubled and foreign: slowly, and obviously."""
    doubled = foreign = 0
    ends = {}
    for custom_id in ids:
        mine = [kind for other, kind in told if other == custom_id]
        doubled += max(len(mine) - 1, 0)
        readable = [kind for kind in mine if kind != "invalid"]
        ends[custom_id] = (
            "succeeded" if "succeeded" in mine else readable[0] if readable else "invalid" if mine else "missing"
        )
    foreign = sum(custom_id not in ids and kind != "blank" for custom_id, kind in told)
    return ends, doubled, foreign


def resent_of(ends: dict[str, str], rule: ResendRule) -> list[str]:
    again = set() if rule.is_last else {"missing", "expired", "passing"}
    again |= {"cancelled"} if rule.with_cancelled and not rule.is_last else set()
    return [custom_id for custom_id, end in ends.items() if end in again]


def outcome_of(end: str) -> str:
    return "failed" if end == "passing" else end


rules = st.builds(ResendRule, is_last=st.booleans(), with_cancelled=st.booleans())


@given(output=files, error=files, rule=rules)
def test_the_tally_is_what_a_naive_count_finds(
    output: list[tuple[str, str]], error: list[tuple[str, str]], rule: ResendRule
) -> None:
    """Doubled, missing, foreign and unreadable lines included."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        requests = requests_file(folder / "requests.jsonl", IDS)
        found = reconcile(AttemptFiles(requests=requests, result_files=tuple(write(folder, output, error))), rule)
    ends, doubled, foreign = model(IDS, output + error)
    resent = resent_of(ends, rule)
    settled = [outcome_of(end) for custom_id, end in ends.items() if custom_id not in resent]
    tally = found.tally
    assert [IDS[number] for number in sorted(found.resent)] == resent
    assert tally.outcomes == {outcome: settled.count(outcome) for outcome in settled}
    assert sum(tally.outcomes.values()) + tally.resent == len(IDS)
    assert (tally.resent, tally.doubled, tally.foreign) == (len(resent), doubled, foreign)
    assert tally.is_plain == (not doubled and not foreign and "missing" not in ends.values())
    successes = settled.count("succeeded")
    assert tally.tokens == ({"gpt-4o-mini": TokenCounts(3 * successes, 2 * successes, 0, 0)} if successes else {})
    assert sum(tally.error_codes.values()) == len(settled) - successes - settled.count("missing")


@given(data=st.data(), number=st.integers(1, 4), with_cancelled=st.booleans())
def test_every_request_comes_out_once_however_often_it_was_sent(
    data: st.DataObject, number: int, with_cancelled: bool
) -> None:
    """Attempt by attempt, and shard by shard in order: the same results, and those that were counted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids, wanted, tallies, attempts = list(IDS), {}, [], []
        requests = requests_file(folder / "requests-1.jsonl", ids)
        for attempt_number in range(1, number + 1):
            contents = data.draw(files), data.draw(files)
            paths = write(folder, *contents)
            rule = ResendRule(is_last=attempt_number == number, with_cancelled=with_cancelled)
            found = reconcile(AttemptFiles(requests=requests, result_files=tuple(paths)), rule)
            tallies.append(found.tally)
            ends, _, _ = model(ids, contents[0] + contents[1])
            wanted.update({custom_id: outcome_of(end) for custom_id, end in ends.items()})
            following = folder / f"requests-{attempt_number + 1}.jsonl" if found.resent else None
            if following is not None:
                assert write_requests(requests, following, found.resent) == following.stat().st_size
            attempts.append(
                AttemptFiles(
                    requests=requests,
                    result_files=tuple(paths),
                    resent=following,
                    is_plain=found.tally.is_plain,
                    lacks_lines=not (found.tally.is_plain or found.tally.doubled or found.tally.foreign),
                )
            )
            if following is None:
                break
            ids, requests = resent_of(ends, rule), following
            assert custom_ids(following) == ids
        ordered = [result for piece in shard_results(attempts) for result in piece]
        unordered = [result for one in attempts for piece in attempt_results(one) for result in piece]
    assert [result.custom_id for result in ordered] == IDS
    assert {result.custom_id: str(result.outcome) for result in ordered} == wanted
    assert sorted(unordered, key=lambda result: result.custom_id or "") == ordered
    for outcome in Outcome:
        counted = sum(tally.outcomes.get(outcome.value, 0) for tally in tallies)
        assert counted == sum(result.outcome is outcome for result in ordered)


class TestAccounts:
    def one(self, tmp_path: Path, *lines: bytes, rule: ResendRule | None = None) -> Tally:
        requests = requests_file(tmp_path / "requests.jsonl", IDS[:2])
        path = tmp_path / "output.jsonl"
        path.write_bytes(b"".join(lines))
        return reconcile(AttemptFiles(requests=requests, result_files=(path,)), rule or ResendRule()).tally

    def test_a_failure_that_does_not_pass_is_not_sent_again(self, tmp_path: Path) -> None:
        tally = self.one(tmp_path, failure_line("a", 400, "bad"), failure_line("b", 429, "rate_limit_exceeded"))
        assert (tally.outcomes, tally.resent, tally.error_codes) == ({"failed": 1}, 1, {"bad": 1})

    def test_a_failure_that_passes_is_one_where_it_is_the_last(self, tmp_path: Path) -> None:
        lines = failure_line("a", 500, None), failure_line("b", 429, "rate_limit_exceeded")
        tally = self.one(tmp_path, *lines, rule=ResendRule(is_last=True))
        assert (tally.outcomes, tally.error_codes) == ({"failed": 2}, {"": 1, "rate_limit_exceeded": 1})

    def test_a_success_after_a_failure_takes_its_code_back(self, tmp_path: Path) -> None:
        tally = self.one(tmp_path, failure_line("a"), success_line("a"), failure_line("a"), success_line("b"))
        assert (tally.outcomes, tally.error_codes, tally.doubled) == ({"succeeded": 2}, {}, 2)

    def test_an_answer_that_came_twice_is_paid_for_once(self, tmp_path: Path) -> None:
        tally = self.one(tmp_path, success_line("a"), success_line("a"), success_line("b"))
        assert tally.tokens == {"gpt-4o-mini": TokenCounts(6, 4, 0, 0)}

    def test_a_line_without_an_id_is_nobodys_even_where_an_id_is_empty(self, tmp_path: Path) -> None:
        requests = tmp_path / "requests.jsonl"
        requests.write_bytes(json.dumps({"custom_id": ""}).encode() + b"\n")
        path = tmp_path / "output.jsonl"
        path.write_bytes(b"rubbish\n")
        found = reconcile(AttemptFiles(requests=requests, result_files=(path,)), ResendRule(is_last=True))
        assert (found.tally.outcomes, found.tally.foreign) == ({"missing": 1}, 1)
        (results,) = attempt_results(AttemptFiles(requests=requests, result_files=(path,), is_plain=False))
        assert [result.outcome for result in results] == [Outcome.MISSING]

    def test_only_so_many_codes_are_told_apart(self, tmp_path: Path) -> None:
        ids = [f"r{number}" for number in range(300)]
        requests = requests_file(tmp_path / "requests.jsonl", ids)
        path = tmp_path / "error.jsonl"
        path.write_bytes(b"".join(failure_line(custom_id, 400, custom_id) for custom_id in ids))
        found = reconcile(AttemptFiles(requests=requests, result_files=(path,)), ResendRule())
        assert len(found.tally.error_codes) == 100
        assert found.tally.outcomes == {"failed": 300}

    def test_a_result_without_a_reason_has_an_empty_code(self, tmp_path: Path) -> None:
        count = reconcile_module._Count(["a"])
        count.add_results([BatchResult("a", Outcome.FAILED)])
        assert count.close(ResendRule()).tally.error_codes == {"": 1}


class TestRefusedBatches:
    """What the service failed as a whole."""

    def errors(self, *data: dict[str, Any]) -> dict[str, Any]:
        return {"object": "list", "data": list(data)}

    def test_requests_on_the_lines_it_names_failed_and_the_others_never_ran(self, tmp_path: Path) -> None:
        requests = requests_file(tmp_path / "requests.jsonl", IDS[:3])
        refused = batch(
            status="failed",
            errors=self.errors(
                {"code": "invalid_url", "message": "no", "line": 2}, {"code": "too_many", "message": "whole"}
            ),
        )
        found = reconcile(AttemptFiles(requests=requests, refused=refused), ResendRule())
        assert found.resent == {0, 2}
        assert (found.tally.outcomes, found.tally.error_codes) == ({"failed": 1}, {"invalid_url": 1})
        results = list(refused_results(IDS[:3], refused))
        assert [result.outcome for result in results] == [Outcome.MISSING, Outcome.FAILED, Outcome.MISSING]

    def test_without_lines_all_failed_for_its_reason(self) -> None:
        refused = batch(status="failed", errors=self.errors({"code": "model_not_found", "message": "no such model"}))
        results = list(refused_results(IDS, refused))
        assert {(result.outcome, result.error and result.error.code) for result in results} == {
            (Outcome.FAILED, "model_not_found")
        }

    @pytest.mark.parametrize(
        ("errors", "message"),
        [(None, "The service gives no reason"), ([{"code": None, "message": None}], "The batch failed")],
    )
    def test_without_a_reason_all_failed_all_the_same(self, errors: Any, message: str) -> None:
        refused = batch(status="failed", errors=None if errors is None else self.errors(*errors))
        (result,) = refused_results(["a"], refused)
        assert result.error is not None
        assert (result.error.code, result.error.message) == ("batch_failed", message)
        assert not result.is_retryable


class TestRequests:
    def test_requests_that_are_not_there_any_more(self, tmp_path: Path) -> None:
        with pytest.raises(JournalError, match=r"none\.jsonl, which the job needs, cannot be read"):
            custom_ids(tmp_path / "none.jsonl")

    def test_requests_that_are_none(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").write_bytes(request_line("a") + b"{}\n")
        with pytest.raises(JournalError, match="which the job needs, cannot be read"):
            custom_ids(tmp_path / "a.jsonl")

    def test_results_that_are_not_there_any_more(self, tmp_path: Path) -> None:
        requests = requests_file(tmp_path / "requests.jsonl", IDS)
        with pytest.raises(JournalError, match=r"none\.jsonl, which the job needs, cannot be read"):
            reconcile(AttemptFiles(requests=requests, result_files=(tmp_path / "none.jsonl",)), ResendRule())

    @given(numbers=st.frozensets(st.integers(0, 5)))
    def test_some_requests_are_written_as_they_stood(self, numbers: frozenset[int]) -> None:
        """Blank lines of the first file, which a batch of somebody else may have, do not count."""
        with tempfile.TemporaryDirectory() as name:
            source, target = Path(name) / "source.jsonl", Path(name) / "target.jsonl"
            source.write_bytes(b"\n".join([b"", *(request_line(custom_id) for custom_id in IDS), b""]))
            size = write_requests(source, target, numbers)
            assert target.read_bytes() == b"".join(request_line(IDS[number]) for number in sorted(numbers))
            assert size == target.stat().st_size
            assert {path.name for path in Path(name).iterdir()} == {"source.jsonl", "target.jsonl"}
            if os.name != "nt":
                assert target.stat().st_mode & 0o777 == 0o600

    def test_a_full_disk_leaves_what_was_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = requests_file(tmp_path / "source.jsonl", IDS)
        target = tmp_path / "target.jsonl"
        target.write_bytes(b"before")

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_requests(source, target, frozenset({1}))
        assert target.read_bytes() == b"before"
        assert {path.name for path in tmp_path.iterdir()} == {"source.jsonl", "target.jsonl"}
