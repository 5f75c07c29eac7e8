#!/bin/sh
# Attributes and ACLs in archives of bsdtar 3.6.2 and GNU tar 1.34.
# Guess: a record SCHILY.xattr.NAME bears the name as it is, which is how Go and Python read it; with
# --numeric-owner GNU tar's ACLs have numbers.
# Seen: bsdtar escapes the name as in a URL there too, GNU tar its = and %, so that what reads the record
# literally restores an attribute of another name. GNU tar's ACLs have names all the same.
. "$(dirname "$0")/lib.sh"
deb tar 1.34+dfsg-1.2+deb12u1
deb libarchive13 3.6.2-1+deb12u5
deb libarchive-tools 3.6.2-1+deb12u5
deb acl 2.3.1-3
deb attr 1:2.5.1-4
PATH="$work/root/bin:$PATH"
LD_LIBRARY_PATH=$(echo "$work"/root/usr/lib/*-linux-gnu)
export LD_LIBRARY_PATH

# records ARCHIVE PATTERN: the records of its extended headers that match.
records() {
    python3 - "$1" "$2" <<'PY'
import re, sys, tarfile
found = [f"{key}={value}" for member in tarfile.open(sys.argv[1]) for key, value in
         sorted(member.pax_headers.items()) if re.match(sys.argv[2], key)]
print(" ".join(found).replace("\n", ","))
PY
}

touch file
setfattr -n 'user.a b' -v 1 file
setfattr -n 'user.c=d' -v 2 file
setfacl -m u:nobody:r file
bsdtar --xattrs -cf bsd.tar file
expect "bsdtar's names" "$(records bsd.tar 'SCHILY.xattr')" \
    'SCHILY.xattr.user.a%20b=1 SCHILY.xattr.user.c%3Dd=2'
tar --xattrs -cf gnu.tar file
expect "GNU tar's names" "$(records gnu.tar 'SCHILY.xattr.user')" \
    'SCHILY.xattr.user.a b=1 SCHILY.xattr.user.c%3Dd=2'
tar --acls --numeric-owner -cf acl.tar file
expect "GNU tar's ACL" "$(records acl.tar 'SCHILY.acl')" \
    'SCHILY.acl.access=user::rw-,user:nobody:r--,group::r--,mask::r--,other::r--,'
exit "$failed"
