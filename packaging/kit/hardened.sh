#!/bin/bash
# The first process of a Debian in namespaces of its own: becomes systemd, which starts nginx with the module
# under the drop-in of contrib/, asks it, reloads it and stops it. /module holds the module, /out takes what
# was seen. Called by packaging/contrib-test.
set -euo pipefail
umount -R /proc /sys 2>/dev/null || true
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs tmpfs /run

install -D -m 644 /contrib/systemd/registry-auth.conf /etc/systemd/system/nginx.service.d/registry-auth.conf
install -D -m 644 /module/ngx_http_registry_auth_module.so \
	/usr/lib/nginx/modules/ngx_http_registry_auth_module.so
cat >/etc/nginx/nginx.conf <<'END'
load_module modules/ngx_http_registry_auth_module.so;
user www-data;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log info;
events {}
http {
    registry_auth_redis redis://127.0.0.1:6399/0;
    registry_auth_cache zone=registry_auth:1m;
    access_log /var/log/nginx/access.log;
    proxy_cache_path /var/cache/nginx/blobs keys_zone=registry_blobs:1m;
    server {
        listen 80;
        location / {
            registry_auth "Registry";
            proxy_set_header Authorization "";
            proxy_pass http://127.0.0.1:5001;
        }
    }
    server {
        listen 81;
        location / {
            root /srv;
            limit_rate 10k;
        }
    }
}
END
# Ten seconds, twice as long as Debian's unit would wait for a transfer.
head -c 100000 /dev/zero >/srv/slow
cat >/usr/sbin/look <<'END'
#!/bin/bash
sleep 2
ask() { curl --silent --output /dev/null --write-out "$1 %{http_code}\n" http://127.0.0.1/v2/; }
{
	systemctl is-active nginx
	ask started
	worker=$(tr ' ' '\n' </sys/fs/cgroup/system.slice/nginx.service/cgroup.procs | tail -1)
	grep -E '^(NoNewPrivs|Seccomp|CapEff):' "/proc/$worker/status"
	systemctl reload nginx
	sleep 1
	ask reloaded
	curl --silent --output /dev/null --write-out "transfer %{http_code} %{size_download}\n" \
		http://127.0.0.1:81/slow >/tmp/transfer &
	until [[ $(ss --no-header --tcp --numeric state established 'sport = :81') ]]; do sleep 0.1; done
	systemctl stop nginx
	wait
	cat /tmp/transfer
	systemctl show nginx --property Result
	cat /var/log/nginx/error.log
} >/out/hardened.log 2>&1
touch /out/done
END
chmod +x /usr/sbin/look
mkdir -p /etc/systemd/system/multi-user.target.wants
cat >/etc/systemd/system/look.service <<'END'
[Unit]
After=nginx.service

[Service]
ExecStart=/usr/sbin/look
END
ln -s ../look.service /etc/systemd/system/multi-user.target.wants/
export container=other
exec /lib/systemd/systemd --system --log-target=console --unit=multi-user.target
