"""bochs.py - runs one Bochs: the guest's output, why the run ended, what a developer wants to see then.

Everything Bochs needs (bochsrc or snap/, disk.img) lies in one folder, which becomes its working directory.
"""
import ctypes
import os
import re
import select
import shutil
import signal
import subprocess
import threading
import time

# How a run ended. The guest's own byte (ESC [ X <byte> on port 0xE9) is passed on as it is, so guests
# should stay below 120. 126 and 127 come from stub.c by the same way.
EXIT_TOOL, EXIT_STOPPED, EXIT_TRIPLE_FAULT, EXIT_PANIC, EXIT_TIMEOUT, EXIT_TICKS = range(120, 126)
MEANING = {EXIT_STOPPED: 'Bochs ended for no known reason', EXIT_TRIPLE_FAULT: 'triple fault',
           EXIT_PANIC: 'Bochs panic', EXIT_TIMEOUT: 'timeout', EXIT_TICKS: 'ticks limit reached',
           126: 'the snapshot stub could not start the application',
           127: 'the application returned an error to the firmware'}

# The debugger's one line about where a CPU is: "(0) [0x...] ..." or, when it stops, "(0).[ticks] [0x...] ...".
CPU_POSITION = re.compile(rb'\(\d+\)(?:\.\[(\d+)\])? \[0x[0-9a-f]+\] .*')
# Lines of bochs.log: "<ticks><level>[<device>] <text>"; errors and panics, and the register dump after a panic.
LOG_NOTABLE = re.compile(rb'\d+[ep]\[|.*(?:VMENTER|VMFAIL|VMEXIT|VMX)')
LOG_INFO = re.compile(rb'\d+i\[')
LOG_REGISTERS = re.compile(rb'\d+i\[CPU\d+ *\] (?:\||CPU is in|[CS]S\.mode|EFER)')
LOG_LIMIT = 32 << 20    # bytes of bochs.log
GRACE_S = 5             # for the debugger to print the registers after a timeout
UART_SETTLE_S = 0.02    # after ESC [ X, for the emulated UART to send what the guest has given it


def program():
    """The emulator itself rather than Debian's shell wrapper around it, where there is one."""
    found = os.environ.get('BOCHS') or shutil.which('bochs-bin') or shutil.which('bochs')
    if not found:
        raise FileNotFoundError('bochs not found: run tests/tools/deps run')
    return found


def debugger_script(cpus, ticks_limit=None):
    """Runs the guest; if anything stops it, shows every CPU's registers and ends Bochs."""
    limit = [f'sb {ticks_limit}'] if ticks_limit else []
    dump = [line for cpu in range(cpus) for line in (f'set $cpu = {cpu}', 'r', 'creg', 'sreg', 'u /3')]
    return '\n'.join(limit + ['c'] + dump + ['q', ''])


class Bochs:
    """One Bochs process with a thread that follows it.

    on_com1, on_e9: called with bytes as the guest writes them; on_end: called once, without arguments.
    After the end: code, why (words for the code), ticks, first_tick, version, report()."""

    def __init__(self, folder, arguments, script, server, *, on_com1, on_e9, on_end=None, env=None, timeout=None,
                 log_limit=LOG_LIMIT):
        """script: debugger commands. server: the listening socket that COM1 connects to. timeout: seconds.
        log_limit: of bochs.log, in bytes."""
        self.folder, self.env, self.timeout, self.log_limit = folder, env, timeout, log_limit
        self.server, self.com1 = server, None
        self.on_com1, self.on_e9, self.on_end = on_com1, on_e9, on_end or (lambda: None)
        (folder / 'rc').write_text(script)
        self.arguments = [program(), '-q', '-unlock', *arguments, '-rc', 'rc']
        self.state = 'banner'       # what Bochs's stdout holds: 'banner', 'guest', then 'debugger'
        self.held = b''             # bytes of stdout not yet understood
        self.code, self.why, self.version, self.ticks, self.first_tick = None, '', None, None, 0
        self.debugger_text = b''
        self.typed, self.typed_lock = b'', threading.Lock()
        self.stop_requested = False
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self.thread.start()

    def send(self, data):
        """Bytes for the guest's COM1; kept until it is connected."""
        with self.typed_lock:
            self.typed += data

    def stop(self):
        """Ends the emulator now; nobody wants to know why."""
        self.stop_requested = True

    def wait(self):
        self.thread.join()
        return self.code

    def _run(self):
        try:
            self._follow()
        finally:
            if self.code is None:
                self.code = EXIT_STOPPED
            self.why = self.why or MEANING.get(self.code, '')
            self.on_end()

    def _follow(self):
        def die_with_parent():
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)                          # 1: PR_SET_PDEATHSIG

        with open(self.folder / 'stderr.txt', 'wb') as stderr:
            process = subprocess.Popen(
                self.arguments, cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=stderr,
                stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=die_with_parent)
        try:
            self._watch(process, process.stdout.fileno())
            if self.code is None and not self.stop_requested:
                process.wait(GRACE_S)       # its stdout is closed: it is on its way out
        finally:
            process.kill()
            process.wait()
            self._drain_com1()
            process.stdout.close()
            if self.com1:
                self.com1.close()
            self.server.close()
        if self.state == 'guest':
            self._guest_lines(self.held)
        if self.code is None:
            self.code = self._classify(process.returncode)

    def _watch(self, process, stdout):
        """Passes output on until Bochs has ended or is to be killed."""
        deadline = time.monotonic() + self.timeout if self.timeout else None
        while not self.stop_requested:
            sources = [stdout, self.com1 or self.server]
            ready = select.select(sources, [], [], 0.05)[0]
            if self.server in ready and not self.com1:
                self.com1 = self.server.accept()[0]
            elif self.com1 in ready:
                self._read_com1()
            if self.com1 and self.typed:
                with self.typed_lock:
                    data, self.typed = self.typed, b''
                self.com1.sendall(data)
            if stdout in ready:
                data = os.read(stdout, 1 << 16)
                if not data:
                    return
                if self._stdout(data):
                    self._settle()
                    return
            now = time.monotonic()
            if deadline and now > deadline:
                if self.code is not None:       # the debugger had its time to show the registers
                    return
                if self.state == 'guest':
                    self._guest_lines(self.held)
                self.held, self.state = b'', 'debugger'
                self.code, deadline = EXIT_TIMEOUT, now + GRACE_S
                process.send_signal(signal.SIGINT)      # stops the guest; the rest of the script runs
            log = self.folder / 'bochs.log'
            if log.exists() and log.stat().st_size > self.log_limit:
                self.code, self.why = EXIT_STOPPED, f'bochs.log grew past {self.log_limit >> 20} MiB'
                return

    def _settle(self):
        """Reads COM1 until the emulated UART has nothing more to say."""
        while self.com1 and select.select([self.com1], [], [], UART_SETTLE_S)[0]:
            self._read_com1()

    def _read_com1(self):
        try:
            data = self.com1.recv(1 << 16)
        except ConnectionError:
            data = b''
        if data:
            self.on_com1(data)
        else:
            self.com1.close()
            self.com1 = None

    def _drain_com1(self):
        """Takes what Bochs wrote before its end and nobody has read yet."""
        while self.com1 and select.select([self.com1], [], [], 0)[0]:
            self._read_com1()

    def _stdout(self, data):
        """Sorts Bochs's stdout: its banner, the guest's port 0xE9, what the debugger says.
        Returns True when the guest has asked for the end."""
        self.held += data
        if self.state == 'banner':
            banner = re.match(rb'(?s).*?Bochs x86 Emulator (\S+).*?Next at t=(\d+)\n', self.held)
            if not banner:
                return False
            self.version, self.first_tick = banner[1].decode(), int(banner[2])
            self.held, self.state = self.held[banner.end():], 'guest'
        ending = re.search(rb'\x1b\[X(.)', self.held, re.S)
        if self.state == 'guest' and ending:
            self.code = ending[1][0]
            self._guest_lines(self.held[:ending.start()])
            self.held = b''
            return True
        *lines, self.held = self.held.split(b'\n')
        for line in lines:
            if self.state == 'guest' and b'Caught time breakpoint' in line:
                self.code, self.state = EXIT_TICKS, 'debugger'
            if self.state == 'guest':
                self._guest_lines(line + b'\n')
            else:
                self.debugger_text = (self.debugger_text + line + b'\n')[-65536:]
                position = CPU_POSITION.match(line)
                if position and position[1]:
                    self.ticks = int(position[1]) - self.first_tick
        return False

    def _guest_lines(self, data):
        position = CPU_POSITION.match(data)
        if not position:
            self.on_e9(data)
        elif position[1]:
            self.ticks = int(position[1]) - self.first_tick

    def _log_tail(self):
        try:
            with open(self.folder / 'bochs.log', 'rb') as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - (256 << 10)))
                return log.read().split(b'\n')
        except FileNotFoundError:
            return []

    def _classify(self, returncode):
        """Why Bochs ended by itself."""
        panics = b'\n'.join(line for line in self._log_tail() if b'>>PANIC<<' in line)
        if b'shutdown requested' in panics:         # "Shutdown" written to port 0x8900
            return 0
        if b'with no resolution' in panics:
            return EXIT_TRIPLE_FAULT
        if panics:
            return EXIT_PANIC
        return 0 if returncode == 0 else EXIT_STOPPED

    def report(self, lines=25):
        """The part of the logs that a developer wants to see after a failure."""
        log = self._log_tail()
        panic = max((i for i, line in enumerate(log) if b'>>PANIC<<' in line), default=len(log))
        errors = (self.folder / 'stderr.txt').read_bytes()[-8192:].split(b'\n')
        parts = [('bochs.log: errors and VMX', [line for line in log if LOG_NOTABLE.match(line)][-lines:]),
                 ('bochs.log: registers at the panic', [line for line in log[panic:] if LOG_REGISTERS.match(line)]),
                 ('debugger', self.debugger_text.split(b'\n')[-200:]),
                 ('stderr', [line for line in errors if not LOG_INFO.match(line)][-lines:])]
        texts = [(title, b'\n'.join(part).strip().decode(errors='replace')) for title, part in parts]
        return '\n'.join(f'--- {title}\n{text}' for title, text in texts if text)
