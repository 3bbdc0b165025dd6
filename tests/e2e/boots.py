"""boots.py - the machines that the tests boot, each once, and what was typed at them.

A Boot names the files on the EFI system partition, the machine, and a drive function that talks to it. The
results are shared by all tests that look at that boot (conftest.py runs two at a time).
"""
import dataclasses
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Callable

import pexpect

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get('BUILD', 'build')     # make BUILD=... says where
sys.path.insert(0, str(ROOT / 'tests/tools'))
from lab import machine, snapshot
from lab.machine import LINUX_IPS, Spec

HASWELL, PENRYN, LYNNFIELD = 'corei7_haswell_4770', 'core2_penryn_t9600', 'corei5_lynnfield_750'


@dataclasses.dataclass(frozen=True)
class Boot:
    name: str                                   # unique; the tests' ids
    files: Callable[[Path], None]               # puts files on the system partition beside BOOTX64.EFI
    spec: Spec
    drive: Callable | None = None               # drive(machine, facts); None: the guests end by themselves
    timeout: int = 120                          # host seconds, on an idle machine with two cores

    def __str__(self):
        return self.name


@dataclasses.dataclass
class Outcome:
    """What a boot left behind."""
    boot: Boot
    result: machine.Result
    facts: dict         # what drive() found out; 'error' if it did not come to its end

    @property
    def text(self):
        return self.result.com1


def run(boot):
    """Boots once and returns the Outcome. Runs in a worker thread."""
    with tempfile.TemporaryDirectory(prefix='patchbay-esp-') as scratch:
        esp = Path(scratch)
        shutil.copytree(BUILD / 'esp', esp, dirs_exist_ok=True)
        (esp / 'EFI/patchbay').mkdir(parents=True, exist_ok=True)
        boot.files(esp)
        facts = {}
        with machine.Machine(esp, boot.spec, timeout=boot.timeout) as running:
            if boot.drive:
                try:
                    boot.drive(running, facts)
                except pexpect.ExceptionPexpect as error:
                    facts['error'] = f'{type(error).__name__} at {str(running.console.buffer)[-400:]!r}'
                    running.backend.stop()
            return Outcome(boot, running.wait(), facts)


def write_ini(esp, text):
    (esp / 'EFI/patchbay/patchbay.ini').write_text(text)


def put(esp, name, source):
    """Copies a file, or writes bytes, to EFI/patchbay/name."""
    target = esp / 'EFI/patchbay' / name
    if isinstance(source, bytes):
        target.write_bytes(source)
    else:
        shutil.copy(source, target)


def guest_images(ini, others=None):
    """Files of a boot of tests/guests/: a configuration, the images of theirs that it names, other files by name."""
    def files(esp):
        for name in set(re.findall(r'^kernel = EFI/patchbay/(\S+)$', ini, re.M)):
            put(esp, name, BUILD / 'tests/guests' / name)
        for name, content in (others or {}).items():
            put(esp, name, content)
        write_ini(esp, ini)
    return files


# ---------------------------------------------------------------- the built-in demonstration

def nothing(esp):
    """No configuration file: the built-in demonstration."""


DEMO_BOOTS = [Boot('demo-1cpu', nothing, Spec(cpus=1)),
              Boot('demo-2cpus', nothing, Spec(cpus=2)),
              Boot('demo-4cpus', nothing, Spec(cpus=4)),
              Boot('demo-8cpus', nothing, Spec(cpus=8), timeout=240),
              Boot('demo-penryn', nothing, Spec(cpus=2, model=PENRYN)),
              Boot('demo-lynnfield', nothing, Spec(cpus=2, model=LYNNFIELD)),
              Boot('demo-strict-msrs', nothing, Spec(cpus=2, strict_msrs=True)),
              Boot('demo-cold', nothing, Spec(cpus=4, cold=True), timeout=240),
              Boot('demo-cold-penryn', nothing, Spec(cpus=2, model=PENRYN, cold=True), timeout=240)]
DEMO_2 = DEMO_BOOTS[1]

DEMO_VMS = """[machine]
exit = on

[vm alpha]
kernel = builtin:alpha
format = flat
memory = 16M
cmdline = peer=beta pages=1000

[vm beta]
kernel = builtin:beta
format = flat
memory = 16M
cmdline = peer=alpha pages=1000

[channel alpha beta]
modes = message, share-ro, donate
depth = 16
"""


def demo_ept(esp):
    """One of the two that exchange pages is paged by EPT, and never runs on its shadow."""
    write_ini(esp, DEMO_VMS.replace('[vm alpha]', '[vm alpha]\npaging = ept'))


DEMO_BOOTS += [Boot('demo-ept', demo_ept, Spec(cpus=2)),
               Boot('demo-ept-1cpu', demo_ept, Spec(cpus=1))]

# ---------------------------------------------------------------- a machine without VMX


def demo_that_stays(esp):
    """The machine is not to be switched off before somebody has looked at its screen."""
    write_ini(esp, DEMO_VMS.replace('exit = on', 'exit = off'))


def drive_no_vmx(running, facts):
    """Waits for the plain line, then takes a picture of the screen."""
    running.console.expect(r'\[patchbay\] the machine is stopped\n', timeout=100)
    facts['screen'] = running.screenshot()
    running.backend.stop()


NO_VMX = Boot('no-vmx', demo_that_stays, Spec(kind='qemu-tcg', cpus=2), drive_no_vmx)

# ---------------------------------------------------------------- configurations with errors

BAD_INI = """[machine]
exit = on
memroy = 5

[vm good]
kernel = builtin:alpha
memory = 16M

[vm huge]
kernel = builtin:beta
memory = 60G

[vm many]
kernel = builtin:beta
cpus = 77

[vm missing]
kernel = EFI/patchbay/nowhere.bin

[vm good]
kernel = builtin:beta

[vm sized]
kernel = builtin:beta
memory = 12Q
"""


def line_of(text, part):
    """The number of the line of text that has part."""
    return next(number for number, line in enumerate(text.split('\n'), 1) if part in line)


def bad_config(esp):
    write_ini(esp, BAD_INI)


def drive_config_errors(running, facts):
    """Errors in the file's text may well mean that nothing runs at all: wait for the last of them."""
    running.console.expect([r"12Q'[^\n]*\n", pexpect.EOF], timeout=60)
    facts['ended'] = running.console.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=10) == 0
    running.backend.stop()


BAD_CONFIG = Boot('bad-config', bad_config, Spec(cpus=2), drive_config_errors)


# ---------------------------------------------------------------- guest images that are not what they claim

BAD_IMAGES = {
    'cut': ('linux', 'memory = 64M'),        # a kernel that ends in the middle
    'text': ('elf', 'memory = 16M'),         # a text file
    'bare': ('multiboot', 'memory = 16M'),   # no multiboot header
    'large': ('flat', 'memory = 4M'),        # larger than the VM's memory
    'torn': ('elf', 'memory = 16M'),         # program headers behind the end of the file
}


def bad_images(esp):
    """One VM for each bad image, and the demonstration, which is to run all the same."""
    kernel = (BUILD / 'linux/vmlinuz').read_bytes()
    put(esp, 'cut.bin', kernel[:200000])
    put(esp, 'text.bin', b'This is no program.\n' * 100)
    put(esp, 'bare.bin', bytes(20000))
    put(esp, 'large.bin', bytes(6 << 20))
    put(esp, 'torn.bin', (BUILD / 'bench/guest.elf').read_bytes()[:100])
    write_ini(esp, DEMO_VMS + ''.join(
        f'\n[vm {name}]\nkernel = EFI/patchbay/{name}.bin\nformat = {kind}\n{more}\n'
        for name, (kind, more) in BAD_IMAGES.items()))


BAD_IMAGE = Boot('bad-images', bad_images, Spec(cpus=2))

# ---------------------------------------------------------------- guests that misbehave, beside some that do not

BAD_GUESTS = {
    # lidt [rip + 1]; int3; an IDT of no entries
    'triple': bytes.fromhex('0f011d01000000 cc') + bytes(10),
    # mov eax, 0xfee00000; fld qword [rax]: the local APIC, by an instruction that is not for devices
    'device': bytes.fromhex('b80000e0fe dd00'),
}


def bad_guests(esp):
    for name, code in BAD_GUESTS.items():
        put(esp, f'{name}.bin', code)
    put(esp, 'step.bin', BUILD / 'tests/guests/step.bin')
    write_ini(esp, DEMO_VMS + ''.join(
        f'\n[vm {name}]\nkernel = EFI/patchbay/{name}.bin\nformat = flat\nmemory = 16M\n'
        for name in (*BAD_GUESTS, 'step')))


BAD_GUEST_BOOTS = [Boot('bad-guests', bad_guests, Spec(cpus=2)),
                   Boot('bad-guests-penryn', bad_guests, Spec(cpus=1, model=PENRYN))]

# ---------------------------------------------------------------- the benchmark guest, whose every read is checked


def bench_guest(esp):
    put(esp, 'bench.bin', BUILD / 'bench/guest.bin')
    shutil.copy(ROOT / 'tests/bench/bench.ini', esp / 'EFI/patchbay/patchbay.ini')


BENCH_BOOTS = [Boot('bench-haswell', bench_guest, Spec(cpus=1, ips=LINUX_IPS), timeout=400),
               Boot('bench-penryn', bench_guest, Spec(cpus=1, ips=LINUX_IPS, model=PENRYN), timeout=400)]

# ---------------------------------------------------------------- guests that ask single questions

GUEST_INI = """[machine]
exit = on

[vm mb32]
kernel = EFI/patchbay/mb32.elf
format = multiboot
memory = 64M
cmdline = first=1 second=two
modules = EFI/patchbay/one.txt the first, EFI/patchbay/two.bin the second one
testdev = on

[vm elf64]
kernel = EFI/patchbay/elf64.elf
format = elf
memory = 64M
cmdline = a b c
testdev = on

[vm real]
kernel = EFI/patchbay/real.elf
format = multiboot
memory = 16M
testdev = on

[vm torture]
kernel = EFI/patchbay/torture64.bin
format = flat
memory = 64M
cmdline = seed=7 steps=4000
testdev = on
"""
MODULES = {'one.txt': b'Patchbay' * 100, 'two.bin': bytes(range(256)) * 33}

guest_files = guest_images(GUEST_INI, MODULES)


def guests_with(line):
    """The same with a line more for each VM."""
    return guest_images(GUEST_INI.replace('testdev = on', f'testdev = on\n{line}'), MODULES)


# By EPT while they do not page; never by EPT; always, with real mode as the CPU has it, or has not.
GUEST_BOOTS = [Boot('guests-haswell', guest_files, Spec(cpus=2), timeout=300),
               Boot('guests-no-ept', guests_with('unpaged = shadow'), Spec(cpus=2), timeout=300),
               Boot('guests-ept', guests_with('paging = ept'), Spec(cpus=2), timeout=300),
               Boot('guests-ept-lynnfield', guests_with('paging = ept'), Spec(cpus=2, model=LYNNFIELD), timeout=300),
               Boot('guests-1cpu', guest_files, Spec(cpus=1), timeout=300),
               Boot('guests-penryn', guest_files, Spec(cpus=2, model=PENRYN), timeout=300),
               Boot('guests-lynnfield', guest_files, Spec(cpus=2, model=LYNNFIELD), timeout=300)]

# The two that begin without paging and go back to it, in VMs of several vCPUs.
TWO_INI = '[machine]\nexit = on\nlog = debug\n' + ''.join(
    f'\n[vm{section}' for section in GUEST_INI.split('\n[vm')[1:] if section.split(']')[0].strip() in ('mb32', 'real'))


def two_vcpus(line):
    return guest_images(TWO_INI.replace('testdev = on', f'testdev = on\nvcpus = 2\n{line}'), MODULES)


TWO_BOOTS = [Boot('guests-2', two_vcpus('unpaged = ept'), Spec(cpus=2), timeout=300),
             Boot('guests-2-no-ept', two_vcpus('unpaged = shadow'), Spec(cpus=2), timeout=300),
             Boot('guests-2-shared', two_vcpus('shadow = shared'), Spec(cpus=2), timeout=300)]

NO_EPT_INI = """[machine]
exit = on

[vm refused]
kernel = EFI/patchbay/elf64.elf
memory = 16M
paging = ept

[vm good]
kernel = EFI/patchbay/elf64.elf
memory = 16M
cmdline = a b c
testdev = on
"""
NO_EPT = Boot('no-ept', guest_images(NO_EPT_INI), Spec(cpus=2, model=PENRYN))

# ---------------------------------------------------------------- a guest and its local APIC

APIC_INI = """[machine]
exit = on

[vm apic]
kernel = EFI/patchbay/apic64.bin
format = flat
memory = 16M
"""

apic_files = guest_images(APIC_INI)
APIC_BOOTS = [Boot('apic-haswell', apic_files, Spec(cpus=1)),
              Boot('apic-penryn', apic_files, Spec(cpus=1, model=PENRYN))]

# ---------------------------------------------------------------- guests that read their counters

STATS_INI = """[machine]
exit = on
log = debug

[vm stats]
kernel = EFI/patchbay/stats64.bin
format = flat
memory = 16M
vcpus = 2

[vm single]
kernel = EFI/patchbay/stats64.bin
format = flat
memory = 16M
"""

stats_files = guest_images(STATS_INI)
STATS_BOOTS = [Boot('stats-haswell', stats_files, Spec(cpus=2)),
               Boot('stats-penryn', stats_files, Spec(cpus=2, model=PENRYN))]

# ---------------------------------------------------------------- several vCPUs on one set of page tables

SHARED_TABLES_INI = """[machine]
exit = on
log = debug

[vm coherent]
kernel = EFI/patchbay/smp64.bin
format = flat
memory = 64M
vcpus = 4
cmdline = seed=2 rounds=300

[vm hostile]
kernel = EFI/patchbay/smp64.bin
format = flat
memory = 64M
vcpus = 3
cmdline = mode=hostile seed=2 rounds=60

[vm witness]
kernel = EFI/patchbay/torture64.bin
format = flat
memory = 64M
cmdline = seed=9 steps=2000
"""

shared_tables_files = guest_images(SHARED_TABLES_INI)
# The vCPUs of a VM share the shadow, too; it is audited every 256 exits.
one_shadow_files = guest_images(re.sub(r'^(vcpus = .*)$', r'\1\nshadow = shared', SHARED_TABLES_INI, flags=re.M)
                                .replace('log = debug', 'log = debug\naudit = on'))
SHARED_TABLES_BOOTS = [
    Boot('shared-tables-haswell', shared_tables_files, Spec(cpus=4), timeout=300),
    Boot('shared-tables-2cpus', shared_tables_files, Spec(cpus=2), timeout=300),
    Boot('shared-tables-penryn', shared_tables_files, Spec(cpus=2, model=PENRYN), timeout=300)]
ONE_SHADOW_BOOTS = [
    Boot('shared-tables-one-shadow', one_shadow_files, Spec(cpus=3), timeout=300),
    Boot('shared-tables-one-shadow-penryn', one_shadow_files, Spec(cpus=2, model=PENRYN), timeout=300)]

# ---------------------------------------------------------------- the guest's own faults on several vCPUs

OWN_FAULTS_INI = """[machine]
exit = on
log = debug

[vm faults]
kernel = EFI/patchbay/smp64.bin
format = flat
memory = 64M
vcpus = 2
cmdline = mode=faults rounds=10

[vm handover]
kernel = EFI/patchbay/smp64.bin
format = flat
memory = 64M
vcpus = 3
cmdline = mode=faults rounds=1 handover=120
"""

own_faults_files = guest_images(OWN_FAULTS_INI)
OWN_FAULTS_BOOTS = [Boot('own-faults-haswell', own_faults_files, Spec(cpus=4)),
                    Boot('own-faults-penryn', own_faults_files, Spec(cpus=2, model=PENRYN))]

# ---------------------------------------------------------------- Linux beside the demonstration

CMDLINE = 'console=ttyS0 quiet nokaslr mitigations=off tsc=reliable clearcpuid=rdrand'
LINUX_INI = DEMO_VMS.replace('exit = on', 'exit = on\nkeyboard = linux') + f"""
[vm linux]
kernel = EFI/patchbay/vmlinuz
initrd = EFI/patchbay/initrd
format = linux
memory = 256M
cmdline = {CMDLINE}
"""
# What is typed at the shell, under which name its output is kept.
COMMANDS = {
    'uname': 'uname -a',
    'cpuinfo': 'cat /proc/cpuinfo',
    'meminfo': 'head -n 3 /proc/meminfo',
    'interrupts': 'cat /proc/interrupts',
    'forks': 'forks 200',
    'dd': 'dd if=/known of=/tmp/copy bs=4096 2>&1',
    'sha256sum': 'sha256sum /tmp/copy',
    'clock': 'date +%s; sleep 1; date +%s',
    'dmesg': 'dmesg',
}


def linux_files(esp):
    """The demonstration VMs exchange so many pages that Linux boots meanwhile."""
    put(esp, 'vmlinuz', BUILD / 'linux/vmlinuz')
    put(esp, 'initrd', BUILD / 'linux/initrd')
    write_ini(esp, LINUX_INI.replace('pages=1000', 'pages=1000 rounds=40'))


def linux_files_short(esp):
    """The same with a shorter exchange: for a second CPU model."""
    linux_files(esp)
    write_ini(esp, LINUX_INI)


def at_shell(running, command, timeout=120):
    """Types one command at the guest's shell; returns the lines that it printed, without the VM's prefix."""
    running.console.send(f'{command}; echo "--$?--end"\n')
    running.console.expect(r'\[linux\] --(\d+)--end[^\n]*\n', timeout=timeout)
    lines = [line[len('[linux] '):] for line in running.console.before.split('\n') if line.startswith('[linux] ')]
    status = int(running.console.match[1])
    return status, '\n'.join(line for line in lines if '--$?--end' not in line)


def drive_linux(running, facts):
    console = running.console
    console.expect(r'tsc shell-ready: (\d+)\n', timeout=700)
    facts['shell_ready'] = int(console.match[1])
    console.expect('linux# ', timeout=60)
    for name, command in COMMANDS.items():
        facts[name] = at_shell(running, command)
    console.send('poweroff\n')
    console.expect(pexpect.EOF, timeout=300)        # the demonstration VMs end too, some time


def linux_ept_files(esp):
    """Its own page tables are what the CPU walks."""
    linux_files(esp)
    write_ini(esp, LINUX_INI.replace('[vm linux]', '[vm linux]\npaging = ept'))


LINUX_BOOTS = [Boot('linux-haswell', linux_files, Spec(cpus=3, ips=LINUX_IPS), drive_linux, 1000),
               Boot('linux-ept', linux_ept_files, Spec(cpus=3, ips=LINUX_IPS), drive_linux, 1000),
               Boot('linux-penryn', linux_files_short, Spec(cpus=3, ips=LINUX_IPS, model=PENRYN), drive_linux, 1000)]


# ---------------------------------------------------------------- the shadows audited after every exit

audited_guest_files = guest_images(GUEST_INI.replace('exit = on', 'exit = on\naudit = every'), MODULES)
LINUX_AUDITED_INI = f"""[machine]
exit = on
audit = every
log = debug

[vm linux]
kernel = EFI/patchbay/vmlinuz
initrd = EFI/patchbay/initrd
format = linux
memory = 256M
cmdline = {CMDLINE}
"""


def linux_audited_files(esp):
    put(esp, 'vmlinuz', BUILD / 'linux/vmlinuz')
    put(esp, 'initrd', BUILD / 'linux/initrd')
    write_ini(esp, LINUX_AUDITED_INI)


def drive_linux_audited(running, facts):
    running.console.expect(r'tsc shell-ready: (\d+)\n', timeout=700)
    running.console.expect('linux# ', timeout=60)
    running.console.send('\x01s')                     # its counters, on the console
    running.console.expect(r'vm linux: 1 vCPU, \d+ ms, patch channels', timeout=60)
    running.console.expect(r'shadow-frames +\d+  frames, now\n', timeout=60)
    facts['table'] = running.console.before
    facts['forks'] = at_shell(running, 'forks 50', timeout=300)
    running.console.send('poweroff\n')
    running.console.expect(pexpect.EOF, timeout=300)


audited_shared_tables_files = guest_images(
    SHARED_TABLES_INI.replace('log = debug', 'audit = every').replace('rounds=300', 'rounds=100'))
AUDITED_SMP_BOOTS = [Boot('audited-shared-tables', audited_shared_tables_files, Spec(cpus=2), timeout=400)]
AUDITED_GUEST_BOOTS = [Boot('audited-guests-haswell', audited_guest_files, Spec(cpus=2), timeout=400),
                       Boot('audited-guests-penryn', audited_guest_files, Spec(cpus=1, model=PENRYN), timeout=400)]
AUDITED_LINUX_BOOTS = [Boot('audited-linux-haswell', linux_audited_files, Spec(cpus=1, ips=LINUX_IPS),
                            drive_linux_audited, 900),
                       Boot('audited-linux-penryn', linux_audited_files,
                            Spec(cpus=1, ips=LINUX_IPS, model=PENRYN), drive_linux_audited, 900)]


def native_files(esp):
    """The same kernel, initramfs and command line, started by the firmware itself."""
    snapshot.build_efi(ROOT / 'tests/e2e/native_linux.c', esp / 'EFI/BOOT/BOOTX64.EFI', esp)
    for left in esp.glob('native_linux.*'):
        left.unlink()
    (esp / 'linux').mkdir()
    for name in ('vmlinuz', 'initrd'):
        shutil.copy(BUILD / 'linux' / name, esp / 'linux')
    (esp / 'linux/cmdline').write_text(f'initrd=\\linux\\initrd {CMDLINE}\n')


def drive_native(running, facts):
    running.console.expect(r'tsc kernel-entry: (\d+)\n', timeout=60)
    entered = int(running.console.match[1])
    running.console.expect(r'tsc shell-ready: (\d+)\n', timeout=400)
    facts['ticks'] = int(running.console.match[1]) - entered
    running.backend.stop()


NATIVE_LINUX = Boot('linux-native', native_files, Spec(cpus=1, ips=LINUX_IPS), drive_native, 400)
