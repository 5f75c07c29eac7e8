#!/bin/sh
# ext2fs 4.2.5 (npm; libext2fs as WebAssembly behind Node's fs interface) and stat.
# Guess: times and owners as libext2fs knows them; readFile without an encoding gives a Buffer, as
# Node's does.
# Seen: stat of a file from 2038 on is rejected, as the time is taken for a negative error number; the
# owner has its low 16 bits only; readFile gives a string.
. "$(dirname "$0")/lib.sh"
npm install --silent --no-audit --no-fund ext2fs@4.2.5 file-disk@8.0.1 >/dev/null
echo 'ext2fs 4.2.5, file-disk 8.0.1'
mkdir tree && echo text >tree/old && echo text >tree/new
mke2fs -q -t ext4 -d tree image 16M >/dev/null
debugfs -w -R 'sif old uid 100000' image 2>/dev/null
debugfs -w -R 'sif new mtime @2220000000' image 2>/dev/null
cat >seen.js <<'JS'
const { withMountedDisk } = require('ext2fs');
const { FileDisk, withOpenFile } = require('file-disk');
withOpenFile('image', 'r', (handle) =>
    withMountedDisk(new FileDisk(handle, true), 0, async ({ promises: fs }) => {
        const old = await fs.stat('/old');
        const later = await fs.stat('/new').then(() => 'taken', () => 'rejected');
        console.log(old.uid, later, typeof await fs.readFile('/old'));
    }));
JS
expect 'the owner by debugfs' "$(field image old User)" 100000
expect 'owner, stat of 2040, type of contents' "$(node seen.js)" '34464 rejected string'
exit "$failed"
