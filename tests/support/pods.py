"""A pod that serves files behind a Service: what tests of the cluster itself look at."""

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
    """Make pod `server` run behind Service `web`."""
    kubectl.apply(_SERVER.replace("IMAGE", image))
    kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=60s", timeout=90)


def in_server(kubectl: Kubectl, program: str) -> str:
    """What a Python program prints in the server's pod."""
    return kubectl("exec", "server", "--", "python3", "-c", program).strip()
