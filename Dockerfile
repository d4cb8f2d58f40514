# Builds rollkeeper, then copies the one binary into a small image.

FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src ./src
COPY migrations ./migrations
# Cargo wants every target of the manifest to exist; the tests and the benchmark themselves are not built.
RUN mkdir -p tests/it benches/budgets && echo 'fn main() {}' | tee tests/it/main.rs > benches/budgets/main.rs
RUN cargo build --release --locked --bin rollkeeper

FROM debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home rollkeeper
COPY --from=build /src/target/release/rollkeeper /usr/local/bin/rollkeeper
USER 10001
ENV ROLLKEEPER__HTTP__LISTEN=0.0.0.0:8080
EXPOSE 8080
# The program itself is process 1, so that SIGTERM reaches it.
ENTRYPOINT ["/usr/local/bin/rollkeeper"]
CMD ["serve"]
