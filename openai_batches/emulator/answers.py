"""The emulator's answers: JSON bodies, the error object, file streams and broken connections."""

import asyncio
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, cast

import msgspec
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

# Real seconds that a client may be silent, or not take what it is sent.
CLIENT_TIMEOUT_S: web.AppKey[float] = web.AppKey("client_timeout_s", float)

_CHUNK_BYTES = 256 * 1024
# SO_LINGER with zero seconds: closing the socket sends a reset, as a crashed proxy does.
_RESET = struct.pack("ii", 1, 0)


class APIError(Exception):
    """An answer of status 400 or above with the service's error object as its body."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {
            "error": error_object(message, type=type, param=param, code=code),
            **(extra or {}),
        }
        self.headers: dict[str, str] = dict(headers or {})

    def to_response(self) -> web.Response:
        """Return the answer that says it."""
        return json_response(self.body, status=self.status, headers=self.headers)


def error_object(
    message: str, *, type: str = "invalid_request_error", param: str | None = None, code: str | None = None
) -> dict[str, str | None]:
    """Return the error object with all four of its keys."""
    return {"message": _as_text(message), "type": type, "param": param and _as_text(param), "code": code}


def _as_text(value: str) -> str:
    """Replace lone surrogates, which stand for bytes that are not UTF-8 and which no JSON answer can carry."""
    return value.encode(errors="replace").decode()


def json_response(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an answer whose body is `body` as JSON."""
    return web.Response(body=msgspec.json.encode(body), status=status, headers=headers, content_type="application/json")


def page_of(records: Sequence[Mapping[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return one page of a listing."""
    first, last = (records[0]["id"], records[-1]["id"]) if records else (None, None)
    return {"object": "list", "data": records, "first_id": first, "last_id": last, "has_more": has_more}


def missing(param: str) -> APIError:
    """Return the refusal of a request that lacks `param`."""
    return APIError(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def unknown(param: str) -> APIError:
    """Return the refusal of a parameter the endpoint does not have."""
    return APIError(f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")


def wrong_type(param: str, expected: str, got: object) -> APIError:
    """Return the refusal of a value of the wrong JSON type; `expected` comes with its article."""
    message = f"Invalid type for '{param}': expected {expected}, but got {kind(got)} instead."
    return APIError(message, param=param, code="invalid_type")


def wrong_value(param: str, got: str, supported: Sequence[str]) -> APIError:
    """Return the refusal of a value outside an enumeration."""
    quoted = [f"'{value}'" for value in supported]
    names = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])}, and {quoted[-1]}"
    return APIError(f"Invalid value: '{got}'. Supported values are: {names}.", param=param, code="invalid_value")


def out_of_range(param: str, got: int, *, minimum: int, maximum: int) -> APIError:
    """Return the refusal of an integer outside its bounds."""
    side, sign, bound = ("below minimum", ">=", minimum) if got < minimum else ("above maximum", "<=", maximum)
    message = f"Invalid '{param}': integer {side} value. Expected a value {sign} {bound}, but got {got} instead."
    code = "integer_below_min_value" if got < minimum else "integer_above_max_value"
    return APIError(message, param=param, code=code)


def kind(value: object) -> str:
    """Return the JSON type of `value` with its article, as the error messages spell it."""
    if value is None:
        return "null"
    names: dict[type, str] = {
        bool: "a boolean",
        str: "a string",
        int: "an integer",
        float: "a decimal",
        list: "an array",
    }
    return names.get(type(value), "an object")


def abort(request: web.BaseRequest) -> None:
    """Reset the connection of `request`."""
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()


class NoAnswer(web.Response):
    """No answer at all: preparing it resets the connection."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Reset the connection instead of sending a head."""
        abort(request)
        raise ConnectionResetError("the emulator reset the connection")


class StreamedAnswer(web.StreamResponse):
    """An answer of known length that is read from an open file while it is sent."""

    def __init__(
        self, source: BinaryIO, *, start: int, length: int, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status=status, headers=headers)
        self.content_length = length
        self.source = source
        self.first = start
        self.span = length

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the head and the body."""
        try:
            writer = await super().prepare(request)
            await self._send(request)
        except (TimeoutError, EOFError) as error:
            abort(request)
            raise ConnectionResetError("the answer cannot be sent to its end") from error
        finally:
            self.source.close()
        return writer

    async def _send(self, request: web.BaseRequest) -> None:
        left = self.span
        self.source.seek(self.first)
        timeout_s = cast("web.Request", request).config_dict[CLIENT_TIMEOUT_S]
        while left:
            chunk = await asyncio.to_thread(self.source.read, min(left, _CHUNK_BYTES))
            if not chunk:
                raise EOFError("the file is shorter than its record says")
            left -= len(chunk)
            async with asyncio.timeout(timeout_s):
                await self.write(chunk)

    def close(self) -> None:
        """Close the source of an answer that will not be sent."""
        self.source.close()
