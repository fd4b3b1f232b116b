"""Which bytes an answer holds, and what tells them from all others."""

from __future__ import annotations

import email.utils
import time

import pytest
from hypothesis import given, strategies as st
from support.file_depot import NOW_DATE, OLD_DATE

from openai_batches.http.ranges import ContentRange, content_encoding, content_range, strong_validator


@given(start=st.integers(0, 10**17), length=st.integers(1, 10**6), rest=st.integers(0, 10**6))
def test_content_ranges(start: int, length: int, rest: int) -> None:
    """A Content-Range says which bytes of how many an answer holds."""
    stop = start + length
    text = f"bytes {start}-{stop - 1}/{stop + rest}"
    assert content_range({"content-range": text}) == ContentRange(start, stop, stop + rest)


@given(st.one_of(st.text(), st.from_regex(r"bytes [0-9*]{0,3}-[0-9]{0,3}/[0-9*]{0,3}", fullmatch=True)))
def test_any_content_range(text: str) -> None:
    """Whatever else it says, it makes sense or is nothing."""
    found = content_range({"content-range": text})
    assert found is None or 0 <= found.start < found.stop <= found.total


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({}, None),
        ({"etag": '"a"'}, '"a"'),
        ({"etag": '""'}, '""'),
        ({"etag": 'W/"a"'}, None),
        ({"etag": "a"}, None),
        ({"etag": '"a'}, None),
        ({"etag": '"a"b"'}, None),
        ({"etag": '"\xe4"'}, None),
        ({"etag": '"a"', "last-modified": OLD_DATE, "date": NOW_DATE}, '"a"'),
        ({"etag": 'W/"a"', "last-modified": OLD_DATE, "date": NOW_DATE}, None),
        ({"last-modified": OLD_DATE, "date": NOW_DATE}, OLD_DATE),
        ({"last-modified": NOW_DATE, "date": NOW_DATE}, None),
        ({"last-modified": NOW_DATE, "date": OLD_DATE}, None),
        ({"last-modified": OLD_DATE}, None),
        ({"last-modified": "yesterday", "date": NOW_DATE}, None),
        ({"last-modified": OLD_DATE.replace("GMT", "-0000"), "date": NOW_DATE}, None),
    ],
)
def test_strong_validators(headers: dict[str, str], validator: str | None) -> None:
    """A strong ETag, or without any ETag a date that is old enough, tells the bytes from all others."""
    assert strong_validator(headers) == validator


@given(st.integers(0, 10**6))
def test_a_date_is_strong_after_a_minute(age_s: int) -> None:
    """A file that was changed within the last minute may be changed again without another date."""
    now = time.time()
    headers = {
        "last-modified": email.utils.formatdate(now - age_s, usegmt=True),
        "date": email.utils.formatdate(now, usegmt=True),
    }
    assert strong_validator(headers) == (headers["last-modified"] if age_s >= 60 else None)


def test_content_encodings() -> None:
    """Identity is no encoding."""
    found = [content_encoding({"content-encoding": name}) for name in ("", "identity", " GZIP ", "br")]
    assert found == [None, None, "gzip", "br"]
    assert content_encoding({}) is None
