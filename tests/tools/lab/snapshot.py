"""snapshot.py - snapshots of a Bochs machine taken just before it loads \\EFI\\BOOT\\BOOTX64.EFI.

OVMF needs 20-30 s in Bochs to get there. One snapshot per machine (CPUs, memory, disk size) is taken inside a
small EFI application (stub.c); a run restores it with a disk of its own, which the stub reads afresh, within
two seconds. tests/README.md says what such a run cannot show.
"""
import fcntl
import hashlib
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from . import bochs, disk
from .disk import ToolError, command

HERE = Path(__file__).resolve().parent
GNU_EFI = dict(include='/usr/include/efi', crt0='/usr/lib/crt0-efi-x86_64.o',
               script='/usr/lib/elf_x86_64_efi.lds', lib='/usr/lib')
OVMF = os.environ.get('OVMF', '/usr/share/ovmf/OVMF.fd')
VGABIOS = os.environ.get('VGABIOS', '/usr/share/vgabios/vgabios.bin')
CACHE = Path(os.environ.get('PB_SNAPSHOTS') or HERE.parents[2] / 'build/snapshots')
BASE_MODEL = 'corei7_haswell_4770'     # the CPU that the firmware sees while a snapshot is made
BASE_IPS = 2_000_000
BOCHS_VERSION = '2.7'                  # bxsnap.c and the edits of restored state are tied to it
FORMAT = 1                             # raise it when _make() stores something else: old ones are then unused
TIMEOUT_S = 300
DEVICE_ORDER = 'device-order'          # a file of ours in a snapshot's folder, see device_order()


def say(*words):
    print('snapshot:', *words, file=sys.stderr, flush=True)


def machine_config(spec, model, ips, com1='127.0.0.1:1'):
    """The text of bochsrc for the machine spec, an object with cpus and memory. Unknown MSRs are
    ignored: the firmware itself reads some."""
    text = (HERE / 'bochsrc.in').read_text()
    values = dict(MEMORY=spec.memory, CPUS=spec.cpus, MODEL=model, OVMF=OVMF, VGABIOS=VGABIOS, IPS=ips, COM1=com1,
                  IGNORE_BAD_MSRS=1, QUANTUM='quantum=16, ' if spec.cpus > 1 else '')
    return re.sub(r'@([A-Z0-9_]+)@', lambda m: str(values[m[1]]), text)


def connect_com1(config_file, server):
    line = f'com1: enabled=1, mode=socket-client, dev=127.0.0.1:{server.getsockname()[1]}'
    config_file.write_text(re.sub(r'(?m)^com1:.*', line, config_file.read_text()))


def device_order(folder):
    """The devices in the order in which Bochs initialised them, from the head of its log.

    Devices number their timers in this order and a snapshot saves timers by number. Bochs 2.7 writes the
    optional plugins into a snapshot's config in another order and would give, for one, the USB controller's
    timer to the UART: _keep_device_order() puts that right, and check_restored() looks that it did."""
    if not (folder / 'bochs.log').exists():
        return []
    with open(folder / 'bochs.log', 'rb') as log:
        return re.findall(r"init_dev of '(\w+)'", log.read(256 << 10).decode(errors='replace'))


def _keep_device_order(config, devices):
    optional = set(re.findall(r'(\w+)=true', re.search(r'(?m)^plugin_ctrl:.*', config)[0]))
    plugins = ', '.join(f'{name}=true' for name in devices if name in optional)
    return re.sub(r'(?m)^plugin_ctrl:.*', f'plugin_ctrl: {plugins}', config)


def _build_programs(folder):
    """Compiles bxsnap.so (for the host) and the stub's ESP (for the guest) into `folder`."""
    boot = folder / 'esp/EFI/BOOT'
    boot.mkdir(parents=True)
    command('gcc', '-O2', '-Wall', '-fPIC', '-shared', '-o', folder / 'bxsnap.so', HERE / 'bxsnap.c', '-ldl')
    build_efi(HERE / 'stub.c', boot / 'BOOTX64.EFI', folder)


def build_efi(source, target, scratch):
    """Compiles one C file that uses gnu-efi into an EFI application."""
    name = scratch / source.stem
    command('gcc', '-O2', '-Wall', '-std=gnu11', '-fpic', '-ffreestanding', '-fno-stack-protector', '-fshort-wchar',
            '-mno-red-zone', '-mgeneral-regs-only', '-maccumulate-outgoing-args', '-DGNU_EFI_USE_MS_ABI',
            '-I', GNU_EFI['include'], '-I', GNU_EFI['include'] + '/x86_64', '-c', source, '-o', f'{name}.o')
    command('ld', '-nostdlib', '-znocombreloc', '-shared', '-Bsymbolic', '-T', GNU_EFI['script'],
            '-L', GNU_EFI['lib'], GNU_EFI['crt0'], f'{name}.o', '-o', f'{name}.so', '-lefi', '-lgnuefi')
    sections = '.text .sdata .data .dynamic .dynsym .rel .rela .rel.* .rela.* .rodata* .reloc'.split()
    command('objcopy', *(f'-j{s}' for s in sections), '--target=efi-app-x86_64', '--subsystem=10', f'{name}.so', target)


def get(spec, mib):
    """Returns the folder of the snapshot for this machine; makes it by a cold boot when there is none.
    Callers at the same time wait for the first one's work."""
    config = machine_config(spec, BASE_MODEL, spec.ips)
    identity = hashlib.sha256(f'{FORMAT} {mib} {config}'.encode())
    for part in (bochs.program(), OVMF, VGABIOS, HERE / 'stub.c', HERE / 'bxsnap.c'):
        identity.update(hashlib.sha256(Path(part).read_bytes()).digest())
    name = f'cpus{spec.cpus}-mem{spec.memory}-disk{mib}-{identity.hexdigest()[:16]}'
    CACHE.mkdir(parents=True, exist_ok=True)
    if not (CACHE / name).is_dir():
        with open(CACHE / f'{name}.lock', 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (CACHE / name).is_dir():
                _make(spec, mib, config, name)
    return CACHE / name


def _make(spec, mib, config, name):
    say(f'none yet for {spec.cpus} CPUs, {spec.memory} MiB, {mib} MiB disk: one cold boot, about 30 s')
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=CACHE, prefix='new-') as new:
        new = Path(new)
        _build_programs(new)
        disk.build(new / 'esp', new / 'disk.img', mib)
        (new / 'bochsrc').write_text(config)
        env = {**os.environ, 'LD_PRELOAD': str(new / 'bxsnap.so'), 'BXSNAP_DIR': 'snap'}
        server = socket.create_server(('127.0.0.1', 0))
        connect_com1(new / 'bochsrc', server)
        run = bochs.Bochs(new, ['-f', 'bochsrc'], bochs.debugger_script(spec.cpus), server, env=env,
                          timeout=TIMEOUT_S, on_com1=lambda data: None, on_e9=lambda data: None)
        run.start()
        if run.wait() != 0 or not (new / 'snap/config').exists():
            raise ToolError(f'the snapshot could not be made: {run.why}\n' + run.report())
        if run.version != BOCHS_VERSION:
            say(f'warning: Bochs {run.version}; this was tested with {BOCHS_VERSION} only')
        snap = new / 'snap'
        devices = device_order(new)
        text = (snap / 'config').read_text()
        (snap / 'config').write_text(_keep_device_order(text, devices))
        (snap / DEVICE_ORDER).write_text(' '.join(devices))
        # Most of the memory image is zeros: keep it as holes. The old disk is of no use.
        command('cp', '--sparse=always', snap / 'memory.ram', new / 'memory.ram')
        os.replace(new / 'memory.ram', snap / 'memory.ram')
        (snap / 'hard_drive.0.drive0.image').unlink()
        os.rename(snap, CACHE / name)
    say(f'made in {time.monotonic() - start:.1f} s')


def restore(spec, saved, folder, esp, mib):
    """Fills `folder` so that Bochs can restore from folder/snap: links to the saved files (Bochs only reads
    them), with its own disk and its own changes to the CPU's state."""
    snap = folder / 'snap'
    snap.mkdir()
    for item in saved.iterdir():
        if item.name == DEVICE_ORDER:
            continue
        if item.name == 'config':
            text = re.sub(r'(?m)^(cpu:.*\bmodel=)\w+', rf'\g<1>{spec.model}', item.read_text())
            if spec.strict_msrs:
                text = text.replace('ignore_bad_msrs=1', 'ignore_bad_msrs=0')
            (snap / 'config').write_text(text)
        elif re.fullmatch(r'cpu\d+', item.name):
            # XCR0 still has its reset value, 1; a model without XSAVE must not be given one.
            (snap / item.name).write_text(re.sub(r'(?m)^ *XCR0 = 0x0*1\n', '', item.read_text()))
        else:
            (snap / item.name).symlink_to(item.resolve())
    # Bochs opens disk.img first, for its size, and then copies the saved image over it.
    disk.build(esp, snap / 'hard_drive.0.drive0.image', mib)
    with open(folder / 'disk.img', 'wb') as image:
        image.truncate(mib << 20)


def check_restored(saved, folder):
    """Raises when a run did not get back the devices that the snapshot was made with."""
    if device_order(folder) != (saved / DEVICE_ORDER).read_text().split():
        raise ToolError('Bochs did not restore the same devices in the same order: do not trust this run')


def remove_all():
    shutil.rmtree(CACHE, ignore_errors=True)
