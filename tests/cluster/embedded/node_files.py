"""Command lines and configuration files of a node's components; pure functions. Paths are those inside the node."""

import io
import json
import tarfile
from dataclasses import dataclass
from hashlib import sha256

ADDRESS = "10.77.0.2"
POD_CIDR = "10.78.0.0/24"
SERVICE_CIDR = "10.96.0.0/16"
PAUSE_IMAGE = "localhost/pause:1"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"


@dataclass(frozen=True)
class NodeSettings:
    """Settings that depend on the machine or the cluster."""

    cgroup: str
    snapshotter: str
    cni_plugins: str


def kubelet_config(settings: NodeSettings) -> str:
    """Return the kubelet's configuration, with the cluster's control groups. It never deletes images, since they cannot be pulled again."""
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{settings.cgroup}",
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": "/node/pki/ca.crt"}, "webhook": {"enabled": True}},
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": "/node/pki/kubelet.crt",
            "tlsPrivateKeyFile": "/node/pki/kubelet.key",
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "resolvConf": "/etc/resolv.conf",
            "clusterDNS": [ADDRESS],
            "clusterDomain": "cluster.local",
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        },
        indent=1,
    )


def containerd_config(settings: NodeSettings) -> str:
    """Return containerd's configuration, in version 2, which containerd 2 also reads."""
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  disable_apparmor = true         # its profiles would be loaded into the machine's kernel, and stay
  restrict_oom_score_adj = true   # without CAP_SYS_RESOURCE a lower score can't be set
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{settings.snapshotter}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{settings.cni_plugins}"
    conf_dir = "/node/cni"
"""


def network_config() -> str:
    """Return the CNI configuration: each pod has a routed pair of interfaces, so that no bridge or bridge filter is needed."""
    addresses = {"type": "host-local", "ranges": [[{"subnet": POD_CIDR}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/run/cni"}
    plugins = [{"type": "ptp", "ipam": addresses}, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": plugins}, indent=1)


def dns_config() -> str:
    """Return CoreDNS's configuration: it resolves names of the cluster only."""
    return f""".:53 {{
 bind {ADDRESS}
 ready {ADDRESS}:8181
 errors
 cache 5
 kubernetes cluster.local in-addr.arpa {{
  kubeconfig /node/pki/internal.kubeconfig
 }}
}}
"""


def kubelet() -> list[str]:
    """Return the kubelet's command line."""
    return [
        "--config=/node/kubelet.json",
        "--kubeconfig=/node/pki/kubelet.kubeconfig",
        "--hostname-override=node",
        f"--node-ip={ADDRESS}",
        "--root-dir=/var/lib/kubelet",
    ]


def kube_proxy() -> list[str]:
    """Return kube-proxy's command line, which does not change the machine's connection tracking."""
    return [
        "--kubeconfig=/node/pki/internal.kubeconfig",
        "--hostname-override=node",
        f"--cluster-cidr={POD_CIDR}",
        "--proxy-mode=iptables",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0s",
        "--conntrack-tcp-timeout-close-wait=0s",
        "--oom-score-adj=0",
    ]


def kube_router() -> list[str]:
    """Return kube-router's command line, which only acts on NetworkPolicies."""
    return [
        "--kubeconfig=/node/pki/internal.kubeconfig",
        "--hostname-override=node",
        "--run-firewall=true",
        "--run-router=false",
        "--run-service-proxy=false",
        "--run-loadbalancer=false",
        "--enable-ipv6=false",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--health-port=0",
    ]


def image_archive(name: str, program: bytes) -> bytes:
    """Return an image (docker-archive) of one static program."""
    layer = _tar({"program": (program, 0o755)})
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/program"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
        }
    ).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    return _tar({"config.json": (config, 0o644), "layer.tar": (layer, 0o644), "manifest.json": (manifest, 0o644)})


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, (content, mode) in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
