#!/bin/sh
# Makes the node's own view of the machine and becomes its process 1. Runs in fresh mount, network and process namespaces:
# when that process is killed, every process, mount, interface and rule of the node is gone with it, whatever happened before.
# Usage: node-root.sh HOME KUBE COREDNS NODE   (the cluster's folder, the three programs)
set -eu
home=$1 kube=$2 coredns=$3 node=$4
root=$home/root
mkdir -p "$root" "$home/var/log" "$home/var/lib" "$home/tmp"
mount -t tmpfs -o mode=755 node "$root"
cd "$root"
mkdir dev etc node old proc programs run sys tmp var

# The system's programs and libraries, read-only; /bin and its like are symbolic links on merged systems.
for each in usr bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$each" ]; then cp -P "/$each" "$each"
  elif [ -d "/$each" ]; then mkdir "$each"; mount --rbind "/$each" "$each"; mount -o remount,bind,ro "$each"
  fi
done
for each in alternatives group ld.so.cache ld.so.conf ld.so.conf.d nsswitch.conf passwd protocols services; do
  [ ! -e "/etc/$each" ] || cp -a "/etc/$each" "etc/$each"
done
cp "$home/resolv.conf" etc/resolv.conf
echo '127.0.0.1 localhost node' > etc/hosts
mount --rbind /dev dev
mount --rbind /sys sys
mount -t proc proc proc
# The kubelet would tune the whole machine's kernel. It is shown the values that it wants, and can't write the real ones;
# the network's settings are the node's own and stay writable.
mkdir shown
for each in kernel vm; do mount --bind "proc/sys/$each" "proc/sys/$each"; mount -o remount,bind,ro "proc/sys/$each"; done
for each in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  key=${each%=*}; shown=shown/${key##*/}
  echo "${each#*=}" > "$shown"
  mount --bind "$shown" "proc/sys/$key"
done
mount --bind "$home" node
mount --bind "$home/var" var
mount --bind "$home/tmp" tmp
bind() { touch "programs/$2"; mount --bind "$1" "programs/$2"; }
bind "$kube" kube
bind "$coredns" coredns
bind "$node" node
ln -s /run var/run 2>/dev/null || true
pivot_root . old
cd /
umount -l old
rmdir old

# The network: one address, and a default route into a dead end, so that nothing can leave while Service addresses still
# have a route on their way to kube-proxy's rules.
ip link set lo up
ip address add "$(cat /node/address)/32" dev lo
ip link add nowhere type veth peer name nowhere-end
ip link set nowhere up
ip link set nowhere-end up
ip route add default dev nowhere src "$(cat /node/address)"
echo 1 > /proc/sys/net/ipv4/ip_forward
exec /programs/node init
