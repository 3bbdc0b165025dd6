"""disk.py - a disk image with a GUID partition table and one EFI system partition (FAT32)."""
import os
import shutil
import struct
import subprocess
import uuid
import zlib

PARTITION_SECTOR = 2048
SECTOR = 512
GPT_ENTRIES = 128
GPT_BACKUP_SECTORS = 33                # 32 of entries, 1 of header
SMALLEST_MIB = 64


class ToolError(Exception):
    """Something outside the guest is wrong; the message is for the user."""


def command(*words, **options):
    """Runs a host program; its output is shown when it fails."""
    found = shutil.which(words[0])
    if not found:
        raise ToolError(f'{words[0]} not found: run tests/tools/deps test')
    words = [found, *map(str, words[1:])]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **options)
    if done.returncode:
        raise ToolError(f'{" ".join(words)} failed:\n{done.stdout.decode(errors="replace")}')


def size_mib(esp):
    """Size of a disk for the files in the folder esp: powers of two, so that few snapshots of a booted
    firmware (which knows one disk size only) serve many contents."""
    files = [f for f in esp.rglob('*') if f.is_file()]
    if not any(str(f.relative_to(esp)).upper() == 'EFI/BOOT/BOOTX64.EFI' for f in files):
        raise ToolError(f'{esp} has no EFI/BOOT/BOOTX64.EFI')
    need = sum(f.stat().st_size + 4096 for f in files) * 1.05 + (8 << 20)
    size = SMALLEST_MIB
    while need > size << 20:
        size *= 2
    return size


def _last_usable(sectors):
    return sectors - GPT_BACKUP_SECTORS - 1


def _write_gpt(disk, sectors):
    """UEFI specification, chapter 5. Fixed GUIDs keep runs repeatable."""
    last = _last_usable(sectors)
    entry = struct.pack('<16s16sQQQ72s', uuid.UUID('C12A7328-F81F-11D2-BA4B-00A0C93EC93B').bytes_le,
                        uuid.UUID('FA57B007-0000-4000-8000-000000000002').bytes_le,
                        PARTITION_SECTOR, last, 0, 'ESP'.encode('utf-16le'))
    entries = entry.ljust(GPT_ENTRIES * len(entry), b'\0')

    def write(sector, data):
        disk.seek(sector * SECTOR)
        disk.write(data)

    def header(here, other, table):
        fields = struct.pack('<8sIIIIQQQQ16sQIII', b'EFI PART', 0x10000, 92, 0, 0, here, other, 34, last,
                             uuid.UUID('FA57B007-0000-4000-8000-000000000001').bytes_le,
                             table, GPT_ENTRIES, len(entry), zlib.crc32(entries))
        return fields[:16] + struct.pack('<I', zlib.crc32(fields)) + fields[20:]

    protective = struct.pack('<B3sB3sII', 0, b'\0\2\0', 0xEE, b'\xff\xff\xff', 1, sectors - 1)
    write(0, (bytes(446) + protective).ljust(510, b'\0') + b'\x55\xaa')
    write(1, header(1, sectors - 1, 2))
    write(2, entries)
    write(last + 1, entries)
    write(sectors - 1, header(sectors - 1, 1, last + 1))


def build(esp, image, mib):
    """Writes a disk whose one partition, FAT32, holds the files of the folder esp."""
    sectors = (mib << 20) // SECTOR
    with open(image, 'wb') as disk:
        disk.truncate(sectors * SECTOR)
        _write_gpt(disk, sectors)
    volume = f'{image}@@{PARTITION_SECTOR * SECTOR}'
    command('mformat', '-i', volume, '-F', '-c', max(1, mib // SMALLEST_MIB), '-h', 16, '-s', 63, '-N', 'fa57b007',
            '-H', PARTITION_SECTOR, '-T', _last_usable(sectors) - PARTITION_SECTOR + 1, '::')
    command('mcopy', '-i', volume, '-s', '-Q', '-o', *sorted(esp.iterdir()), '::',
            env={**os.environ, 'MTOOLS_SKIP_CHECK': '1'})
