"""`make image`: a disk image that other people's tools agree is one (B3), and the host tool for configurations."""
import re
import shutil
import subprocess

import boots
import phrases
import pytest


def run(*words):
    done = subprocess.run(list(map(str, words)), cwd=boots.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, check=False)
    return done.returncode, done.stdout.decode(errors='replace')


def make_image(*more):
    """As a user types it, with no trace of the `make` that runs these tests."""
    code, text = run('env', '-u', 'MAKEFLAGS', '-u', 'MAKELEVEL', '-u', 'MFLAGS', 'make', 'image', *more)
    assert code == 0, text
    return boots.BUILD / 'patchbay.img'


@pytest.fixture(scope='module')
def image():
    return make_image()


def test_the_partition_table_is_sound(image):
    code, text = run('/usr/sbin/sgdisk', '-v', '-p', image)
    assert code == 0 and 'No problems found' in text, text
    assert re.search(r'^\s*1\s+2048\s.*\bEF00\b', text, re.M), text


def test_the_file_system_is_sound(image, tmp_path):
    partition = tmp_path / 'partition'
    with open(image, 'rb') as whole, open(partition, 'wb') as part:
        whole.seek(2048 * 512)
        shutil.copyfileobj(whole, part)
    code, text = run('/usr/sbin/fsck.fat', '-n', partition)
    assert code == 0, text


def test_it_holds_the_application(image):
    code, text = run('mtype', '-i', f'{image}@@1M', '::/EFI/BOOT/BOOTX64.EFI')
    assert code == 0 and text.startswith('MZ')


@pytest.mark.parametrize('boot', [boots.BAD_CONFIG], ids=str, indirect=True)
def test_the_host_tool_says_what_the_boot_says(boot, tmp_path):
    """Of the errors in the file's text, that is; files and CPUs are not there to look at."""
    tool = boots.BUILD / 'patchbay-check'
    if not tool.exists():
        pytest.skip('build/patchbay-check has not been built')
    folder = tmp_path / 'EFI/patchbay'
    folder.mkdir(parents=True)
    (folder / 'patchbay.ini').write_text(boots.BAD_INI)
    code, text = run(tool, folder / 'patchbay.ini')
    assert code != 0
    told = {line: what for line, _, what in phrases.CONFIG_ERROR.findall(boot.text)}
    for part in ('memroy', '12Q'):
        here = re.search(rf'patchbay\.ini:(\d+):\d+: error: (.*{part}.*)', text)
        assert here and told.get(here[1]) == here[2], (text, told)


def test_another_folder_makes_another_image(image, tmp_path):
    """Although its files may be older than the image of before."""
    shutil.copytree(boots.BUILD / 'esp', tmp_path / 'esp')
    (tmp_path / 'esp/EFI/patchbay').mkdir(exist_ok=True)
    (tmp_path / 'esp/EFI/patchbay/mine.txt').write_text('mine')
    code, text = run('mdir', '-b', '-i', f'{make_image(f"ESP={tmp_path}/esp")}@@1M', '::/EFI/patchbay')
    assert code == 0 and 'mine.txt' in text, text
    code, text = run('mdir', '-b', '-i', f'{make_image()}@@1M', '::/EFI')
    assert code == 0 and 'patchbay' not in text, text
