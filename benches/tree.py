"""What a tar archive says of a tree, what a mounted filesystem says of it, and where they differ.

Shares nothing with the product: the archive is read by Python's tarfile, the image by the kernel.
"""

import hashlib
import os
import stat
import tarfile

PIECE = 1 << 20
KINDS = {
    stat.S_IFDIR: "directory",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


def of_archive(path):
    """The facts of every name in a tar archive without whiteouts, by path; the root is ''."""
    facts, groups = {}, {}
    with tarfile.open(path, encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            name = os.path.normpath(member.name).strip("/")
            name = "" if name == "." else name
            if member.islnk():
                target = os.path.normpath(member.linkname).strip("/")
                # The last header of an inode tells its owner, mode and times, as containerd takes them.
                facts[target].update(uid=member.uid, gid=member.gid, mtime=_mtime(member))
                if "mode" in facts[target]:
                    facts[target]["mode"] = member.mode & 0o7777
                facts[name] = facts[target]
                groups.setdefault(id(facts[target]), [target]).append(name)
            else:
                facts[name] = _of_member(archive, member)
                groups[id(facts[name])] = [name]
    return {name: dict(fact, names=sorted(groups[id(fact)])) for name, fact in facts.items()}


def _of_member(archive, member):
    xattrs = {
        key.removeprefix("SCHILY.xattr."): value.encode("utf-8", "surrogateescape")
        for key, value in member.pax_headers.items()
        if key.startswith("SCHILY.xattr.")
    }
    fact = {"uid": member.uid, "gid": member.gid, "mtime": _mtime(member), "xattrs": xattrs}
    if not member.issym():
        fact["mode"] = member.mode & 0o7777
    if member.isdir():
        fact["kind"] = "directory"
    elif member.isreg():
        body = archive.extractfile(member)
        fact.update(kind="file", size=member.size, content=_digest(body))
    elif member.issym():
        fact.update(kind="symlink", target=member.linkname)
    elif member.ischr() or member.isblk():
        kind = "character device" if member.ischr() else "block device"
        fact.update(kind=kind, device=(member.devmajor, member.devminor))
    elif member.isfifo():
        fact["kind"] = "fifo"
    else:
        raise ValueError(f"{member.name!r}: type {member.type!r} has no place in a root disk")
    return fact


def _mtime(member):
    """Nanoseconds; tarfile's own number is a float, which does not hold them."""
    text = member.pax_headers.get("mtime")
    if text is None:
        return int(member.mtime) * 10**9
    whole, _, fraction = text.lstrip("-").partition(".")
    nanoseconds = int(whole) * 10**9 + int(fraction[:9].ljust(9, "0"))
    return -nanoseconds if text.startswith("-") else nanoseconds


def of_directory(top):
    """The facts of every name below a directory, by path; the root is ''."""
    facts, groups, waiting = {}, {}, [""]
    while waiting:
        name = waiting.pop()
        fact, inode = _of_path(os.path.join(top, name))
        facts[name] = fact
        # A directory's names are never shared, and its inode tells nothing else apart.
        groups.setdefault(inode, []).append(name)
        fact["names"] = groups[inode]
        if fact["kind"] == "directory":
            waiting.extend(os.path.join(name, child) for child in os.listdir(os.path.join(top, name)))
    for fact in facts.values():
        fact["names"] = sorted(fact["names"])
    return facts


def _of_path(path):
    found = os.lstat(path)
    xattrs = {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in os.listxattr(path, follow_symlinks=False)
    }
    kind = KINDS[stat.S_IFMT(found.st_mode)]
    fact = {"kind": kind, "uid": found.st_uid, "gid": found.st_gid, "mtime": found.st_mtime_ns}
    fact["xattrs"] = xattrs
    if kind != "symlink":
        fact["mode"] = stat.S_IMODE(found.st_mode)
    if kind == "file":
        with open(path, "rb") as body:
            fact.update(size=found.st_size, content=_digest(body))
    elif kind == "symlink":
        fact["target"] = os.readlink(path)
    elif kind.endswith("device"):
        fact["device"] = (os.major(found.st_rdev), os.minor(found.st_rdev))
    return fact, (found.st_dev, found.st_ino)


def _digest(body):
    hasher = hashlib.sha256()
    while piece := body.read(PIECE):
        hasher.update(piece)
    return hasher.hexdigest()


def differences(expected, found):
    """How often each fact differs, and the first path where it does."""
    seen = {}

    def differs(what, name):
        count, first = seen.get(what, (0, name))
        seen[what] = (count + 1, first)

    for name in expected.keys() - found.keys():
        differs("missing", name)
    for name in found.keys() - expected.keys():
        # Every ext4 filesystem has both; an archive need not speak of them.
        if name not in ("", "lost+found"):
            differs("extra", name)
    for name in sorted(expected.keys() & found.keys()):
        wanted, got = expected[name], found[name]
        for what in sorted(wanted.keys() | got.keys()):
            if wanted.get(what) != got.get(what):
                differs(what, name)
    return seen
