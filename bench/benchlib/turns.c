/* How long each turn of nginx's event loop works: the thread's CPU time from the return of epoll_wait to its
 * next call.
 *
 * Loaded by LD_PRELOAD into nginx alone. Appends "<milliseconds>\n" to the file that TURNS names, for each
 * turn of more than a tenth of a millisecond. CPU time: other programs on the machine do not count. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

static __thread struct timespec woken;
static __thread int working;

static double
worked_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (now.tv_sec - woken.tv_sec) * 1e3 + (now.tv_nsec - woken.tv_nsec) / 1e6;
}

static void
report(double ms)
{
    const char *path = getenv("TURNS");
    FILE *file = path ? fopen(path, "a") : NULL;

    if (file) {
        fprintf(file, "%.3f\n", ms);
        fclose(file);
    }
}

int
epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    static int (*real)(int, struct epoll_event *, int, int);
    double ms;
    int count;

    if (!real) {
        *(void **) &real = dlsym(RTLD_NEXT, "epoll_wait");
    }
    ms = working ? worked_ms() : 0;
    if (ms > 0.1) {
        report(ms);
    }
    count = real(epoll, events, most, timeout);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &woken);
    working = 1;
    return count;
}
