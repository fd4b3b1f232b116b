"""Which jobs a command looks at: the folders that were named, else those of the working folder."""

from pathlib import Path

from openai_batches.cli.errors import CommandError
from openai_batches.cli.output.terminal import note
from openai_batches.cli.output.texts import path_text, words
from openai_batches.cli.run.job_on_disk import has_journal, jobs_below

__all__ = ["job_folders"]

_NAMED = 5


def job_folders(given: tuple[Path, ...]) -> list[Path]:
    """Return the folders of jobs that are meant, and say which these are where nobody named them.

    Raises:
        CommandError: one that is named has no job in it.
    """
    for folder in given:
        if not has_journal(folder):
            raise CommandError(f"There is no job in {folder}", "`openai-batches jobs` shows where there are some")
    if given:
        return list(given)
    found = [Path()] if has_journal(Path()) else sorted(path for path in Path().iterdir() if has_journal(path))
    if not found:
        below = jobs_below(Path())
        hint = f" Name them: {below:,} in the folders below." if below else ""
        note(f"There is no job in this folder: what jobs elsewhere need is not known.{hint}")
        return []
    named = [path_text(path) for path in found[:_NAMED]]
    if more := len(found) - len(named):
        named.append(f"{more:,} more")
    note(f"Jobs of this folder: {words(named)}.")
    return found
