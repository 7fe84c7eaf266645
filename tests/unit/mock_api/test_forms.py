from __future__ import annotations

import pytest

from mock_api import forms
from mock_api.errors import ApiError


@pytest.mark.parametrize(
    ("encoded", "tree"),
    [
        ("", {}),
        ("limit=3&email=a%40example.com", {"limit": "3", "email": "a@example.com"}),
        ("created[gte]=1&created[lt]=2", {"created": {"gte": "1", "lt": "2"}}),
        ("expand[]=a&expand[]=b", {"expand": {"0": "a", "1": "b"}}),
        ("types[0]=a&types[1]=b", {"types": {"0": "a", "1": "b"}}),
        ("items[0][price]=p&items[0][quantity]=2", {"items": {"0": {"price": "p", "quantity": "2"}}}),
        (
            "items[][price]=p&items[][quantity]=2&items[][price]=q",
            {"items": {"0": {"price": "p", "quantity": "2"}, "1": {"price": "q"}}},
        ),
        ("a%5Bb%5D%5Bc%5D=1", {"a": {"b": {"c": "1"}}}),
        ("name=", {"name": ""}),
        ("limit=1&limit=2", {"limit": "2"}),
    ],
)
def test_brackets_become_trees(encoded: str, tree: forms.Tree) -> None:
    """Hashes and arrays, escaped or not; of a repeated scalar the last one holds."""
    assert forms.decode(encoded) == tree


@pytest.mark.parametrize("encoded", ["a[b=1", "[a]=1", "a]b=1", "a=1&a[b]=2", "a[b]=2&a=1", "a[b]c=1"])
def test_contradictions_are_refused(encoded: str) -> None:
    """A parameter is a value or a hash, with brackets that match."""
    with pytest.raises(ApiError) as caught:
        forms.decode(encoded)
    assert caught.value.status == 400


def test_readers_give_types() -> None:
    """Each leaf is read by the reader of its parameter."""
    readers = {
        "count": forms.integer,
        "on": forms.boolean,
        "words": forms.array(forms.text),
        "shape": forms.hash_of({"side": forms.integer}),
        "note": forms.clearable,
        "metadata": forms.metadata,
    }
    params = forms.decode("count=-5&on=true&words[1]=b&words[0]=a&shape[side]=2&note=&metadata[0]=x")
    assert forms.read_all(params, readers) == {
        "count": -5,
        "on": True,
        "words": ["a", "b"],
        "shape": {"side": 2},
        "note": None,
        "metadata": {"0": "x"},
    }


@pytest.mark.parametrize("raw", ["1.5", "1e3", "", "٣", " 1", "9" * 30, {"0": "1"}])
def test_an_integer_is_digits_and_nothing_else(raw: object) -> None:
    """Neither fractions nor other scripts' digits nor absurd lengths."""
    with pytest.raises(ApiError):
        forms.integer(raw, "limit")
