"""Gate: every ELF file is for the target: machine, word size, byte order, ABI, page size.

Static archives' members come one by one.  Whether a program finds its libraries is the business of
`shim.gates.loading`.
"""

from typing import ClassVar, Final

from shim.gates.armattributes import TAG_CPU_ARCH, TAG_FP_NUMBER_MODEL, TAG_VFP_ARGS
from shim.gates.elffile import ET_DYN, ET_EXEC, PT_LOAD, Elf, ElfError
from shim.gates.gate import Gate, Item
from shim.systems import FloatAbi

EM_NONE: Final = 0
EM_ARM: Final = 40

MACHINES: Final = {
    0: "no machine",
    2: "SPARC",
    3: "i386",
    8: "MIPS",
    20: "PowerPC",
    21: "PowerPC64",
    22: "s390",
    40: "ARM",
    43: "SPARC V9",
    62: "x86-64",
    183: "AArch64",
    243: "RISC-V",
    258: "LoongArch",
}
"""`e_machine` -> name, for messages."""

ELSEWHERE: Final = {190: "CUDA", 224: "AMD GPU", 247: "BPF"}
"""`e_machine` of code that no processor of any platform runs: programs load it into something."""

VFP_ARGS: Final = {0: FloatAbi.SOFT, 1: FloatAbi.HARD}
"""`Tag_ABI_VFP_args` -> calling convention; 2 is the tool's own, 3 fits both."""

EF_ARM_SOFT: Final = 0x200
EF_ARM_HARD: Final = 0x400


class ElfIdentityGate(Gate):
    """Compares each ELF file with the target's row in `shim.systems`."""

    name: ClassVar = "elf"

    def content(self, item: Item) -> None:
        """Look at an ELF file, or pass by what is none."""
        if not item.is_elf or item.held:
            return
        try:
            self._judge(item, item.elf)
        except ElfError as error:
            self.report("elf.malformed", item.path, f"{error}")

    def _judge(self, item: Item, elf: Elf) -> None:
        wanted = self.subject.system.elf
        if elf.machine in ELSEWHERE or elf.machine == EM_NONE:
            what = ELSEWHERE.get(elf.machine, "no machine")
            self.report("elf.no-machine", item.path, f"code for {what}")
            return
        if elf.machine != wanted.machine:
            self.report(
                "elf.machine",
                item.path,
                f"made for {_machine(elf.machine)}, not {_machine(wanted.machine)}",
                offset=18,
            )
            return
        if elf.bits != wanted.bits:
            self.report("elf.class", item.path, f"{elf.bits} bits, not {wanted.bits}", offset=4)
            return
        if elf.endianness != wanted.endianness:
            self.report(
                "elf.endianness",
                item.path,
                f"{elf.endianness} endian, not {wanted.endianness}",
                offset=5,
            )
            return
        if elf.has_code:
            self._judge_abi(item, elf)
        if elf.type in {ET_EXEC, ET_DYN} and not elf.debug_only:
            self._judge_pages(item, elf)
            elf.read()

    def _judge_abi(self, item: Item, elf: Elf) -> None:
        wanted = self.subject.system.elf
        for rule in wanted.flags:
            if elf.flags & rule.mask not in rule.values:
                accepted = " or ".join(f"{value:#x}" for value in sorted(rule.values))
                self.report(
                    "elf.flags",
                    item.path,
                    f"{rule.name} is {elf.flags & rule.mask:#x}, not {accepted}",
                    offset=36 if elf.bits == 32 else 48,
                )
        if wanted.machine == EM_ARM:
            self._judge_arm(item, elf)

    def _judge_arm(self, item: Item, elf: Elf) -> None:
        wanted = self.subject.system.elf
        attributes = elf.arm_attributes()
        found: FloatAbi | None = None
        if attributes is None:
            if elf.flags & EF_ARM_HARD:
                found = FloatAbi.HARD
            elif elf.flags & EF_ARM_SOFT:
                found = FloatAbi.SOFT
        elif attributes.get(TAG_FP_NUMBER_MODEL, 0):
            # GNU ld joins objects without floating point (number model 0) with anything.
            found = VFP_ARGS.get(attributes.get(TAG_VFP_ARGS, 0))
        if wanted.float_abi and found and found != wanted.float_abi:
            self.report("elf.float-abi", item.path, f"{found} float, not {wanted.float_abi} float")
        arch = (attributes or {}).get(TAG_CPU_ARCH)
        if wanted.cpu_arch and arch is not None and arch not in wanted.cpu_arch:
            most = max(wanted.cpu_arch)
            self.report(
                "elf.cpu-arch", item.path, f"Tag_CPU_arch is {arch}, the platform has up to {most}"
            )

    def _judge_pages(self, item: Item, elf: Elf) -> None:
        pages = self.subject.system.page_sizes
        aligned = [part.align for part in elf.segments if part.type == PT_LOAD and part.align > 1]
        if not aligned:
            return
        if min(aligned) < pages[0]:
            self.report(
                "elf.page-size",
                item.path,
                f"aligned to {min(aligned)} bytes, pages have at least {pages[0]}",
            )
        elif min(aligned) < pages[-1]:
            self.report(
                "elf.small-pages",
                item.path,
                f"aligned to {min(aligned)} bytes, pages may have {pages[-1]}",
            )


def _machine(number: int) -> str:
    return MACHINES.get(number, f"machine {number}")
