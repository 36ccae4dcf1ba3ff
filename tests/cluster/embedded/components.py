"""Command lines and configuration files of the control plane's components; pure functions."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plane:
    """Addresses, ports and folders of a control plane, as its components see them."""

    address: str
    bind: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int
    pki: Path
    data: Path
    service_cidr: str
    has_nodes: bool

    @property
    def first_service_address(self) -> str:
        """Return the address of the Service `kubernetes`."""
        return self.service_cidr.rsplit(".", 1)[0] + ".1"


def etcd(plane: Plane) -> list[str]:
    """Return etcd's command line, without fsync: the cluster of a demo or a test need not survive a crash of the machine."""
    client, peer = f"http://127.0.0.1:{plane.etcd_port}", f"http://127.0.0.1:{plane.etcd_peer_port}"
    return [
        f"--data-dir={plane.data}/etcd",
        # etcd 3.7 panics on entries of 3.5 in the log. It reads them until etcd 3.6 has made a snapshot, by default after 10,000 writes.
        "--snapshot-count=100",
        "--unsafe-no-fsync",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--log-level=warn",
    ]


def apiserver(plane: Plane) -> list[str]:
    """Return the API server's command line. Without nodes it advertises no address, since it only has a loopback address."""
    pki = plane.pki
    return [
        f"--etcd-servers=http://127.0.0.1:{plane.etcd_port}",
        f"--advertise-address={plane.address}",
        f"--bind-address={plane.bind}",
        f"--secure-port={plane.api_port}",
        f"--endpoint-reconciler-type={'lease' if plane.has_nodes else 'none'}",
        f"--cert-dir={pki}",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/admin.crt",
        f"--kubelet-client-key={pki}/admin.key",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-cluster-ip-range={plane.service_cidr}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        "--profiling=false",
        "--event-ttl=24h",
    ]


def controller_manager(plane: Plane) -> list[str]:
    """Return the controller manager's command line, with the controllers of CronJobs and Jobs and the garbage collector."""
    pki = plane.pki
    return [
        f"--kubeconfig={pki}/internal.kubeconfig",
        f"--service-account-private-key-file={pki}/sa.key",
        f"--root-ca-file={pki}/ca.crt",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
    ]


def scheduler(plane: Plane) -> list[str]:
    """Return the scheduler's command line."""
    return [f"--kubeconfig={plane.pki}/internal.kubeconfig", "--leader-elect=false", "--secure-port=0", "--profiling=false"]


def kubeconfig(server: str, user: str, authority: bytes, certificate: bytes, key: bytes, context: str) -> str:
    """Return a kubeconfig with embedded certificates, so that it can be copied anywhere. JSON is valid YAML."""

    def text(content: bytes) -> str:
        return base64.b64encode(content).decode()

    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": context, "cluster": {"server": server, "certificate-authority-data": text(authority)}}],
            "users": [{"name": user, "user": {"client-certificate-data": text(certificate), "client-key-data": text(key)}}],
            "contexts": [{"name": context, "context": {"cluster": context, "user": user}}],
            "current-context": context,
        },
        indent=1,
    )
