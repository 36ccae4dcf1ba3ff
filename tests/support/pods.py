"""A pod that serves files behind a Service, for tests of the cluster itself."""

from support.kubectl import Kubectl

_SERVER = """
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  containers:
    - name: server
      image: IMAGE
      imagePullPolicy: IfNotPresent
      command: [python3, -m, http.server, "8080", --directory, /etc]
      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}
"""


def serve(kubectl: Kubectl, image: str) -> None:
    """Start pod `server` behind Service `web` and wait until it is ready."""
    kubectl.apply(_SERVER.replace("IMAGE", image))
    kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=60s", timeout=90)


def in_server(kubectl: Kubectl, program: str) -> str:
    """Return what a Python program prints in the server's pod."""
    return kubectl("exec", "server", "--", "python3", "-c", program).strip()
