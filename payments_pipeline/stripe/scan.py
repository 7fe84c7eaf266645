"""Takes JSON text apart by its strings and brackets alone, without believing what lies between them.

For texts that a strict parser refuses as a whole because of one value: NaN, half a surrogate pair, bytes that
are not UTF-8, a number of 5,000 digits, a hundred thousand open brackets. Runs in linear time, without recursion.
"""

from __future__ import annotations

import re

_SPACE = b" \t\r\n"
# Possessive quantifiers: a string of ten megabytes must not cost a stack of that size.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},]', re.DOTALL)
_KEY = re.compile(rb'"([^"\\]*)"[ \t\r\n]*:[ \t\r\n]*')


def elements(text: bytes) -> list[bytes]:
    """The texts of an array's elements; `ValueError` unless `text` is an array and nothing else."""
    return _parts(text, b"[]")


def members(text: bytes) -> dict[bytes, bytes]:
    """The texts of an object's values by key, the last of equal keys; `ValueError` unless `text` is an object.

    A key that is written with escapes is left out.
    """
    keys = ((_KEY.match(part), part) for part in _parts(text, b"{}"))
    return {key[1]: part[key.end() :] for key, part in keys if key is not None}


def _parts(text: bytes, brackets: bytes) -> list[bytes]:
    """What the commas of the outermost level separate."""
    text = text.strip(_SPACE)
    if text[:1] + text[-1:] != brackets:
        raise ValueError(f"does not begin and end with {brackets.decode()}")
    commas = _outer_commas(text)
    if not commas and not text[1:-1].strip(_SPACE):
        return []
    bounds = zip([0, *commas], [*commas, len(text) - 1], strict=True)
    return [text[start + 1 : end].strip(_SPACE) for start, end in bounds]


def _outer_commas(text: bytes) -> list[int]:
    """Where the commas of the outermost level are; `ValueError` unless its last byte closes its first."""
    commas = []
    depth = 0
    for token in _TOKEN.finditer(text):
        at = token.start()
        if text[at] in b"[{":
            depth += 1
        elif text[at] in b"]}":
            depth -= 1
            if depth == 0 and token.end() != len(text):
                raise ValueError("goes on after its end")
        elif text[at] in b"," and depth == 1:
            commas.append(at)
        elif token.group() == b'"':
            raise ValueError("ends within a string")
    if depth != 0:
        raise ValueError("is cut off")
    return commas
