"""How two recipes of a pair differ, and what each difference may do to the result.

`RULES` says which variable is compared how; `TOKENS` judges single flags.  Both are read from the
top, and the first rule that fits decides.  Nothing here knows a package.

Before texts are compared, host triples are dropped, own outputs read `$name`, and a mention of
another derivation reads as its name: that a path differs because its platform does is no
difference.  Sources and patches keep their path, which stands for their content.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from shim.equivalence.grades import DifferenceClass
from shim.equivalence.platforms import Machine, Platforms
from shim.equivalence.recipe import Mention, Recipe
from shim.equivalence.table import Difference

EXCERPT: Final = 200
"""Characters kept of what only one side says."""

NONE, BENIGN, NOTABLE, SEMANTIC = DifferenceClass


class How(Enum):
    """What the parts of a variable are."""

    WHOLE = "whole"
    """One value."""
    TOKENS = "tokens"
    """Flags, or a list of paths, between blanks."""
    LINES = "lines"
    """A script."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a difference in some variables means."""

    name: str
    variables: re.Pattern[str]
    how: How
    dropped: DifferenceClass
    """The class when the native recipe says something that the cross one does not."""
    added: DifferenceClass
    """The class of the reverse."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a flag that only one side has means, wherever it stands."""

    name: str
    token: re.Pattern[str]
    difference_class: DifferenceClass


def _rule(
    name: str, variables: str, how: How, dropped: DifferenceClass, added: DifferenceClass
) -> Rule:
    return Rule(name, re.compile(variables), how, dropped, added)


RULES: Final = (
    _rule(
        "platform",
        r"system|builder|args|stdenv|shell|name|configurePlatforms",
        How.WHOLE,
        BENIGN,
        BENIGN,
    ),
    _rule("strict dependencies", r"strictDeps", How.WHOLE, BENIGN, BENIGN),
    _rule("checks off", r"do(Install)?Check", How.WHOLE, BENIGN, BENIGN),
    _rule(
        "check phase",
        r"(pre|post)?(install)?check(Phase|Target|Inputs)?|(install)?checkFlags(Array)?|(pytest|disabledTest).*|pythonImportsCheck",
        How.WHOLE,
        BENIGN,
        BENIGN,
    ),
    _rule("guard", r"(dis)?allowed(References|Requisites)|outputChecks", How.WHOLE, BENIGN, BENIGN),
    _rule("parallelism", r"enableParallel.*", How.WHOLE, BENIGN, BENIGN),
    _rule("stripping", r"dontStrip.*", How.WHOLE, BENIGN, BENIGN),
    _rule(
        "compilers for the build machine",
        r"depsBuild(Build|Target)(Propagated)?",
        How.TOKENS,
        BENIGN,
        BENIGN,
    ),
    _rule(
        "build tools",
        r"nativeBuildInputs|(propagated|default)NativeBuildInputs",
        How.TOKENS,
        NOTABLE,
        BENIGN,
    ),
    _rule(
        "dependencies",
        r"buildInputs|(propagated|default)BuildInputs|deps(Host|Target).*|paths|pkgs",
        How.TOKENS,
        SEMANTIC,
        SEMANTIC,
    ),
    _rule(
        "sources and patches", r"srcs?|patches|.*[-_]src|.*Patches", How.TOKENS, SEMANTIC, SEMANTIC
    ),
    _rule("outputs", r"outputs", How.TOKENS, SEMANTIC, SEMANTIC),
    _rule("version", r"p?name|version", How.WHOLE, SEMANTIC, SEMANTIC),
    _rule("flags", r".*[fF]lags(Array)?(_.*)?|.*FLAGS", How.TOKENS, SEMANTIC, SEMANTIC),
    _rule(
        "script",
        r".*(Phase|Script|Hook|Command|Commands)|(pre|post)[A-Z].*|setupHooks?|text",
        How.LINES,
        SEMANTIC,
        SEMANTIC,
    ),
    _rule("value", r".*", How.WHOLE, NOTABLE, NOTABLE),
)
"""Variable -> how it is compared and what a difference means; first fit."""

TOKENS: Final = tuple(
    Token(name, re.compile(pattern), difference_class)
    for name, pattern, difference_class in (
        ("platform", r"--(build|host|target)(=.*)?", BENIGN),
        (
            "platform",
            r"-DCMAKE_(HOST_)?(SYSTEM|C_COMPILER|CXX_COMPILER|AR|RANLIB|STRIP|CROSSCOMPILING).*",
            BENIGN,
        ),
        ("platform", r"--cross-file(=.*)?|--native-file(=.*)?|cross_compiling=\S*", BENIGN),
        (
            "tool names",
            r"(--(with-)?)?(cross-prefix|CROSS(_COMPILE)?|(CROSS_)?PREFIX|HOST|CHOST|TARGET|BUILD|host|target)=",
            BENIGN,
        ),
        (
            "tool names",
            r"\"?(--with-)?(CC|CXX|CPP|LD|AR|AS|NM|RANLIB|STRIP|OBJCOPY|OBJDUMP|READELF|PKG_CONFIG|cc|ar|ranlib)=[\w+./$-]*\"?",
            BENIGN,
        ),
        (
            "build tools",
            r"--?(with|enable)-(build|native)-.*|.*_FOR_BUILD=.*|(BUILD|HOST)_?(CC|CXX|AR|LD|CFLAGS)=.*|build(CC|_cc)=.*",
            BENIGN,
        ),
        ("preset configure answer", r"[A-Za-z0-9_]+_cv_[A-Za-z0-9_]+=.*", NOTABLE),
    )
)
"""Flags that tell how something is made; first fit.  Others are judged by their variable."""

_WORD_OF_BUILD_TOOL: Final = "\x01"
"""Marks a mention of something that runs on the build machine inside normalised text."""


class Judge:
    """Compares recipes.  Which machine a cross derivation is for decides what its mention means."""

    def __init__(self, platforms: Platforms) -> None:
        self._platforms = platforms

    def differences(self, native: Recipe, cross: Recipe) -> tuple[Difference, ...]:
        """Every difference, ordered by variable."""
        return tuple(self._differences(native, cross))

    def _differences(self, native: Recipe, cross: Recipe) -> Iterator[Difference]:
        own = native.derivation.outputs.keys() | cross.derivation.outputs.keys()
        if native.derivation.outputs.keys() != cross.derivation.outputs.keys():
            yield from self._set_difference(native, cross)
        for variable in sorted(
            (native.variables.keys() | cross.variables.keys()) - own - {"outputs"}
        ):
            if native.variable(variable) == cross.variable(variable):
                continue
            rule = next(rule for rule in RULES if rule.variables.fullmatch(variable))
            left = self._text(native, variable, mark=False)
            right = self._text(cross, variable, mark=True)
            if left != right.replace(_WORD_OF_BUILD_TOOL, ""):
                yield from self._judge(
                    rule, variable, left, right, self._checks_dropped(native, cross)
                )

    def _checks_dropped(self, native: Recipe, cross: Recipe) -> bool:
        return any(
            native.variable(name) and not cross.variable(name)
            for name in ("doCheck", "doInstallCheck")
        )

    def _set_difference(self, native: Recipe, cross: Recipe) -> Iterator[Difference]:
        left, right = native.derivation.outputs.keys(), cross.derivation.outputs.keys()
        yield Difference(
            "outputs",
            "outputs",
            " ".join(sorted(left - right)),
            " ".join(sorted(right - left)),
            SEMANTIC,
        )

    def _judge(
        self, rule: Rule, variable: str, left: str, right: str, checks_dropped: bool
    ) -> Iterator[Difference]:
        match rule.how:
            case How.WHOLE:
                worst = rule.added if not left else rule.dropped
                yield _difference(rule.name, variable, [left], [right], worst)
            case How.TOKENS:
                yield from self._tokens(rule, variable, left, right, checks_dropped)
            case How.LINES:
                yield from self._lines(rule, variable, left, right)

    def _tokens(
        self, rule: Rule, variable: str, left: str, right: str, checks_dropped: bool
    ) -> Iterator[Difference]:
        dropped, added = _only(left.split(), right.split())
        groups: dict[tuple[str, DifferenceClass], tuple[list[str], list[str]]] = {}
        for tokens, side in ((dropped, 0), (added, 1)):
            for token in tokens:
                name, judged = self._token(rule, token, dropped=side == 0)
                if name == "build tools" and checks_dropped and judged is NOTABLE:
                    name, judged = "test tools", BENIGN
                groups.setdefault((name, judged), ([], []))[side].append(token)
        for (name, judged), (natives, crosses) in sorted(groups.items()):
            yield _difference(name, variable, natives, crosses, judged)

    def _token(self, rule: Rule, token: str, *, dropped: bool) -> tuple[str, DifferenceClass]:
        for known in TOKENS:
            if known.token.fullmatch(token):
                return known.name, known.difference_class
        if rule.name == "flags" and _WORD_OF_BUILD_TOOL in token:
            return "build tools", BENIGN
        return rule.name, rule.dropped if dropped else rule.added

    def _lines(self, rule: Rule, variable: str, left: str, right: str) -> Iterator[Difference]:
        dropped, added = _only(_lines(left), _lines(right))
        if not dropped and not added:
            return
        if not dropped and all(_WORD_OF_BUILD_TOOL in line and "$" not in line for line in added):
            yield _difference("build tools", variable, dropped, added, NOTABLE)
        else:
            yield _difference(rule.name, variable, dropped, added, rule.dropped)

    def _text(self, recipe: Recipe, variable: str, *, mark: bool) -> str:
        """The text of a variable with everything replaced that differs with the platform."""
        mentions = recipe.mentions.get(variable)
        if not mentions:
            return self._literal(recipe, recipe.variable(variable))
        parts = [self._literal(recipe, mentions[0].before)]
        for mention in mentions:
            parts += (self._word(mention, mark=mark), self._literal(recipe, mention.after))
        return "".join(parts)

    def _literal(self, recipe: Recipe, text: str) -> str:
        for name, path in recipe.outputs.items():
            text = text.replace(path, f"${name}")
        return self._platforms.neutral(text)

    def _word(self, mention: Mention, *, mark: bool) -> str:
        if mention.derivation is None:
            return mention.path
        machine = self._platforms.machine(mention.derivation)
        if machine is Machine.ANY:
            return mention.path
        marker = _WORD_OF_BUILD_TOOL if mark and machine is Machine.BUILD else ""
        return f"{marker}{self._platforms.plain(mention.path.name)}"


def worst(differences: Iterable[Difference]) -> DifferenceClass:
    """The class of a pair: that of its worst difference."""
    return max((one.difference_class for one in differences), default=NONE)


def _lines(text: str) -> list[str]:
    """Lines that do something: neither blank nor comments."""
    stripped = (line.strip() for line in text.split("\n"))
    return [line for line in stripped if line and not line.startswith("#")]


def _only(left: list[str], right: list[str]) -> tuple[list[str], list[str]]:
    """What only one side has, in order.  Order itself is no difference: flags commute mostly."""
    plain = [item.replace(_WORD_OF_BUILD_TOOL, "") for item in right]
    return _rest(left, left, plain), _rest(right, plain, left)


def _rest(items: list[str], keys: list[str], without: list[str]) -> list[str]:
    spare = Counter(without)
    rest = []
    for item, key in zip(items, keys, strict=True):
        if spare[key] > 0:
            spare[key] -= 1
        else:
            rest.append(item)
    return rest


def _difference(
    rule: str, subject: str, native: list[str], cross: list[str], judged: DifferenceClass
) -> Difference:
    return Difference(rule, subject, _excerpt(native), _excerpt(cross), judged)


def _excerpt(parts: list[str]) -> str:
    text = " ".join(parts).replace(_WORD_OF_BUILD_TOOL, "")
    return text if len(text) <= EXCERPT else f"{text[:EXCERPT]}..."
