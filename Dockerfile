# nginx with the module, its configuration and registry-authctl, on Debian 12.
#
#     docker build --tag nginx-registry-auth .
#     docker run --detach --publish 443:443 \
#         --volume /path/to/certificate.pem:/etc/nginx/registry-auth/certificate.pem:ro \
#         --volume /path/to/key.pem:/etc/nginx/registry-auth/key.pem:ro \
#         --volume /path/to/nginx.conf:/etc/nginx/registry-auth/nginx.conf:ro \
#         nginx-registry-auth
#
# The nginx.conf that is in the image (nginx/nginx.conf) looks for Redis at 127.0.0.1:6379, which in a
# container is hardly where it is: mount one of your own, or run with --network host.

ARG DEBIAN=debian:bookworm-slim

# A module loads only into the very nginx it was built for: both stages below have theirs from here.
FROM ${DEBIAN} AS nginx
RUN apt-get update \
 && apt-get install -y --no-install-recommends nginx ca-certificates \
 && rm -rf /var/lib/apt/lists/*

FROM nginx AS build
WORKDIR /src
# By itself first: the packages stay cached while the sources change.
COPY tools/prerequisites tools/
RUN tools/prerequisites build
COPY . .
RUN make NO_INSTALL=1 build \
 && make NO_INSTALL=1 install DESTDIR=/installed

FROM nginx
COPY --from=build /installed/ /
RUN ln -sf /dev/stdout /var/log/nginx/access.log \
 && ln -sf /dev/stderr /var/log/nginx/error.log
EXPOSE 443
# nginx's graceful end: pushes under way are finished.
STOPSIGNAL SIGQUIT
CMD ["nginx", "-c", "/etc/nginx/registry-auth/nginx.conf", "-g", "daemon off;"]
