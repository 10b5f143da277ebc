// A library to preload: counts the calls that change files below one folder, and makes the n-th of them fail, or the last that
// this process does. Linux only. Nothing is simulated but the loss of power, which is undone here by hand: see `lose_power`.
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

enum mode { FAIL, SHORT_WRITE, KILL, KILL_WITHIN, POWER_LOSS };

static char root[PATH_MAX];  // empty: nothing is counted
static long calls, fatal;    // calls so far, and the one that fails
static enum mode mode;
static int detail;  // FAIL: the errno; POWER_LOSS: the percentage of unsynced data that stays, plus 1000 if renames are undone
static int log_descriptor = -1;

// What is not on the disk yet: files with writes since their last fsync, and renames in a folder since its last fsync.
enum { MOST = 256 };
static char dirty[MOST][PATH_MAX];
static struct { char target[PATH_MAX], old[PATH_MAX]; } renames[MOST];  // old: a second name of what was replaced, or empty
static int num_dirty, num_renames;

void fault_arm(const char *folder, long call, int chosen_mode, int chosen_detail, int descriptor) {
    snprintf(root, sizeof root, "%s/", folder);
    calls = 0, fatal = call, mode = chosen_mode, detail = chosen_detail, log_descriptor = descriptor;
    num_dirty = num_renames = 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int inside(const char *path, char *full) {
    char folder[PATH_MAX];
    if (path[0] == '/') snprintf(full, PATH_MAX, "%s", path);
    else if (getcwd(folder, sizeof folder)) snprintf(full, PATH_MAX, "%.2000s/%.2000s", folder, path);
    else return 0;
    return root[0] && strncmp(full, root, strlen(root)) == 0;
}

static int path_of(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    size_t folder = strlen(root);  // the folder itself is without the slash
    return root[0] && (strncmp(path, root, folder) == 0 || (strlen(path) + 1 == folder && strncmp(path, root, folder - 1) == 0));
}

static void set_dirty(const char *path) {
    for (int i = 0; i < num_dirty; i++)
        if (strcmp(dirty[i], path) == 0) return;
    if (num_dirty < MOST) strcpy(dirty[num_dirty++], path);
}

static void set_clean(const char *path) {
    for (int i = 0; i < num_dirty; i++)
        if (strcmp(dirty[i], path) == 0) strcpy(dirty[i], dirty[--num_dirty]);
}

// The worst that a file system may do with what was not synced: keep names without data, or data without names.
void lose_power(void) {
    for (int i = 0; i < num_dirty; i++) {
        struct stat status;
        if (REAL(stat)(dirty[i], &status) == 0) (void)!truncate(dirty[i], status.st_size * (detail % 1000) / 100);
    }
    for (int i = num_renames; detail >= 1000 && i-- > 0;) {
        if (renames[i].old[0]) REAL(rename)(renames[i].old, renames[i].target);
        else REAL(unlink)(renames[i].target);
    }
    kill(getpid(), SIGKILL);
}

// Whether this call is the fatal one. Does not come back if the process ends before it.
static int fails(const char *name, const char *path) {
    calls++;
    if (log_descriptor >= 0) {
        char line[PATH_MAX + 64];
        int length = snprintf(line, sizeof line, "%ld %s %s\n", calls, name, path + strlen(root) - (strlen(path) + 1 == strlen(root)));
        (void)!REAL(write)(log_descriptor, line, length);
    }
    if (calls != fatal) return 0;
    if (mode == KILL) kill(getpid(), SIGKILL);
    if (mode == POWER_LOSS) lose_power();
    if (mode == FAIL) errno = detail;
    return 1;
}

#define FAILS_AS(name, path, otherwise)                                        \
    if (fails(name, path)) {                                                   \
        if (mode == FAIL) return -1;                                           \
        otherwise;                                                             \
    }

static int open_counted(const char *path, int flags, mode_t permissions) {
    char full[PATH_MAX];
    int (*real)(const char *, int, ...) = REAL(open);
    if ((flags & (O_CREAT | O_TRUNC)) && inside(path, full)) FAILS_AS("open", full, )
    return real(path, flags, permissions);
}

#define OPENING(name, more)                                                    \
    int name(const char *path, int flags, ...) {                               \
        va_list arguments;                                                     \
        va_start(arguments, flags);                                            \
        mode_t permissions = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;  \
        va_end(arguments);                                                     \
        return open_counted(path, flags | more, permissions);                  \
    }

OPENING(open, 0)
OPENING(open64, O_LARGEFILE)

ssize_t write(int descriptor, const void *bytes, size_t count) {
    char path[PATH_MAX];
    if (path_of(descriptor, path)) {
        set_dirty(path);
        if (fails("write", path)) {
            if (mode == FAIL) return -1;
            ssize_t written = REAL(write)(descriptor, bytes, (count + 1) / 2);
            if (mode == KILL_WITHIN) kill(getpid(), SIGKILL);
            return written;
        }
    }
    return REAL(write)(descriptor, bytes, count);
}

int fsync(int descriptor) {
    char path[PATH_MAX];
    if (!path_of(descriptor, path)) return REAL(fsync)(descriptor);
    FAILS_AS("fsync", path, )
    int result = REAL(fsync)(descriptor);
    struct stat status;
    if (fstat(descriptor, &status) == 0 && S_ISDIR(status.st_mode)) num_renames = 0;
    else set_clean(path);
    return result;
}

int rename(const char *from, const char *to) {
    char source[PATH_MAX], target[PATH_MAX], old[PATH_MAX] = "";
    if (!inside(from, source) || !inside(to, target)) return REAL(rename)(from, to);
    FAILS_AS("rename", target, )
    if (mode == POWER_LOSS && num_renames < MOST) {
        struct stat status;
        if (REAL(stat)(target, &status) == 0) {
            snprintf(old, sizeof old, "%.3000s.old/%ld", root, calls);
            old[strlen(root) - 1] = '-';  // in the folder ROOT-.old, beside the one that is watched
            if (link(target, old)) old[0] = 0;
        }
        strcpy(renames[num_renames].target, target);
        strcpy(renames[num_renames++].old, old);
    }
    for (int i = 0; i < num_dirty; i++)
        if (strcmp(dirty[i], source) == 0) strcpy(dirty[i], target);
    return REAL(rename)(from, to);
}

#define COUNTED(name, parameters, path, arguments)                             \
    int name parameters {                                                      \
        char full[PATH_MAX];                                                   \
        if (inside(path, full)) FAILS_AS(#name, full, )                        \
        return REAL(name) arguments;                                           \
    }

COUNTED(unlink, (const char *path), path, (path))
COUNTED(chmod, (const char *path, mode_t permissions), path, (path, permissions))
COUNTED(mkdir, (const char *path, mode_t permissions), path, (path, permissions))

int ftruncate64(int descriptor, off64_t length) {
    char path[PATH_MAX];
    if (path_of(descriptor, path)) FAILS_AS("ftruncate", path, )
    return REAL(ftruncate64)(descriptor, length);
}
