"""Which jobs a command looks at: the folders that were named, else those of the working folder."""

from pathlib import Path

from openai_batches.cli.job_reading import jobs_below
from openai_batches.cli.terminal import note
from openai_batches.cli.texts import path_text, words
from openai_batches.journal import journal_path

__all__ = ["job_folders"]

_USUAL = "*.job"
_NAMED = 5


def job_folders(given: tuple[Path, ...]) -> list[Path]:
    """Return the folders of jobs that are meant, and say which these are where nobody named them."""
    if given:
        return list(given)
    found = sorted(path for path in Path().glob(_USUAL) if journal_path(path).is_file())
    if not found:
        below = jobs_below(Path())
        hint = f" Name them: {below:,} in the folders below." if below else ""
        note(f"There is no job in this folder ({_USUAL}): what jobs elsewhere need is not known.{hint}")
        return []
    named = [path_text(path) for path in found[:_NAMED]]
    if more := len(found) - len(named):
        named.append(f"{more:,} more")
    note(f"Jobs of this folder: {words(named)}.")
    return found
