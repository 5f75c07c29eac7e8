#!/bin/sh
# dump and restore 0.4b47, the classical backup of ext2 to ext4 (root, for a loop device).
# Guess: it reads devices and inline data as libext2fs does, or refuses what it does not know.
# Seen: a device whose numbers need the newer form (kernel: fs/ext4/inode.c, new_decode_dev) comes back
# as 0:0; a file that lies in its inode comes back as zeros. Both programs exit 0.
. "$(dirname "$0")/lib.sh"
deb dump 0.4b47-4
[ "$(id -u)" = 0 ] || { echo 'needs root' >&2; exit 1; }
mkdir tree out && mknod tree/old b 8 1 && mknod tree/new b 259 70000 && echo text >tree/file
mke2fs -q -t ext4 -O ^has_journal,inline_data -I 512 -d tree image 16M >/dev/null
expect 'the file by debugfs' "$(debugfs -R 'cat file' image 2>/dev/null)" text
loop=$(losetup -f --show -r image)
trap 'losetup -d "$loop"; cd /; rm -rf "$work"' EXIT
dump -0 -q -f archive "$loop" >/dev/null 2>&1
expect 'exit code of dump' $? 0
(cd out && restore -rf ../archive >/dev/null 2>&1)
expect 'exit code of restore' $? 0
expect 'devices' "$(stat -c '%t:%T' out/old out/new | tr '\n' ' ')" '8:1 0:0 '
expect 'the file' "$(od -An -tx1 out/file | tr -d '\n')" ' 00 00 00 00 00'
exit "$failed"
