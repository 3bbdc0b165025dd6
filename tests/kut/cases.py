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
    wanted: str = ''                    # a line that the guest prints besides
    daily: bool = True                  # False: only with --long
    timeout: int = 120

    def passes_on(self, model, bits):
        for key in ((model, bits), model, bits):
            if key in self.fewer:
                return self.fewer[key]
        return self.passes


def exits(mode, vcpus=1, **more):
    """One mode of the exit benchmark, which runs for 2^30 ticks at least and reports nothing but a figure."""
    return Case(f'vmexit-{mode}', 'vmexit', 0, arguments=mode, vcpus=vcpus, cpus=vcpus, wanted=rf'{mode} \d+',
                daily=False, timeout=900, **more)


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
    Case('access', 'access_test', 1, bits=(64,), daily=False, timeout=7200),
    exits('cpuid'),
    exits('vmcall'),
    exits('mov_to_cr8', bits=(64,)),
    exits('self_ipi_sti_nop'),
    exits('self_ipi_sti_hlt'),
    exits('self_ipi_tpr'),
    exits('toggle_cr0_wp'),
    exits('toggle_cr4_pge'),
)
