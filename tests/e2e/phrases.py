"""phrases.py - what the hypervisor and the guests say that the tests look for. One place, so that a change of words
is a change of one line."""
import re

HYPERVISOR = r'^\[patchbay\] '
CPU_HEADING = re.compile(HYPERVISOR + r' *apic(.*\bEPT\b.*)$', re.M)
CPU_LINE = re.compile(HYPERVISOR + r'cpu +(\d+):( +\d+ .*)$', re.M)
ENTERED = re.compile(HYPERVISOR + r'vm (\S+): entered at tsc (\d+)$', re.M)
BOOT_TICKS = re.compile(HYPERVISOR + r'boot: (\d+) ticks from efi_main to the first guest instruction', re.M)
MEMORY = re.compile(HYPERVISOR + r'memory: (\d+) KiB for the hypervisor', re.M)
VM_ENDED = re.compile(HYPERVISOR + r'vm (\S+): ended: (.*)$', re.M)
ALL_ENDED = re.compile(HYPERVISOR + r'all VMs have ended, code (\d+)$', re.M)
NO_VMX = re.compile(HYPERVISOR + r'cannot run here: .*\bVMX\b.*$', re.M)
CONFIG_ERROR = re.compile(HYPERVISOR + r'EFI/patchbay/patchbay\.ini:(\d+):(\d+): error: (.*)$', re.M)
PANIC = re.compile(r'\bpanic\b|broken invariant', re.I)
DEMO_PASS = 'demo: PASS'
DEMO_FAIL = 'demo: FAIL'
LINUX_UP = re.compile(r'^\[linux\] Linux (\S+) is up', re.M)
SHELL_READY = re.compile(r'tsc shell-ready: (\d+)\n')
KERNEL_ENTRY = re.compile(r'tsc kernel-entry: (\d+)\n')
PROMPT = 'linux# '


def guest_lines(text, name):
    """The lines of one VM, without the prefix."""
    prefix = f'[{name}] '
    return [line[len(prefix):] for line in text.split('\n') if line.startswith(prefix)]


def capabilities(text):
    """The table of what VMX offers: {cpu: {feature: bool}}. Its last columns are marked + or -."""
    heading = CPU_HEADING.search(text)
    table = {}
    for number, words in CPU_LINE.findall(text):
        marks = [mark == '+' for mark in words.split() if mark in '+-']
        table[int(number)] = dict(zip(heading[1].split()[-len(marks):], marks)) if heading and marks else {}
    return table
