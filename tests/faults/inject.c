/* To be preloaded into a process: disturbs one of the calls that change files.

   FAULTS_BELOW  only paths below this directory matter
   FAULTS_LOG    file that gets a line "call path" for each call that matters; "read path" where a file is only read
   FAULTS_SLOW   another directory: to open a file below it, or ask for the status of one, takes longer, by
   FAULTS_DELAY  microseconds
   FAULTS_AT     number, from 1, of the call to disturb, reads not counted; without it none is
   FAULTS_ERRNO  what that call fails with; or, negated, a signal that the process gets before it; or 0, and it waits for one
   FAULTS_RANK   without it every rank of a job is watched; each counts its own calls */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_below(const char *path, const char *below) {
    return below && !strncmp(path, below, strlen(below)) && path[strlen(below)] <= '/';
}

static void delay(const char *path) {
    if (is_below(path, getenv("FAULTS_SLOW"))) usleep(atoi(getenv("FAULTS_DELAY")));
}

static int watches(const char *path) {
    const char *below = getenv("FAULTS_BELOW"), *only = getenv("FAULTS_RANK"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    if (!is_below(path, below)) return 0;
    const char *name = strrchr(path, '/');
    if (name && !strcmp(name, "/beat")) return 0; /* written by the clock: counted, it would change the numbers of all others */
    return !only || (rank && !strcmp(only, rank));
}

static void tell(const char *call, const char *path) {
    char line[PATH_MAX + 32];
    int length = snprintf(line, sizeof line, "%s %s\n", call, path);
    int log = REAL(open)(getenv("FAULTS_LOG"), O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (log < 0 || REAL(write)(log, line, length) != length) abort();
    close(log);
}

/* Whether this call fails; errno is then set. */
static int fails(const char *call, const char *path) {
    static int calls;
    const char *at = getenv("FAULTS_AT");
    sigset_t all, before;
    if (!watches(path)) return 0;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before); /* who reads in the log that we wait may send the signal at once */
    tell(call, path);
    int disturbed = __sync_add_and_fetch(&calls, 1) == (at ? atoi(at) : 0);
    int error = disturbed ? atoi(getenv("FAULTS_ERRNO")) : 0;
    if (disturbed && !error) sigsuspend(&before);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (error < 0) kill(getpid(), -error);
    errno = error;
    return error > 0;
}

static int fails_at(const char *call, int directory, const char *name) {
    char link[64], path[2 * PATH_MAX];
    int length = 0;
    if (directory != AT_FDCWD && (!name || *name != '/')) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        length = readlink(link, path, PATH_MAX);
        if (length < 0) return 0;
    }
    snprintf(path + length, sizeof path - length, "%s%s", length && name ? "/" : "", name ? name : "");
    return fails(call, path);
}

static int opening(const char *path, int flags) {
    if (flags & O_CREAT) return fails("create", path);
    if (watches(path)) tell("read", path);
    delay(path);
    return 0;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return opening(path, flags) ? -1 : REAL(name)(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int file, const void *data, size_t size) {
    return fails_at("write", file, NULL) ? -1 : REAL(write)(file, data, size);
}
ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    return fails_at("write", file, NULL) ? -1 : REAL(pwrite)(file, data, size, at);
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    return fails_at("write", file, NULL) ? -1 : REAL(pwrite64)(file, data, size, at);
}
int ftruncate(int file, off_t size) { return fails_at("truncate", file, NULL) ? -1 : REAL(ftruncate)(file, size); }
int ftruncate64(int file, off64_t size) { return fails_at("truncate", file, NULL) ? -1 : REAL(ftruncate64)(file, size); }
int fsync(int file) { return fails_at("fsync", file, NULL) ? -1 : REAL(fsync)(file); }
int rename(const char *from, const char *to) { return fails("rename", to) ? -1 : REAL(rename)(from, to); }
int mkdir(const char *path, mode_t mode) { return fails("mkdir", path) ? -1 : REAL(mkdir)(path, mode); }
int unlink(const char *path) { return fails("unlink", path) ? -1 : REAL(unlink)(path); }
int unlinkat(int directory, const char *name, int flags) {
    return fails_at("unlink", directory, name) ? -1 : REAL(unlinkat)(directory, name, flags);
}
int rmdir(const char *path) { return fails("rmdir", path) ? -1 : REAL(rmdir)(path); }

int fstatat64(int directory, const char *path, struct stat64 *status, int flags) {
    char link[64], folder[PATH_MAX + 1] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    delay(*path != '/' && readlink(link, folder, PATH_MAX) > 0 ? folder : path);
    return REAL(fstatat64)(directory, path, status, flags);
}
int stat64(const char *path, struct stat64 *status) {
    delay(path);
    return REAL(stat64)(path, status);
}
int lstat64(const char *path, struct stat64 *status) {
    delay(path);
    return REAL(lstat64)(path, status);
}
