/* A clock that a test sets: preloaded into a copy of the operator, it adds the number of seconds in
 * the file CHAOS_CLOCK to the system's wall clock. Other clocks are as they are. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static int (*real)(clockid_t, struct timespec *);
static const volatile int64_t *seconds;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("CHAOS_CLOCK");
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *map = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);

	real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	seconds = map == MAP_FAILED ? 0 : map;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
	int result = real(clock, time);

	if (result == 0 && clock == CLOCK_REALTIME && seconds)
		time->tv_sec += *seconds;
	return result;
}
