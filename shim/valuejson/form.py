"""What JSON forms are made of: one value that holds both directions, and ways to combine them.

Reading checks every type and every key and names the place of a mistake; writing cannot fail.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, TypeVar

from protocol.errors import RemoteProtocolError, inside

T = TypeVar("T")

_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NOT_A_BYTE: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")


class BadJson(RemoteProtocolError):
    """JSON that is not the form of the wanted type; `.path` names the key."""


@dataclass(frozen=True, slots=True)
class Form(Generic[T]):
    """Value to JSON and back; both are told the store directory."""

    write: Callable[[T], Any]
    read: Callable[[Any, str], T]


def render(value: object) -> str:
    """JSON text, indented, that every JSON reader takes and any encoding can carry."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    return _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def parse(text: str | bytes) -> Any:
    """Read JSON text.

    Raises:
        BadJson: it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadJson(f"not JSON: {error}") from None


# Checks of what JSON can hold.


def expect(value: Any, kind: type[T], called: str) -> T:
    """The value, if it is of that type.

    Raises:
        BadJson: it is of another.
    """
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BadJson(f"expected {called}, found `{_show(value)}`")
    return value


def _show(value: Any) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def text_of(value: Any) -> str:
    """The value, if it is a text that stands for bytes."""
    text = expect(value, str, "a text")
    if _NOT_A_BYTE.search(text):
        raise BadJson("a surrogate that stands for no byte: only \\udc80 to \\udcff do")
    return text


def number_of(value: Any) -> int:
    """The value, if it is a whole number."""
    return expect(value, int, "a whole number")


def truth_of(value: Any) -> bool:
    """The value, if it is true or false."""
    return expect(value, bool, "true or false")


class Object:
    """An object whose keys are read one by one and all have to be read."""

    def __init__(self, value: Any, store_dir: str) -> None:
        self._left = dict(expect(value, dict, "an object"))
        self._store_dir = store_dir

    def take(self, key: str, form: "Form[T]") -> T:
        """The value of a key that has to be there."""
        if key not in self._left:
            raise BadJson(f"`{key}` is missing")
        with inside(key):
            return form.read(self._left.pop(key), self._store_dir)

    def get(self, key: str, form: "Form[T]", default: T) -> T:
        """The value of a key that may be absent."""
        return self.take(key, form) if key in self._left else default

    def skip(self, *keys: str) -> None:
        """Drop keys that repeat what others say."""
        for key in keys:
            self._left.pop(key, None)

    def end(self) -> None:
        """Refuse keys that nobody asked for: a misspelt one would be lost silently."""
        if self._left:
            raise BadJson(f"unknown key: `{min(self._left)}`")


# Forms that are made of forms.


def _same(check: Callable[[Any], T]) -> Form[T]:
    return Form(lambda value: value, lambda value, _: check(value))


def optional(form: Form[T]) -> Form[T | None]:
    """A value or `null`."""
    return Form(
        lambda value: None if value is None else form.write(value),
        lambda value, store_dir: None if value is None else form.read(value, store_dir),
    )


def _items(form: Form[T], value: Any, store_dir: str) -> list[T]:
    items = []
    for index, item in enumerate(expect(value, list, "a list")):
        with inside(str(index)):
            items.append(form.read(item, store_dir))
    return items


def list_of(form: Form[T]) -> Form[tuple[T, ...]]:
    """Values in their order."""
    return Form(
        lambda value: [form.write(item) for item in value],
        lambda value, store_dir: tuple(_items(form, value, store_dir)),
    )


def _rank(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value


def set_of(form: Form[T]) -> Form[frozenset[T]]:
    """Values in the ascending order of what they are written as."""
    return Form(
        lambda value: sorted((form.write(item) for item in value), key=_rank),
        lambda value, store_dir: frozenset(_items(form, value, store_dir)),
    )


def map_of(form: Form[T]) -> Form[Mapping[str, T]]:
    """An object with texts for keys."""

    def read(value: Any, store_dir: str) -> Mapping[str, T]:
        read_values = {}
        for key, item in expect(value, dict, "an object").items():
            with inside(key):
                read_values[key] = form.read(item, store_dir)
        return read_values

    return Form(lambda value: {key: form.write(item) for key, item in value.items()}, read)


# Simple values.

text: Final = _same(text_of)
number: Final = _same(number_of)
truth: Final = _same(truth_of)


def numbered(kind: type[Enum]) -> Form[Any]:
    """An enumeration by its number."""

    def read(value: Any, _: str) -> Enum:
        try:
            return kind(number_of(value))
        except ValueError:
            known = ", ".join(str(member.value) for member in kind)
            raise BadJson(f"expected one of {known}, found `{value}`") from None

    return Form(lambda value: value.value, read)
