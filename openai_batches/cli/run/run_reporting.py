"""The report that ``run`` leaves, whatever the job came to."""

from pathlib import Path
from typing import TYPE_CHECKING

from openai_batches import BatchesError, write_report
from openai_batches.cli.output.terminal import warn
from openai_batches.cli.output.texts import one_line
from openai_batches.cli.run.job_on_disk import view_of

if TYPE_CHECKING:
    from openai_batches import PriceTable

__all__ = ["leave_report"]


async def leave_report(directory: Path, path: Path, prices: "PriceTable") -> None:
    """Write a report of whatever there is to report; what became of the requests counts for more than a failure."""
    if await view_of(directory) is None:
        return
    try:
        await write_report(directory, path, prices=prices, overwrite=True)
    except (BatchesError, OSError) as error:
        warn(f"The report could not be written: {one_line(str(error))}")
