# nginx with the module, its configuration and registry-authctl, on Debian. docs/install.md says how to run
# it; compose.yaml runs it beside Redis and a registry.
#
#     docker build --tag nginx-registry-auth .

ARG DEBIAN=debian:trixie-slim

# A module loads only into the very nginx it was built for: both stages below have theirs from here.
FROM ${DEBIAN} AS nginx
RUN apt-get update \
 && apt-get install -y --no-install-recommends nginx openssl ca-certificates \
 && rm -rf /var/lib/apt/lists/*

FROM nginx AS build
WORKDIR /src
# By itself first: the packages stay cached while the sources change.
COPY tools/prerequisites tools/
RUN tools/prerequisites build \
 && apt-get install -y --no-install-recommends python3
COPY . .
# For tests: with less optimisation, a build takes a minute in the place of six.
ARG PROFILE=
RUN env ${PROFILE} make NO_INSTALL=1 build \
 && make NO_INSTALL=1 install DESTDIR=/installed \
 && make NO_INSTALL=1 sbom SBOM=/installed/usr/share/doc/nginx-registry-auth

FROM nginx
COPY --from=build /installed/ /
COPY packaging/image/entrypoint packaging/image/healthcheck /usr/local/lib/registry-auth/
RUN install -d -o www-data -g www-data /run/registry-auth /var/lib/registry-auth \
 && rm -rf /etc/nginx/sites-enabled/default
# registry-authctl asks the same Redis as the gate.
ENV REGISTRY_AUTH_REDIS=redis://redis:6379/0
# The certificate that the gate makes where none is mounted, and the key of its tokens.
VOLUME /var/lib/registry-auth
EXPOSE 443 8080
# nginx's graceful end: pushes under way are finished.
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/local/lib/registry-auth/healthcheck"]
ENTRYPOINT ["/usr/local/lib/registry-auth/entrypoint"]
