#!/bin/sh
# dissect.extfs 3.15 (Python reader) and a file's time between 2038 and 2106.
# Guess: it adds the two epoch bits as the kernel does (kernel: fs/ext4/ext4.h, ext4_decode_extra_time).
# Seen: it takes the lower 32 bits as unsigned and adds the epoch all the same: 2040 becomes 2176.
. "$(dirname "$0")/lib.sh"
pypi dissect.extfs 3.15
mkdir tree && echo text >tree/file
mke2fs -q -t ext4 -d tree image 16M >/dev/null
debugfs -w -R 'sif file mtime @2220000000' image 2>/dev/null
expect 'the year by debugfs' \
    "$(debugfs -R 'stat file' image 2>/dev/null | sed -n 's/.*mtime:.* //p')" 2040
expect 'the year by dissect.extfs' "$(python3 -c '
from dissect.extfs import ExtFS
print(ExtFS(open("image", "rb")).get("file").mtime.year)')" 2176
exit "$failed"
