#!/bin/bash
# Inside a Debian with docker and compose, in a network of its own: what docs/install.md says of compose, from
# the first user to a restart. /images holds the images, /source the repository. Called by
# packaging/image-test; ends at the first fault.
set -euo pipefail
name=registry.example.com
export SERVER_NAME=$name REDIS_IMAGE=test-redis REGISTRY_IMAGE=test-registry
compose=(docker compose --file /source/compose.yaml)
work=/docker

step() { printf '%4d s  %s\n' $SECONDS "$*"; }
fault() {
	echo "image-test: $*" >&2
	docker inspect --format '{{json .State.Health}}' "$(gate)" | tail -c 2000 >&2 || true
	"${compose[@]}" logs --tail 20 >&2 || true
	exit 1
}
quietly() { "$@" >/tmp/log 2>&1 || { tail -20 /tmp/log >&2; fault "$* failed"; }; }
login() { skopeo login --cert-dir "$certificates" --username alice --password "$1" $name; }
copy() { skopeo --insecure-policy copy "$@"; }
# Whether the gate is healthy (or not: $1), waited for.
await() {
	local try
	for try in {1..60}; do
		[[ $(docker inspect --format '{{.State.Health.Status}}' "$(gate)") == "$1" ]] && return
		sleep 1
	done
	fault "the gate is not $1"
}
gate() { "${compose[@]}" ps --quiet gate; }

ip link set lo up
echo "127.0.0.1 $name" >>/etc/hosts
dockerd --data-root $work/data --exec-root $work/exec --pidfile $work/pid >$work/dockerd.log 2>&1 &
dockerd=$!
trap '"${compose[@]}" down >/dev/null 2>&1 || true; kill $dockerd; wait $dockerd || true' EXIT
for try in {1..60}; do docker version >/dev/null 2>&1 && break; sleep 0.5; done
docker version >/dev/null || { tail -20 $work/dockerd.log >&2; exit 1; }
for image in /images/*.tar; do quietly docker load --input "$image"; done
SECONDS=0

quietly "${compose[@]}" up --detach --no-build
await healthy
step "up, and healthy"

# The first user.
printf correct-horse | quietly "${compose[@]}" exec -T gate registry-authctl user add alice --password-stdin
certificates=$(mktemp -d)
"${compose[@]}" exec -T gate cat /var/lib/registry-auth/certificate.pem >"$certificates/ca.crt"
umoci_image() { quietly umoci init --layout "$1"; quietly umoci new --image "$1:one"; }
umoci_image /tmp/image
quietly login correct-horse
! login wrong >/tmp/log 2>&1 || fault "a wrong password is right"
quietly copy --dest-cert-dir "$certificates" oci:/tmp/image:one docker://$name/alice/one:1
! copy --dest-cert-dir "$certificates" oci:/tmp/image:one docker://$name/bob/one:1 >/tmp/log 2>&1 ||
	fault "alice pushes to bob"
grep -q 'denied\|StatusCode: 403' /tmp/log || { cat /tmp/log; fault "the push to bob was not denied"; }
step "first user, login, push; another's namespace denied"

# Redis by its address, whatever its name is: $1 the service that tries, $2 what it connects to.
redis=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' \
	"$("${compose[@]}" ps --quiet redis)")
reaches() { "${compose[@]}" exec -T "$1" timeout 5 bash -c "exec 3<>/dev/tcp/$2" 2>/tmp/log; }
reaches gate "$redis/6379" || fault "the gate does not reach Redis at $redis"
reaches registry 127.0.0.1/5000 || fault "the registry does not reach itself"
! reaches registry "$redis/6379" || fault "the registry reaches Redis at $redis"
step "the registry does not reach the accounts"

# Who does the work, and who looks after it.
owners=$(docker top "$(gate)" -o pid,user,args | awk '/worker process/ {print $2}' | sort -u)
[[ $owners == www-data || $owners == 33 ]] || fault "nginx's workers are $owners"
"${compose[@]}" exec -T --user www-data gate cat /run/registry-auth/nginx.conf >/tmp/log 2>&1 &&
	fault "nginx's workers read nginx.conf"
pull() {
	rm -rf /tmp/pulled
	quietly copy --src-cert-dir "$certificates" docker://$name/alice/one:1 oci:/tmp/pulled:one
	diff -r /tmp/image/blobs /tmp/pulled/blobs >&2 || fault "what was pulled is not what was pushed"
}
quietly "${compose[@]}" stop redis
# The shipped `stale=10m`: who was let in before goes on.
pull
await healthy
quietly "${compose[@]}" start redis
step "workers are www-data; a login of before outlives an outage of Redis"

quietly "${compose[@]}" restart
await healthy
pull
step "a restart: pulled with the login of before"
before=$(cat "$certificates/ca.crt")
quietly "${compose[@]}" down
quietly "${compose[@]}" up --detach --no-build
await healthy
after=$("${compose[@]}" exec -T gate cat /var/lib/registry-auth/certificate.pem)
[[ $after == "$before" ]] || fault "another certificate"
quietly login correct-horse
pull
step "down and up: certificate, accounts and images are still there"

# As Kubernetes runs it: no root, and nothing to write to but two folders.
quietly docker create --name bare --network registry_accounts --user 33:33 --read-only --cap-drop ALL \
	--tmpfs /run/registry-auth:uid=33,gid=33 --tmpfs /var/lib/registry-auth:uid=33,gid=33 \
	--env REGISTRY_AUTH_BACKEND=registry:5000 nginx-registry-auth
quietly docker network connect registry_registries bare
quietly docker start bare
for try in {1..30}; do docker exec bare /usr/local/lib/registry-auth/healthcheck && break; sleep 1; done
if ! docker exec bare /usr/local/lib/registry-auth/healthcheck; then
	docker logs bare >&2
	fault "not healthy as another user"
fi
owners=$(docker top bare -o pid,user,args | awk '/nginx:/ {print $2}' | sort -u)
[[ $owners == www-data || $owners == 33 ]] || fault "as another user, nginx is $owners"
quietly docker rm --force bare
step "as www-data from the beginning, with a read-only root file system"

# A value that would end a directive starts nothing.
! docker run --rm --env 'SERVER_NAME=a; include /etc/shadow' nginx-registry-auth >/tmp/log 2>&1 ||
	fault "a server name may hold a semicolon"
grep -q 'no quotes, semicolons' /tmp/log || { cat /tmp/log; fault "the refusal does not say why"; }
docker run --rm nginx-registry-auth ls /usr/share/doc/nginx-registry-auth | grep -q cdx.json ||
	fault "the image does not say what it is made of"
step "a server name that is none is refused; the image says what it is made of"
