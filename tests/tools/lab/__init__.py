"""Machines to boot Patchbay on: Bochs, QEMU with KVM, QEMU without. See machine.py."""
