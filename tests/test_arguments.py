"""What cannot be right is refused before anything is sent, in words that say what to change."""

from __future__ import annotations

import datetime as dt
from types import MappingProxyType
from typing import Any

import pytest

from openai_batches import OPENAI, InputError
from openai_batches._arguments import check_whole, checked_expiry, checked_metadata
from openai_batches.providers import unknown_endpoint

# Metadata


@pytest.mark.parametrize(
    "metadata",
    [{}, {"a": "b"}, {"": ""}, {"k" * 64: "v" * 512}, {str(number): "v" for number in range(16)}, {"é": "\u2028"}],
)
def test_metadata_within_the_limits_are_taken(metadata: dict[str, str]) -> None:
    """16 pairs of texts, keys to 64 and values to 512 characters, as the caller's own copy."""
    checked = checked_metadata(MappingProxyType(metadata))
    assert checked == metadata
    assert checked is not metadata


def test_no_metadata_is_none() -> None:
    """None stays None, so that nothing is sent."""
    assert checked_metadata(None) is None


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({str(number): "v" for number in range(17)}, "at most 16 pairs, these are 17"),
        ({5: "v"}, "5 is int"),
        ({"k" * 65: "v"}, "64 characters"),
        ({"key": 5}, "'key' is int"),
        ({"key": None}, "'key' is NoneType"),
        ({"tags": ["a"]}, "'tags' is list"),
        ({"key": "v" * 513}, "'key' has 513"),
        ([("key", "v")], "mapping of str to str, not list"),
        ("key=v", "not str"),
    ],
)
def test_metadata_beyond_the_limits_are_refused(metadata: Any, words: str) -> None:
    """The message names the key and the limit."""
    with pytest.raises(InputError, match=words):
        checked_metadata(metadata)


# Page sizes


@pytest.mark.parametrize("limit", [1, 50, 100])
def test_a_page_size_within_its_range_is_taken(limit: int) -> None:
    """1 to the maximum, both included."""
    check_whole(limit=limit, most=100)


@pytest.mark.parametrize("limit", [0, -1, 101, True, 1.0, "5", None])
def test_a_page_size_out_of_range_is_refused(limit: Any) -> None:
    """The message says the range and what was given."""
    with pytest.raises(InputError, match=r"limit must be a whole number from 1 to 10,000|from 1 to 100") as caught:
        check_whole(limit=limit, most=100)
    assert repr(limit) in str(caught.value)


# Expiry


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (3_600, 3_600),
        (2_592_000, 2_592_000),
        (dt.timedelta(hours=1), 3_600),
        (dt.timedelta(days=30), 2_592_000),
        (dt.timedelta(days=7, microseconds=5), 604_800),
        ({"anchor": "created_at", "seconds": 3_600}, 3_600),
        (MappingProxyType({"seconds": 86_400, "anchor": "created_at"}), 86_400),
    ],
)
def test_an_expiry_is_seconds_however_it_is_given(value: Any, seconds: int | None) -> None:
    """A number, a timedelta, or the wire's own mapping."""
    assert checked_expiry(value, name="expires_after") == seconds


@pytest.mark.parametrize(
    "value",
    [
        3_599,
        2_592_001,
        0,
        -1,
        True,
        3_600.0,
        "3600",
        dt.timedelta(minutes=59, seconds=59.9),
        dt.timedelta(days=31),
        {"anchor": "created_at"},
        {"seconds": 3_600},
        {"anchor": "now", "seconds": 3_600},
        {"anchor": "created_at", "seconds": 3_600, "more": 1},
        {"anchor": "created_at", "seconds": 5},
        {"anchor": "created_at", "seconds": "3600"},
        {},
        [],
    ],
)
def test_an_expiry_out_of_range_is_refused(value: Any) -> None:
    """The message names the argument and what it takes."""
    with pytest.raises(InputError, match="expires_after must be"):
        checked_expiry(value, name="expires_after")


# Endpoints


@pytest.mark.parametrize("endpoint", sorted(OPENAI.endpoints))
def test_a_known_endpoint_is_no_matter(endpoint: str) -> None:
    """What the service is known to batch is not spoken of."""
    assert unknown_endpoint(endpoint, OPENAI.endpoints, service="OpenAI") is None


def test_an_unknown_endpoint_is_warned_of() -> None:
    """A new endpoint is sent as it is, after a word on which ones are known."""
    warning = unknown_endpoint("/v1/chat/completion", OPENAI.endpoints, service="OpenAI")
    assert warning is not None
    assert "'/v1/chat/completion'" in warning
    assert "/v1/chat/completions" in warning
    assert "OpenAI" in warning


def test_a_service_whose_endpoints_are_not_known_takes_any() -> None:
    """Without a list there is nothing to compare with."""
    assert unknown_endpoint("/v1/anything", frozenset(), service="Other") is None


@pytest.mark.parametrize("endpoint", ["", "chat/completions", "https://api.openai.com/v1/chat/completions", None, 5])
def test_what_is_no_path_is_no_endpoint(endpoint: Any) -> None:
    """A whole address, or nothing, is refused with an example of what is meant."""
    with pytest.raises(InputError, match="/v1/chat/completions"):
        unknown_endpoint(endpoint, frozenset(), service="Other")
