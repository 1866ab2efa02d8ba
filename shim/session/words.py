"""The words of a command line, and the options that all of Nix's commands share.

Words are taken as Nix takes them: compounds such as `-qR` and `-j3` are pulled apart, `--` ends the
options.  Settings that are the builder's own business (jobs, cores, substituters) are accepted
without effect.  Checked against Nix's `LegacyArgs`, `MixCommonArgs` and `Args::parseCmdline`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from protocol.worker.stderr import Verbosity
from shim.session.commands import Settings, usage


class Words:
    """The words of a command line that are left."""

    def __init__(self, words: Sequence[str]) -> None:
        self._left = list(reversed(words))
        self._only_operands = False

    def __bool__(self) -> bool:
        return bool(self._left)

    def next(self) -> tuple[bool, str]:
        """Whether the next word is an option, and the word; compounds are pulled apart."""
        word = self._left.pop()
        if self._only_operands or not word.startswith("-") or word == "-":
            return False, word
        if word == "--":
            self._only_operands = True
            return self.next() if self._left else (False, "")
        if len(word) > 2 and word[1].isalpha():
            self._left += reversed(_letters(word[1:]))
            word = self._left.pop()
        return True, word

    def value(self, option: str) -> str:
        """The word that belongs to `option`."""
        if not self._left:
            raise usage(f"flag '{option}' requires 1 argument(s), but only 0 were given")
        return self._left.pop()


def _letters(compound: str) -> list[str]:
    """`qR` -> `-q`, `-R`; `j3` -> `-j`, `3`."""
    parts = [f"-{compound[0]}"]
    for at, letter in enumerate(compound[1:], start=1):
        if not letter.isalpha():
            return [*parts, compound[at:]]
        parts.append(f"-{letter}")
    return parts


_SWITCHES: Final[Mapping[str, tuple[str, bool]]] = {
    "--keep-going": ("keep_going", True),
    "-k": ("keep_going", True),
    "--keep-failed": ("keep_failed", True),
    "-K": ("keep_failed", True),
    "--no-build-output": ("build_output", False),
    "-Q": ("build_output", False),
    "--no-gc-warning": ("gc_warning", False),
}
"""Option -> field of `Settings` and its value."""

_SECONDS: Final = {"max-silent-time": "max_silent_time", "timeout": "timeout"}
"""Setting -> field of `Settings`; an option of that name, or behind `--option`."""

_LOUDER: Final = {"-v": 1, "--verbose": 1, "--quiet": -1}

_WITHOUT_EFFECT: Final[Mapping[str, int]] = {
    **dict.fromkeys(("-L", "--print-build-logs", "--debug", "--fallback", "--readonly-mode"), 0),
    **dict.fromkeys(("--show-trace", "--refresh", "--offline", "--no-net", "--impure"), 0),
    **dict.fromkeys(("--accept-flake-config", "--no-substitute", "--substitute"), 0),
    **dict.fromkeys(("-j", "--max-jobs", "--cores", "--log-format", "--store", "--builders"), 1),
    **dict.fromkeys(("--experimental-features", "--extra-experimental-features"), 1),
    **dict.fromkeys(("--substituters", "--extra-substituters", "--system"), 1),
    **dict.fromkeys(("--trusted-public-keys", "--extra-trusted-public-keys"), 1),
    **dict.fromkeys(("--max-build-log-size", "--max-free", "--min-free"), 1),
}
"""Option -> words that belong to it.  They are settings of the builder, which sets them itself."""


class Common:
    """Collects the settings that all of Nix's commands share."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}

    def takes(self, option: str, words: Words) -> bool:
        """Whether `option` is one of them; its values are taken along."""
        if option in _SWITCHES:
            name, value = _SWITCHES[option]
            self._fields[name] = value
        elif option in _LOUDER:
            now = self._fields.get("verbosity", int(Verbosity.INFO))
            self._fields["verbosity"] = max(0, now + _LOUDER[option])
        elif option.removeprefix("--") in _SECONDS:
            self._seconds(option.removeprefix("--"), words.value(option))
        elif option == "--option":
            setting, text = words.value(option), words.value(option)
            if setting in _SECONDS:
                self._seconds(setting, text)
        elif option in _WITHOUT_EFFECT:
            for _ in range(_WITHOUT_EFFECT[option]):
                words.value(option)
        else:
            return False
        return True

    def _seconds(self, setting: str, value: str) -> None:
        if not value.isascii() or not value.isdigit():
            raise usage(f"'{value}' is not an integer")
        self._fields[_SECONDS[setting]] = int(value)

    @property
    def settings(self) -> Settings:
        """All of them."""
        return Settings(**self._fields)
