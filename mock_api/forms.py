"""Stripe's bracketed form encoding (`created[gte]=1`, `items[0][price]=p`, `expand[]=x`) as nested dicts, and typed readers of the leaves.

Arrays are dicts with the keys "0", "1", …: only the reader of a parameter knows whether it is an array or a hash
(`metadata[0]=x` is a hash), so `array()` decides, not the decoder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl

from mock_api.errors import ApiError, bad_request

Tree = dict[str, Any]
Reader = Callable[[Any, str], Any]
"""Turns a raw value and its parameter name into a typed value, or raises `ApiError`."""

_NAME = re.compile(r"[^\[\]]+")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")


def decode(encoded: str) -> Tree:
    """The parameters of a query string or form body; raises `ApiError` (400) when it contradicts itself."""
    tree: Tree = {}
    for key, value in parse_qsl(encoded, keep_blank_values=True):
        _put(tree, _segments(key), value, key)
    return tree


def _segments(key: str) -> list[str]:
    name = _NAME.match(key)
    rest = key[name.end() :] if name else ""
    parts = _BRACKETS.findall(rest)
    if name is None or "".join(f"[{part}]" for part in parts) != rest:
        raise bad_request(f"Invalid request (check that your parameters are well formed): {key}", param=key)
    return [name.group(), *parts]


def _put(node: Tree, segments: list[str], value: str, key: str) -> None:
    for here, after in pairwise(segments):
        node = node.setdefault(_index(node, here, after), {})
        if not isinstance(node, dict):
            raise bad_request(f"Invalid {segments[0]}: it is given both as a value and as a hash", param=key)
    last = segments[-1] or str(len(node))
    if isinstance(node.get(last), dict):
        raise bad_request(f"Invalid {segments[0]}: it is given both as a value and as a hash", param=key)
    node[last] = value


def _index(node: Tree, here: str, after: str) -> str:
    """`items[][price]=a&items[][quantity]=1` is one element; a repeated inner key opens the next one."""
    if here:
        return here
    last = str(len(node) - 1)
    return last if last in node and after not in node[last] else str(len(node))


def text(value: Any, param: str) -> str:
    """A string that is not empty."""
    if not isinstance(value, str):
        raise bad_request(f"Invalid string: {value}", param=param)
    if not value:
        message = f"You passed an empty string for '{param}'. We assume empty values are an attempt to unset a field; however '{param}' cannot be unset."
        raise bad_request(message, param=param, code="parameter_invalid_empty")
    return value


def clearable(value: Any, param: str) -> str | None:
    """A string, or None for the empty string with which Stripe's clients unset a field."""
    return text(value, param) if value != "" else None


def integer(value: Any, param: str) -> int:
    """A whole number."""
    if not isinstance(value, str) or not re.fullmatch(r"[+-]?[0-9]{1,18}", value):
        raise bad_request(f"Invalid integer: {value}", param=param, code="parameter_invalid_integer")
    return int(value)


def boolean(value: Any, param: str) -> bool:
    """`true` or `false`."""
    if value not in ("true", "false"):
        raise bad_request(f"Invalid boolean: {value}", param=param)
    return bool(value == "true")


def one_of(*allowed: str) -> Reader:
    """Reads one of the given words."""

    def read(value: Any, param: str) -> str:
        if value not in allowed:
            raise bad_request(f"Invalid {param}: must be one of {_spoken(allowed)}", param=param)
        return str(value)

    return read


def _spoken(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])}, or {words[-1]}"


def array(element: Reader) -> Reader:
    """Reads an array: `a[]=x`, `a[0]=x`; the empty string is the empty array."""

    def read(value: Any, param: str) -> list[Any]:
        if value == "":
            return []
        if not isinstance(value, dict) or not all(key.isdecimal() for key in value):
            raise bad_request("Invalid array", param=param)
        return [element(value[key], f"{param}[{key}]") for key in sorted(value, key=int)]

    return read


def hash_of(readers: Mapping[str, Reader]) -> Reader:
    """Reads a hash whose keys are known; any other key is a 400 `parameter_unknown`."""

    def read(value: Any, param: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise bad_request("Invalid object", param=param)
        for key in value:
            if key not in readers:
                raise unknown_parameter(f"{param}[{key}]")
        return {key: readers[key](inner, f"{param}[{key}]") for key, inner in value.items()}

    return read


def metadata(value: Any, param: str) -> dict[str, str] | None:
    """Reads free-form metadata: strings by key (an empty string removes its key); the empty string clears everything (None)."""
    if value == "":
        return None
    if not isinstance(value, dict) or not all(isinstance(inner, str) for inner in value.values()):
        raise bad_request(
            "Invalid metadata: metadata must be a set of key-value pairs with string values", param=param
        )
    return dict(value)


def read_all(params: Tree, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """Every parameter read by its reader; raises `ApiError` for one that has none."""
    for name in params:
        if name not in readers:
            raise unknown_parameter(name)
    return {name: readers[name](value, name) for name, value in params.items()}


def unknown_parameter(name: str) -> ApiError:
    """The 400 for a parameter that the endpoint does not know."""
    return bad_request(f"Received unknown parameter: {name}", param=name, code="parameter_unknown")
