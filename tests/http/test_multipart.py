"""The frame of a form with a file, as a parser of someone else's reads it."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import given, strategies as st

from openai_batches.http.multipart import frame


def parse(fields: tuple[tuple[str, str], ...], filename: str, content: bytes) -> list[tuple[str, str | None, bytes]]:
    """Return what Python's own mail parser finds: each part's name, file name and bytes."""
    framed = frame(fields, field_name="file", filename=filename, boundary="batches-0123456789abcdef")
    header = f"Content-Type: {framed.content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(header + framed.head + content + framed.tail, policy=email.policy.HTTP)
    assert not message.defects
    return [
        (part.get_param("name", header="Content-Disposition"), part.get_filename(), part.get_payload(decode=True))
        for part in message.iter_parts()
    ]


def test_the_bytes_of_a_form() -> None:
    """Fields in order, then the file, each with the line ends that the standard asks for."""
    framed = frame((("purpose", "batch"), ("a[b]", "é")), field_name="file", filename="a.jsonl", boundary="B")
    assert framed.content_type == "multipart/form-data; boundary=B"
    assert framed.head == (
        b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--B\r\nContent-Disposition: form-data; name="a[b]"\r\n\r\n\xc3\xa9\r\n'
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n"
    )
    assert framed.tail == b"\r\n--B--\r\n"


@given(st.binary(max_size=200))
def test_the_files_bytes_are_left_alone(content: bytes) -> None:
    """Line ends, zeros and whatever else a file holds arrive as they were."""
    parts = parse((("purpose", "batch"),), "a.jsonl", content)
    assert [(name, filename) for name, filename, _ in parts] == [("purpose", None), ("file", "a.jsonl")]
    framed = frame((), field_name="file", filename="a", boundary="B")
    assert (framed.head + content + framed.tail).split(b"\r\n\r\n", 1)[1] == content + framed.tail


@pytest.mark.parametrize(
    ("filename", "written"),
    [
        ('a".jsonl', "a%22.jsonl"),
        ("a\r\nX-Evil: 1\r\n\r\n.jsonl", "a%0D%0AX-Evil: 1%0D%0A%0D%0A.jsonl"),
        ('"; name="purpose', "%22; name=%22purpose"),
        ("a b;c.jsonl", "a b;c.jsonl"),
        ("é🙂.jsonl", "é🙂.jsonl"),
    ],
)
def test_no_file_name_breaks_out_of_its_header(filename: str, written: str) -> None:
    """Quotes and line ends in a name are escaped as browsers do; a file cannot write headers or fields of its own."""
    framed = frame((), field_name="file", filename=filename, boundary="B")
    head = framed.head.decode()
    assert f'; filename="{written}"\r\n' in head
    assert head.count("\r\n") == 4
    assert head.count('"') == 4


def test_no_field_name_breaks_out_of_its_header() -> None:
    """The names of fields are escaped alike."""
    framed = frame((('a"\r\nb', "v"),), field_name='f"\r\n', filename="x", boundary="B")
    assert b'name="a%22%0D%0Ab"' in framed.head
    assert b'name="f%22%0D%0A"' in framed.head
