"""What the package shows is complete, sorted and documented; what it keeps to itself, it keeps on purpose."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING, Any

import pytest

import openai_batches

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

# room -> what one room offers to the others, but the package does not offer to its users.
INTERNAL: dict[str, set[str]] = {
    "counting": {"Tally", "approximate_tokens", "tally_lines"},
    "estimating": {"CountingMethod", "Prices"},
    "formats": {"CsvFormat", "JsonlFormat", "OutputFormat", "ParquetFormat", "RowFormat", "format_of"},
    "pricing": {"usage_from"},
    "rows": {"Column", "RowMaker", "as_cell", "as_json", "whole_text"},
    "newfile": {"NewFile", "refuse_target"},
    "checking": {
        "MAX_METADATA_PAIRS",
        "ExpiresAfter",
        "check_file_id",
        "checked_expiry",
        "checked_key",
        "checked_limit",
        "checked_metadata",
        "checked_spans",
        "unknown_endpoint",
        "unknown_window",
    },
    "collecting": {"check_has_results"},
    "compression": {"Compression", "Compressor", "Inflater", "compression_of", "compressor", "suffix"},
    "converters": {"decode"},
    "creating": {"KEY_NAME", "Creator", "is_unseen_file"},
    "downloads": {"DownloadProgress", "download", "download_batch"},
    "duplicates": {"DuplicateFinder"},
    "encoding": {"check_utf_8", "encode"},
    "exchange": {"ApiKey", "ByteStream", "Exchange", "Secret", "checked_key", "client_timeout", "transport_error"},
    "judging": {"Judged", "count_inputs", "is_embedding", "judge", "needed_fields", "parsed", "shown"},
    "dialects": {"TolerantLine", "TolerantResponse", "id_text", "read_tolerantly", "rescued_id"},
    "joining": {"ResultJoin"},
    "lines": {"BlockSplitter", "LineSplitter"},
    "outputs": {
        "UNREADABLE",
        "BodyHead",
        "cut_reason",
        "embedding_vectors",
        "json_value",
        "choice_count",
        "output_text",
        "read_head",
        "refusal_text",
        "structured",
        "usage_of",
    },
    "reading": {"ResultReader", "successes_in"},
    "resending": {"Inputs", "ids_in_block", "iter_ids"},
    "models": {"Upload", "UploadPart", "answered"},
    "multipart": {"Frame", "frame"},
    "pagination": {"whole_list"},
    "partfile": {"PartFile", "can_move_open_files", "opened_part", "part_path", "refuse_existing", "sync_folder"},
    "parts": {"PART_BYTES", "PartsUpload", "checked_parts"},
    "protocol": {
        "MultipartBody",
        "Repeat",
        "Request",
        "clean_path",
        "error_from",
        "is_ambiguous",
        "may_repeat",
        "query_string",
        "read",
        "segment",
    },
    "resuming": {"Patience", "Ranges"},
    "ranges": {"ContentRange", "content_encoding", "content_range", "strong_validator"},
    "reports": {"ProblemList"},
    "sharding": {"Append", "Draft", "Finish", "Packer", "Refuse", "estimate_tokens"},
    "composing": {"Composer", "LineMaker", "id_template"},
    "prompts": {"PromptFormat", "RowReader"},
    "response_formats": {"format_parameters"},
    "templates": {"FieldError", "Template", "TemplateError", "named_fields"},
    "value_formats": {"ValueFormat"},
    "readers": {"MAX_LINE_BYTES", "blocks_of", "blocks_of_path", "in_threads", "iter_blocks"},
    "requests": {"Prompt", "RequestItem", "as_line", "encode_request"},
    "results": {"ResultDraft", "missing_result", "read_result"},
    "sources": {"Chunks", "Progress", "Source", "Uploadable", "open_source", "watched"},
    "transport": {"Transport"},
    "validation": {"Checked", "LineNumbers", "RequestChecker", "Rows"},
    "looking": {"Looker", "can_pass", "worth_listing"},
    "policy": {"as_poll_policy"},
    "progress": {"News", "answered_count", "entered_at", "has_changed", "is_ending", "is_older", "remaining_s"},
    "markup": {"Html", "bounded", "joined", "tag"},
    "wording": {"as_count", "as_duration", "as_moment", "as_money", "as_share", "largest_units"},
    "scales": {"Bin", "bins_of", "levels_of", "step_of"},
    "stylesheet": {"OUTCOME_COLOURS", "PAPER", "STATE_COLOURS", "STYLE", "TOKEN_COLOURS"},
    "figures": {"AttemptLine", "JobFigures", "Objection", "Spread", "figures_of"},
    "charts": {"Axis", "area", "bar", "gantt", "histogram", "legend", "state_legend"},
    "tables": {"bars", "error_bars", "ledger_table", "objection_table", "queue_table", "token_table"},
    "page": {"page_of"},
    "timeline": {"Span", "began_at", "ended_at", "spans_of"},
    "waiting": {"Poller", "Watch"},
    "watching": {"wait_for_end"},
    "webhooks": {"checked_secrets"},
    "locking": {"is_locked", "locked"},
    "holding": {"Hold", "hold"},
    "arguments": {
        "check_directories",
        "check_flags",
        "check_job",
        "check_seconds",
        "checked_pairs",
        "checked_source",
        "checked_target",
        "job_directory",
        "shortened",
    },
    "attempts": {"Attempt", "JobRecord", "Tally"},
    "admission": {"Admission", "has_no_room", "is_out_of_quota", "is_out_of_room", "room_limit"},
    "entries": {"JobEntry", "attempts_in", "forget_job", "job_in", "put_attempts", "put_job", "sealed"},
    "journal": {"Journal", "JournalView", "is_at_work", "journal_path", "read_attempts", "read_journal"},
    "reconciling": {
        "Reconciliation",
        "ResendRule",
        "check_size",
        "custom_ids",
        "reconcile",
        "refused_results",
        "result_blocks",
        "write_requests",
    },
    "planning": {
        "JOB_PREFIX",
        "Plan",
        "SourceFile",
        "begin",
        "draft_of",
        "make_folders",
        "planned",
        "remove_draft",
        "requests_folder",
        "results_folder",
        "service_place",
        "settled",
        "source_path",
    },
    "harvesting": {"Harvest", "attempt_results", "shard_results"},
    "merging": {"in_source_order"},
    "service": {"Service"},
    "bookkeeping": {"Book"},
    "sweeping": {"JOB_NAME", "Sweeper"},
    "summaries": {"TokenSums"},
    "launching": {"Launcher", "is_proven"},
    "finishing": {"Finisher"},
    "runner": {"Runner", "Settings"},
    "discarding": {"discard", "was_begun"},
    "adopting": {"adopted", "begun_with", "empty_job"},
    "walking": {"JobWalk", "first_of"},
    "stopping": {"checked_signals", "stopped_elsewhere", "stopping"},
    "doctoring": {"Directories", "clean_up", "examine"},
}

# Reached under their own names only, so that start-up stays small.
PORCH = {"cli", "emulator", "pytest_plugin"}

# A room of one dunder name has no list of public ones.
NO_ALL = {"version"}


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    """The package's modules, at every depth; a `__main__` is run, not imported from."""
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith(".__main__"):
            yield importlib.import_module(found.name)


def _room(module: ModuleType) -> str:
    return module.__name__.split(".")[1]


def _ruffs_order(names: list[str]) -> list[str]:
    """CONSTANTS, then Classes, then the rest, each in the order of the alphabet, as ruff sorts `__all__` (RUF022)."""
    return sorted(names, key=lambda name: (0 if name.isupper() else 1 if name[:1].isupper() else 2, name))


def _needs_all(module: ModuleType) -> bool:
    """Rooms and families list their names; inside a family, a module may."""
    is_inside_a_family = module.__name__.count(".") > 1
    return _room(module) not in NO_ALL and (not is_inside_a_family or hasattr(module, "__all__"))


ALL_MODULES = list(_modules(openai_batches))
LISTING = [openai_batches, *filter(_needs_all, ALL_MODULES)]
ROOMS = [module for module in ALL_MODULES if _needs_all(module) and _room(module) not in PORCH]
EXPORTS: dict[str, Any] = {name: getattr(openai_batches, name, None) for name in getattr(openai_batches, "__all__", [])}
CLASSES = {name: value for name, value in EXPORTS.items() if inspect.isclass(value)}
DOCUMENTED = {name: value for name, value in EXPORTS.items() if inspect.isclass(value) or inspect.isroutine(value)}


@pytest.mark.parametrize("module", LISTING, ids=lambda module: module.__name__)
def test_every_room_lists_its_names_in_order(module: ModuleType) -> None:
    """`__all__` is there, sorted, without doubles, and each of its names exists."""
    assert module.__all__ == _ruffs_order(list(set(module.__all__)))
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("module", ROOMS, ids=lambda module: module.__name__)
def test_a_rooms_public_names_are_exported_or_internal_on_purpose(module: ModuleType) -> None:
    """Nobody has to import from a room: what is public is in the package, the very same object."""
    missing = {name for name in module.__all__ if EXPORTS.get(name) is not getattr(module, name)}
    assert missing == INTERNAL.get(_room(module), set())


def test_the_package_exports_nothing_of_its_own() -> None:
    """Each exported name is in the `__all__` of the room that defines it."""
    listed = {name for module in ROOMS for name in module.__all__}
    assert set(EXPORTS) - listed <= {"__version__"}


def test_the_list_of_internal_names_has_no_dead_rooms() -> None:
    """A room that is gone is gone from the list too."""
    assert set(INTERNAL) <= {_room(module) for module in ROOMS}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_exported_name_is_documented(name: str) -> None:
    """Each exported class and function has a docstring of its own."""
    assert (DOCUMENTED[name].__doc__ or "").strip()


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_method_is_documented(name: str) -> None:
    """So has each public method and property that a user can reach on an exported class, inherited ones included."""
    assert [
        f"{owner.__qualname__}.{attribute}"
        for owner in CLASSES[name].__mro__
        if owner.__module__.split(".")[0] == openai_batches.__name__
        for attribute, value in vars(owner).items()
        if not attribute.startswith("_")
        and (inspect.isroutine(value) or isinstance(value, property))
        and not (value.__doc__ or "").strip()
    ] == []


@pytest.mark.parametrize("name", [name for name, value in CLASSES.items() if issubclass(value, Exception)])
def test_every_exception_has_the_one_root(name: str) -> None:
    """`except BatchesError` misses nothing that the package raises by name; warnings are warned, not raised."""
    assert issubclass(CLASSES[name], (EXPORTS["BatchesError"], Warning))


def test_names_that_are_opened_later_are_shown_and_found() -> None:
    """`dir()` shows what is not loaded yet, and a name that is nowhere is an AttributeError as ever."""
    assert set(openai_batches.__all__) <= set(dir(openai_batches))
    with pytest.raises(AttributeError, match="no attribute 'nowhere'"):
        _ = openai_batches.nowhere
