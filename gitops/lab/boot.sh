#!/bin/bash
# One lab host, from power-on to its services.
#
#   boot.sh power-on   in the machine: takes its place in the lab's control group, then becomes the host's
#                      power supply. Its end is a power cut: the kernel ends everything in the host at once.
#   boot.sh init       in the host: process 1. Builds the root file system, waits for the network cable,
#                      starts the services and keeps them running.
#
# Variables: LAB_NAME, LAB_KIND (docker, podman, edge), LAB_ADDRESS, LAB_HOST (the host's folder),
# LAB_NETWORKS (whose addresses a host with an engine takes for its own: where services are found),
# LAB_CGROUPS (this host's control groups, blank-separated), LAB_PYTHON (yes: leave Python in the host).
set -euo pipefail

power_on() {
    local group
    for group in $LAB_CGROUPS; do echo $$ > "$group/cgroup.procs"; done
    exec unshare --mount --uts --ipc --net --cgroup --pid --fork --kill-child -- bash "$0" init
}

# The host's own tree: /usr is the machine's, read-only; /etc is the machine's with the host's changes on top;
# everything else is the host's own and lies in $LAB_HOST/root.
build_root() {
    local root=$LAB_HOST/root entry file
    mount --bind "$root" "$root"
    mkdir -p "$root"/{usr,etc,proc,sys,dev,run,home,root,srv,opt,mnt,tmp,var,.machine}
    mkdir -p "$root"/var/{lib,log,cache,spool,tmp}
    mkdir -p "$root"/var/lib/{gitops,docker,containers,haproxy,dpkg,misc}
    chmod 1777 "$root/tmp" "$root/var/tmp"
    ln -sfn /run "$root/var/run"
    ln -sfn /run/lock "$root/var/lock"

    mount --bind /usr "$root/usr"
    mount -o remount,bind,ro "$root/usr"
    for entry in bin sbin lib lib32 lib64 libx32; do
        if [ -L "/$entry" ]; then
            ln -sfn "$(readlink "/$entry")" "$root/$entry"
        elif [ -d "/$entry" ]; then
            mkdir -p "$root/$entry"
            mount --bind "/$entry" "$root/$entry"
        fi
    done
    mount --bind /var/lib/dpkg "$root/var/lib/dpkg"
    mount -o remount,bind,ro "$root/var/lib/dpkg"
    mount -t overlay -o "lowerdir=/etc,upperdir=$LAB_HOST/etc,workdir=$LAB_HOST/etc.work" host-etc "$root/etc"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount --rbind /dev "$root/dev"
    mkdir -p "$root/dev/shm" "$root/dev/pts"
    mount -t tmpfs tmpfs "$root/dev/shm"
    mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 devpts "$root/dev/pts"
    mount --bind "$root/dev/pts/ptmx" "$root/dev/ptmx"
    if mountpoint -q /sys/kernel/security; then
        mount --bind /sys/kernel/security "$root/sys/kernel/security"
    fi
    mount_cgroups "$root"

    # The proof that hosts need no Python: what is there cannot be run.
    if [ "$LAB_PYTHON" != yes ]; then
        for file in "$root"/usr/bin/python* "$root"/usr/local/bin/python*; do
            if [ -f "$file" ] && [ ! -L "$file" ]; then mount --bind /dev/null "$file"; fi
        done
    fi

    cd "$root"
    pivot_root . .machine
    umount -l /.machine
    rmdir /.machine
}

# Seen from its own control group namespace the host's groups are the root of every hierarchy.
mount_cgroups() {
    local root=$1 point kind options
    mount_cgroup_parent "$root"
    while read -r point kind options; do
        mkdir -p "$root$point"
        if [ "$kind" = cgroup2 ]; then
            mount -t cgroup2 cgroup2 "$root$point"
        else
            mount -t cgroup -o "${options#rw,}" cgroup "$root$point"
        fi
    done < <(awk '{ for (i = 1; i < NF; i++) if ($i == "-") break }
                  $(i + 1) ~ /^cgroup2?$/ { print $5, $(i + 1), $(i + 3) }' /proc/self/mountinfo)
}

# Version 1 and the hybrid have their hierarchies side by side in one small file system.
mount_cgroup_parent() {
    if [ "$(stat --file-system --format %T /sys/fs/cgroup)" = tmpfs ]; then
        mount -t tmpfs -o mode=755 tmpfs "$1/sys/fs/cgroup"
    fi
}

# Version 2 hands controllers down only from a group that has no processes of its own; by now the power supply
# has been moved away. In the hybrid all controllers are version 1's, and there is nothing to hand down.
share_controllers() {
    local top=/sys/fs/cgroup controller
    if [ ! -e $top/cgroup.controllers ]; then return; fi
    mkdir -p $top/init
    echo 0 > $top/init/cgroup.procs
    for controller in $(cat $top/cgroup.controllers); do
        echo "+$controller" > $top/cgroup.subtree_control
    done
}

# supervise NAME COMMAND...: keeps a service running; a file /run/lab/NAME.off keeps it stopped.
supervise() {
    local name=$1
    shift
    while true; do
        if [ ! -e "/run/lab/$name.off" ]; then "$@" >> "/var/log/$name.log" 2>&1 || true; fi
        sleep 0.3
    done &
}

serve_podman() {
    mkdir -p /run/podman
    chgrp docker /run/podman
    chmod 750 /run/podman
    rm -f /run/podman/podman.sock
    podman system service --time 0 unix:///run/podman/podman.sock &
    until [ -S /run/podman/podman.sock ]; do
        sleep 0.05
        kill -0 $!
    done
    chgrp docker /run/podman/podman.sock
    chmod 660 /run/podman/podman.sock
    wait $!
}

start_services() {
    mkdir -p /run/lab /run/lock /run/sshd
    chmod 1777 /run/lock
    supervise sshd /usr/sbin/sshd -D -e
    case "$LAB_KIND" in
    docker)
        # An engine starts a dozen short programs for each container, and itself among them: with small heaps
        # their collection of garbage is an eighth of what a start costs, on processors that all hosts share.
        GOGC=400 supervise dockerd dockerd
        ;;
    podman)
        # What the package's tmpfiles.d and podman-restart.service do at a reboot.
        rm -rf /var/lib/cni/networks
        podman start --all --filter restart-policy=always >> /var/log/podman.log 2>&1 || true
        podman start --all --filter restart-policy=unless-stopped >> /var/log/podman.log 2>&1 || true
        supervise podman serve_podman
        ;;
    esac
    install -d -m 2775 -o haproxy -g haproxy /run/haproxy
    supervise haproxy haproxy -W -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid \
        -S /run/haproxy-master.sock,mode,660,group,haproxy
}

init() {
    build_root
    read -r _ || exit 1 # a line comes when the cable is plugged in; the end, when who started us has died
    exec < /dev/null
    share_controllers
    hostname "$LAB_NAME"
    ip link set lo up
    for network in $LAB_NETWORKS; do ip route add local "$network" dev lo; done
    ip address add "$LAB_ADDRESS/24" dev eth0
    ip link set eth0 up
    start_services
    while true; do wait -n || true; done # process 1 takes leave of every orphan
}

case "$1" in
power-on) power_on ;;
init) init ;;
esac
