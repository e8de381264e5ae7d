#!/bin/busybox sh
# The first process of the machine that FRR runs on. Its first line says how long the kernel had run, as ours does.
busybox=/bin/busybox
$busybox mount -t proc proc /proc
read -r seconds rest </proc/uptime
echo "[$seconds] init"
$busybox mount -t sysfs sysfs /sys
$busybox mount -t devtmpfs devtmpfs /dev
$busybox mount -t tmpfs tmpfs /run
$busybox mkdir -p /run/frr /var
$busybox ln -s /run /var/run
while read -r module; do
    $busybox insmod "/lib/modules/$module"
done </lib/modules/order
$busybox rm -r /lib/modules
$busybox hostname edge
$busybox ip link set lo up
$busybox ip address add 10.1.0.1/31 dev eth0
$busybox ip link set eth0 up
echo 1 >/proc/sys/net/ipv4/ip_forward
/usr/lib/frr/zebra -d -u root -g root -f /etc/frr/zebra.conf -A 127.0.0.1
/usr/lib/frr/bgpd -d -u root -g root -f /etc/frr/bgpd.conf -A 127.0.0.1
exec $busybox setsid $busybox cttyhack /usr/bin/vtysh
