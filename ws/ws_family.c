/* SPDX-License-Identifier: BSD-3-Clause */
/* See ws_family.h. proc(5), /proc/PID/environ: the environment a process began with, each variable with its NUL. */
#include "ws_family.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#define VARIABLE_BYTES_MAX 128

static bool has_mark(pid_t pid, const char *mark)
{
	char path[48], variable[VARIABLE_BYTES_MAX];
	size_t len = 0;
	bool is_found = false;
	FILE *environment;
	int c;

	snprintf(path, sizeof(path), "/proc/%ld/environ", (long)pid);
	environment = fopen(path, "re");
	if (!environment)
		return false;
	while (!is_found && (c = getc_unlocked(environment)) != EOF) {
		/* The rest of a long one is no mark of ours, and need not be kept. */
		if (len < sizeof(variable))
			variable[len++] = (char)c;
		if (c != '\0')
			continue;
		is_found = variable[len - 1] == '\0' && strcmp(variable, mark) == 0;
		len = 0;
	}
	fclose(environment);
	return is_found;
}

/* By descriptor: should the process end and its number go to another one meanwhile, that one gets nothing. */
static void signal_member(pid_t pid, pid_t leader, const char *mark, int number)
{
	int fd = pidfd_open(pid, 0);

	if (fd < 0)
		return;
	/* The group has had it. */
	if (getpgid(pid) != leader && (getsid(pid) == leader || has_mark(pid, mark)))
		(void)pidfd_send_signal(fd, number, NULL, 0);
	close(fd);
}

void ws_family_signal(pid_t leader, const char *mark, int number)
{
	struct dirent *entry;
	DIR *proc;

	(void)kill(-leader, number);
	proc = opendir("/proc");
	if (!proc)
		return;
	while ((entry = readdir(proc))) {
		char *end;
		long pid = strtol(entry->d_name, &end, 10);

		if (pid > 0 && *end == '\0')
			signal_member((pid_t)pid, leader, mark, number);
	}
	closedir(proc);
}
