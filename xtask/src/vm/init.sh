#!/bin/sh
# The machine's whole user space: mounts what a distribution mounts, runs every test, powers off.
# What it says to the host begins with "vm: ".
export PATH=/usr/bin:/bin HOME=/root TMPDIR=/var/tmp CORRAL_BIN=/usr/bin/corral CORRAL_SLOWNESS=10
# Who built the disk owns what is on it.
/bin/busybox chown -R 0:0 /bin /etc /init /tests /usr
/bin/busybox --install -s /bin
chmod 1777 /tmp /var/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
exec </dev/null >/dev/ttyS1 2>&1
ip link set lo up

groups=/sys/fs/cgroup
controllers() {
    mount -t tmpfs tmpfs $groups
    for name in cpu cpuset memory pids freezer blkio devices; do
        mkdir $groups/$name
        mount -t cgroup -o $name cgroup $groups/$name
    done
}
case $machine in
v2) # As systemd leaves it: processes in the lowest group, a limit above it, and not every controller below.
    mount -t cgroup2 cgroup2 $groups
    echo "+cpu +memory +pids" >$groups/cgroup.subtree_control
    mkdir -p $groups/user.slice/user-0.slice/session.scope
    echo "+memory +pids" >$groups/user.slice/cgroup.subtree_control
    echo "+memory +pids" >$groups/user.slice/user-0.slice/cgroup.subtree_control
    echo 4000 >$groups/user.slice/user-0.slice/pids.max
    echo $$ >$groups/user.slice/user-0.slice/session.scope/cgroup.procs ;;
v1) controllers ;;
hybrid)
    controllers
    mkdir $groups/unified
    mount -t cgroup2 cgroup2 $groups/unified ;;
esac

uname -a
for program in /tests/deps/*; do
    echo "vm: begin ${program##*/}"
    $program --show-output
    echo "vm: code $? ${program##*/}"
done
echo "vm: end"
poweroff -f
