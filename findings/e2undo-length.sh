#!/bin/sh
# e2undo (e2fsprogs 1.47.0) after a growth by resize2fs -z.
# Guess: the file is as it was, to the byte and in its length.
# Seen: the filesystem is, and e2undo exits 0; the file keeps the larger length. The undo file has the
# old size of the filesystem in it, so a caller has to cut the file by itself.
. "$(dirname "$0")/lib.sh"
deb e2fsprogs 1.47.0-2+b2
mke2fs -q -t ext4 image 64M >/dev/null
cp image before
truncate -s 128M image
resize2fs -z undo image >/dev/null 2>&1
e2undo undo image >/dev/null 2>&1
expect 'exit code of e2undo' $? 0
expect 'length' "$(stat -c %s image)" $((128 << 20))
expect 'the first 64 MiB are as before' "$(cmp -n $((64 << 20)) image before && echo yes)" yes
exit "$failed"
