#include "shim.h"

#include <pthread.h>


void *
rga_conf_main_conf(const ngx_conf_t *cf, const ngx_module_t *m)
{
    return ngx_http_conf_get_module_main_conf(cf, (*m));
}


void *
rga_conf_srv_conf(const ngx_conf_t *cf, const ngx_module_t *m)
{
    return ngx_http_conf_get_module_srv_conf(cf, (*m));
}


void *
rga_conf_loc_conf(const ngx_conf_t *cf, const ngx_module_t *m)
{
    return ngx_http_conf_get_module_loc_conf(cf, (*m));
}


void *
rga_command_conf(const ngx_conf_t *cf, const ngx_command_t *cmd, const ngx_module_t *m)
{
    void  **confp;

    confp = *(void ***) ((char *) cf->ctx + cmd->conf);

    return confp ? confp[m->ctx_index] : NULL;
}


ngx_http_upstream_srv_conf_t *
rga_conf_upstream(const ngx_conf_t *cf)
{
    return ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);
}


void *
rga_upstream_srv_conf(const ngx_http_upstream_srv_conf_t *us, const ngx_module_t *m)
{
    return ngx_http_conf_upstream_srv_conf(us, (*m));
}


void *
rga_cycle_main_conf(const ngx_cycle_t *cycle, const ngx_module_t *m)
{
    return ngx_http_cycle_get_module_main_conf(cycle, (*m));
}


ngx_uint_t
rga_is_regex(const ngx_http_core_loc_conf_t *clcf)
{
#if (NGX_PCRE)
    return clcf->regex != NULL;
#else
    (void) clcf;
    return 0;
#endif
}


void
rga_limit_request_body(ngx_conf_t *cf, size_t most)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->client_max_body_size == 0 || clcf->client_max_body_size > (off_t) most) {
        clcf->client_max_body_size = most;
    }

    if (clcf->client_body_buffer_size < most) {
        clcf->client_body_buffer_size = most;
    }

    clcf->client_body_in_file_only = 0;
}


ngx_table_elt_t *
rga_push_header(ngx_http_request_t *r)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NULL;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));
    h->hash = 1;

    return h;
}


#if (nginx_version >= 1023000)

static void
rga_forget_in(ngx_table_elt_t **headers, const ngx_table_elt_t *h)
{
    const ngx_table_elt_t  *p;

    for (p = *headers; p; p = p->next) {
        if (p == h) {
            *headers = NULL;
            return;
        }
    }
}

#else

static void
rga_forget_in(ngx_array_t *headers, const ngx_table_elt_t *h)
{
    ngx_uint_t        i;
    ngx_table_elt_t **p;

    p = headers->elts;

    for (i = 0; i < headers->nelts; i++) {
        if (p[i] == h) {
            ngx_memzero(headers, sizeof(ngx_array_t));
            return;
        }
    }
}

#endif


void
rga_forget_header(ngx_http_request_t *r, const ngx_table_elt_t *h)
{
    rga_forget_in(&r->headers_out.cache_control, h);
    rga_forget_in(&r->headers_out.link, h);
}


void
rga_add_timer(ngx_event_t *ev, ngx_msec_t timer)
{
    ngx_add_timer(ev, timer);
}


void
rga_del_timer(ngx_event_t *ev)
{
    if (ev->timer_set) {
        ngx_del_timer(ev);
    }
}


void
rga_post_event(ngx_event_t *ev)
{
    ngx_post_event(ev, &ngx_posted_events);
}


void
rga_del_posted(ngx_event_t *ev)
{
    if (ev->posted) {
        ngx_delete_posted_event(ev);
    }
}


ngx_uint_t
rga_edge_triggered(void)
{
    return (ngx_event_flags & NGX_USE_CLEAR_EVENT) != 0;
}


void
rga_never_cancel(void)
{
    int  before;

    if (pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before) == 0) {
        (void) pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
    }
}


ngx_uint_t
rga_upstream_flags(void)
{
    return NGX_HTTP_UPSTREAM_CREATE
           |NGX_HTTP_UPSTREAM_WEIGHT
           |NGX_HTTP_UPSTREAM_MAX_CONNS
           |NGX_HTTP_UPSTREAM_MAX_FAILS
           |NGX_HTTP_UPSTREAM_FAIL_TIMEOUT
           |NGX_HTTP_UPSTREAM_DOWN
           |NGX_HTTP_UPSTREAM_BACKUP;
}


#if (NGX_HTTP_SSL)

static ngx_int_t
rga_set_session(ngx_peer_connection_t *pc, void *data)
{
    (void) pc;
    (void) data;
    return NGX_OK;
}


static void
rga_save_session(ngx_peer_connection_t *pc, void *data)
{
    (void) pc;
    (void) data;
}

#endif


void
rga_upstream_ssl_sessions(ngx_http_upstream_t *u)
{
#if (NGX_HTTP_SSL)
    /* sessions of one user's backend are not kept for another's */
    u->peer.set_session = rga_set_session;
    u->peer.save_session = rga_save_session;
#else
    (void) u;
#endif
}


ngx_str_t
rga_iso8601(void)
{
    return *(ngx_str_t *) &ngx_cached_http_log_iso8601;
}


void
rga_hold(ngx_http_request_t *r)
{
    r->main->count++;
}

#define RGA_READ(name)                                                                                       \
    unsigned                                                                                                 \
    rga_##name(const ngx_http_request_t *r)                                                                  \
    {                                                                                                        \
        return r->name;                                                                                      \
    }

#define RGA_WRITE(name)                                                                                      \
    void                                                                                                     \
    rga_set_##name(ngx_http_request_t *r, unsigned value)                                                    \
    {                                                                                                        \
        r->name = value;                                                                                     \
    }

RGA_READ(background)
RGA_READ(cached)
RGA_READ(done)
RGA_READ(filter_finalize)
RGA_READ(header_only)
RGA_READ(internal)
RGA_READ(quoted_uri)
RGA_READ(reading_body)
RGA_READ(uri_changes)
RGA_READ(valid_unparsed_uri)

RGA_WRITE(allow_ranges)
RGA_WRITE(disable_not_modified)
RGA_WRITE(error_page)
RGA_WRITE(filter_need_in_memory)
RGA_WRITE(header_only)
RGA_WRITE(keepalive)
