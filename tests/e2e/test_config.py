"""What is wrong with patchbay.ini is told with file, line and a suggestion (issue point 9)."""
import boots
import phrases
import pytest

pytestmark = pytest.mark.parametrize('boot', [boots.BAD_CONFIG], ids=str, indirect=True)

# What stands in the file, and what has to be said about that very line.
TEXT_ERRORS = [('memroy', 'memory'), ('[vm good]\nkernel = builtin:beta', 'good'), ('12Q', 'size')]


@pytest.fixture(scope='module')
def errors(boot):
    """{line: text} of all errors."""
    return {int(line): text for line, _, text in phrases.CONFIG_ERROR.findall(boot.text)}


def at(part):
    """The line in which a part of the file begins."""
    return boots.BAD_INI[:boots.BAD_INI.index(part)].count('\n') + 1


def test_unknown_key(boot, errors):
    assert 'memroy' in errors.get(at('memroy'), ''), errors


def test_duplicate_vm_name(boot, errors):
    assert 'good' in errors.get(at('[vm good]\nkernel = builtin:beta'), ''), errors


def test_bad_size_with_a_suggestion(boot, errors):
    said = errors.get(at('memory = 12Q'), '')
    assert '12Q' in said and '256M' in said, errors


def test_missing_file(boot, errors):
    said = errors.get(at('kernel = EFI/patchbay/nowhere.bin'), '')
    assert 'nowhere.bin' in said, errors


def test_more_cpus_than_there_are(boot, errors):
    assert '77' in errors.get(at('cpus = 77'), ''), errors


def test_more_memory_than_there_is(boot, errors):
    assert 'memory' in errors.get(at('memory = 60G'), ''), errors


def test_nothing_panicked(boot):
    assert 'error' not in boot.facts, boot.facts['error']
    assert not phrases.PANIC.search(boot.text)
