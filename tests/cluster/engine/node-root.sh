#!/bin/sh
# Makes the root file system of a kind node: Debian with systemd and containerd, kind's own files, and Kubernetes' programs.
# Runs in mount and process namespaces of its own: what debootstrap mounts and starts is gone when it ends.
# Usage: node-root.sh ROOT LAYER SUITE MIRROR FILES KUBE KUBEADM COREDNS VERSION PAUSE
#   ROOT, LAYER  folders to make: the node's root, and the one layer of the control plane's images
#   FILES        images/base/files of kind's Go module
#   PAUSE        the name of the image that holds a pod's namespaces
set -eu
root=$1 layer=$2 suite=$3 mirror=$4 files=$5 kube=$6 kubeadm=$7 coredns=$8 version=$9
shift 9
pause=$1
packages=systemd,systemd-sysv,dbus,containerd,runc,containernetworking-plugins,conntrack,iptables,nftables,iproute2,ethtool,util-linux
packages=$packages,mount,kmod,libseccomp2,procps,bash,ca-certificates,curl,jq,pigz,tzdata,hostname,psmisc,e2fsprogs
debootstrap --variant=minbase "--include=$packages" "$suite" "$root" "$mirror"

# as kind's own Dockerfile does it
cp -r --no-preserve=mode "$files/etc" "$files/kind" "$files/usr" "$root/"
cd "$root"
chmod 755 usr/local/bin/* kind kind/bin kind/bin/*
find lib/systemd/system/sysinit.target.wants/ -name systemd-tmpfiles-setup.service -delete
rm -f lib/systemd/system/multi-user.target.wants/* lib/systemd/system/local-fs.target.wants/* lib/systemd/system/basic.target.wants/* \
  etc/systemd/system/*.wants/* lib/systemd/system/sockets.target.wants/*udev* lib/systemd/system/sockets.target.wants/*initctl*
echo ReadKMsg=no >> etc/systemd/journald.conf
chroot . systemctl enable kubelet.service containerd.service undo-mount-hacks.service
chroot . systemctl mask systemd-binfmt.service
mkdir -p etc/kubernetes/manifests opt/cni/bin kind/manifests etc/cni/net.d
# kind's files name other places than Debian's package
for each in containerd ctr containerd-shim-runc-v2; do ln -sf "/usr/bin/$each" "usr/local/bin/$each"; done
for each in bridge host-local loopback portmap ptp; do cp "usr/lib/cni/$each" opt/cni/bin/; done

cp "$kube" usr/bin/kubelet
ln -s kubelet usr/bin/kubectl
cp "$kubeadm" usr/bin/kubeadm
printf v%s "$version" > kind/version

# What differs on machines without CAP_SYS_RESOURCE or with control groups v1, where containers have less and the kubelet must be told.
chroot . ctr oci spec | chroot . jq 'del(.process.rlimits) | .hooks.createContainer += [{"path": "/kind/bin/mount-product-files.sh"}]
  | .process.capabilities |= map_values(map(select(. != "CAP_SYS_RESOURCE")))' > etc/containerd/cri-base.json
sed -i "s/restrict_oom_score_adj = false/restrict_oom_score_adj = true/; s/^  discard_unpacked_layers = true/  discard_unpacked_layers = false/
  s#sandbox_image = .*#sandbox_image = \"$pause\"#" etc/containerd/config.toml
echo 'KUBELET_EXTRA_ARGS=--runtime-cgroups=/system.slice/containerd.service --fail-cgroupv1=false' > etc/default/kubelet

# The network of one node: a bridge with the pods' addresses. kind applies the manifest where its own network plugin would be.
cat > etc/cni/net.d/10-bridge.conflist <<'J'
{"cniVersion": "0.4.0", "name": "bridge", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true, "promiscMode": false,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
J
cat > kind/manifests/default-cni.yaml <<'Y'
apiVersion: v1
kind: ConfigMap
metadata: {name: bridge-network, namespace: kube-system}
data: {what: "a static bridge, /etc/cni/net.d/10-bridge.conflist"}
Y

# The control plane's images have one layer: the programs under the names that kubeadm's manifests call, their libraries, and kube-proxy's iptables.
mkdir -p "$layer/usr/local/bin" "$layer/usr/sbin" "$layer/usr/lib" "$layer/usr/share" "$layer/usr/bin" "$layer/etc/ssl/certs" "$layer/tmp" "$layer/run"
for each in bin sbin lib lib64; do [ ! -L "$each" ] || cp -P "$each" "$layer/$each"; done
cp "$coredns" "$layer/coredns"
cp "$kube" "$layer/usr/local/bin/kube"
for each in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubectl; do ln -s kube "$layer/usr/local/bin/$each"; done
cp usr/bin/dash "$layer/usr/bin/sh"
cp usr/sbin/xtables-legacy-multi usr/sbin/xtables-nft-multi "$layer/usr/sbin/"
for each in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do ln -s xtables-legacy-multi "$layer/usr/sbin/$each"; done
modules=$(echo usr/lib/*/xtables)
mkdir -p "$layer/$modules"
cp -r "$modules/." "$layer/$modules"
# iptables loads its modules by name, so their libraries are needed as well
for each in usr/bin/kubelet usr/sbin/xtables-legacy-multi usr/sbin/xtables-nft-multi usr/bin/dash "$modules"/*.so; do
  chroot . ldd "/$each" 2>/dev/null | grep -oE '/[^ ]+' || true
done | sort -u | while read -r library; do
  real=$(chroot . readlink -f "$library")
  target=$layer/$(chroot . readlink -f "${library%/*}")/${library##*/}
  mkdir -p "${target%/*}"
  [ -e "$target" ] || cp "$root$real" "$target"
done
echo 'root:x:0:0::/:/bin/sh' > "$layer/etc/passwd"
echo 'hosts: files dns' > "$layer/etc/nsswitch.conf"
cp etc/ssl/certs/ca-certificates.crt "$layer/etc/ssl/certs/"
# a missing library would otherwise be found out by a cluster that does not start
chroot "$layer" /bin/sh -euc 'PATH=/usr/local/bin:/usr/sbin; kube-apiserver --version; etcd --version; iptables --version; ip6tables-save --version; /coredns -version'

rm -rf usr/share/doc usr/share/man usr/share/locale usr/share/info var/cache/apt var/lib/apt/lists/* var/cache/debconf
find var/log -type f -delete
