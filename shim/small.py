"""Values for what starts once per connection, without `dataclasses`, `enum` and `typing`.

A relay would spend more time on importing those than on everything else until it is of use.  Where
start-up time is no contract, they are the way to go.
"""

from __future__ import annotations


class Value:
    """Equal, hashed and shown by its fields: those that its class names in `__slots__`."""

    __slots__: tuple[str, ...] = ()

    def _fields(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Value) or type(self) is not type(other):
            return NotImplemented
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((type(self), *self._fields()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self._fields()!r}"
