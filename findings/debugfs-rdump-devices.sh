#!/bin/sh
# debugfs 1.47.0: what rdump brings out and what write takes in (as root, so that nothing is denied).
# Guess: rdump makes devices and pipes or says that it does not; times keep their nanoseconds; holes
# stay. write takes mode, owner and time of the host's file.
# Seen: rdump leaves devices, pipes and sockets out without a word and exits 0, cuts times to seconds
# and writes holes out; write takes the mode, but root owns the file and its time is now.
. "$(dirname "$0")/lib.sh"
deb e2fsprogs 1.47.0-2+b2
[ "$(id -u)" = 0 ] || { echo 'needs root' >&2; exit 1; }
mkdir tree out && mkfifo tree/pipe && mknod tree/null c 1 3
truncate -s 1M tree/hole && echo text >tree/file
mke2fs -q -t ext4 -d tree image 16M >/dev/null
debugfs -w -R 'sif file mtime_extra 0x1dcd6500' image 2>/dev/null
expect 'sectors of the hole in the image' "$(field image hole Blockcount)" 0
debugfs -R 'rdump / out' image >said 2>&1
expect 'exit code of rdump' $? 0
expect 'words of rdump beside its version' "$(grep -cv '^debugfs ' said || true)" 0
expect 'what is out' "$(ls out | tr '\n' ' ')" 'file hole lost+found '
expect 'nanoseconds' "$(stat -c %y out/file | cut -d. -f2 | cut -c1-9)" 000000000
expect 'sectors of the hole outside' "$(stat -c %b out/hole)" 2048
echo text >in && chown 1000:1000 in && chmod 4711 in && touch -d '2020-01-01 UTC' in
debugfs -w -R 'write in in' image >/dev/null 2>&1
expect 'mode and owner of what was written' \
    "$(field image in Mode) $(field image in User) $(field image in Group)" '04711 0 0'
expect 'its time is not the source'"'"'s' \
    "$(debugfs -R 'stat in' image 2>/dev/null | grep -c 'mtime.*2020' || true)" 0
exit "$failed"
