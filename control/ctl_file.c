/* SPDX-License-Identifier: BSD-3-Clause */
/* Bounded reads of small files, and files of mode 0600. See ctl_file.h. */
#include "ctl_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(int fd, size_t max, char *text, size_t *ret_len)
{
	size_t len = 0;

	/* One byte more than allowed is asked for, to tell "full" from "too long". */
	while (len <= max) {
		ssize_t n = read(fd, text + len, max + 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	if (len > max)
		return -EFBIG;
	text[len] = '\0';
	*ret_len = len;
	return 0;
}

int ctl_file_read(const char *path, size_t max, char *ret_text, size_t *ret_len, mode_t *ret_mode)
{
	/* O_NONBLOCK: a FIFO of that name must not hang the start. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int rc;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (S_ISDIR(st.st_mode))
		rc = -EISDIR;
	else if (!S_ISREG(st.st_mode))
		rc = -EINVAL;
	else
		rc = read_all(fd, max, ret_text, ret_len);
	close(fd);
	if (rc == 0 && ret_mode)
		*ret_mode = st.st_mode & 07777;
	return rc;
}

static int write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

static int write_new(const char *path, const void *text, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc;

	if (fd < 0)
		return -errno;
	rc = write_all(fd, text, len);
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc < 0)
		unlink(path);
	return rc;
}

int ctl_file_write_secret(const char *path, const void *text, size_t len, bool replace)
{
	char *temporary;
	int rc;

	if (!replace)
		return write_new(path, text, len);
	if (asprintf(&temporary, "%s.%ld.tmp", path, (long)getpid()) < 0)
		return -ENOMEM;
	rc = write_new(temporary, text, len);
	if (rc == 0 && rename(temporary, path) < 0) {
		rc = -errno;
		unlink(temporary);
	}
	free(temporary);
	return rc;
}
