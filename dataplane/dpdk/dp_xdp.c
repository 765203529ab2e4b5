/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The embedded XDP object: patched, handed over, cleaned up after. Control thread. The program
 * itself is dp_xdp.bpf.c; read dp_xdp.h first.
 */
#include "dp_xdp.h"

#include "dp_xdp_object.h" /* made by meson: dp_xdp_object[], the ELF file */

#include "base_bytes.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <elf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PORT_SYMBOL "sandd_port_be16"

/* --- the object ------------------------------------------------------------------------------- */

/* Bytes [off, off + len) of the object, or NULL if they are not there. */
static void *object_at(uint8_t *object, size_t size, uint64_t off, uint64_t len)
{
	return off <= size && len <= size - off ? object + off : NULL;
}

static const Elf64_Shdr *section_at(uint8_t *object, size_t size, unsigned i)
{
	const Elf64_Ehdr *elf = object_at(object, size, 0, sizeof(*elf));

	if (!elf || i >= elf->e_shnum)
		return NULL;
	return object_at(object, size, elf->e_shoff + i * sizeof(Elf64_Shdr), sizeof(Elf64_Shdr));
}

/* Where the port lies in the file, by its symbol; NULL if the object is not what we built. */
static uint16_t *find_port_in(uint8_t *object, size_t size, const Elf64_Shdr *symtab)
{
	const Elf64_Shdr *strings = section_at(object, size, symtab->sh_link);

	for (uint64_t at = 0; strings && at < symtab->sh_size; at += sizeof(Elf64_Sym)) {
		const Elf64_Sym *symbol =
			object_at(object, size, symtab->sh_offset + at, sizeof(*symbol));
		const Elf64_Shdr *section;
		const char *name;

		if (!symbol)
			return NULL;
		name = object_at(
			object, size, strings->sh_offset + symbol->st_name, sizeof(PORT_SYMBOL));
		if (!name || memcmp(name, PORT_SYMBOL, sizeof(PORT_SYMBOL)) != 0)
			continue;
		section = section_at(object, size, symbol->st_shndx);
		if (!section || symbol->st_size != sizeof(uint16_t))
			return NULL;
		return object_at(
			object, size, section->sh_offset + symbol->st_value, sizeof(uint16_t));
	}
	return NULL;
}

static uint16_t *find_port(uint8_t *object, size_t size)
{
	const Elf64_Shdr *section;

	for (unsigned i = 0; (section = section_at(object, size, i)); i++)
		if (section->sh_type == SHT_SYMTAB)
			return find_port_in(object, size, section);
	return NULL;
}

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* A memfd that holds @object, or a negative errno. */
static int make_memfd(const uint8_t *object, size_t size)
{
	int fd = memfd_create(DP_XDP_PROG_NAME, MFD_CLOEXEC);
	int rc;

	if (fd < 0)
		return -errno;
	rc = write_all(fd, object, size);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}

int dp_xdp_object_open(uint16_t udp_port, char ret_path[DP_XDP_PATH_LEN], int *ret_fd,
	struct base_error *ret_error)
{
	uint8_t *object = malloc(sizeof(dp_xdp_object));
	uint16_t *port;
	int fd;

	if (!object)
		return base_error_set(ret_error, -ENOMEM, "XDP program: no memory");
	memcpy(object, dp_xdp_object, sizeof(dp_xdp_object));
	port = find_port(object, sizeof(dp_xdp_object));
	if (!port) {
		free(object);
		return base_error_set(ret_error, -ENOEXEC,
			"XDP program: the built-in object has no constant " PORT_SYMBOL
			"; build again with clang");
	}
	base_store_be16(port, udp_port);
	fd = make_memfd(object, sizeof(dp_xdp_object));
	free(object);
	if (fd < 0)
		return base_error_set(
			ret_error, fd, "XDP program: cannot make a memory file: %s", strerror(-fd));
	snprintf(ret_path, DP_XDP_PATH_LEN, "/proc/self/fd/%d", fd);
	*ret_fd = fd;
	return 0;
}

/* --- what is attached ------------------------------------------------------------------------- */

/* The ways a program can hang on an interface; several may at once. */
struct place {
	uint32_t prog_id;
	uint32_t flag;
	const char *ip_word; /* as `ip link set dev X WORD off` calls it */
};

#define PLACES 3

static int query_places(int ifindex, struct place places[PLACES])
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	int rc = bpf_xdp_query(ifindex, 0, &query);

	if (rc < 0)
		return rc;
	places[0] = (struct place){query.drv_prog_id, XDP_FLAGS_DRV_MODE, "xdpdrv"};
	places[1] = (struct place){query.skb_prog_id, XDP_FLAGS_SKB_MODE, "xdpgeneric"};
	places[2] = (struct place){query.hw_prog_id, XDP_FLAGS_HW_MODE, "xdpoffload"};
	return 0;
}

/* The name of a program; needs CAP_SYS_ADMIN. @ret_fd: caller closes. */
static int open_prog(uint32_t prog_id, int *ret_fd, struct bpf_prog_info *ret_info)
{
	uint32_t len = sizeof(*ret_info);
	int fd = bpf_prog_get_fd_by_id(prog_id);
	int rc;

	if (fd < 0)
		return fd;
	memset(ret_info, 0, sizeof(*ret_info));
	rc = bpf_obj_get_info_by_fd(fd, ret_info, &len);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

static bool is_ours(const struct bpf_prog_info *info)
{
	return strncmp(info->name, DP_XDP_PROG_NAME, sizeof(info->name)) == 0;
}

static int refuse_foreign(const char *device, const struct place *place, const char *name,
	struct base_error *ret_error)
{
	return base_error_set(ret_error, -EBUSY,
		"port %s: an XDP program of somebody else is attached (%s, id %u); if it is not "
		"needed: ip link set dev %s %s off; or use kind af_packet",
		device, name[0] ? name : "without a name", place->prog_id, device, place->ip_word);
}

static int refuse_permission(const char *device, int code, struct base_error *ret_error)
{
	return base_error_set(ret_error, code,
		"port %s: not allowed to load XDP programs; run as root or with CAP_NET_ADMIN, "
		"CAP_NET_RAW and CAP_BPF, or use kind af_packet, which does without CAP_BPF",
		device);
}

/* Does descriptor @fd_name of process @pid_name hold the program? */
static bool is_holding(const char *pid_name, const char *fd_name, uint32_t prog_id)
{
	static const char key[] = "prog_id:\t";
	char path[64], text[512], *found;
	size_t n;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%.16s/fdinfo/%.16s", pid_name, fd_name);
	file = fopen(path, "re");
	if (!file)
		return false;
	n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[n] = '\0';
	found = strstr(text, key);
	return found && strtoul(found + strlen(key), NULL, 10) == prog_id;
}

static bool is_process_holding(const char *pid_name, uint32_t prog_id)
{
	char path[64];
	const struct dirent *entry;
	bool is_found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%.16s/fd", pid_name);
	dir = opendir(path);
	while (dir && !is_found && (entry = readdir(dir))) {
		char link_path[96], target[32] = "";

		if (entry->d_name[0] == '.')
			continue;
		snprintf(link_path, sizeof(link_path), "%s/%.16s", path, entry->d_name);
		if (readlink(link_path, target, sizeof(target) - 1) > 0 &&
			strstr(target, "bpf-prog"))
			is_found = is_holding(pid_name, entry->d_name, prog_id);
	}
	if (dir)
		closedir(dir);
	return is_found;
}

/*
 * Another process that holds the program, or 0: the af_xdp driver keeps its descriptor for as
 * long as it lives, so a program that nobody holds was left by one that died.
 */
static int find_holder(uint32_t prog_id)
{
	const struct dirent *entry;
	int holder = 0;
	DIR *dir = opendir("/proc");

	while (dir && holder == 0 && (entry = readdir(dir))) {
		int pid = atoi(entry->d_name);

		if (pid > 0 && pid != getpid() && is_process_holding(entry->d_name, prog_id))
			holder = pid;
	}
	if (dir)
		closedir(dir);
	return holder;
}

/*
 * Take one program away if it is ours. The kernel is told which program is expected there, so
 * that one that came in between stays.
 */
static int clear_place(
	const char *device, int ifindex, const struct place *place, struct base_error *ret_error)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, expected);
	struct bpf_prog_info info;
	int fd, holder, rc;

	rc = open_prog(place->prog_id, &fd, &info);
	if (rc == -ENOENT)
		return 0; /* gone since */
	if (rc == -EPERM)
		return base_error_set(ret_error, rc,
			"port %s: XDP program %u is attached, and without CAP_SYS_ADMIN one cannot "
			"tell "
			"whose it is; if a gateway that was killed left it, run as root: sandd-gw "
			"clean; "
			"else: ip link set dev %s %s off",
			device, place->prog_id, device, place->ip_word);
	if (rc < 0)
		return base_error_set(ret_error, rc, "port %s: cannot read XDP program %u: %s",
			device, place->prog_id, strerror(-rc));
	if (!is_ours(&info)) {
		close(fd);
		return refuse_foreign(device, place, info.name, ret_error);
	}
	holder = find_holder(place->prog_id);
	if (holder > 0) {
		close(fd);
		return base_error_set(ret_error, -EBUSY,
			"port %s: in use by another gateway, process %d; stop that one first",
			device, holder);
	}
	expected.old_prog_fd = fd;
	rc = bpf_xdp_detach(ifindex, place->flag, &expected);
	close(fd);
	if (rc < 0)
		return base_error_set(ret_error, rc,
			"port %s: cannot detach the XDP program (%s, id %u) that an earlier run "
			"left: %s; try: ip link set dev %s %s off",
			device, info.name, place->prog_id, strerror(-rc), device, place->ip_word);
	return 0;
}

/* Where a program ends up is the kernel's to say: a map of the program's kind asks for the same rights. */
static int check_permission(const char *device, struct base_error *ret_error)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "sandd_probe", 4, 4, 1, NULL);

	if (fd == -EPERM || fd == -EACCES)
		return refuse_permission(device, -EPERM, ret_error);
	if (fd < 0)
		return base_error_set(ret_error, fd,
			"port %s: this kernel has no AF_XDP (%s); use kind af_packet", device,
			strerror(-fd));
	close(fd);
	return 0;
}

int dp_xdp_clear(const char *device, struct base_error *ret_error)
{
	unsigned ifindex = if_nametoindex(device);
	struct place places[PLACES];
	int rc;

	if (ifindex == 0)
		return base_error_set(
			ret_error, -ENODEV, "port %s: no such interface; see: ip -br link", device);
	rc = check_permission(device, ret_error);
	if (rc < 0)
		return rc;
	rc = query_places((int)ifindex, places);
	if (rc < 0)
		return base_error_set(ret_error, rc, "port %s: cannot ask for XDP programs: %s",
			device, strerror(-rc));
	for (unsigned i = 0; i < PLACES; i++) {
		if (places[i].prog_id == 0)
			continue;
		rc = clear_place(device, (int)ifindex, &places[i], ret_error);
		if (rc < 0)
			return rc;
	}
	return 0;
}

uint32_t dp_xdp_attached(const char *device)
{
	unsigned ifindex = if_nametoindex(device);
	struct place places[PLACES];

	if (ifindex == 0 || query_places((int)ifindex, places) < 0)
		return 0;
	for (unsigned i = 0; i < PLACES; i++) {
		if (places[i].prog_id != 0)
			return places[i].prog_id;
	}
	return 0;
}

void dp_xdp_detach(const char *device, uint32_t prog_id)
{
	unsigned ifindex = if_nametoindex(device);
	struct place places[PLACES];

	if (ifindex == 0 || prog_id == 0 || query_places((int)ifindex, places) < 0)
		return;
	/* A foreign program stays, silently: it came after ours had gone. */
	for (unsigned i = 0; i < PLACES; i++) {
		if (places[i].prog_id == prog_id)
			bpf_xdp_detach((int)ifindex, places[i].flag, NULL);
	}
}

/* --- one program for sockets that were opened apart ------------------------------------------- */

struct dp_xdp_map {
	struct bpf_object *object; /* its descriptors tell others that the program is held */
};

static int map_fill(int map_fd, const int *fds, unsigned n)
{
	for (unsigned q = 0; q < n; q++) {
		int rc = bpf_map_update_elem(map_fd, &q, &fds[q], 0);

		if (rc < 0)
			return rc;
	}
	return 0;
}

int dp_xdp_map_attach(const char *device, const char *path, const int *fds, unsigned n,
	struct dp_xdp_map **ret_map, struct base_error *ret_error)
{
	unsigned ifindex = if_nametoindex(device);
	struct dp_xdp_map *map = calloc(1, sizeof(*map));
	int rc = map ? 0 : -ENOMEM;

	if (rc == 0) {
		map->object = bpf_object__open_file(path, NULL);
		rc = map->object ? bpf_object__load(map->object) : -errno;
	}
	if (rc == 0)
		rc = map_fill(bpf_object__find_map_fd_by_name(map->object, "xsks_map"), fds, n);
	if (rc == 0)
		rc = bpf_xdp_attach((int)ifindex,
			bpf_program__fd(bpf_object__next_program(map->object, NULL)), 0, NULL);
	if (rc < 0) {
		dp_xdp_map_free(map);
		return base_error_set(ret_error, rc,
			"port %s: cannot attach the XDP program for its %u queues: %s", device, n,
			strerror(-rc));
	}
	*ret_map = map;
	return 0;
}

void dp_xdp_map_free(struct dp_xdp_map *map)
{
	if (!map)
		return;
	bpf_object__close(map->object);
	free(map);
}
