"""qemu.py - runs one QEMU, with KVM and nested VMX or with TCG (which has no VMX)."""
import ctypes
import json
import select
import shutil
import signal
import socket
import subprocess
import threading
import time

from .snapshot import OVMF
from .disk import ToolError

EXIT_STOPPED, EXIT_TIMEOUT = 121, 124       # as in bochs.py
PORT_EXIT = 0xF4


def arguments(folder, spec):
    """The machine, without its consoles."""
    accelerator = ['-machine', 'q35,accel=kvm', '-cpu', 'host,+vmx'] if spec.kind == 'qemu-kvm' else \
                  ['-machine', 'q35,accel=tcg', '-cpu', 'max']
    return ['qemu-system-x86_64', *accelerator, '-m', f'{spec.memory}M', '-smp', str(spec.cpus), '-bios', OVMF,
            '-drive', f'file={folder}/disk.img,format=raw,if=virtio', '-net', 'none', '-no-reboot',
            '-device', f'isa-debug-exit,iobase={PORT_EXIT:#x},iosize=0x04']


class Qemu:
    """The same interface as bochs.Bochs."""

    def __init__(self, folder, spec, server, *, on_com1, on_e9, on_end=None, timeout=None):
        self.folder, self.spec, self.server, self.timeout = folder, spec, server, timeout
        self.on_com1, self.on_e9, self.on_end = on_com1, on_e9, on_end or (lambda: None)
        self.code, self.why, self.version, self.ticks = None, '', None, None
        self.com1, self.typed, self.typed_lock = None, b'', threading.Lock()
        self.stop_requested = False
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        if not shutil.which('qemu-system-x86_64'):
            raise ToolError('qemu-system-x86_64 not found: run tests/tools/deps run')
        self.thread.start()

    def send(self, data):
        with self.typed_lock:
            self.typed += data

    def stop(self):
        self.stop_requested = True

    def wait(self):
        self.thread.join()
        return self.code

    def _run(self):
        def die_with_parent():
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)                          # 1: PR_SET_PDEATHSIG

        command = [*arguments(self.folder, self.spec), '-display', 'none',
                   '-serial', f'tcp:127.0.0.1:{self.server.getsockname()[1]}',
                   '-debugcon', f'file:{self.folder}/e9.txt', '-qmp', f'unix:{self.folder}/qmp,server=on,wait=off']
        with open(self.folder / 'stderr.txt', 'wb') as stderr:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
                                       preexec_fn=die_with_parent)
        try:
            self._watch(process)
        finally:
            process.kill()
            process.wait()
            self.server.close()
            if self.com1:
                self.com1.close()
            if (self.folder / 'e9.txt').exists():
                self.on_e9((self.folder / 'e9.txt').read_bytes().split(b'\x1b[X')[0])
            if self.code is None:
                # isa-debug-exit ends QEMU with twice the guest's code plus one.
                odd = process.returncode is not None and process.returncode > 0 and process.returncode & 1
                self.code = process.returncode >> 1 if odd else EXIT_STOPPED if process.returncode else 0
            if self.code == EXIT_STOPPED:
                self.why = 'QEMU ended for no known reason'
            self.on_end()

    def _watch(self, process):
        deadline = time.monotonic() + self.timeout if self.timeout else None
        while not self.stop_requested:
            ready = select.select([self.com1 or self.server], [], [], 0.05)[0]
            if self.server in ready and not self.com1:
                self.com1 = self.server.accept()[0]
            elif ready:
                try:
                    data = self.com1.recv(1 << 16)
                except ConnectionError:
                    data = b''
                if not data:
                    process.wait()
                    return
                self.on_com1(data)
            if self.com1 and self.typed:
                with self.typed_lock:
                    data, self.typed = self.typed, b''
                self.com1.sendall(data)
            if not ready and process.poll() is not None:
                return
            if deadline and time.monotonic() > deadline:
                self.code, self.why = EXIT_TIMEOUT, 'timeout'
                return

    def _monitor(self, **request):
        """One command to QEMU's monitor (QMP)."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(10)
            monitor.connect(str(self.folder / 'qmp'))
            stream = monitor.makefile('rw')
            stream.readline()                                   # its greeting
            for message in ({'execute': 'qmp_capabilities'}, request):
                stream.write(json.dumps(message) + '\n')
                stream.flush()
                while True:
                    answer = json.loads(stream.readline())
                    if 'error' in answer:
                        raise ToolError(f'QEMU: {answer["error"]["desc"]}')
                    if 'return' in answer:
                        break

    def screenshot(self):
        path = self.folder / 'screen.ppm'
        self._monitor(execute='screendump', arguments={'filename': str(path)})
        magic, size, _, pixels = path.read_bytes().split(b'\n', 3)
        if magic != b'P6':
            raise ToolError('QEMU wrote no PPM picture')
        width, height = map(int, size.split())
        return width, height, pixels

    def report(self):
        return '--- QEMU\n' + (self.folder / 'stderr.txt').read_text(errors='replace')
