"""machine.py - one machine that boots an EFI system partition: Bochs, QEMU with KVM, or QEMU without.

    spec = Spec(kind='bochs', cpus=2)
    with Machine(esp, spec) as machine:
        machine.console.expect(r'login:', timeout=60)
        machine.console.send('root\\n')
        result = machine.wait()

The console is a pexpect object on COM1. A guest ends the run by writing ESC [ X <code> to port 0xE9 and then
<code> to port 0xF4: Bochs is ended by the first, QEMU (isa-debug-exit) by the second.
"""
import dataclasses
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pexpect
from pexpect.spawnbase import SpawnBase

from . import bochs, disk, qemu, snapshot
from .disk import ToolError

KINDS = ('bochs', 'qemu-kvm', 'qemu-tcg')
DEFAULT_MODEL = snapshot.BASE_MODEL
LINUX_IPS = 50_000_000      # the ips to use when Linux runs: its timer ticks are then rare enough
HOST_BUDGET_S = 120


@dataclasses.dataclass(frozen=True)
class Spec:
    """What machine. model, ips, cold and strict_msrs are Bochs's alone."""
    kind: str = 'bochs'
    cpus: int = 2
    memory: int = 512               # MiB
    model: str = DEFAULT_MODEL
    ips: int = snapshot.BASE_IPS    # instructions that make one emulated second
    cold: bool = False              # a true boot from power-on instead of a restored snapshot
    strict_msrs: bool = False       # unknown MSRs raise #GP (in restored runs)
    gop: bool = False               # a display with a UEFI graphics mode (QEMU always has one)


@dataclasses.dataclass
class Result:
    cpus: int           # of the machine
    code: int           # the guest's own, or one of bochs.EXIT_*
    why: str            # words for the code, if it is not the guest's own
    com1: str
    e9: str
    ticks: int | None   # Bochs: emulated instructions in this run, where they are known
    seconds: float
    report: str         # what the emulator had to say

    def __str__(self):
        return (f'exit code {self.code} {self.why} after {self.seconds:.1f} s, {self.ticks} ticks\n'
                f'--- COM1\n{self.com1}\n--- port 0xE9\n{self.e9}\n{self.report}')


class Console(SpawnBase):
    """COM1 as a pexpect object; what the guest writes is kept until somebody expects it."""

    def __init__(self, send):
        super().__init__(timeout=HOST_BUDGET_S, encoding='utf-8', codec_errors='replace')
        self.delimiter = pexpect.EOF
        self.searchwindowsize = 1 << 16
        self._send, self._pending, self._ended = send, b'', False
        self._changed = threading.Condition()

    def feed(self, data):
        with self._changed:
            self._pending += data.replace(b'\r', b'')
            self._changed.notify_all()

    def end(self):
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def read_nonblocking(self, size=1, timeout=-1):
        timeout = self.timeout if timeout == -1 else timeout
        with self._changed:
            if not self._changed.wait_for(lambda: self._pending or self._ended, timeout):
                raise pexpect.TIMEOUT('nothing on COM1')
            if not self._pending:
                self.flag_eof = True
                raise pexpect.EOF('the machine has ended')
            data, self._pending = self._pending[:size], self._pending[size:]
        text = self._decoder.decode(data, final=False)
        self._log(text, 'read')
        return text

    def isalive(self):
        return not self._ended

    def send(self, text):
        self._log(text, 'send')
        self._send(self._encoder.encode(text, final=False))
        return len(text)


class Machine:
    """A context manager: entering it starts the machine, leaving it ends the machine."""

    def __init__(self, esp, spec, *, timeout=HOST_BUDGET_S, ticks_limit=None, keep=None, mirror=None,
                 log_limit=bochs.LOG_LIMIT):
        """esp: the folder with the EFI system partition's files. timeout: host seconds for the whole run.
        keep: a folder for the run's files that is left there. mirror: called with all of COM1's bytes.
        log_limit: of Bochs's log, in bytes; it has a line for each NMI."""
        if spec.kind not in KINDS:
            raise ToolError(f'no such machine: {spec.kind}; there are {", ".join(KINDS)}')
        self.esp, self.spec, self.timeout, self.ticks_limit = Path(esp).resolve(), spec, timeout, ticks_limit
        self.mirror, self.log_limit = mirror, log_limit
        self.console = Console(self._send)
        self._com1, self._e9 = [], []
        self._keep, self._temporary, self._saved = keep, None, None
        self.backend = None
        self.started = 0.0

    def __enter__(self):
        if self._keep:
            self.folder = Path(self._keep)
            self.folder.mkdir(parents=True)
        else:
            self._temporary = tempfile.TemporaryDirectory(prefix='patchbay-')
            self.folder = Path(self._temporary.name)
        try:
            self.backend = self._bochs() if self.spec.kind == 'bochs' else self._qemu()
            self.started = time.monotonic()
            self.backend.start()
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(self, *_):
        self.backend.stop()
        self.backend.wait()
        self._clean()

    def _clean(self):
        if self._temporary:
            self._temporary.cleanup()

    def _bochs(self):
        check_model(self.spec.model)
        mib = disk.size_mib(self.esp)
        if self.spec.cold:
            disk.build(self.esp, self.folder / 'disk.img', mib)
            config = self.folder / 'bochsrc'
            config.write_text(snapshot.machine_config(self.spec, self.spec.model, self.spec.ips))
            arguments = ['-f', 'bochsrc']
        else:
            self._saved = snapshot.get(self.spec, mib)
            snapshot.restore(self.spec, self._saved, self.folder, self.esp, mib)
            config = self.folder / 'snap/config'
            arguments = ['-r', 'snap']
        server = socket.create_server(('127.0.0.1', 0))
        snapshot.connect_com1(config, server)
        return bochs.Bochs(self.folder, arguments, bochs.debugger_script(self.spec.cpus, self.ticks_limit), server,
                           on_com1=self._on_com1, on_e9=self._on_e9, on_end=self.console.end, timeout=self.timeout,
                           log_limit=self.log_limit)

    def _qemu(self):
        disk.build(self.esp, self.folder / 'disk.img', disk.size_mib(self.esp))
        server = socket.create_server(('127.0.0.1', 0))
        return qemu.Qemu(self.folder, self.spec, server, on_com1=self._on_com1, on_e9=self._on_e9,
                         on_end=self.console.end, timeout=self.timeout)

    def _on_com1(self, data):
        self._com1.append(data)
        self.console.feed(data)
        if self.mirror:
            self.mirror(data)

    def _on_e9(self, data):
        self._e9.append(data)

    def _send(self, data):
        self.backend.send(data)

    @property
    def com1(self):
        """All that came over COM1 so far."""
        return b''.join(self._com1).decode(errors='replace').replace('\r', '')

    @property
    def e9(self):
        """All that came over port 0xE9 so far."""
        return b''.join(self._e9).decode(errors='replace')

    def screenshot(self):
        """QEMU: the screen's pixels, (width, height, RGB bytes)."""
        return self.backend.screenshot()

    def wait(self):
        """Waits for the end of the run, whoever brings it about, and tells about it."""
        code = self.backend.wait()
        if self._saved and self.backend.version:
            snapshot.check_restored(self._saved, self.folder)
        return Result(self.spec.cpus, code, self.backend.why, self.com1, self.e9, self.backend.ticks,
                      time.monotonic() - self.started, self.backend.report() if code else '')


def run(esp, spec, **options):
    """Boots and waits for the end: for guests that end by themselves."""
    with Machine(esp, spec, **options) as machine:
        return machine.wait()


def check_model(model):
    """Bochs itself would run some default machine instead of one with an unknown CPU model."""
    listing = subprocess.run([bochs.program(), '--help', 'cpu'], stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT,
                             stdout=subprocess.PIPE, check=False).stdout.decode(errors='replace')
    if model not in listing.split():
        raise ToolError(f'no such CPU model: {model}; "bochs --help cpu" lists them')


def kvm_offers_vmx():
    """Whether QEMU with KVM can give a guest VMX here: (bool, the reason in words)."""
    flags = Path('/proc/cpuinfo').read_text() if os.path.exists('/proc/cpuinfo') else ''
    if not re.search(r'^flags\s*:.*\bvmx\b', flags, re.M):
        return False, 'this CPU (as the kernel sees it) has no VT-x'
    if not os.path.exists('/dev/kvm'):
        return False, 'there is no /dev/kvm'
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return False, '/dev/kvm is not accessible to this user (group kvm)'
    nested = Path('/sys/module/kvm_intel/parameters/nested')
    if not nested.exists() or nested.read_text().strip() not in ('Y', '1'):
        return False, 'the module kvm_intel is not loaded with nested=1'
    if not shutil.which('qemu-system-x86_64'):
        return False, 'qemu-system-x86_64 is not installed'
    return True, '/dev/kvm offers VMX to guests'
