"""cases.py - which of kvm-unit-tests are run, on which CPU models, and what is expected of them.

`passes` is how many PASS lines there are at least, for the version named in README.md: fewer means that a part did
not run. FAIL lines are errors but for those in `refused`: what the test wants there is not what the SDM says, or
not what Patchbay is for, and the words say which.
"""
import dataclasses

HASWELL, SKYLAKE, PENRYN = 'corei7_haswell_4770', 'corei7_skylake_x', 'core2_penryn_t9600'
BROADWELL, ICELAKE = 'broadwell_ult', 'corei7_icelake_u'
USUAL = (HASWELL, SKYLAKE, PENRYN)


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    file: str                           # x86/<file>.flat
    passes: int                         # PASS lines, at least
    arguments: str = ''                 # the guest's command line
    vcpus: int = 1
    cpus: int = 1                       # of the machine
    bits: tuple = (64, 32)              # which builds have it
    models: tuple = USUAL
    fewer: dict = dataclasses.field(default_factory=dict)   # {(model, bits) or model or bits: passes there}
    refused: dict = dataclasses.field(default_factory=dict)  # {words of the FAIL line: why}
    wanted: tuple = ()                  # lines that the guest prints besides
    until: str = ''                     # the machine is stopped when this has been printed: a part of a long test
    daily: bool = True                  # False: only with --long
    timeout: int = 120

    def passes_on(self, model, bits):
        for key in ((model, bits), model, bits):
            if key in self.fewer:
                return self.fewer[key]
        return self.passes


def exits(name, modes, vcpus=1, **more):
    """Modes of the exit benchmark, which run for 2^30 ticks each at least and report nothing but a figure."""
    return Case(name, 'vmexit', 0, arguments=modes, vcpus=vcpus, cpus=vcpus, daily=False, timeout=3600,
                wanted=tuple(rf'^{mode} \d+' for mode in modes.split()), **more)


CASES = (
    Case('setjmp', 'setjmp', 10),
    Case('idt_test', 'idt_test', 4, bits=(64,)),
    Case('tsc', 'tsc', 3, models=(HASWELL, SKYLAKE)),       # reports on RDTSCP and RDPID alone: penryn has neither
    Case('tsc_adjust', 'tsc_adjust', 6),
    Case('memory', 'memory', 4, bits=(64,)),
    Case('rdpru', 'rdpru', 1, bits=(64,)),
    Case('xsave', 'xsave', 386, bits=(64,), fewer={PENRYN: 299}),
    Case('umip', 'umip', 11, models=(*USUAL, ICELAKE)),
    Case('syscall', 'syscall', 1, bits=(64,)),
    Case('smap', 'smap', 18, models=(BROADWELL, SKYLAKE)),
    Case('eventinj', 'eventinj', 13, fewer={32: 15}),
    Case('msr', 'msr', 1808),
    Case('apic', 'apic', 47, bits=(64,), timeout=300),
    Case('ioapic', 'ioapic', 19, bits=(64,)),
    Case('taskswitch2', 'taskswitch2', 13, bits=(32,)),
    # README.md says how it was found out that these three lines are the emulator's.
    Case('debug', 'debug', 22, bits=(64,), refused={
        'w/ MOVSS blocking and DR7.GD=1': 'as on bare Bochs 2.7: DR6 says BS beside BD',
        'MOV SS + watchpoint + int $1': 'as on bare Bochs 2.7: INT n drops the breakpoint put off by MOV SS',
        'MOV SS + watchpoint + INT3': 'as on bare Bochs 2.7: INT3 drops it too'}),
    Case('realmode', 'realmode', 127),
    Case('emulator', 'emulator', 150, fewer={(PENRYN, 64): 149, (PENRYN, 32): 84, 32: 85}),
    Case('smptest', 'smptest', 1, vcpus=2, cpus=2),
    # Three vCPUs on two CPUs: not on penryn, where only an external interrupt ends a time slice, and Bochs loses those
    # that find the guest with interrupts off (README.md).
    Case('smptest3', 'smptest', 1, vcpus=3, cpus=2, models=(HASWELL, SKYLAKE)),
    Case('smptest3-3cpus', 'smptest', 1, vcpus=3, cpus=3, models=(PENRYN,)),
    Case('ioapic4', 'ioapic', 30, vcpus=4, cpus=2, bits=(64,), models=(HASWELL, SKYLAKE)),
    Case('ioapic4-4cpus', 'ioapic', 30, vcpus=4, cpus=4, bits=(64,), models=(PENRYN,)),
    Case('apic2', 'apic', 54, vcpus=2, cpus=2, bits=(64,), daily=False, timeout=3600, refused={
        'nmi-after-sti': 'Bochs 2.7 does not save blocking by STI when a page fault in its shadow exits: README.md'}),
    # A dot is 65536 of 1.9 million cases.
    Case('access-3dots', 'access_test', 0, bits=(64,), until=r'\.\.\.', timeout=600),
    Case('access', 'access_test', 1, bits=(64,), daily=False, timeout=7200),
    exits('vmexit', 'cpuid vmcall mov_to_cr8 self_ipi_sti_nop self_ipi_sti_hlt self_ipi_tpr toggle_cr0_wp '
                    'toggle_cr4_pge', bits=(64,)),
    exits('vmexit2', 'ipi ipi_halt', vcpus=2, bits=(64,)),
)
