#!/bin/sh
# fuse2fs 1.47.0 and the nanoseconds of times (root and /dev/fuse).
# Guess: a file's time is shown as it lies on the disk.
# Seen: nanoseconds are stored when a file is written through it, but shown as zeros, so that a copy
# made through fuse2fs is newer or older than its source to make and rsync.
. "$(dirname "$0")/lib.sh"
deb fuse2fs 1.47.0-2+b2
[ -e /dev/fuse ] || { echo 'needs /dev/fuse' >&2; exit 1; }
mke2fs -q -t ext4 -O ^has_journal image 16M >/dev/null
mkdir mount
fuse2fs -o rw,fakeroot image mount >/dev/null 2>&1
trap 'umount mount 2>/dev/null || true; cd /; rm -rf "$work"' EXIT
echo text >mount/file
touch -d '2020-01-01 00:00:00.123456789 UTC' mount/file
shown=$(stat -c %y mount/file)
umount mount
for _ in 1 2 3 4 5; do fuser image >/dev/null 2>&1 || break; sleep 1; done
expect 'shown' "$shown" '2020-01-01 00:00:00.000000000 +0000'
expect 'on the disk' \
    "$(debugfs -R 'stat file' image 2>/dev/null | sed -n 's/.* mtime: \([^ ]*\).*/\1/p')" \
    '0x5e0be100:1d6f3454'
exit "$failed"
