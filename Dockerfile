# Builds rollkeeper and copies the one binary into a small image. What is copied from here is named in .dockerignore.
# Stages: `build` compiles, `init` makes the secrets of compose.yaml, the last one is the service.

FROM rust:1.95-bookworm AS build
WORKDIR /src
# Tests and benches are not built, but cargo wants the targets of its manifest to be there. `.cargo` has settings of the
# allocator.
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo build --release --locked --bin rollkeeper \
    && strip --output-file=/usr/local/bin/rollkeeper target/release/rollkeeper

FROM debian:bookworm-slim AS init
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends age && rm -rf /var/lib/apt/lists/*
COPY dev/compose-init.sh /usr/local/bin/compose-init
ENTRYPOINT ["sh", "/usr/local/bin/compose-init"]

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner=10001 --group=10001 --mode=0700 /scratch
COPY --from=build /usr/local/bin/rollkeeper /usr/local/bin/rollkeeper
# A number, so that Kubernetes can see that it is not root. Nobody needs an entry in /etc/passwd.
USER 10001:10001
# The only place that it writes to, so the rest may be read-only: scratch files of large folds and plans, without names and
# encrypted to a key of the process.
ENV TMPDIR=/scratch
VOLUME ["/scratch"]
ENV ROLLKEEPER__HTTP__LISTEN=0.0.0.0:8080
EXPOSE 8080
# The program itself is process 1, so that SIGTERM reaches it.
ENTRYPOINT ["/usr/local/bin/rollkeeper"]
CMD ["serve"]
