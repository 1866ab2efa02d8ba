import gzip

import pytest

from tests.support.planted import Planted, rules

PREFIX = "aarch64-unknown-linux-gnu-"


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("bin/x-config", "host=x86_64-unknown-linux-gnu\n", ["leaks.build-triple"]),
        ("lib/pkgconfig/x.pc", "build: x86_64-linux-gnu;\n", ["leaks.build-triple"]),
        ("lib/pkgconfig/x.pc", f"CC={PREFIX}gcc -O2\n", ["leaks.tool-prefix"]),
        ("lib/cmake/X/XConfig.cmake", f'"/bin/{PREFIX}g++"\n', ["leaks.tool-prefix"]),
        ("lib/python3.12/_sysconfigdata__linux_.py", f"'{PREFIX}ar'", ["leaks.tool-prefix"]),
        ("lib/python3.12/config-3.12/Makefile", f"AR={PREFIX}ar\n", ["leaks.tool-prefix"]),
        ("system", "x86_64-linux", ["leaks.build-triple"]),
        ("lib/pkgconfig/x.pc", "host=aarch64-unknown-linux-gnu\nCC=gcc\n", []),
        ("lib/pkgconfig/x.pc", f"{PREFIX}gccgo-like-thing {PREFIX}gcc-14\n", []),
        ("lib/pkgconfig/x.pc", "my-x86_64-linux-gnu x86_64-linux-gnux32\n", []),
        ("share/doc/notes", f"built on x86_64-linux with {PREFIX}gcc\n", []),
    ],
)
def test_installed_configuration_is_judged(
    planted: Planted, path: str, text: str, found: list[str]
) -> None:
    planted.add(path, text.encode(), executable=False)
    verdict = planted.judge()
    assert rules(verdict) == found
    assert verdict.accepted


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cd /build/demo-1.0/src\n", ["leaks.build-folder"]),
        ("cd ../src/build/demo/src\n", []),
        ("cd /srv/build/demo/src\n", []),
        ("ls /build/\n", []),
    ],
)
def test_scripts_do_not_use_the_build_folder(planted: Planted, text: str, found: list[str]) -> None:
    planted.add("bin/x", f"#!/bin/sh\n{text}".encode())
    verdict = planted.judge()
    assert [rule for rule in rules(verdict) if rule != "scripts.unpatched"] == found
    assert verdict.accepted == (not found)


def test_links_do_not_lead_to_the_build_folder(planted: Planted) -> None:
    planted.add("share/link", "/build/demo-1.0/x")
    assert rules(planted.judge()) == ["leaks.build-folder"]


def test_the_build_folder_in_other_contents_is_a_note(planted: Planted) -> None:
    planted.add("lib/x.bin", b"\0/build/demo-1.0/x.c\0")
    planted.add("lib/y.gz", gzip.compress(b"\0/build/demo-1.0/x.c\0"))
    verdict = planted.judge()
    assert rules(verdict) == ["leaks.build-folder-text"]
    assert [(found.path, found.offset) for found in verdict.findings] == [
        ("out/lib/x.bin", 1),
        ("out/lib/y.gz!gzip", 1),
    ]


def test_another_build_folder_can_be_named(planted: Planted) -> None:
    planted.add("bin/x", b"#!/bin/sh\ncd /sandbox/demo/x\n")
    assert "leaks.build-folder" in rules(planted.judge(build_dir="/sandbox"))
