/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operators' HTTP: the input is what a client writes into the API's Unix socket, in one piece or two; the whole API of a
 * gateway in direct mode answers, without daemons. What must hold: it answers or closes, and serves the next one.
 */
#include "fuzz.h"

#include "base_clock.h"
#include "base_log.h"
#include "ctl_api.h"
#include "ctl_loop.h"
#include "ctl_reload.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ROUNDS 6

static uv_loop_t *loop;
static struct ctl_config config;
static struct ctl_api *api;

static void quiet(enum base_log_level level, const char *category, const char *line)
{
	(void)level, (void)category, (void)line;
}

static void remove_socket(void)
{
	unlink(config.socket);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static struct ctl_api_sources sources;
	struct base_error why;
	struct ws_service *service;
	struct ctl_loop *ctl;

	(void)argc, (void)argv;
	base_log_setup(quiet, BASE_LOG_ERROR);
	snprintf(config.socket, sizeof(config.socket), "/tmp/sandd-fuzz-%d.sock", (int)getpid());
	config.socket_gid = (gid_t)-1;
	ctl = ctl_loop_new();
	FUZZ_CHECK(ctl);
	loop = ctl_loop_uv(ctl);
	config.file = strdup("/nonexistent/sandd-gw.yaml");
	service = ws_service_new(loop);
	FUZZ_CHECK(service);
	sources = (struct ctl_api_sources){.config = &config, .started_ns = base_clock_now_ns()};
	sources.controller = ctl_controller_new(loop, service);
	sources.reload = ctl_reload_new(&config, NULL, ctl, false);
	sources.events = ctl_events_new(loop);
	FUZZ_CHECK(sources.controller && sources.reload && sources.events);
	api = ctl_api_new(service, &sources, &why);
	if (!api)
		fprintf(stderr, "%s\n", why.text);
	FUZZ_CHECK(api && atexit(remove_socket) == 0);
	return 0;
}

static void run_loop(void)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		uv_run(loop, UV_RUN_NOWAIT);
}

static int dial(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path, config.socket, sizeof(addr.sun_path));
	FUZZ_CHECK(fd >= 0 && connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0);
	return fd;
}

static void speak(int fd, const uint8_t *data, size_t len)
{
	if (len && send(fd, data, len, MSG_NOSIGNAL) < 0)
		return; /* closed: it had heard enough */
	run_loop();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned count;
	char answer[4096];
	size_t split = size ? data[0] % size : 0;
	int fd = dial();

	speak(fd, data, split);
	speak(fd, data + split, size - split);
	while (recv(fd, answer, sizeof(answer), 0) > 0)
		run_loop();
	close(fd);
	run_loop();
	if (count++ % 64 == 0) { /* is it still there for others? */
		ssize_t len;

		fd = dial();
		speak(fd, (const uint8_t *)"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", 37);
		for (unsigned i = 0; (len = recv(fd, answer, sizeof(answer), 0)) < 0 && i < 1000;
			i++)
			run_loop();
		FUZZ_CHECK(len > 15 && memcmp(answer, "HTTP/1.1 200", 12) == 0);
		close(fd);
		run_loop();
	}
	return 0;
}
