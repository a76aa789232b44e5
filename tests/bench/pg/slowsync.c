/* Preloaded into Postgres: every fsync and fdatasync takes SLOWSYNC_US microseconds longer, as on a cloud disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

typedef int (*flush)(int);

static void linger(void) {
    static long us = -1;
    if (us < 0) {
        const char *asked = getenv("SLOWSYNC_US");
        us = asked ? atol(asked) : 1000;
    }
    struct timespec left = {us / 1000000, (us % 1000000) * 1000};
    while (nanosleep(&left, &left) == -1 && errno == EINTR) {}
}

int fdatasync(int fd) {
    static flush real;
    if (!real) real = (flush)dlsym(RTLD_NEXT, "fdatasync");
    linger();
    return real(fd);
}

int fsync(int fd) {
    static flush real;
    if (!real) real = (flush)dlsym(RTLD_NEXT, "fsync");
    linger();
    return real(fd);
}
