"""What an endpoint is: a method, a path, and a function from a call to the object it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mock_api.filters import Obj
from mock_api.forms import Tree

if TYPE_CHECKING:
    from mock_api.world import World


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request: `ids` are the parts of the path in braces, `params` the decoded parameters."""

    world: World
    ids: Mapping[str, str]
    params: Tree


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint. `answer` raises `ApiError` or `WorldError` for what is refused; `params` are named for the documentation."""

    method: str
    path: str
    tag: str
    summary: str
    answer: Callable[[Call], Obj]
    params: tuple[str, ...] = ()
