#!/bin/sh
# Python readers and a file of 300 bytes that lies in its inode (inline_data, inodes of 512 bytes): 60
# bytes in i_block, the rest in the attribute system.data (kernel: fs/ext4/inline.c).
# Guess: a reader that opens such an image puts the two parts together.
# Seen: ext2py 0.1.0, the smallest of them, does. dissect.extfs 3.15 gives the first 60 bytes without an
# error; ext4 1.4.1 gives 300 bytes that are not those of the file.
. "$(dirname "$0")/lib.sh"
pypi dissect.extfs 3.15
pypi ext4 1.4.1
pypi ext2py 0.1.0
mkdir tree && head -c 300 /dev/zero | tr '\0' a >tree/file
mke2fs -q -t ext4 -I 512 -O inline_data -d tree image 16M >/dev/null
debugfs -R 'cat file' image 2>/dev/null >by-debugfs
expect 'debugfs is right' "$(cmp by-debugfs tree/file && echo yes)" yes
expect 'length by dissect.extfs' "$(python3 -c '
from dissect.extfs import ExtFS
data = ExtFS(open("image", "rb")).get("file").open().read()
print(len(data))')" 60
expect 'length, and whether it is right, by ext4' "$(python3 -c '
import ext4
data = ext4.Volume(open("image", "rb")).inode_at("/file").open().read()
print(len(data), data == b"a" * 300)')" '300 False'
expect 'ext2py is right' "$(python-ext2py/bin/ext2py cat image /file | cmp - tree/file && echo yes)" yes
exit "$failed"
