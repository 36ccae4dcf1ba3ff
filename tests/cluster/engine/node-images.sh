#!/bin/sh
# Imports images into the containerd of a node's root file system, as kind does it: not unpacked, since an overlay can't be on an overlay.
# Runs in mount, network and process namespaces of its own.
# Usage: node-images.sh ROOT ARCHIVE
set -eu
root=$1 archive=$2
mount -t proc proc "$root/proc"
mount -t tmpfs run "$root/run"
touch "$root/run/images.tar"
mount --bind "$archive" "$root/run/images.tar"
chroot "$root" containerd > "$root/run/containerd.log" 2>&1 &
containerd=$!
for _ in $(seq 120); do
  if chroot "$root" ctr version > /dev/null 2>&1; then break; fi
  sleep 0.5
done
chroot "$root" ctr --namespace=k8s.io images import --no-unpack --digests /run/images.tar || { tail -n 20 "$root/run/containerd.log" >&2; exit 1; }
kill "$containerd"
wait "$containerd" || true
