"""A machine that cannot run Patchbay is told why, in one plain line, on serial and on screen (B6)."""
import boots
import phrases
import pytest

pytestmark = pytest.mark.parametrize('boot', [boots.NO_VMX], ids=str, indirect=True)


def test_the_reason_is_on_the_serial_port(boot):
    assert 'error' not in boot.facts, boot.facts['error']
    assert phrases.NO_VMX.search(boot.text)


def test_it_is_said_once(boot):
    """One plain line per reason: not one for each CPU."""
    assert len(phrases.NO_VMX.findall(boot.text)) == 1


def test_nothing_panicked_and_no_vm_ran(boot):
    assert not phrases.PANIC.search(boot.text)
    assert not phrases.ENTERED.search(boot.text)


def test_the_screen_shows_text(boot):
    """Some pixels are lit, but far from all: white letters on black."""
    width, height, pixels = boot.facts['screen']
    lit = sum(1 for at in range(0, len(pixels), 3) if max(pixels[at:at + 3]) > 128)
    assert width * height * 0.0005 < lit < width * height * 0.3
