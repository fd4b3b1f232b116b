"""One value of each public class that a program may keep or send to another process."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai_batches as ob

_TIME = dt.datetime(2026, 11, 22, 12, 30, tzinfo=dt.UTC)
_LINE = (
    b'{"custom_id":"a-1","response":{"status_code":200,"request_id":"req_1","body":{"model":"gpt-6-luna",'
    b'"choices":[{"index":0,"message":{"content":"Yes"}}],"usage":{"prompt_tokens":5,"completion_tokens":2}}},"error":null}'
)


def values() -> dict[str, Any]:
    """The values by name; the names of the classes, unless there are several."""
    batch = ob.Batch(
        id="batch_1",
        status=ob.BatchStatus.COMPLETED,
        endpoint="/v1/responses",
        input_file_id="file-1",
        output_file_id="file-2",
        created_at=_TIME,
        request_counts=ob.RequestCounts(total=3, completed=2, failed=1),
        usage=ob.BatchUsage(input_tokens=5, output_tokens=2, total_tokens=7),
        errors=ob.BatchErrors(data=(ob.BatchError(code="invalid_request", message="no", line=1),)),
        metadata={"a": "b"},
    )
    file = ob.FileObject(id="file-1", bytes=5, created_at=_TIME, filename="a.jsonl", purpose="batch")
    problem = ob.Problem(code="no_json", message="not JSON", line=3)
    failed = ob.BatchResult(
        "a-2", ob.Outcome.FAILED, 400, "req_2", ob.ResultError(code="x", message="refused"), 2, b'{"error":{}}'
    )
    bill = ob.Bill()
    bill.add(ob.BatchResult("a-1", ob.Outcome.SUCCEEDED, 200, "req_1", None, 1, None, _LINE))
    shard = ob.ShardLedger(
        shard=0,
        endpoint="/v1/responses",
        model="gpt-6-luna",
        inputs=2,
        outcomes={ob.Outcome.SUCCEEDED: 2},
        unfinished=0,
        attempts=1,
        step=next(iter(ob.Step)),
        batch_ids=("batch_1",),
    )
    made: list[Any] = [
        batch,
        file,
        problem,
        shard,
        failed,
        ob.Answer(status=200, headers={"x-request-id": "req_1"}, body=b"{}"),
        ob.BatchChange(batch=batch, in_status_s=2.0),
        ob.BatchRequest("a-1", {"model": "gpt-6-luna"}, "/v1/responses"),
        ob.Cleanup(files=(file,), is_dry_run=True),
        ob.DeletedFile(id="file-1"),
        ob.DownloadedFile(file_id="file-2", path=Path("out.jsonl"), bytes=5, rows=1),
        ob.JobEvent(kind=next(iter(ob.JobEventKind)), at=_TIME, message="begun", shard=0, batch=batch),
        ob.Ledger(shards=(shard,), error_codes={"x": 1}, tokens={"gpt-6-luna": [1, 2, 3, 4]}),
        ob.ModelPrice(input=Decimal(1), output=Decimal(2)),
        ob.Page(data=(batch,), has_more=False, first_id="batch_1", last_id="batch_1"),
        ob.PollPolicy(min_delay_s=1.0),
        ob.PriceTable(as_of=dt.date(2026, 11, 1), models={"gpt-6-luna": ob.ModelPrice(input=Decimal(1))}),
        ob.GROQ,
        ob.Repair(code="byte_order_mark", count=1, first_line=1),
        ob.RequestFile(path=Path("r.jsonl"), requests=1, bytes=5, blank_lines=0),
        ob.ResultSummary(batch=batch, is_complete=True, outcomes={ob.Outcome.SUCCEEDED: 2}, inputs=2),
        ob.RetryPolicy(attempts=2),
        ob.Shard(
            path=Path("shard-0.jsonl"),
            number=0,
            endpoint="/v1/responses",
            model="gpt-6-luna",
            requests=2,
            bytes=50,
            embedding_inputs=0,
            estimated_tokens=4,
            first_line=1,
        ),
        ob.ShardLimits(max_requests=10),
        ob.ValidationReport(requests=1, problems=(problem,)),
        ob.WebhookEvent(id="evt_1", type="batch.completed", created_at=_TIME, data={"id": "batch_1"}),
        bill,
    ]
    errors: list[Any] = [
        cls("no", status=400, code="c", type="t", param="p", request_id="req_1", retry_after=2.0, body={"a": 1})
        for cls in (
            ob.APIError,
            ob.AuthenticationError,
            ob.BadRequestError,
            ob.ConflictError,
            ob.InternalServerError,
            ob.NotFoundError,
            ob.PermissionDeniedError,
            ob.RateLimitError,
            ob.UnprocessableEntityError,
        )
    ]
    errors += [
        ob.AmbiguousCreateError("unclear", idempotency_key="key"),
        ob.BatchFailedError("failed", batch=batch),
        ob.BatchesError("any"),
        ob.BatchesWarning("look"),
        ob.DecodeError("odd", details=("a",), line_number=3),
        ob.IncompleteOutputError("cut", reason="length", line_number=3),
        ob.InputError("wrong"),
        ob.InvalidRequestsError("bad", problems=(problem,), more_problems=1),
        ob.JobError("job"),
        ob.JobPausedError("paused", reason="quota"),
        ob.JobStoppedError("stopped"),
        ob.JournalError("journal"),
        ob.PaginationError("stuck", after="batch_1"),
        ob.RefusalError("refused", refusal="I will not", line_number=3),
        ob.RequestFailedError("failed", result=failed),
        ob.TransportError("gone", was_sent=False),
        ob.TransportTimeoutError("late"),
        ob.WaitTimeoutError("waiting", batch=batch),
        ob.WebhookSignatureError("forged"),
    ]
    named = {type(value).__name__: value for value in [*made, *errors]}
    named["BatchResult of a line"] = ob.BatchResult("a-1", ob.Outcome.SUCCEEDED, 200, "req_1", None, 1, None, _LINE)
    return named
