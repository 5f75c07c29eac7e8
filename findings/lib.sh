# shellcheck shell=sh
# What the findings share: a temporary folder, pinned packages in it, and a comparison of what is seen.
# Sourced by each script; needs Debian 12's apt-get, pip or npm, and mke2fs and debugfs on the PATH.
set -eu
export LC_ALL=C TZ=UTC PATH="$PATH:/usr/sbin:/sbin"
work=$(mktemp -d)
trap 'cd /; rm -rf "$work"' EXIT
cd "$work"
failed=0

# deb NAME VERSION: unpacks a Debian package below $work/root.
deb() {
    apt-get download -q "$1=$2" >/dev/null 2>&1 || { echo "cannot get $1 $2" >&2; exit 1; }
    dpkg-deb -x "$1"_*.deb root
    PATH="$work/root/usr/bin:$work/root/usr/sbin:$work/root/sbin:$PATH"
    echo "$1 $2"
}

# pypi NAME VERSION: installs a Python package below $work/python-NAME.
pypi() {
    python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore \
        --target "python-$1" "$1==$2"
    export PYTHONPATH="$work/python-$1${PYTHONPATH:+:$PYTHONPATH}"
    echo "$1 $2"
}

# expect WHAT SEEN VALUE: says what was seen, and remembers whether it is still the value found.
expect() {
    if [ "$2" = "$3" ]; then
        echo "as found: $1: $2"
    else
        echo "CHANGED: $1: \"$2\", found was \"$3\""
        failed=1
    fi
}

# field IMAGE PATH WORD: what debugfs shows behind "WORD:" of an inode.
field() {
    debugfs -R "stat $2" "$1" 2>/dev/null | sed -n "s/.*$3: *\([^ ]*\).*/\1/p" | head -n 1
}
