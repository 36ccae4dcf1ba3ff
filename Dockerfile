# The two images of the product: `docker build --target operator .` and `--target runner .` (also `buildah bud`).
# A package mirror's settings come in as the secrets `pip_conf` and `ca`, which no layer keeps.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
RUN python3 -m venv /opt/build && python3 -m venv /opt/venv
WORKDIR /src
COPY requirements/build.txt requirements/
RUN --mount=type=secret,id=pip_conf,target=/run/secrets/pip_conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    PIP_CONFIG_FILE=/run/secrets/pip_conf /opt/build/bin/pip install --quiet --require-hashes -r requirements/build.txt

FROM build AS wheels
COPY crds crds
COPY notify notify
COPY operator operator
COPY runner runner
RUN /opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels ./crds ./notify ./operator ./runner

FROM build AS operator-packages
COPY requirements/operator.txt requirements/
RUN --mount=type=secret,id=pip_conf,target=/run/secrets/pip_conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    PIP_CONFIG_FILE=/run/secrets/pip_conf /opt/venv/bin/pip install --quiet --require-hashes -r requirements/operator.txt
COPY --from=wheels /wheels /wheels
RUN /opt/venv/bin/pip install --quiet --no-index --no-deps /wheels/refresh_api-*.whl /wheels/refresh_notify-*.whl /wheels/refresh_operator-*.whl \
 && /opt/venv/bin/pip uninstall --quiet --yes pip \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/venv

FROM build AS runner-packages
COPY requirements/runner.txt requirements/
RUN --mount=type=secret,id=pip_conf,target=/run/secrets/pip_conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    PIP_CONFIG_FILE=/run/secrets/pip_conf /opt/venv/bin/pip install --quiet --require-hashes -r requirements/runner.txt
COPY --from=wheels /wheels /wheels
RUN /opt/venv/bin/pip install --quiet --no-index --no-deps /wheels/refresh_api-*.whl /wheels/refresh_notify-*.whl /wheels/refresh_runner-*.whl \
 && /opt/venv/bin/pip uninstall --quiet --yes pip \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/venv

# python:slim comes without the standard library's bytecode; with a read-only root file system it would be compiled at every start.
FROM ${BASE_IMAGE} AS runtime
RUN python3 -c "import sysconfig; print(sysconfig.get_path('stdlib'))" \
  | xargs python3 -m compileall -q -x '/(test|tests|idlelib|ensurepip|lib2to3)/' \
 && echo 'refresh:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd && echo 'refresh:x:65532:' >> /etc/group
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp \
    DO_NOT_TRACK=1 DBT_SEND_ANONYMOUS_USAGE_STATS=false

FROM runtime AS operator
COPY --from=operator-packages /opt/venv /opt/venv
RUN ln -sf /opt/venv/bin/refresh-operator /usr/local/bin/refresh-operator
WORKDIR /tmp
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/refresh-operator"]

FROM runtime AS runner
COPY --from=runner-packages /opt/venv /opt/venv
RUN ln -sf /opt/venv/bin/refresh-runner /usr/local/bin/refresh-runner
COPY dbt_project /app/dbt_project
WORKDIR /tmp
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/refresh-runner"]
