/* A clock that jumps and a disk that is slow, for one process and its children.

   Build:  cc -shared -fPIC -O2 -o shim.so faults_shim.c -ldl
   Use:    LD_PRELOAD=shim.so FAULTS_CONTROL=FILE program

   FILE holds two int64 and may change at any time: nanoseconds that the clock of the
   day is ahead, and microseconds that each write, rename and sync of a file takes
   longer. The steady clock never jumps, as on a real machine. A wait until a time of
   the day ends at that time of the shifted clock. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t none[2];
static volatile int64_t *control = none;

__attribute__((constructor)) static void open_control(void) {
  const char *path = getenv("FAULTS_CONTROL");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *page = mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, file, 0);
  if (page != MAP_FAILED) control = page;
  close(file);
}

#define REAL(name) ((__typeof__(&name))real(#name, NULL))

static void *real(const char *name, const char *version) {
  return version ? dlvsym(RTLD_NEXT, name, version) : dlsym(RTLD_NEXT, name);
}

/* The clock. */

static void shift(struct timespec *at, int64_t by) {
  int64_t sum = at->tv_nsec + by % 1000000000;
  at->tv_sec += by / 1000000000 + (sum >= 1000000000) - (sum < 0);
  at->tv_nsec = sum + (sum < 0 ? 1000000000 : sum >= 1000000000 ? -1000000000 : 0);
}

int clock_gettime(clockid_t id, struct timespec *at) {
  static __typeof__(&clock_gettime) next;
  if (!next) next = REAL(clock_gettime);
  int status = next(id, at);
  if (!status && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
    shift(at, control[0]);
  return status;
}

int gettimeofday(struct timeval *at, void *zone) {
  struct timespec now;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}

/* The kernel knows the true clock alone. A steady clock has not run for 30 years. */
static const struct timespec *true_time(const struct timespec *at,
                                        struct timespec *room) {
  if (!at || at->tv_sec < 1000000000) return at;
  *room = *at;
  shift(room, -control[0]);
  return room;
}

int pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m,
                           const struct timespec *until) {
  static __typeof__(&pthread_cond_timedwait) next;
  struct timespec room;
  if (!next) next = real("pthread_cond_timedwait", "GLIBC_2.3.2");
  if (!next) next = REAL(pthread_cond_timedwait);
  return next(c, m, true_time(until, &room));
}

int sem_timedwait(sem_t *s, const struct timespec *until) {
  static __typeof__(&sem_timedwait) next;
  struct timespec room;
  if (!next) next = REAL(sem_timedwait);
  return next(s, true_time(until, &room));
}

long syscall(long number, ...) {
  static long (*next)(long, ...);
  struct timespec room;
  long a[6];
  __builtin_va_list list;
  if (!next) next = real("syscall", NULL);
  __builtin_va_start(list, number);
  for (int n = 0; n < 6; n++) a[n] = __builtin_va_arg(list, long);
  __builtin_va_end(list);
  if (number == SYS_futex && (a[1] & FUTEX_CLOCK_REALTIME))
    a[3] = (long)true_time((const struct timespec *)a[3], &room);
  return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* The disk. */

static void take_longer(int file) {
  struct stat found;
  int64_t delay = control[1];
  if (!delay) return;
  if (file >= 0 && (fstat(file, &found) || S_ISFIFO(found.st_mode) ||
                    S_ISSOCK(found.st_mode) || S_ISCHR(found.st_mode)))
    return;
  int before = errno;
  struct timespec left = {delay / 1000000, delay % 1000000 * 1000};
  nanosleep(&left, NULL);
  errno = before;
}

#define SLOW(type, name, file, parameters, arguments) \
  type name parameters {                              \
    static __typeof__(&name) next;                    \
    if (!next) next = REAL(name);                     \
    take_longer(file);                                \
    return next arguments;                            \
  }

SLOW(int, fsync, file, (int file), (file))
SLOW(int, fdatasync, file, (int file), (file))
SLOW(ssize_t, write, file, (int file, const void *data, size_t size),
     (file, data, size))
SLOW(ssize_t, writev, file, (int file, const struct iovec *data, int count),
     (file, data, count))
SLOW(ssize_t, pwrite64, file, (int file, const void *data, size_t size, off64_t at),
     (file, data, size, at))
SLOW(int, rename, -1, (const char *from, const char *to), (from, to))
