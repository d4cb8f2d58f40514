# Builds rollkeeper and copies the one binary into a small image. What is copied from here is named in .dockerignore.
# Stages: `build` compiles, `init` makes the secrets of compose.yaml, the last one is the service.

FROM rust:1.95-bookworm AS build
WORKDIR /src
# Tests and benches are not built, but cargo wants the targets of its manifest to be there.
COPY . .
RUN cargo build --release --locked --bin rollkeeper

FROM debian:bookworm-slim AS init
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends age && rm -rf /var/lib/apt/lists/*
COPY dev/compose-init.sh /usr/local/bin/compose-init
ENTRYPOINT ["sh", "/usr/local/bin/compose-init"]

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home rollkeeper
COPY --from=build /src/target/release/rollkeeper /usr/local/bin/rollkeeper
USER 10001
ENV ROLLKEEPER__HTTP__LISTEN=0.0.0.0:8080
EXPOSE 8080
# The program itself is process 1, so that SIGTERM reaches it.
ENTRYPOINT ["/usr/local/bin/rollkeeper"]
CMD ["serve"]
