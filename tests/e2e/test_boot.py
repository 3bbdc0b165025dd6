"""From power-on to the end of the built-in demonstration (B1, B2, B5, B7, Q1-Q8)."""
import boots
import phrases
import pytest

every_demo = pytest.mark.parametrize('boot', boots.DEMO_BOOTS, ids=str, indirect=True)
four_cpus = pytest.mark.parametrize('boot', [boots.DEMO_BOOTS[2]], ids=str, indirect=True)

MAX_BOOT_TICKS = 60_000_000
PAGES_EACH_WAY = 1000


@every_demo
def test_ends_by_itself_with_success(boot):
    assert boot.result.code == 0, boot.result.why


@every_demo
def test_nothing_panicked(boot):
    assert not phrases.PANIC.search(boot.text)


@every_demo
@pytest.mark.parametrize('vm', ['alpha', 'beta'])
def test_demonstration_passes(boot, vm):
    said = phrases.guest_lines(boot.text, vm)
    assert any(phrases.DEMO_PASS in line for line in said), said
    assert not any(phrases.DEMO_FAIL in line for line in said)


@every_demo
def test_every_cpu_has_its_line_of_capabilities(boot):
    """B2: each CPU the machine has is in VMX operation and says what it offers."""
    table = phrases.capabilities(boot.text)
    assert sorted(table) == list(range(boot.result.cpus))
    assert all(len(row) >= 10 for row in table.values()), table


@every_demo
def test_every_vm_is_reported_at_its_end(boot):
    ended = dict(phrases.VM_ENDED.findall(boot.text))
    assert set(ended) == {'alpha', 'beta'}


@every_demo
def test_memory_is_reported_and_within_its_bar(boot):
    """At most 16 MiB and 2 % of guest memory (two guests of 16 MiB)."""
    taken = phrases.MEMORY.findall(boot.text)
    assert taken, 'no line tells what memory the hypervisor takes'
    assert int(taken[-1]) <= 16 * 1024 + 32 * 1024 * 2 // 100


@four_cpus
def test_boot_is_fast(boot):
    """From efi_main to the first guest instruction on all CPUs at 4 CPUs."""
    ticks = phrases.BOOT_TICKS.search(boot.text)
    assert ticks, 'no line tells how long the boot took'
    print('boot ticks:', ticks[1])
    assert int(ticks[1]) <= MAX_BOOT_TICKS


# What is special about a model, as shown by Bochs and by Intel's own tables.
FEATURES = {boots.HASWELL: {'EPT': True, 'VPID': True, 'UG': True, 'TIMER': True},
            boots.PENRYN: {'EPT': False, 'VPID': False, 'UG': False, 'TIMER': False},
            boots.LYNNFIELD: {'EPT': True, 'VPID': True, 'UG': False, 'TIMER': True}}


@every_demo
def test_the_table_is_true(boot):
    """B7: the same demonstration on CPUs with and without EPT, VPID and unrestricted guest."""
    if boot.boot.spec.kind != 'bochs':
        pytest.skip('what the host\'s CPU offers is not known')
    wanted = FEATURES[boot.boot.spec.model]
    table = phrases.capabilities(boot.text)
    assert table
    for row in table.values():
        assert {name: row.get(name) for name in wanted} == wanted
