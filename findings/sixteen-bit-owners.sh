#!/bin/sh
# Owners above 65,535, as user namespaces make them, and the small tools of ext2 and ext4 in Debian 12.
# Guess: genext2fs 1.5.0 refuses what ext2's first inodes could not hold; e2cp 0.1.0 stores 32 bits,
# e2ls shows them, as both are built on libext2fs.
# Seen: all take the low 16 bits and exit 0: 100000 becomes 34464, which e2fsck cannot know.
. "$(dirname "$0")/lib.sh"
deb genext2fs 1.5.0-3
deb e2tools 0.1.0-3
cat >archive.py <<'PY'
import io, tarfile
with tarfile.open("tree.tar", "w", format=tarfile.PAX_FORMAT) as tar:
    entry = tarfile.TarInfo("file")
    entry.size, entry.uid, entry.gid = 5, 100000, 200000
    tar.addfile(entry, io.BytesIO(b"text\n"))
PY
python3 archive.py
genext2fs -b 2048 -a tree.tar by-genext2fs >/dev/null 2>&1
expect 'exit code of genext2fs' $? 0
expect 'owner by genext2fs' "$(field by-genext2fs file User) $(field by-genext2fs file Group)" \
    '34464 3392'
mke2fs -q -t ext4 image 16M >/dev/null
echo text >file
e2cp -O 100000 -G 200000 file image:/file
expect 'exit code of e2cp' $? 0
expect 'owner by e2cp' "$(field image file User) $(field image file Group)" '34464 3392'
debugfs -w -R 'sif file uid 100000' image 2>/dev/null
expect 'owner of 100000 by e2ls' "$(e2ls -l image:/file | awk 'NF { print $3 }')" 34464
exit "$failed"
