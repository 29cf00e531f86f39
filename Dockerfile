# An image for the CPU that needs no network when it runs: the weights are in the package.
#
#   docker build --tag unblur .
#   docker run --rm --network none --user "$(id -u):$(id -g)" --volume "$PWD:/photos" unblur photo.jpg

FROM python:3.12-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
LABEL org.opencontainers.image.title="unblur" \
      org.opencontainers.image.description="Deblur photos, offline, with everything else in the file kept" \
      org.opencontainers.image.licenses="MIT"
# PyTorch from its index for CPUs: the other one brings gigabytes for GPUs. The constraints pin it.
# hadolint ignore=DL3013
RUN --mount=type=bind,from=build,source=/source/constraints.txt,target=/tmp/constraints.txt \
    pip install --no-cache-dir --constraint /tmp/constraints.txt \
        --index-url https://download.pytorch.org/whl/cpu torch
# hadolint ignore=DL3013
RUN --mount=type=bind,from=build,source=/wheels,target=/tmp/wheels \
    pip install --no-cache-dir "$(echo /tmp/wheels/unblur-*.whl)[deep,heif,raw]"
# Any user may write there: --user names one that this image does not know.
RUN useradd --create-home --uid 10001 photos && mkdir --mode=1777 /data
ENV UNBLUR_HISTORY=/data/history.sqlite3 HOME=/home/photos
USER 10001:10001
WORKDIR /photos
ENTRYPOINT ["unblur"]
CMD ["--help"]
