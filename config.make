# Read by nginx's ./configure after it has written its Makefile: how cargo makes the library that `config`
# names.

cat << END                                                    >> $NGX_MAKEFILE

$rga_library:	$NGX_OBJS/ngx_auto_config.h $rga_addon_dir/Cargo.toml FORCE_REGISTRY_AUTH
	root=\$\$(pwd) && cd $rga_addon_dir && \\
	case $NGX_OBJS in /*) objs=$NGX_OBJS ;; *) objs=\$\$root/$NGX_OBJS ;; esac && \\
	NGINX_SOURCE_DIR=\$\$root NGINX_BUILD_DIR=\$\$objs CARGO_TARGET_DIR=\$\$objs/registry-auth \\
	\$\${CARGO:-cargo} rustc --release --locked --lib --crate-type staticlib --no-default-features

FORCE_REGISTRY_AUTH:

.PHONY:	FORCE_REGISTRY_AUTH

$NGX_OBJS/ngx_http_registry_auth_module.so:	$rga_library
END
