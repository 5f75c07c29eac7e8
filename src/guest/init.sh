
# The rest is the same in every image.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 022

have() { command -v "$1" >/dev/null 2>&1; }

say() { echo "banger: $*"; }

# First of all: many a shell's own tools need it, and so do most of the decisions below.
[ -e /proc/self/stat ] || mount -t proc -o nosuid,nodev,noexec proc /proc

# Programs that have no name in the image are called through its busybox.
if [ "$busybox" ]; then
    for tool in chown cp halt ifconfig ip ln mkdir poweroff reboot rm route sleep swapoff sync \
        udhcpc umount; do
        have "$tool" || eval "$tool() { \"\$busybox\" $tool \"\$@\"; }"
    done
fi

# --- The network

# up INTERFACE
up() {
    if have ip; then
        ip link set "$1" up
    elif have ifconfig; then
        ifconfig "$1" up
    else
        return 1
    fi
}

# What udhcpc calls with its news: EVENT, and the lease in variables.
lease() {
    case $1 in
    deconfig) up "$interface" ;;
    bound | renew)
        if have ip; then
            ip addr flush dev "$interface"
            ip addr add "$ip/${mask:-24}" dev "$interface"
        else
            ifconfig "$interface" "$ip" netmask "${subnet:-255.255.255.0}"
        fi
        for gateway in ${router-}; do
            if have ip; then
                ip route add default via "$gateway" dev "$interface"
            else
                route add default gw "$gateway" dev "$interface"
            fi
            break
        done
        [ "${dns-}" ] || return 0
        # A link to a file that nothing here writes is of no use.
        [ -e /etc/resolv.conf ] || rm -f /etc/resolv.conf
        {
            [ -z "${domain-}" ] || echo "search $domain"
            for server in $dns; do echo "nameserver $server"; done
        } >/etc/resolv.conf
        ;;
    esac
}

if [ $$ != 1 ]; then
    if [ "${interface-}" ] && [ "${1-}" ]; then
        lease "$1"
        exit
    fi
    say "$0 is what the kernel starts first, by init=$0"
    exit 2
fi

# --- Signals, which may come as soon as there is a process 1

line=
read -r line </proc/cmdline

# has WORD: on the kernel's command line
has() { case " $line " in *" $1 "*) return 0 ;; esac; return 1; }

# Seconds that the program has to stop when it is asked to: banger.grace=N.
grace=10
set -f
for word in $line; do
    case ${word#banger.grace=} in
    "$word" | '' | *[!0-9]* | ??????*) ;;
    *) grace=${word#banger.grace=} ;;
    esac
done
set +f

child=
caught=
asked=0

# pass SIGNAL: to the program
pass() {
    caught=yes
    [ -z "$child" ] || kill "-$1" "$child" 2>/dev/null
}

# Asks the program to stop, and ends it if it does not or if that was not the first request.
stop_program() {
    if [ "$asked" -gt 1 ]; then
        kill -s KILL "$child" 2>/dev/null
        return
    fi
    kill "-$stop_signal" "$child" 2>/dev/null
    (
        sleep "$grace" && say "the program did not stop within $grace seconds" &&
            kill -s KILL "$child"
    ) 2>/dev/null &
}

ask_to_stop() {
    caught=yes
    asked=$((asked + 1))
    [ -z "$child" ] || stop_program
}

# Ctrl-Alt-Del asks this process (SIGINT) instead of resetting the machine.
echo 0 2>/dev/null >/proc/sys/kernel/ctrl-alt-del
trap ask_to_stop TERM INT PWR
for signal in HUP QUIT USR1 USR2; do
    trap "pass $signal" "$signal"
done

tick() { sleep 0.1 2>/dev/null || sleep 1; }

# --- The network, as far as the kernel left it to do

has_default_route() {
    while read -r _ destination _; do
        [ "$destination" = 00000000 ] && return 0
    done 2>/dev/null </proc/net/route
    return 1
}

# bounded COMMAND...: for half a minute, or until the machine is to stop
bounded() {
    "$@" >/dev/null 2>&1 &
    job=$!
    ticks=0
    while kill -0 "$job" 2>/dev/null; do
        if [ $ticks -ge 300 ] || [ "$asked" != 0 ]; then
            kill -s KILL "$job" 2>/dev/null
            wait "$job" 2>/dev/null
            return 1
        fi
        tick
        ticks=$((ticks + 1))
    done
    wait "$job" 2>/dev/null
}

ask_dhcp() {
    if have dhclient; then
        bounded dhclient -1 "$1"
    elif have dhcpcd; then
        bounded dhcpcd -4 -t 15 "$1"
    elif have udhcpc; then
        bounded udhcpc -i "$1" -n -t 5 -T 2 -s /sbin/banger-init -p "/run/udhcpc.$1.pid"
    else
        return 1
    fi
}

# The name servers that the kernel learned (ip=dhcp), where nothing else names one.
kernel_servers() {
    [ ! -s /etc/resolv.conf ] && [ -r /proc/net/pnp ] || return 0
    found=
    while read -r key value _; do
        case $key in
        nameserver) [ "$value" = 0.0.0.0 ] || found="$found
nameserver $value" ;;
        domain) found="
search $value$found" ;;
        esac
    done </proc/net/pnp
    case $found in *nameserver*) ;; *) return 0 ;; esac
    # A link to a file that nothing here writes is of no use.
    [ -e /etc/resolv.conf ] || rm -f /etc/resolv.conf
    echo "${found#?}" >/etc/resolv.conf
}

network() {
    state=down
    read -r state 2>/dev/null </sys/class/net/lo/operstate
    [ "$state" != down ] || up lo ||
        say "the loopback interface is down: the image has neither ip nor ifconfig"
    # The kernel (ip=dhcp) or an initramfs may have done the rest already.
    has_default_route && { kernel_servers; return; }
    for path in /sys/class/net/*; do
        # Hardware, or what a hypervisor takes for it.
        [ -e "$path/device" ] || continue
        [ "$asked" = 0 ] || return
        name=${path##*/}
        ask_dhcp "$name" || { up "$name" && say "$name has no address: no DHCP client, or no answer"; } ||
            say "$name is down: the image has neither ip nor ifconfig; give the kernel ip=dhcp"
    done 2>/dev/null
    kernel_servers
}

# --- Filesystems

# mounted DIRECTORY
mounted() {
    while read -r _ at _; do
        [ "$at" = "$1" ] && return 0
    done </proc/mounts
    return 1
}

# empty DIRECTORY
empty() {
    for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do
        { [ -e "$entry" ] || [ -L "$entry" ]; } && return 1
    done
    return 0
}

# What fstab has of these, and whatever says _netdev, needs the network.
remote=nfs,nfs4,cifs,smb3,ceph,glusterfs

filesystems() {
    has ro || mount -o remount,rw /
    [ -d /sys/kernel ] || mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
    mounted /dev || mount -t devtmpfs -o mode=0755,nosuid devtmpfs /dev
    [ -d /dev/pts ] || mkdir /dev/pts
    mounted /dev/pts || mount -t devpts -o nosuid,noexec,mode=0620,ptmxmode=0666 devpts /dev/pts
    [ -d /dev/shm ] || mkdir /dev/shm
    mounted /dev/shm || mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /dev/shm
    [ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
    [ -e /dev/stdin ] || ln -s /proc/self/fd/0 /dev/stdin
    [ -e /dev/stdout ] || ln -s /proc/self/fd/1 /dev/stdout
    [ -e /dev/stderr ] || ln -s /proc/self/fd/2 /dev/stderr
    if ! mounted /run; then
        # Programs count on directories that their packages made here.
        empty /run || cp -a /run /dev/shm/.run
        mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs /run
        if [ -d /dev/shm/.run ]; then
            cp -a /dev/shm/.run/. /run/
            rm -rf /dev/shm/.run
        fi
    fi
    mounted /tmp || ! empty /tmp || mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /tmp
    [ ! -s /etc/fstab ] || mount -a -t "no$remote" -O no_netdev
}

remote_filesystems() {
    [ -s /etc/fstab ] || return 0
    mount -a -O _netdev
    mount -a -t "$remote" -O no_netdev
}

names() {
    host=
    read -r host </proc/sys/kernel/hostname
    # By itself the kernel has none; with ip=dhcp it takes its address for one.
    case $host in
    '(none)' | localhost) host= ;;
    *[!0-9.]*) ;;
    *) host= ;;
    esac
    if [ -z "$host" ]; then
        [ ! -r /etc/hostname ] || read -r host </etc/hostname
        host=${host:-localhost}
        echo "$host" >/proc/sys/kernel/hostname
    fi
    # A container gets this file from its engine.
    [ -s /etc/hosts ] || has ro || {
        echo "127.0.0.1 localhost"
        [ "$host" = localhost ] || echo "127.0.1.1 $host"
        echo "::1 localhost ip6-localhost ip6-loopback"
    } >/etc/hosts
}

# --- The end

# Whether a process other than this one and the kernel's own is left.
others() {
    for path in /proc/[1-9]*; do
        [ "$path" = /proc/1 ] && continue
        words=
        IFS= read -r words 2>/dev/null <"$path/cmdline"
        [ "$words" ] && return 0
    done 2>/dev/null
    return 1
}

# end_others SIGNAL: and some seconds for them
end_others() {
    others || return 0
    kill -s "$1" -- -1 2>/dev/null
    tries=0
    while others && [ $tries -lt 30 ]; do
        tick
        tries=$((tries + 1))
    done
}

unmount() {
    ! have swapoff || swapoff -a
    points=
    while read -r device at _; do
        case $device:$at in
        *:/ | [!/]*:/proc | [!/]*:/proc/* | [!/]*:/sys | [!/]*:/sys/* | \
            [!/]*:/dev | [!/]*:/dev/* | [!/]*:/run) ;;
        *) points="$at
$points" ;;
        esac
    done </proc/mounts
    sync
    # The last mounted first; the kernel writes a blank in a name as \040.
    while read -r at; do
        at=$(printf '%b' "$at")
        [ -z "$at" ] || umount "$at" || mount -o remount,ro "$at"
    done <<POINTS
$points
POINTS
    mount -o remount,ro / || echo u >/proc/sysrq-trigger
    sync
}

# finish STATUS: the end of the machine
finish() {
    trap '' HUP INT QUIT TERM USR1 USR2 PWR
    end_others TERM
    end_others KILL
    unmount
    say "exit status $1"
    if has banger.reboot; then
        echo b >/proc/sysrq-trigger
        reboot -f
    else
        echo o >/proc/sysrq-trigger
        # It takes the kernel a moment; without sysrq there are these.
        sleep 2
        poweroff -f || halt -f -p || reboot -f -p
    fi
    while :; do sleep 1000 2>/dev/null; done
}

# --- The program

# Waits for the program, and meanwhile reaps whatever else ends: the shell's wait takes any child.
# A signal ends the wait early. What it returns is then no status, unless the program ended just
# as the signal came; then nothing is left to wait for and the shell knows the status or gave it.
await() {
    while :; do
        caught=
        wait "$child"
        status=$?
        [ "$caught" ] || return
        kill -0 "$child" 2>/dev/null && continue
        last=$status
        wait "$child" 2>/dev/null
        status=$?
        [ $status != 127 ] || status=$last
        return
    done
}

start() {
    [ "$asked" = 0 ] || { say "asked to stop before the program started"; finish 143; }
    mkdir -p "$directory" && cd "$directory" || { say "cannot enter $directory"; finish 126; }
    [ "$owner" = 0 ] || chown "$owner" /dev/console
    # What a shell starts in the background ignores these two; env of coreutils can undo that.
    signals=
    run_env --default-signal=INT,QUIT sh -c : 2>/dev/null && signals=--default-signal=INT,QUIT
    exec 3<&0
    program <&3 3<&- &
    child=$!
    exec 3<&-
    [ "$asked" = 0 ] || stop_program
}

filesystems
# What is open may be the console of an initramfs that is gone, which no user could open again by
# its name; without a console it is nothing at all.
if ( : </dev/console ) 2>/dev/null; then
    exec </dev/console >/dev/console 2>&1
elif ! ( : <&0 ) 2>/dev/null; then
    exec </dev/null >/dev/null 2>&1
fi
names
network
[ "$asked" != 0 ] || remote_filesystems
start
await
finish "$status"
