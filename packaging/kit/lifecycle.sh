#!/bin/bash
# Inside a bare Debian, in which nothing of ours is installed: the packages below /packages are installed,
# upgraded, removed, installed again and purged; nginx -t has to be content after each step. Then a user logs
# in and pushes, by the commands of docs/install.md. Called by packaging/deb-test; ends at the first fault.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -y -q --no-install-recommends -o Dpkg::Use-Pty=0)
keep=(-o Dpkg::Options::=--force-confold)
link=/etc/nginx/modules-enabled/60-mod-registry-auth.conf
snippet=/etc/nginx/registry-auth/proxy.conf
module=libnginx-mod-http-registry-auth

step() { printf '%6.1f s  %s\n' "$(bc <<<"$(date +%s.%N) - $started")" "$*"; }
fault() { echo "deb-test: $*" >&2; exit 1; }
content() {
	nginx -t >/tmp/nginx-t 2>&1 || { cat /tmp/nginx-t >&2; fault "nginx -t fails after: $1"; }
	step "nginx -t after: $1"
}
# Not by a pipe: grep ends at the first match, and nginx of that.
loaded() {
	nginx -T >/tmp/nginx-T 2>/dev/null
	grep -q 'load_module modules/ngx_http_registry_auth_module.so' /tmp/nginx-T
}
quietly() { "$@" >/tmp/log 2>&1 || { tail -20 /tmp/log >&2; fault "$* failed"; }; }

quietly "${apt[@]}" -o Acquire::Check-Valid-Until=false update
quietly "${apt[@]}" install bc nginx iproute2
started=$(date +%s.%N)
nginx -t 2>/dev/null || fault "nginx -t fails without the module"

cd /packages
quietly "${apt[@]}" install ./one/"$module"_*.deb ./one/registry-authctl_*.deb
content "install"
[[ -L $link ]] && loaded || fault "the module is not turned on"
registry-authctl --version >/dev/null || fault "registry-authctl does not run"
[[ ! -e /etc/nginx/sites-enabled/registry ]] || fault "a site was turned on"
# As the pages name each other and what lies in contrib/.
for page in README.md docs/install.md examples/systemd/registry-auth.conf; do
	[[ -e /usr/share/doc/$module/$page ]] || fault "the package does not bring $page"
done

# What an administrator changes stays, and what they turned off stays off.
echo '# of the administrator' >>"$snippet"
sed -i 's/registry.example.com/hub.example.com/' /etc/nginx/sites-available/registry
quietly "${apt[@]}" "${keep[@]}" install ./two/"$module"_*.deb ./two/registry-authctl_*.deb
content "upgrade"
grep -q '# of the administrator' "$snippet" || fault "an upgrade has overwritten $snippet"
grep -q hub.example.com /etc/nginx/sites-available/registry || fault "an upgrade has overwritten a site"
rm "$link"
quietly "${apt[@]}" "${keep[@]}" --allow-downgrades install ./one/"$module"_*.deb ./one/registry-authctl_*.deb
content "downgrade, turned off"
[[ ! -e $link ]] || fault "a module that was turned off is on again"
ln -s /usr/share/nginx/modules-available/mod-registry-auth.conf "$link"
content "turned on again"

quietly "${apt[@]}" remove "$module"
content "remove"
[[ ! -e $link ]] && ! loaded || fault "the module is still turned on"
[[ -e $snippet ]] || fault "remove has taken a configuration file"
quietly "${apt[@]}" install ./one/"$module"_*.deb
content "install again"
loaded || fault "the module is not turned on again"

echo secret >/etc/nginx/registry-auth/key.pem
quietly "${apt[@]}" purge "$module" registry-authctl
content "purge"
[[ ! -e $snippet && ! -e $link && ! -L $link.removed ]] || fault "purge has left configuration files"
[[ -e /etc/nginx/registry-auth/key.pem ]] || fault "purge has taken the administrator's key"
rm -r /etc/nginx/registry-auth

# A module for another nginx: apt says no, and nothing changes.
for other in other/*.deb; do
	! "${apt[@]}" install "./$other" >/tmp/log 2>&1 || fault "apt installs $other"
	grep -q nginx-abi /tmp/log || { cat /tmp/log; fault "apt refuses $other for another reason"; }
	content "$(basename "$other"), which apt refuses"
done

# From nothing to a push, by the documentation.
started=$(date +%s.%N)
quietly "${apt[@]}" install ./one/"$module"_*.deb ./one/registry-authctl_*.deb redis-server docker-registry \
	skopeo umoci openssl ca-certificates curl procps
step "packages installed"
cat >/tmp/session <<'END'
set -euo pipefail
name=registry.example.com
ip link set lo up
echo "127.0.0.1 $name" >>/etc/hosts
redis-server --daemonize yes --dir /tmp >/dev/null
# As docs/users-and-backends.md says.
sed -i -e '/^auth:/,$d' -e 's/addr: :5000/addr: 127.0.0.1:5001/' /etc/docker/registry/config.yml
docker-registry serve /etc/docker/registry/config.yml >/tmp/registry.log 2>&1 &
# By its path, as systemd does: it starts another of itself.
/usr/sbin/nginx
for command; do
	bash -euo pipefail -c "$command" >/tmp/log 2>&1 && continue
	cat /tmp/log /var/log/nginx/error.log >&2
	echo "fails: $command" >&2
	exit 1
done
umoci init --layout /tmp/image
umoci new --image /tmp/image:one
certificates=$(mktemp -d)
cp /etc/nginx/registry-auth/certificate.pem "$certificates/ca.crt"
# Workers of before the reload may still take a connection.
for try in 1 2 3 4 5; do
	skopeo login --cert-dir "$certificates" --username alice --password correct-horse $name && break
	sleep 1
done
copy() { skopeo --insecure-policy copy "$@"; }
copy --dest-cert-dir "$certificates" oci:/tmp/image:one docker://$name/alice/one:1
! copy --dest-cert-dir "$certificates" oci:/tmp/image:one docker://$name/bob/one:1 2>/tmp/refused
# What HEAD is answered with has no words.
grep -Eq 'may not push bob/one|StatusCode: 403|403 .Forbidden' /tmp/refused || { cat /tmp/refused; exit 1; }
pull() {
	rm -rf /tmp/pulled
	copy --src-cert-dir "$certificates" docker://$name/alice/one:1 oci:/tmp/pulled:one
}
pull

# The next version under the nginx that runs, while requests come in: none is lost, and no process has the
# module of before.
ask() {
	curl --silent --show-error --output /dev/null --write-out '%{http_code}\n' --cacert "$certificates/ca.crt" \
		--user alice:correct-horse "https://$name/v2/" 2>&1
}
gone() { grep -q 'ngx_http_registry_auth_module.so.* (deleted)' /proc/[0-9]*/maps 2>/dev/null; }
! gone
master=$(cat /run/nginx.pid)
trap 'touch /tmp/upgraded' EXIT
while [[ ! -e /tmp/upgraded ]]; do ask; done >/tmp/answers &
asking=$!
rm -f /usr/sbin/policy-rc.d
apt-get -y -q -o Dpkg::Options::=--force-confold install /packages/two/*.deb
[[ $(cat /run/nginx.pid) != "$master" ]]
for try in {1..300}; do gone || break; sleep 0.1; done
! gone
[[ ! -e /proc/$master ]]
touch /tmp/upgraded
wait $asking
sort /tmp/answers | uniq -c
[[ $(sort -u /tmp/answers) == 200 ]]
pull
! grep -E '\[(alert|emerg|crit)\]|panicked' /var/log/nginx/error.log

# Removed while its site is on, and installed again: nginx goes on, and then with the module that is there.
apt-get -y -q remove libnginx-mod-http-registry-auth
[[ $(ask) == 200 ]]
master=$(cat /run/nginx.pid)
apt-get -y -q install /packages/two/libnginx-mod-http-registry-auth_*.deb
[[ $(cat /run/nginx.pid) != "$master" ]]
for try in {1..300}; do gone || break; sleep 0.1; done
! gone
[[ $(ask) == 200 ]]
pull
END
if ! unshare --net bash /tmp/session "$@" </dev/null >/tmp/session.log 2>&1; then
	tail -20 /tmp/session.log >&2
	fault "the session failed"
fi
step "logged in, pushed, pulled; another's namespace denied; upgraded under a running nginx"
