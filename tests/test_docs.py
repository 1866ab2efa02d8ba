"""What the documentation names is there: files that it links to, commands that it shows."""

import re
from pathlib import Path

import pytest

from shim.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
COMMAND = re.compile(r"`(?:[\w/.-]*/)?nix-shim ([a-z-]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_exists(page: Path) -> None:
    assert set(COMMAND.findall(page.read_text())) <= {*COMMANDS, "stdio"}


def test_every_page_can_be_found_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    for page in PAGES[2:]:
        assert f"(docs/{page.name})" in text


def test_every_command_is_documented() -> None:
    text = "".join(page.read_text() for page in PAGES)
    for command in COMMANDS:
        assert f"nix-shim {command}" in text, command
