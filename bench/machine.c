/* machine.c - reads what the figures of a report belong to. */
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define STRING_(x) #x
#define STRING(x) STRING_(x)
#ifdef __clang__
#define COMPILER "clang " STRING(__clang_major__) "." STRING(__clang_minor__) "." STRING(__clang_patchlevel__)
#else
#define COMPILER "gcc " __VERSION__
#endif

/* The first processor's lines of /proc/cpuinfo are "key : value". */
static void read_cpu(struct machine *machine)
{
	char *line = NULL, *value;
	size_t size = 0;
	FILE *file = fopen("/proc/cpuinfo", "re");

	snprintf(machine->cpu, sizeof(machine->cpu), "an unknown processor");
	while (file != NULL && getline(&line, &size, file) > 1) {
		line[strcspn(line, "\n")] = '\0';
		value = strstr(line, ": ");
		if (value == NULL)
			continue;
		if (strncmp(line, "model name", 10) == 0)
			snprintf(machine->cpu, sizeof(machine->cpu), "%s", value + 2);
		if (strncmp(line, "flags", 5) == 0)
			machine->is_virtual = strstr(value, " hypervisor") != NULL;
	}
	free(line);
	if (file != NULL)
		fclose(file);
}

/* -- Who else was there -------------------------------------------------------------------------------------- */

static double used(int who)
{
	struct rusage usage;
	if (getrusage(who, &usage) != 0)
		return 0;
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* The first line of /proc/stat: "cpu user nice system idle iowait irq softirq steal ...", in clock ticks (proc(5)). */
static struct machine_time read_time(void)
{
	unsigned long long user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0;
	struct machine_time time = {.own = used(RUSAGE_SELF) + used(RUSAGE_CHILDREN)};
	double tick = 1.0 / (double)sysconf(_SC_CLK_TCK);
	FILE *file = fopen("/proc/stat", "re");

	if (file == NULL)
		return time;
	if (fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &iowait, &irq,
	           &softirq, &steal) == 8) {
		time.busy = (double)(user + nice + system + irq + softirq) * tick;
		time.stolen = (double)steal * tick;
		time.all = time.busy + time.stolen + (double)(idle + iowait) * tick;
	}
	fclose(file);
	return time;
}

void machine_end(struct machine *machine)
{
	struct machine_time start = machine->start, end = read_time();
	double all = end.all - start.all, others = end.busy - start.busy - (end.own - start.own);

	machine->others = all > 0 && others > 0 ? others / all : 0;
	machine->stolen = all > 0 ? (end.stolen - start.stolen) / all : 0;
}

bool machine_busy(const struct machine *machine)
{
	return machine->others + machine->stolen > 0.05;
}

void machine_begin(struct machine *ret_machine)
{
	struct machine machine = {.cpus = sysconf(_SC_NPROCESSORS_ONLN), .compiler = COMPILER, .start = read_time()};
	struct utsname system;
	time_t now = time(NULL);
	struct tm utc;

	read_cpu(&machine);
	if (uname(&system) == 0)
		snprintf(machine.kernel, sizeof(machine.kernel), "%s %s", system.sysname, system.release);
	if (getloadavg(&machine.load, 1) != 1)
		machine.load = 0;
	if (gmtime_r(&now, &utc) != NULL)
		strftime(machine.date, sizeof(machine.date), "%Y-%m-%dT%H:%M:%SZ", &utc);
	*ret_machine = machine;
}
