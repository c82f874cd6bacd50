# syntax=docker/dockerfile:1
# The image of devicecert-operator: one program on a base without shell and package manager, not as root.
#   docker build -t REGISTRY/devicecert-operator:VERSION .

# Debian 12 in both stages: the program links the C library of the first and runs with that of the second.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The caches survive a change of the sources; the program must leave them, because they are no part of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin devicecert-operator && \
    strip -o /devicecert-operator target/release/devicecert-operator

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="devicecert-operator" \
      org.opencontainers.image.description="Gives every device a certificate for its whole life" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /devicecert-operator /usr/local/bin/devicecert-operator
# The base's user `nonroot`, as a number, so that Kubernetes can see that it is not root.
USER 65532:65532
# EST; metrics and health of controller and of est
EXPOSE 8443 9090 9091
ENTRYPOINT ["/usr/local/bin/devicecert-operator"]
CMD ["run"]
