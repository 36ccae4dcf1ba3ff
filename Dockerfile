# The images: `DOCKER_BUILDKIT=1 docker build --target operator .`, `--target runner .` and `--target page .` (also `buildah bud`).
# Settings of a package mirror are mounted as the secrets `pip_conf` and `ca`, which are in no layer.
# Python runs in isolated mode (-I): no environment variable and no file in the working directory adds code.
# Third-party packages are one layer and this project's another, so that a change of the code rebuilds only a small layer.
# Two builds on one base are the same: wheels have a fixed time (1980), and bytecode does not depend on a random seed of hashes.
# The base image is pinned by digest, so that builds are reproducible: Python 3.13.15 on Debian 13.6. Update it like a dependency,
# in both Dockerfiles. Any Debian with python3 and its venv module works.
ARG BASE_IMAGE=python:3.13-slim@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285

FROM ${BASE_IMAGE} AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1 \
    PYTHONHASHSEED=0 SOURCE_DATE_EPOCH=315532800
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/venv \
 && echo /opt/refresh > "$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/refresh.pth"
WORKDIR /src
COPY requirements/build.txt requirements/
RUN --mount=type=secret,id=pip_conf,target=/run/secrets/pip_conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    PIP_CONFIG_FILE=/run/secrets/pip_conf /opt/build/bin/pip install --quiet --require-hashes --only-binary :all: -r requirements/build.txt

FROM build AS operator-packages
COPY requirements/operator.txt requirements/
RUN --mount=type=secret,id=pip_conf,target=/run/secrets/pip_conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    PIP_CONFIG_FILE=/run/secrets/pip_conf /opt/build/bin/pip --python /opt/venv/bin/python install --quiet --require-hashes --only-binary :all: -r requirements/operator.txt \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/venv

FROM build AS runner-packages
COPY requirements/runner.txt requirements/
RUN --mount=type=secret,id=pip_conf,target=/run/secrets/pip_conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    PIP_CONFIG_FILE=/run/secrets/pip_conf /opt/build/bin/pip --python /opt/venv/bin/python install --quiet --require-hashes --only-binary :all: -r requirements/runner.txt \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/venv

FROM build AS page-packages
COPY requirements/page.txt requirements/
RUN --mount=type=secret,id=pip_conf,target=/run/secrets/pip_conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    PIP_CONFIG_FILE=/run/secrets/pip_conf /opt/build/bin/pip --python /opt/venv/bin/python install --quiet --require-hashes --only-binary :all: -r requirements/page.txt \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/venv

FROM build AS operator-ours
COPY crds crds
COPY notify notify
COPY operator operator
RUN for each in crds notify operator; do /opt/build/bin/pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir /wheels ./$each; done \
 && /opt/build/bin/pip --python /opt/venv/bin/python install --quiet --no-index --no-deps --target /opt/refresh /wheels/*.whl \
 && sed -i '1s|.*|#!/opt/venv/bin/python -IBu|' /opt/refresh/bin/refresh-* \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/refresh

FROM build AS runner-ours
COPY crds crds
COPY notify notify
COPY runner runner
RUN for each in crds notify runner; do /opt/build/bin/pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir /wheels ./$each; done \
 && /opt/build/bin/pip --python /opt/venv/bin/python install --quiet --no-index --no-deps --target /opt/refresh /wheels/*.whl \
 && sed -i '1s|.*|#!/opt/venv/bin/python -IBu|' /opt/refresh/bin/refresh-* \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/refresh

FROM build AS page-ours
COPY crds crds
COPY page page
RUN for each in crds page; do /opt/build/bin/pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir /wheels ./$each; done \
 && /opt/build/bin/pip --python /opt/venv/bin/python install --quiet --no-index --no-deps --target /opt/refresh /wheels/*.whl \
 && sed -i '1s|.*|#!/opt/venv/bin/python -IBu|' /opt/refresh/bin/refresh-* \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/refresh

# python:slim has no bytecode of the standard library; with a read-only root file system it would be compiled at every start.
FROM ${BASE_IMAGE} AS runtime
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN python3 -c "import sysconfig; print(sysconfig.get_path('stdlib'))" \
  | PYTHONHASHSEED=0 xargs python3 -m compileall -q -x '/(test|tests|idlelib|ensurepip|lib2to3)/' \
 && echo 'refresh:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd && echo 'refresh:x:65532:' >> /etc/group \
 && for each in operator runner page; do ln -s /opt/refresh/bin/refresh-$each /usr/local/bin/refresh-$each; done
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp \
    DO_NOT_TRACK=1 DBT_SEND_ANONYMOUS_USAGE_STATS=false
WORKDIR /tmp

FROM runtime AS operator
COPY --from=operator-packages /opt/venv /opt/venv
COPY --from=operator-ours /opt/refresh /opt/refresh
USER 65532:65532
ENTRYPOINT ["/opt/venv/bin/python", "-IBu", "/usr/local/bin/refresh-operator"]

FROM runtime AS page
COPY --from=page-packages /opt/venv /opt/venv
COPY --from=page-ours /opt/refresh /opt/refresh
USER 65532:65532
ENTRYPOINT ["/opt/venv/bin/python", "-IBu", "/usr/local/bin/refresh-page"]

# git fetches dbt projects from repositories; a base image that has it needs no Debian mirror.
FROM runtime AS runtime-with-git
RUN if ! { command -v git && command -v ssh; } >/dev/null; then \
      apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends git openssh-client >/dev/null \
      && rm -rf /var/lib/apt/lists/*; \
    fi

FROM runtime-with-git AS runner
COPY --from=runner-packages /opt/venv /opt/venv
COPY dbt_project /app/dbt_project
COPY --from=runner-ours /opt/refresh /opt/refresh
# So that no pod has to parse it. A project that dbt cannot parse fails the build. No connection is made.
RUN refresh-runner parse --project /app/dbt_project && rm -rf /tmp/*
USER 65532:65532
ENTRYPOINT ["/opt/venv/bin/python", "-IBu", "/usr/local/bin/refresh-runner"]
