# The command line in a container: payments-pipeline is the entry point, its arguments are the container's.
#
#   docker build --build-arg BASE=python:3.13-slim@sha256:<digest> -t payments-pipeline .
#
# Give BASE with the digest that you have looked at (docker buildx imagetools inspect python:3.13-slim): a tag alone may
# mean another image tomorrow. Everything else is pinned by hash in requirements/run.txt.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /build
COPY requirements/run.txt requirements/run.txt
RUN python -m venv /opt/venv \
    && /opt/venv/bin/python -m pip --disable-pip-version-check --no-cache-dir install \
        --require-hashes --only-binary :all: --requirement requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY payments_pipeline payments_pipeline
COPY mock_api mock_api
COPY sql sql
RUN /opt/venv/bin/python -m pip --disable-pip-version-check --no-cache-dir install \
        --no-deps --no-build-isolation .

FROM ${BASE}
RUN useradd --uid 10001 --create-home pipeline
COPY --from=build /opt/venv /opt/venv
USER 10001
WORKDIR /home/pipeline
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
ENTRYPOINT ["payments-pipeline"]
CMD ["--help"]
