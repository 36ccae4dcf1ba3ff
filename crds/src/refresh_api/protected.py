"""Variables, labels and annotations that users cannot set on the pods of runs: they change what runs, as whom, or who selects the pod.

The list of annotations cannot be complete: a cluster with its own webhooks that act on annotations must itself restrict who may set them.
"""

import re
from typing import Final

from refresh_api import names

_VARIABLES: Final = (
    *(
        names.RUN_REQUEST_ENV,
        names.RUN_ID_ENV,
        names.RUN_FAILURES_ENV,
        names.POD_NAME_ENV,
        names.API_BASE_URL_ENV,
        names.RUN_URL_TEMPLATE_ENV,
    ),
    names.WEBHOOK_ALLOW_HTTP_ENV,
    *("BASH_ENV", "BROWSER", "DO_NOT_TRACK", "EDITOR", "ENV", "HOME", "HOSTALIASES", "HOSTNAME", "IFS", "KUBECONFIG", "LOCALDOMAIN"),
    *("LOCPATH", "LOGNAME", "NETRC", "NLSPATH", "OLDPWD", "PAGER", "PATH", "PS4", "PWD", "SHELL", "SHELLOPTS", "TEMP", "TEMPDIR"),
    *("TERMINFO", "TERMINFO_DIRS", "TMP", "TMPDIR", "TZDIR", "USER", "VIRTUAL_ENV", "VISUAL"),
)
"""Variables of the run itself, and those with which programs find code, files and servers."""
_VARIABLE_PREFIXES: Final = (
    *("_", "CURL_", "DBT_", "DYLD_", "GCONV_", "GETCONF_", "GIT_", "GLIBC_", "GSS", "KRB5", "KUBERNETES_", "LD_", "MALLOC_", "NETWORKX_"),
    *("NODE_", "OPENSSL", "PERL", "PG", "PIP_", "PSYCOPG", "PYDANTIC_", "PYTHON", "REFRESH_", "REQUESTS_", "RES_", "RUN_", "SSL", "XDG_"),
)
"""Prefixes of such variables: of the linker, Python, PostgreSQL, dbt, the cluster and certificates."""
VARIABLE_PATTERN: Final = rf"^(({'|'.join(_VARIABLES)})$|{'|'.join(_VARIABLE_PREFIXES)})"
VARIABLE_SAYS: Final = (
    "this variable is protected: it could change what runs or whom the run talks to (PATH, HOME, TMPDIR, PYTHON…, LD_…, PG…, DBT_…, "
    "KUBERNETES_…, REFRESH_…, SSL… and similar ones). Choose another name; pass values to models with dbt.vars, and certificates with "
    "the chart's caBundle"
)

_DOMAINS: Final = (
    *("kubernetes.io", "k8s.io", names.GROUP),
    # webhooks and runtimes change the pod by them: sidecars, other containers and images, Secrets, cloud identities, networks
    *("amazonaws.com", "cilium.io", "cncf.io", "dapr.io", "hashicorp.com", "istio.io", "katacontainers.io", "linkerd.io", "openshift.io"),
    *("opentelemetry.io", "ovn.org", "projectcalico.org", "admission.datadoghq.com", "workload.identity"),
)
"""Domains whose labels and annotations act on a pod, including their subdomains."""
ALLOWED_KEYS: Final = (
    "cluster-autoscaler.kubernetes.io/safe-to-evict",
    "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes",
    "sidecar.istio.io/inject",
    "sidecar.istio.io/proxyCPU",
    "sidecar.istio.io/proxyCPULimit",
    "sidecar.istio.io/proxyMemory",
    "sidecar.istio.io/proxyMemoryLimit",
    "traffic.sidecar.istio.io/excludeOutboundIPRanges",
    "traffic.sidecar.istio.io/excludeOutboundPorts",
    "linkerd.io/inject",
    "config.linkerd.io/skip-outbound-ports",
)
"""Keys in these domains that are allowed: they affect scheduling or network proxies, or keep others from changing the pod."""
_RUNTIMES: Final = (
    "io.kubernetes.",
    "io.containerd.",
    "io.katacontainers.",
    "cri-o.",
    "run.oci.",
    "org.systemd.",
    "module.wasm.",
    "com.docker.",
)
"""Prefixes of annotations that container runtimes act on."""
_SELECTED_BY: Final = (
    *("aadpodidbinding", "app", "component", "controller-revision-hash", "controller-uid", "instance", "job-name", "k8s-app", "name"),
    *("pod-template-hash", "release", "role", "run", "service", "tier"),
)
"""Labels without a domain that Services and controllers commonly select."""

_DOMAIN_PATTERN: Final = rf"([^/]*\.)?({'|'.join(re.escape(each) for each in _DOMAINS)})/"
ANNOTATION_PATTERN: Final = rf"^(?i:{_DOMAIN_PATTERN}|{'|'.join(re.escape(each) for each in _RUNTIMES)})"
LABEL_PATTERN: Final = rf"^(?i:{_DOMAIN_PATTERN}|({'|'.join(_SELECTED_BY)})$)"
LABEL_SAYS: Final = (
    "this label is protected: it could make the pod part of a Service or change what runs (app, name and similar ones, labels of "
    "kubernetes.io, k8s.io, istio.io …). Choose a key with your own domain, like example.org/team"
)
ANNOTATION_SAYS: Final = (
    "this annotation is protected: it could change what runs, or as whom (those of kubernetes.io, k8s.io, istio.io, cloud identities, "
    "container runtimes and similar ones). The security page of the guide lists what is allowed"
)
