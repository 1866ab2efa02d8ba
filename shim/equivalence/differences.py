"""How two recipes of a pair differ, judged by the rule set.

Before texts are compared, host triples are dropped, own outputs read `$name`, and a mention of
another derivation reads as its name: that a path differs because its platform does is no
difference.  Sources and patches keep their path, which stands for their content.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from protocol.store.path import StorePath
from shim.equivalence.grades import DifferenceClass
from shim.equivalence.platforms import Machine, Platforms
from shim.equivalence.recipe import Mention, Recipe
from shim.equivalence.rules import (
    BENIGN,
    BUILD_TOOLS,
    FLAGS,
    LINES,
    NONE,
    NOTABLE,
    RULES,
    SEMANTIC,
    TEST_TOOLS,
    TOKENS,
    How,
    Rule,
    Token,
)
from shim.equivalence.table import Difference

EXCERPT: Final = 200
"""Characters kept of what only one side says."""

_ON_BUILD: Final = "\x01"
"""Marks, in normalised text, a mention of something that runs on the build machine."""

Judged = tuple[str, DifferenceClass]
"""Name of the rule that fits, and its class."""


class Judge:
    """Compares recipes.  Which machine a cross derivation is for decides what its mention means."""

    def __init__(self, platforms: Platforms) -> None:
        self._platforms = platforms
        self._known: dict[tuple[StorePath, StorePath], tuple[Difference, ...]] = {}

    def differences(self, native: Recipe, cross: Recipe) -> tuple[Difference, ...]:
        """Every difference, ordered by variable."""
        found = self._known.get((native.path, cross.path))
        if found is None:
            found = tuple(self._differences(native, cross))
            self._known[native.path, cross.path] = found
        return found

    def _differences(self, native: Recipe, cross: Recipe) -> Iterator[Difference]:
        ours, theirs = native.derivation.outputs.keys(), cross.derivation.outputs.keys()
        if ours != theirs:
            yield _difference(
                ("outputs", SEMANTIC), "outputs", sorted(ours - theirs), sorted(theirs - ours)
            )
        skipped = ours | theirs | {"outputs"}
        for variable in sorted((native.variables.keys() | cross.variables.keys()) - skipped):
            if native.variable(variable) == cross.variable(variable):
                continue
            left = self._text(native, variable, of_cross=False)
            right = self._text(cross, variable, of_cross=True)
            if left != right.replace(_ON_BUILD, ""):
                rule = next(rule for rule in RULES if rule.variables.fullmatch(variable))
                yield from _judge(rule, variable, left, right, _checks_dropped(native, cross))

    def _text(self, recipe: Recipe, variable: str, *, of_cross: bool) -> str:
        """The text of a variable with everything replaced that differs with the platform."""
        mentions = recipe.mentions.get(variable)
        if not mentions:
            return self._literal(recipe, recipe.variable(variable))
        parts = [self._literal(recipe, mentions[0].before)]
        for mention in mentions:
            parts += (self._word(mention, of_cross=of_cross), self._literal(recipe, mention.after))
        return "".join(parts)

    def _literal(self, recipe: Recipe, text: str) -> str:
        if recipe.path.store_dir in text:
            for name, path in recipe.outputs.items():
                text = text.replace(path, f"${name}")
        return self._platforms.neutral(text).replace(_ON_BUILD, " ")

    def _word(self, mention: Mention, *, of_cross: bool) -> str:
        if mention.derivation is None or self._platforms.is_fixed(mention.derivation):
            return mention.path
        on_build = of_cross and self._platforms.machine(mention.derivation) is Machine.BUILD
        name = self._platforms.plain(mention.derivation.name.removesuffix(".drv"))
        output = "" if mention.output == "out" else f"!{mention.output}"
        return f"{_ON_BUILD if on_build else ''}{name}{output}"


def worst(differences: Iterable[Difference]) -> DifferenceClass:
    """The class of a pair: that of its worst difference."""
    return max((one.difference_class for one in differences), default=NONE)


def _checks_dropped(native: Recipe, cross: Recipe) -> bool:
    return any(
        native.variable(name) and not cross.variable(name) for name in ("doCheck", "doInstallCheck")
    )


def _judge(
    rule: Rule, variable: str, left: str, right: str, checks_dropped: bool
) -> Iterator[Difference]:
    match rule.how:
        case How.WHOLE:
            judged = rule.name, rule.dropped if left else rule.added
            yield _difference(judged, variable, [left], [right])
        case How.TOKENS:
            if rule.name == BUILD_TOOLS:
                left, right = _without_outputs(left), _without_outputs(right)
            dropped, added = _only(left.split(), right.split())
            judged_tokens = [
                *((_token(rule, one, rule.dropped, checks_dropped), one, 0) for one in dropped),
                *((_token(rule, one, rule.added, checks_dropped), one, 1) for one in added),
            ]
            yield from _grouped(variable, judged_tokens)
        case How.LINES:
            dropped, added = _only(_lines(left), _lines(right))
            on_build = not dropped and all(_ON_BUILD in one and "$" not in one for one in added)
            usual = (BUILD_TOOLS, NOTABLE) if on_build else (rule.name, rule.dropped)
            judged_lines = [
                (_known(LINES, one) or usual, one, side)
                for side, lines in enumerate((dropped, added))
                for one in lines
            ]
            yield from _grouped(variable, judged_lines)


def _without_outputs(text: str) -> str:
    """Tools by name only: a cross recipe may take another output of one (perl's `mini`)."""
    return " ".join(word.partition("!")[0] for word in text.split())


def _token(rule: Rule, token: str, otherwise: DifferenceClass, checks_dropped: bool) -> Judged:
    known = _known(TOKENS, token)
    if known is not None:
        return known
    if rule.name == FLAGS and _ON_BUILD in token:
        return BUILD_TOOLS, BENIGN
    if rule.name == BUILD_TOOLS and checks_dropped and otherwise is NOTABLE:
        return TEST_TOOLS, BENIGN
    return rule.name, otherwise


def _known(rules: Iterable[Token], text: str) -> Judged | None:
    plain = text.replace(_ON_BUILD, "")
    for rule in rules:
        if rule.token.fullmatch(plain):
            return rule.name, rule.difference_class
    return None


def _grouped(variable: str, judged: Iterable[tuple[Judged, str, int]]) -> Iterator[Difference]:
    """One difference for each rule that applied."""
    groups: dict[Judged, tuple[list[str], list[str]]] = {}
    for rule, text, side in judged:
        groups.setdefault(rule, ([], []))[side].append(text)
    for rule, (native, cross) in sorted(groups.items()):
        yield _difference(rule, variable, native, cross)


def _lines(text: str) -> list[str]:
    """Lines that do something: neither blank nor comments."""
    stripped = (line.strip() for line in text.split("\n"))
    return [line for line in stripped if line and not line.startswith("#")]


def _only(left: Sequence[str], right: Sequence[str]) -> tuple[list[str], list[str]]:
    """What only one side has, in order.  Order itself is no difference: flags mostly commute."""
    return _rest(left, right), _rest(right, left)


def _rest(items: Sequence[str], without: Sequence[str]) -> list[str]:
    spare = Counter(one.replace(_ON_BUILD, "") for one in without)
    rest = []
    for item in items:
        key = item.replace(_ON_BUILD, "")
        if spare[key] > 0:
            spare[key] -= 1
        else:
            rest.append(item)
    return rest


def _difference(
    judged: Judged, subject: str, native: Sequence[str], cross: Sequence[str]
) -> Difference:
    """A difference with excerpts of what is different: words, where both sides have some."""
    one, other = " ".join(native), " ".join(cross)
    if len(one) > EXCERPT or len(other) > EXCERPT:
        words, others = _only(one.split(), other.split())
        if words or others:
            one, other = " ".join(words), " ".join(others)
    name, difference_class = judged
    return Difference(name, subject, _excerpt(one), _excerpt(other), difference_class)


def _excerpt(text: str) -> str:
    plain = text.replace(_ON_BUILD, "")
    return plain if len(plain) <= EXCERPT else f"{plain[:EXCERPT]}..."
