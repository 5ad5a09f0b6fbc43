# syntax=docker/dockerfile:1
# The image that runs everything of this project: Prefect's server, workers, and runs themselves.
#
#   docker build -t webtext-pipeline .
#
# For GPUs give an index of PyTorch builds for CUDA:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 -t webtext-pipeline:gpu .

FROM python:3.12-slim-bookworm AS build
# A compiler for the C extensions; the image that runs has none.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Dependencies in a layer of their own, which a change of the code leaves as it is.
COPY constraints.txt pyproject.toml README.md LICENSE ./
RUN mkdir flows infra webtext model eval && touch webtext/_rows.c webtext/_minhash.c eval/_ngrams.c \
 && pip install --extra-index-url "$TORCH_INDEX" --constraint constraints.txt .
COPY . .
RUN pip install --force-reinstall --no-deps .

FROM python:3.12-slim-bookworm
# git is what Prefect's pull steps clone with.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home webtext \
 && mkdir /data \
 && chown webtext /data
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PREFECT_HOME=/home/webtext/.prefect
USER 10001
# Stores are relative to this folder: `runs` is /data/runs.
WORKDIR /data
VOLUME /data
CMD ["webtext", "--help"]
