#!/bin/sh
# Makes the engine's own view of the machine and becomes its process 1. Runs in fresh mount and process namespaces, and for `closed` in a
# fresh network namespace: when that process is killed, every process, mount, interface and rule of the engine is gone with it.
# Usage: engine-root.sh RUN closed|open NODE   (the folder of its sockets, its network, the program that is process 1)
set -eu
run=$1 network=$2 node=$3
mount -t proc proc /proc
# Shims put sockets into /run/containerd, and iptables its lock into /run: of all that only the engine's own folder is the machine's.
mkdir -p "$run"
old=$(mktemp -d)
mount --rbind /run "$old"
mount -t tmpfs -o mode=755 run /run
# where /etc/resolv.conf may lead to
for each in "${run#/run/}" NetworkManager resolvconf systemd/resolve; do
  [ -d "$old/$each" ] || continue
  mkdir -p "/run/$each"
  mount --bind "$old/$each" "/run/$each"
done
umount -l "$old"
rmdir "$old"
if [ "$network" = closed ]; then
  ip link set lo up
  # a dead end, so that nothing can leave while addresses of Services still have a route on their way to kube-proxy's rules
  ip route add unreachable default metric 4000000000
  ip -6 route add unreachable default metric 4000000000 2> /dev/null || true
fi
exec "$node" init
