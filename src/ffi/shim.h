/*
 * nginx's macros and inline functions, and the structure fields that differ between its versions, as plain
 * functions: compiled against the headers in use, so that nginx's own definitions hold. No logic of ours
 * lives here.
 */

#ifndef RGA_SHIM_H
#define RGA_SHIM_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>
#include <nginx.h>

/* ngx_http_config.h, ngx_http_core_module.h */
void *rga_conf_main_conf(const ngx_conf_t *cf, const ngx_module_t *m);
void *rga_conf_srv_conf(const ngx_conf_t *cf, const ngx_module_t *m);
void *rga_conf_loc_conf(const ngx_conf_t *cf, const ngx_module_t *m);
/* What ngx_conf_handler() hands to a command of an HTTP module: the module's slot of the context that the
   command names. */
void *rga_command_conf(const ngx_conf_t *cf, const ngx_command_t *cmd, const ngx_module_t *m);
ngx_http_upstream_srv_conf_t *rga_conf_upstream(const ngx_conf_t *cf);
void *rga_upstream_srv_conf(const ngx_http_upstream_srv_conf_t *us, const ngx_module_t *m);
void *rga_cycle_main_conf(const ngx_cycle_t *cycle, const ngx_module_t *m);
/* Whether a location is chosen by a regular expression. */
ngx_uint_t rga_is_regex(const ngx_http_core_loc_conf_t *clcf);

/* client_max_body_size and client_body_buffer_size of the location that is being merged: this at most, and
   this at least. */
void rga_limit_request_body(ngx_conf_t *cf, size_t most);

/* A new, zeroed entry of r->headers_out.headers with hash = 1 (`next` exists since nginx 1.23.0), or NULL. */
ngx_table_elt_t *rga_push_header(ngx_http_request_t *r);

/* Takes an entry out of r->headers_out.cache_control and link, of which nginx may know several (arrays until
   nginx 1.23.0, then chains). Others of its name are taken out, too. */
void rga_forget_header(ngx_http_request_t *r, const ngx_table_elt_t *h);

/* ngx_event.h, ngx_event_timer.h, ngx_event_posted.h */
void rga_add_timer(ngx_event_t *ev, ngx_msec_t timer);
void rga_del_timer(ngx_event_t *ev);
void rga_post_event(ngx_event_t *ev);
void rga_del_posted(ngx_event_t *ev);
ngx_uint_t rga_edge_triggered(void);

/* The calling thread is never cancelled: see never_cancel.rs. */
void rga_never_cancel(void);

/* ngx_times.h: the time of the event loop's round, as RFC 3339 has it. */
ngx_str_t rga_iso8601(void);

/* The flags of an upstream whose own `server` lines are round robin's, with all of its parameters. */
ngx_uint_t rga_upstream_flags(void);
/* r->upstream->peer.set_session and save_session, where nginx has ssl. */
void rga_upstream_ssl_sessions(ngx_http_upstream_t *u);

/* r->main->count + 1: what ngx_http_finalize_request() with NGX_DONE takes back. */
void rga_hold(ngx_http_request_t *r);

/* Fields of a request that are a few bits wide: see flags.rs. */
unsigned rga_background(const ngx_http_request_t *r);
unsigned rga_cached(const ngx_http_request_t *r);
unsigned rga_done(const ngx_http_request_t *r);
unsigned rga_filter_finalize(const ngx_http_request_t *r);
unsigned rga_header_only(const ngx_http_request_t *r);
unsigned rga_internal(const ngx_http_request_t *r);
unsigned rga_quoted_uri(const ngx_http_request_t *r);
unsigned rga_reading_body(const ngx_http_request_t *r);
unsigned rga_uri_changes(const ngx_http_request_t *r);
unsigned rga_valid_unparsed_uri(const ngx_http_request_t *r);
void rga_set_allow_ranges(ngx_http_request_t *r, unsigned value);
void rga_set_disable_not_modified(ngx_http_request_t *r, unsigned value);
void rga_set_error_page(ngx_http_request_t *r, unsigned value);
void rga_set_filter_need_in_memory(ngx_http_request_t *r, unsigned value);
void rga_set_header_only(ngx_http_request_t *r, unsigned value);
void rga_set_keepalive(ngx_http_request_t *r, unsigned value);

#endif
