# One static program and nothing else, as `cargo xtask image` builds it without a container engine.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN apt-get update && cargo xtask setup && cargo xtask image

FROM scratch
COPY --from=build /src/target/image/root/ /
ENTRYPOINT ["/hopzero"]
