"""In which format results are written: as the name of their file says, or as an option does where it says nothing."""

from pathlib import Path

from openai_batches.cli.errors import CommandError
from openai_batches.results.formats import OutputFormat, format_of

__all__ = ["chosen_format"]


def chosen_format(path: Path | None, format: OutputFormat | None) -> OutputFormat:
    """Return what is written to a file, or to standard output.

    Args:
        path: the file; None is standard output.
        format: what ``--format`` says; None where it is not given.

    Raises:
        CommandError: nothing says it, the two contradict each other, or it cannot be written there.
    """
    if path is None:
        if format == "parquet":
            raise CommandError("Parquet is written to a file", "Name it: -o results.parquet")
        return format or "jsonl"
    named, compression = format_of(path.name)
    if format is not None and named not in {None, format}:
        text = f"{path.name} says {named}, and --format {format}"
        raise CommandError(text, "Leave --format out, or give the file another suffix")
    found = format or named
    if found is None:
        raise CommandError(
            f"{path.name} does not say in which format to write", "End it in .jsonl, .csv or .parquet, or add --format"
        )
    if found == "parquet" and compression is not None:
        raise CommandError(f"{path.name}: Parquet is packed already", f"Leave {path.suffix} out")
    return found
