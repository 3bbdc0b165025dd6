"""boots_smp.py - the boots of VMs with several vCPUs (see boots.py)."""
import re
import shutil

import pexpect

import boots
from boots import BUILD, CMDLINE, HASWELL, LYNNFIELD, PENRYN, ROOT, Boot, guest_images, put, write_ini
from lab.machine import LINUX_IPS, Spec

storm_times = 1     # pytest --long N: so many times the load (conftest.py)

# ---------------------------------------------------------------- shadow = shared


def shared(files):
    """The same boot, but the vCPUs of a VM share their shadow tables."""
    def with_shared(esp):
        files(esp)
        ini = esp / 'EFI/patchbay/patchbay.ini'
        ini.write_text(re.sub(r'^(vcpus = (?!1$).*)$', r'\1\nshadow = shared', ini.read_text(), flags=re.M))
    return with_shared


# ---------------------------------------------------------------- the benchmark guest's case n


def bench_smp(esp):
    put(esp, 'bench.bin', BUILD / 'bench/guest.bin')
    write_ini(esp, (ROOT / 'tests/bench/bench.ini').read_text() + 'vcpus = 2\n')


BENCH_SMP = [Boot('bench-smp', bench_smp, Spec(cpus=2, ips=LINUX_IPS)),
             Boot('bench-smp-1cpu', bench_smp, Spec(cpus=1, ips=LINUX_IPS)),
             Boot('bench-smp-penryn', bench_smp, Spec(cpus=2, ips=LINUX_IPS, model=PENRYN)),
             Boot('bench-smp-penryn-1cpu', bench_smp, Spec(cpus=1, ips=LINUX_IPS, model=PENRYN)),
             Boot('bench-smp-shared', shared(bench_smp), Spec(cpus=2, ips=LINUX_IPS))]

# ---------------------------------------------------------------- tests/guests/cpus64.c

SMP_VM = """
[vm {name}]
kernel = EFI/patchbay/cpus64.bin
format = flat
memory = 64M
vcpus = {vcpus}
cmdline = vcpus={vcpus} {options}
"""


def smp_guest(vcpus, options='', cpus=''):
    """Files of a boot of one VM with so many vCPUs."""
    return guest_images('[machine]\nexit = on\n' + SMP_VM.format(name='smp', vcpus=vcpus, options=options) + cpus)


SMP_BOOTS = [Boot('smp-4on2', smp_guest(4), Spec(cpus=2, ips=LINUX_IPS)),
             Boot('smp-4on2-ept', smp_guest(4, cpus='paging = ept\n'), Spec(cpus=2, ips=LINUX_IPS)),
             Boot('smp-3on1', smp_guest(3), Spec(cpus=1, ips=LINUX_IPS)),
             Boot('smp-8on4-lynnfield', smp_guest(8, 'state=20'), Spec(cpus=4, ips=LINUX_IPS, model=LYNNFIELD)),
             Boot('smp-4on2-penryn', smp_guest(4), Spec(cpus=2, ips=LINUX_IPS, model=PENRYN)),
             Boot('smp-3on1-penryn', smp_guest(3), Spec(cpus=1, ips=LINUX_IPS, model=PENRYN)),
             Boot('smp-4on2-shared', shared(smp_guest(4)), Spec(cpus=2, ips=LINUX_IPS)),
             Boot('smp-3on1-shared-penryn', shared(smp_guest(3)), Spec(cpus=1, ips=LINUX_IPS, model=PENRYN))]
SMP_PINNED = Boot('smp-pinned', smp_guest(3, 'init-bsp=1 rounds=50 state=10 fair=20', 'cpus = 1-2\n'),
                  Spec(cpus=3, ips=LINUX_IPS))

# ---------------------------------------------------------------- Linux

STORM = ('storm forks {vcpus} {forks}', 'storm threads {vcpus} {threads}', 'storm memory 48 {memory}')


def storm(vcpus):
    """The commands of the load, at its present length."""
    return [command.format(vcpus=vcpus, forks=12 * storm_times, threads=40 * storm_times, memory=storm_times)
            for command in STORM]


def linux_smp(vcpus, names, paging):
    """Files of a boot of Linux VMs with so many vCPUs each."""
    def files(esp):
        for name in ('vmlinuz', 'initrd'):
            shutil.copy(BUILD / 'linux' / name, esp / 'EFI/patchbay' / name)
        write_ini(esp, f'[machine]\nexit = on\nkeyboard = {names[0]}\n' + ''.join(
            f'\n[vm {name}]\nkernel = EFI/patchbay/vmlinuz\ninitrd = EFI/patchbay/initrd\nformat = linux\n'
            f'memory = 160M\nvcpus = {vcpus}\npaging = {paging}\ncmdline = {CMDLINE} idle=halt\n' for name in names))
    return files


def drive_linux_smp(vcpus, names):
    """The same load in all VMs at once, then what their kernels have to say."""
    def everywhere(running, facts, key, command):
        """Types one command at every VM's shell; facts[key, name]: what it printed."""
        console = running.console
        for number, name in enumerate(names, 1):
            if len(names) > 1:
                console.send(f'\x01{number}')
                console.expect(rf'keyboard: {name}\n', timeout=60)
            console.send(f'{command}; echo "--$?--{key}"\n')
        text = ''
        for _ in names:
            console.expect(rf'\] --(\d+)--{key}[^\n]*\n', timeout=600 * storm_times)
            text += console.before + console.after
        for name in names:
            lines = [line[len(name) + 3:] for line in text.split('\n') if line.startswith(f'[{name}] ')]
            status = re.search(rf'^--(\d+)--{key}', '\n'.join(lines), re.M)
            facts[key, name] = (int(status[1]) if status else None, '\n'.join(lines))

    def drive(running, facts):
        for _ in names:
            running.console.expect(r'tsc shell-ready: (\d+)\n', timeout=700)
        everywhere(running, facts, 'nproc', 'nproc; cat /proc/interrupts')
        everywhere(running, facts, 'begin', 'tsc load')
        for number, command in enumerate(storm(vcpus)):
            everywhere(running, facts, f'storm{number}', command)
        everywhere(running, facts, 'end', 'tsc load')
        everywhere(running, facts, 'dmesg', 'dmesg')
        for number in range(1, len(names) + 1):
            if len(names) > 1:
                running.console.send(f'\x01{number}')
                running.console.expect(r'keyboard: ', timeout=60)
            running.console.send('poweroff\n')
        running.console.expect(pexpect.EOF, timeout=200)
    return drive


def linux_boot(name, spec, vcpus, names=('linux',), paging='shadow', how=lambda files: files):
    return Boot(name, how(linux_smp(vcpus, names, paging)), spec, drive_linux_smp(vcpus, names), 1500)


LINUX_SMP = [linux_boot('linux-smp-4on2', Spec(cpus=2, ips=LINUX_IPS, model=HASWELL), 4),
             linux_boot('linux-smp-2-ept', Spec(cpus=2, ips=LINUX_IPS, model=HASWELL), 2, paging='ept'),
             linux_boot('linux-smp-2-penryn', Spec(cpus=2, ips=LINUX_IPS, model=PENRYN), 2),
             linux_boot('linux-smp-two', Spec(cpus=2, ips=LINUX_IPS, model=HASWELL), 2, ('one', 'two')),
             linux_boot('linux-smp-shared', Spec(cpus=2, ips=LINUX_IPS, model=HASWELL), 2, how=shared),
             linux_boot('linux-smp-shared-penryn', Spec(cpus=2, ips=LINUX_IPS, model=PENRYN), 2, how=shared)]
VCPUS = {'linux-smp-4on2': 4, 'linux-smp-2-ept': 2, 'linux-smp-2-penryn': 2, 'linux-smp-two': 2, 'linux-smp-shared': 2,
         'linux-smp-shared-penryn': 2}
NAMES = {'linux-smp-two': ('one', 'two')}

# ---------------------------------------------------------------- pages that leave a VM of several vCPUs

PAGES_INI = """[machine]
exit = on

[vm donor]
kernel = EFI/patchbay/cpus64.bin
format = flat
memory = 32M
vcpus = {vcpus}
cmdline = vcpus={vcpus} give=120 peer=sink

[vm sink]
kernel = EFI/patchbay/cpus64.bin
format = flat
memory = 32M
cmdline = sink=1

[channel donor sink]
modes = message, donate
depth = 8
"""


def giving(vcpus):
    """Files of a boot whose VM `donor` gives pages away."""
    return guest_images(PAGES_INI.format(vcpus=vcpus))


GIVING = [Boot('smp-gives-2', giving(4), Spec(cpus=2, ips=LINUX_IPS)),
          Boot('smp-gives-1', giving(3), Spec(cpus=1, ips=LINUX_IPS)),
          Boot('smp-gives-penryn', giving(4), Spec(cpus=3, ips=LINUX_IPS, model=PENRYN))]
