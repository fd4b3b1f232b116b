"""All results of a batch in one line, and in an exit code."""

from typing import TYPE_CHECKING

from openai_batches import Outcome
from openai_batches._text import as_count
from openai_batches.cli.errors import ExitCode
from openai_batches.cli.output.texts import money_text

if TYPE_CHECKING:
    from openai_batches import ResultSummary

__all__ = ["exit_code", "summary_text"]


def summary_text(summary: "ResultSummary") -> str:
    """Return the outcomes, tokens and cost: ``3 results: 2 succeeded, 1 failed; 20 tokens in, 8 out; $0.42``."""
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in summary.outcomes.items() if count)
    text = as_count(summary.total, "result") + (f": {outcomes}" if outcomes else "")
    if summary.doubled:
        text += f", {summary.doubled:,} doubled and left out"
    usage = summary.usage
    if not usage.total_tokens:
        return text
    bill = summary.bill()
    cost = money_text(bill.cost)
    if bill.cost is None:
        cost = f"no price known for {', '.join(model or 'an unnamed model' for model in bill.unpriced_models)}"
    return f"{text}; {usage.input_tokens:,} tokens in, {usage.output_tokens:,} out; {cost}"


def exit_code(summary: "ResultSummary") -> ExitCode:
    """Return whether all requests of the batch succeeded, and the service says so too, as far as can be told."""
    counts = summary.batch.request_counts if summary.batch is not None else None
    succeeded = summary.outcomes[Outcome.SUCCEEDED]
    is_short = summary.inputs is None and counts is not None and succeeded < counts.total
    is_whole = not is_short and succeeded >= summary.total and not summary.disagreements
    return ExitCode.DONE if is_whole else ExitCode.FAILED
