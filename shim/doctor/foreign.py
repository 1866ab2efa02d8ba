"""The smallest programs: each exits with a code of its own, for one kind of processor.

They prove that a foreign program runs where it matters, inside a builder's sandbox, without any
toolchain.  A program of its own kind for this machine tells whether that sandbox is one.
"""

import struct
from typing import Final

from shim.systems import ElfIdentity, System

EXIT_CODE: Final = 42
"""What every program of `smallest` exits with."""

_EXIT: Final = {
    3: bytes.fromhex("bb2a000000b801000000cd80"),
    21: bytes.fromhex("2a0060380100003802000044"),
    22: bytes.fromhex("a729002a0a01"),
    40: bytes.fromhex("2a00a0e30170a0e3000000ef"),
    62: bytes.fromhex("bf2a000000b83c0000000f05"),
    183: bytes.fromhex("400580d2a80b80d2010000d4"),
    243: bytes.fromhex("1305a0029308d00573000000"),
    258: bytes.fromhex("04a880030b74810300002b00"),
}
"""`e_machine` -> code of `exit(42)`: 42 into the first argument's register, the number of the call
into that of the kernel's convention (syscall(2)), the trap."""

_SEES: Final = (
    bytes.fromhex("b815000000"),  # mov eax, 21: access
    bytes.fromhex("488d3d18000000"),  # lea rdi, [rip + 24]: the path behind the code
    bytes.fromhex("31f6"),  # xor esi, esi: F_OK
    bytes.fromhex("0f05"),
    bytes.fromhex("83f8ff"),  # cmp eax, -1
    bytes.fromhex("7f07"),  # jg: it is 0, the path is there
    bytes.fromhex("bf2a000000"),  # mov edi, 42
    bytes.fromhex("eb05"),
    bytes.fromhex("bf2b000000"),  # mov edi, 43
    bytes.fromhex("b83c0000000f05"),  # exit
)

SEEN: Final = EXIT_CODE + 1
"""What `sees` exits with where the path exists."""


def smallest(system: System) -> bytes | None:
    """A static program for `system` that exits with `EXIT_CODE`; None for an unknown processor."""
    code = _EXIT.get(system.elf.machine)
    return None if code is None else _elf(system.elf, code)


def sees(path: str) -> bytes:
    """An x86_64 program that exits with `SEEN` where `path` exists, else with `EXIT_CODE`."""
    code = b"".join(_SEES)
    offset = len(code) - len(_SEES[0]) - len(_SEES[1])
    code = code.replace(_SEES[1], _SEES[1][:3] + struct.pack("<i", offset))
    return _elf(ElfIdentity(62, 64, "little"), code + path.encode() + b"\0")


def _elf(identity: ElfIdentity, code: bytes) -> bytes:
    """An executable of one segment: headers and code (System V ABI, chapters 4 and 5)."""
    order = "<" if identity.endianness == "little" else ">"
    wide = identity.bits == 64
    head, program = (64, 56) if wide else (52, 32)
    base, start = 0x10000, head + program
    size = start + len(code)
    flags = 0
    for rule in identity.flags:
        flags |= max(rule.values)
    words = "QQQ" if wide else "III"
    header = identity.header() + struct.pack(
        f"{order}I{words}IHHHHHH", 1, base + start, head, 0, flags, head, program, 1, 0, 0, 0
    )
    if wide:
        segment = struct.pack(f"{order}IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x10000)
    else:
        segment = struct.pack(f"{order}IIIIIIII", 1, 0, base, base, size, size, 5, 0x10000)
    return header + segment + code
