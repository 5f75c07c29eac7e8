"""Changes of finished images beside debugfs, resize2fs and cp: the part `editing` of benches/compare.

Each command runs on a copy of its own, made and synced before, in turn, A B A B. A peer is timed
with the sync that makes its work outlive the machine, as ours does by itself. Times are of whole
processes; the peak of memory is that of the largest one.
"""

import os
import pathlib
import random
import shutil
import statistics
import subprocess
import tarfile
import time


class Work:
    """A command on a copy of an image; what e2fsck says of the first result."""

    def __init__(self, name, command, image, base=None, peer=None):
        self.name, self.command = name, [str(word) for word in command]
        self.image, self.base, self.peer = image, base, peer
        self.runs, self.verdict = [], ""

    def run(self):
        """Wall and processor milliseconds, and the peak of memory in KiB: that of GNU time, as a
        child begins with what its parent has."""
        self.image.unlink(missing_ok=True)
        report = self.image.with_suffix(".time")
        command = ["/usr/bin/time", "-o", str(report), "-f", "%M", *self.command]
        if self.base:
            subprocess.run(["cp", "--sparse=always", self.base, self.image], check=True)
        os.sync()
        quiet = os.open(os.devnull, os.O_WRONLY)
        start = time.perf_counter()
        child = os.posix_spawnp(
            command[0], command, os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, quiet, 1), (os.POSIX_SPAWN_DUP2, quiet, 2)],
        )
        _, status, used = os.wait4(child, 0)
        wall = time.perf_counter() - start
        os.close(quiet)
        if status != 0:
            raise SystemExit(f"failed: {' '.join(self.command)}")
        return wall * 1e3, (used.ru_utime + used.ru_stime) * 1e3, int(report.read_text())


def synced(image, *command):
    """The command, and the sync that its work needs."""
    return ["sh", "-ec", 'image=$0; "$@"; sync -f "$image"', image, *command]


def run_in_turn(title, works, complaints, runs):
    """Judges, measures and prints; whether ours are clean."""
    for work in works:
        work.run()
        if work.base or work.name.startswith("banger"):
            work.verdict = "; ".join(complaints(work.image)[:1]) or "clean"
        work.image.unlink()
    for _ in range(runs):
        for work in works:
            work.runs.append(work.run())
            work.image.unlink()
    columns = "{:36} {:>9} {:>9} {:>6} {:>11} {:>8} {:>8}  {}"
    print(f"\n{title}")
    print(columns.format("", "median ms", "best ms", "ratio", "spread", "CPU ms", "peak MB", "to; image"))
    for work in works:
        wall, busy, peak = (statistics.median(column) for column in zip(*work.runs))
        best = min(run[0] for run in work.runs)
        peer = next((other for other in works if other.name == work.peer), None)
        ratio = spread = ""
        if peer:
            ratios = [mine[0] / theirs[0] for mine, theirs in zip(work.runs, peer.runs)]
            ratio = f"{statistics.median(ratios):.2f}"
            spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
        about = "; ".join(filter(None, (work.peer, work.verdict)))
        print(columns.format(
            work.name, f"{wall:.1f}", f"{best:.1f}", ratio, spread, f"{busy:.1f}",
            f"{peak / 1024:.0f}", about,
        ), flush=True)
    return all(work.verdict == "clean" for work in works if work.name.startswith("banger"))


def write(path, content):
    path.write_bytes(content)
    return path


def small_files(work, base, banger):
    """Ten files of a machine's settings."""
    sources = [write(work / f"setting-{n}", b"setting = %d\n" % n * (n + 1)) for n in range(10)]
    batch = work / "ten.debugfs"
    batch.write_text("cd /\n" + "".join(f"write {path} {path.name}\n" for path in sources))
    ours, theirs = work / "ours.ext4", work / "theirs.ext4"
    added = [word for path in sources for word in ("--add", f"{path}:/{path.name}")]
    peer = "debugfs -w -f, sync -f"
    return [
        Work(peer, synced(theirs, "debugfs", "-w", "-f", batch, theirs), theirs, base),
        Work("banger image edit", [banger, "image", "edit", ours, "--quiet", *added], ours, base, peer),
    ]


def agent(work, base, banger):
    """One file of 20 MB."""
    source = write(work / "agent", random.Random(2).randbytes(20_000_000))
    ours, copy = work / "ours.ext4", work / "agent.copy"
    words = [banger, "image", "edit", ours, "--quiet", "--add", f"{source}:/agent:755"]
    peer = "cp, sync -f"
    return [
        Work(peer, synced(copy, "cp", source, copy), copy),
        Work("banger image edit", words, ours, base, peer),
    ]


def overlay(work, base, banger):
    """10,000 files in a hundred directories."""
    root, archive, batch = work / "overlay", work / "overlay.tar", work / "overlay.debugfs"
    lines = []
    for number in range(100):
        directory = root / f"new-{number}"
        directory.mkdir(parents=True)
        lines += ["cd /", f"mkdir new-{number}", f"cd /new-{number}"]
        for name in range(100):
            path = write(directory / f"file-{name}", b"line %d\n" % name * (name * 3 + number))
            lines.append(f"write {path} {path.name}")
    batch.write_text("\n".join(lines) + "\n")
    with tarfile.open(archive, "w") as members:
        members.add(root, arcname=".")
    ours, theirs = work / "ours.ext4", work / "theirs.ext4"
    peer = "debugfs -w -f, sync -f"
    words = [banger, "image", "edit", ours, "--quiet", "--overlay", archive]
    return [
        Work(peer, synced(theirs, "debugfs", "-w", "-f", batch, theirs), theirs, base),
        Work("banger image edit --overlay", words, ours, base, peer),
    ]


def growth(work, base, banger):
    """An image to 64 GiB."""
    ours, theirs = work / "ours.ext4", work / "theirs.ext4"
    peer = "resize2fs, sync -f"
    words = [banger, "disk", "resize", ours, "--quiet", "--size", "64G"]
    return [
        Work(peer, synced(theirs, "resize2fs", "-f", theirs, "64G"), theirs, base),
        Work("banger disk resize", words, ours, base, peer),
    ]


def copies(work, seed, banger):
    """A seed to a disk of 64 GiB; a copy by cp is not grown."""
    ours, theirs = work / "ours.ext4", work / "theirs.ext4"
    peer = "cp --sparse=always, sync -f"
    words = [banger, "disk", "create", ours, "--quiet", "--from", seed, "--size", "64G"]
    return [
        Work(peer, synced(theirs, "cp", "--sparse=always", seed, theirs), theirs),
        Work("banger disk create --from", words, ours, None, peer),
    ]


def measure(archive, banger, complaints, runs, scratch):
    """All works on the image of an archive; whether ours are clean."""
    work = pathlib.Path(scratch) / "editing"
    work.mkdir()
    image, empty = work / "image.base", work / "empty.base"
    words = [banger, "image", "build", f"tar:{archive}", image, "--quiet"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", empty, "1G"], check=True)
    name = archive.parent.name
    used = image.stat().st_blocks * 512 / 1e9
    about = f"{name}'s image, {used:.2f} GB used"
    passed = True
    for title, make, base in (
        ("ten small files", small_files, image),
        ("a file of 20 MB", agent, image),
        ("10,000 files", overlay, image),
        ("to 64 GiB", growth, image),
        ("as a seed, to 64 GiB", copies, image),
    ):
        passed &= run_in_turn(f"{about}: {title}", make(work, base, banger), complaints, runs)
    passed &= run_in_turn("1 GiB, empty: to 64 GiB", growth(work, empty, banger), complaints, runs)
    shutil.rmtree(work)
    return passed
