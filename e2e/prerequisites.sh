#!/bin/bash
# Installs the Debian packages that a group of make's targets needs; those that are there already cost nothing.
# Called by the Makefile: e2e/prerequisites.sh build|run|test|e2e|e2e-v1|bench ...
# Installing starts no service: the demo and the tests start their own nginx, Redis and dockerd.
set -euo pipefail

# The oldest Rust that compiles this: Cargo.lock's packages ask for it.
RUST_MINIMUM=1.88

packages() {
	case $1 in
	build) # a C compiler and libclang for bindgen; nginx's sources as Debian configured them
		echo make gcc libc6-dev pkg-config libclang-dev nginx nginx-dev ca-certificates
		# for VENDORED=1, which compiles an nginx of its own
		echo libssl-dev libpcre2-dev zlib1g-dev
		rust_is_new_enough || echo cargo-web rustc-web rustfmt-web rust-web-clippy ;; # Debian 12's name (in its security suite) for a current Rust
	run)
		echo nginx redis-server docker-registry openssl python3 util-linux curl skopeo podman ;;
	test) # t/ and the store's tests
		echo perl libtest-base-perl libtest-longstring-perl libtext-diff-perl liblist-moreutils-perl libwww-perl
		echo libio-socket-ssl-perl liburi-perl libipc-run-perl redis-server openssl nghttp2-client curl
		echo util-linux bash zsh fish mandoc ;; # the tool's terminals, completions and manual pages
	e2e)
		packages run
		echo buildah docker.io containerd runc wrk chromium debootstrap ;;
	e2e-v1)
		packages run
		echo debootstrap ;;
	bench)
		echo nginx redis-server openssl python3 wrk nghttp2-client valgrind strace apache2-utils docker-registry curl ;;
	*)
		echo "prerequisites.sh: no group '$1' (build, run, test, e2e, e2e-v1, bench)" >&2
		exit 2 ;;
	esac
}

rust_is_new_enough() {
	local version
	version=$(cargo --version 2>/dev/null | cut -d ' ' -f 2) && [[ -n $version ]] &&
		printf '%s\n' "$RUST_MINIMUM" "$version" | sort --version-sort --check=quiet
}

# Said here rather than by cargo, after minutes: Debian 12 has it only in its security suite.
check_rust() {
	local group
	for group; do
		if [[ $group == build ]] && ! rust_is_new_enough; then
			echo "prerequisites.sh: cargo is older than $RUST_MINIMUM: $(cargo --version 2>&1)" >&2
			echo "(Debian 12's cargo-web is new enough with bookworm-security among apt's sources; or use rustup)" >&2
			exit 1
		fi
	done
}

missing() {
	local package
	for package; do
		[[ $(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
	done
}

# Debian starts each server that it installs, unless this file says not to.
forbid_services() {
	local policy=/usr/sbin/policy-rc.d
	[[ -e $policy ]] && return
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap "rm -f $policy" EXIT
}

install_packages() {
	export DEBIAN_FRONTEND=noninteractive
	local apt=(apt-get -y --no-install-recommends -o DPkg::Lock::Timeout=400)
	forbid_services
	"${apt[@]}" update || echo "prerequisites.sh: apt-get update failed; going on with the lists that are here" >&2
	"${apt[@]}" install "$@"
}

# In a function, not a pipe, so that a wrong group's name ends the script.
wanted=""
for group; do
	wanted+=" $(packages "$group")"
done
read -ra wanted <<<"${wanted//$'\n'/ }"

if ! command -v dpkg-query >/dev/null; then
	echo "prerequisites.sh: not a Debian; what is needed goes by these names there: ${wanted[*]}" >&2
	exit 0
fi
mapfile -t lacking < <(missing "${wanted[@]}" | sort --unique)
if ((${#lacking[@]} == 0)); then
	check_rust "$@"
	exit 0
fi
if ((EUID != 0)); then
	echo "prerequisites.sh: as root, please: apt-get install --no-install-recommends ${lacking[*]}" >&2
	exit 1
fi
echo "Installing ${lacking[*]}" >&2
install_packages "${lacking[@]}"
check_rust "$@"
