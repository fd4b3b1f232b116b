"""What surrounds a file in ``multipart/form-data``, so that the length of the form is known before it is sent.

Source: https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data
"""

from __future__ import annotations

import attrs

__all__ = ["frame"]


@attrs.frozen(kw_only=True)
class Frame:
    """What stands before and after the file's bytes, and the ``Content-Type`` that announces it."""

    content_type: str
    head: bytes
    tail: bytes


def frame(fields: tuple[tuple[str, str], ...], *, field_name: str, filename: str, boundary: str) -> Frame:
    """Return the frame of a form; ``boundary`` must occur nowhere in it."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_escaped(name)}"\r\n\r\n{value}\r\n'
        for name, value in fields
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_escaped(field_name)}"; '
        f'filename="{_escaped(filename)}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    )
    return Frame(
        content_type=f"multipart/form-data; boundary={boundary}",
        head="".join(parts).encode(),
        tail=f"\r\n--{boundary}--\r\n".encode(),
    )


def _escaped(name: str) -> str:
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
