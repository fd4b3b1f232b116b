"""Which type a decoded JSON value has."""

from typing import Any, TypeGuard


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Tell whether this is a JSON object."""
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    """Tell whether this is a JSON array."""
    return isinstance(value, list)


def members(value: Any) -> dict[str, Any]:
    """Return an object as it is, and anything else as an empty one."""
    return value if is_object(value) else {}
