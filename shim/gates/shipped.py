"""Exceptions that ship with us: places where a rule of the gates is known not to hold.

Each is about files that a native build would contain in just the same way: code for other machines
by purpose, or code with an ABI of its own.  Nothing here concerns references: no package may refer
to the cross set.
"""

from typing import Final

from shim.gates.rules import Override
from shim.gates.verdict import Severity

NOTE, WARNING = Severity.NOTE, Severity.WARNING

_KERNEL_ABI: Final = "kernels do not use floating point and have a calling convention of their own"
_HELPERS: Final = "helper programs of a kernel's build tree run on the machine that built it"
_FIRMWARE: Final = "firmware is for the processors it is loaded into"
_DISPATCH: Final = "it asks the processor before it runs code for newer ones"
_TEST_DATA: Final = "test data holds files for many machines on purpose"

SHIPPED: Final = (
    # Kernel modules (of any package), vmlinux, vDSOs: no hard-float tags, no page alignment.
    Override("elf.flags", NOTE, _KERNEL_ABI, path="*.ko*"),
    Override("elf.float-abi", NOTE, _KERNEL_ABI, path="*.ko*"),
    Override("elf.cpu-arch", NOTE, _DISPATCH, path="*.ko*"),
    Override("elf.flags", NOTE, _KERNEL_ABI, name="linux-*", path="*/vmlinux*"),
    Override("elf.float-abi", NOTE, _KERNEL_ABI, name="linux-*", path="*/vmlinux*"),
    Override("elf.cpu-arch", NOTE, _DISPATCH, name="linux-*", path="*/vmlinux*"),
    Override("elf.*", NOTE, _KERNEL_ABI, name="linux-*", path="*/vdso/*"),
    Override("loading.*", NOTE, _KERNEL_ABI, name="linux-*", path="*/vdso/*"),
    # `make modules` runs scripts/mod/modpost and others; the board needs its own to build modules.
    Override("elf.*", WARNING, _HELPERS, name="linux-*", path="dev/lib/modules/*/build/scripts/*"),
    Override("elf.*", WARNING, _HELPERS, name="linux-*", path="dev/lib/modules/*/build/tools/*"),
    # Assembly for processors newer than the platform's least, of which the whole file then speaks.
    Override("elf.cpu-arch", NOTE, _DISPATCH, name="libgcrypt-*"),
    Override("elf.cpu-arch", NOTE, _DISPATCH, name="libopus-*"),
    Override("elf.cpu-arch", NOTE, _DISPATCH, name="crypto++-*"),
    Override("elf.cpu-arch", NOTE, _DISPATCH, name="dav1d-*"),
    Override("elf.cpu-arch", NOTE, _DISPATCH, path="*/libatomic.*"),
    # Firmware and boot loaders.
    Override("elf.*", NOTE, _FIRMWARE, path="*/lib/firmware/*"),
    Override("loading.*", NOTE, _FIRMWARE, path="*/lib/firmware/*"),
    Override("elf.*", NOTE, _FIRMWARE, name="*firmware*"),
    Override("elf.*", NOTE, _FIRMWARE, name="u-boot*"),
    Override("elf.*", NOTE, _FIRMWARE, name="uboot*"),
    Override("elf.*", NOTE, _FIRMWARE, name="opensbi*"),
    Override("elf.*", NOTE, _FIRMWARE, name="grub-*", path="*/lib/grub/*"),
    Override("elf.*", NOTE, _FIRMWARE, name="ipxe*"),
    Override("elf.*", NOTE, _FIRMWARE, name="syslinux*", path="*/share/*"),
    Override("elf.*", NOTE, _FIRMWARE, name="qemu*", path="*/share/qemu/*"),
    Override("loading.*", NOTE, _FIRMWARE, name="qemu*", path="*/share/qemu/*"),
    # Test data.
    Override("elf.*", NOTE, _TEST_DATA, path="*/testdata/*"),
    Override("loading.*", NOTE, _TEST_DATA, path="*/testdata/*"),
    Override("scripts.*", NOTE, _TEST_DATA, path="*/testdata/*"),
)
"""Overrides every judgement begins with, in order; a configuration's own come after and win."""
