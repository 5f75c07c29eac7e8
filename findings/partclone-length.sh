#!/bin/sh
# partclone.ext4 0.3.23: an image cloned and restored to a file.
# Guess: the file is as long as the filesystem, with holes where nothing was in use.
# Seen: it ends behind the last block in use, and both runs exit 0. `e2fsck -fn` finds nothing wrong
# with it and exits 0; the kernel refuses to mount it ("block count exceeds size of device").
. "$(dirname "$0")/lib.sh"
deb partclone 0.3.23+repack-1
mkdir tree && echo text >tree/file
mke2fs -q -t ext4 -O ^has_journal -d tree image 64M >/dev/null
partclone.ext4 -q -c -s image -o clone >/dev/null 2>&1
partclone.ext4 -q -r -C -s clone -o restored >/dev/null 2>&1
expect 'exit code of partclone' $? 0
expect 'shorter than the filesystem' \
    "$([ "$(stat -c %s restored)" -lt "$(stat -c %s image)" ] && echo yes)" yes
expect 'exit code of e2fsck' "$(e2fsck -fn restored >/dev/null 2>&1; echo $?)" 0
truncate -s 64M restored
expect 'the file is whole when it has its length' \
    "$(debugfs -R 'cat file' restored 2>/dev/null)" text
exit "$failed"
