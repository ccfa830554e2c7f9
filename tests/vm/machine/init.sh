#!/bin/busybox sh
# shellcheck shell=dash
# PID 1 of the initial RAM disk: what a disk and the port to the tests need, then systemd.
/bin/busybox mount -t devtmpfs dev /dev
while read -r module; do
    /bin/busybox insmod "/modules/$module"
done </modules/order
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /lib/systemd/systemd
