# One image for every service: the `sweep` command, Ray and MLflow in the versions that the project pins.
# PyTorch is what pip resolves by itself (a CUDA build on Linux, which also runs without a GPU). For a CPU-only image,
# build with --build-arg PIP_EXTRA_INDEX_URL=… of an index that has CPU builds.
FROM python:3.11-slim-bookworm

ARG PIP_EXTRA_INDEX_URL=""

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    RAY_USAGE_STATS_ENABLED=0 \
    EMSWEEP_WORKSPACE=/workspace

# Ids that no host account is likely to have; volumes made by Docker take over the folder's owner.
RUN groupadd --gid 10001 emsweep \
    && useradd --uid 10001 --gid emsweep --create-home emsweep \
    && install --directory --owner emsweep --group emsweep /workspace /mlflow

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY core core
COPY sweeps sweeps
COPY analysis analysis
RUN pip install --constraint constraints.txt '.[demo]'

USER 10001:10001
WORKDIR /workspace
ENTRYPOINT []
CMD ["sweep", "--help"]
