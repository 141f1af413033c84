# syntax=docker/dockerfile:1
# docker build --tag crossette .
# The image has no model: they are downloaded into its volume. docs/deploy.md says more.
FROM python:3.13-slim AS build
WORKDIR /build
RUN python -m venv /opt/crossette
COPY requirements/container.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/crossette/bin/pip install --require-hashes --requirement requirements/container.txt
COPY pyproject.toml README.md LICENSE ./
COPY src/ src/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/crossette/bin/pip install --no-deps .

FROM python:3.13-slim
# The compiler makes kernels for the CPU at the first start. Debian keeps one version of it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-log-init --create-home --home-dir /var/lib/crossette crossette
COPY --from=build /opt/crossette /opt/crossette
ENV PATH=/opt/crossette/bin:/usr/local/bin:/usr/bin:/bin \
    CROSSETTE_HOME=/var/lib/crossette \
    CROSSETTE_HOST=0.0.0.0 \
    CROSSETTE_PORT=8000
USER 10001
WORKDIR /var/lib/crossette
VOLUME /var/lib/crossette
EXPOSE 8000
# Alive, not ready: a restart does not help a server that is busy. The first start downloads a model.
HEALTHCHECK --interval=15s --timeout=5s --start-period=15m \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["crossette"]
CMD ["serve"]
