# livecode-server, for every role: what a container does is said by its environment (compose.yaml).
#
#   docker build -t livecode-server .

ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

# What programs are run by in the process sandbox, and who the server is where it needs no privileges.
FROM ${BASE_IMAGE} AS runtime
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates nodejs python3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --no-create-home --home-dir /nonexistent livecode
COPY scripts/worker-entrypoint /usr/local/bin/
USER livecode
EXPOSE 3000
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s CMD ["python3", "-I", "-c", \
  "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/health/ready', timeout=3)"]
CMD ["livecode-server"]

# The release of Debian is that of the base, or older: the server is linked to its C library. The sandboxes' own small programs are
# static, for which the archive of libc6-dev is needed.
FROM ${RUST_IMAGE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --release --locked -p livecode-server

FROM runtime
COPY --from=build /source/target/release/livecode-server /usr/local/bin/
