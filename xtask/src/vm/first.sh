#!/bin/sh
# From the memory disk to the real one: nobody can switch the root away from the memory disk itself, neither
# a container's first process.
for module in /modules/*; do
    /bin/busybox insmod "$module" || echo "cannot load $module"
done
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mount -t ext4 -o prjquota /dev/vda /root
/bin/busybox mount -o move /dev /root/dev
exec /bin/busybox switch_root /root /init
