/* The confined floor: what the kernel's part of a container costs when it is confined as Corral's are, and nothing else.
 *
 *     confined ROOT SCRATCH CGROUP PROGRAM
 *
 * The floor (floor.c), and beside it: a user namespace of 65,536 ids and the layer idmapped into it; a bound on
 * processes in the group of the v1 hierarchy, where there is one; lo up; /dev/mqueue, /dev/shm and three files of the
 * container's own; the same paths covered and write-protected; capabilities dropped, no_new_privs, a filter of as many
 * instructions as the default one. Mounts are made detached and attached by descriptor. There is no image, no
 * record, no log, no journal and no monitor.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLONE_NEWCGROUP_ 0x02000000
#define INTO_CGROUP 0x200000000ULL
#define HOST_ID 1610612736L
#define FILTER 296
/* linux/mount.h, whose names clash with sys/mount.h */
#define TREE_CLONE 1
#define ATTR_IDMAP 0x100000
#define ATTR_RDONLY 1
#define ATTR_NOSUID 2
#define FROM_FD 4
#define TO_FD 64
#define SET_FLAG 0
#define SET_STRING 1
#define SET_FD 5
#define CREATE 6

struct clone_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};
struct attr {
	uint64_t set, clear, propagation, userns;
};
/* linux/filter.h, linux/capability.h, linux/seccomp.h */
struct instruction {
	uint16_t code;
	uint8_t yes, no;
	uint32_t k;
};
struct filter {
	unsigned short length;
	struct instruction *code;
};
struct capabilities {
	uint32_t effective, permitted, inheritable;
};
#define LOAD_WORD 0x20
#define JUMP_EQ 0x15
#define RETURN 0x06
#define ALLOW 0x7fff0000
#define CAPABILITY_VERSION_3 0x20080522

static long must(long result, const char *act)
{
	if (result >= 0)
		return result;
	fprintf(stderr, "confined: %s: %s\n", act, strerror(errno));
	exit(125);
}

static void put(const char *path, const char *text)
{
	int fd = (int)must(open(path, O_WRONLY | O_CLOEXEC), path);
	must(write(fd, text, strlen(text)), path);
	close(fd);
}

static int tree(int at, const char *path, int flags)
{
	return (int)must(syscall(SYS_open_tree, at, path, TREE_CLONE | O_CLOEXEC | flags), path);
}

static void attributes(int mount, int flags, struct attr attr)
{
	must(syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH | flags, &attr, sizeof attr), "mount_setattr");
}

static void attach(int mount, int at, const char *path)
{
	must(syscall(SYS_move_mount, mount, "", at, path, FROM_FD | (*path ? 0 : TO_FD)), "move_mount");
}

static void set(int fs, int how, const char *key, const char *value, int fd)
{
	must(syscall(SYS_fsconfig, fs, how, key, value, fd), key ? key : "create the file system");
}

static int overlay(int lower, int upper, int work)
{
	static const char *const options[][2] = { { "redirect_dir", "nofollow" }, { "metacopy", "off" }, { "index", "off" }, { "xino", "off" } };
	int fs = (int)must(syscall(SYS_fsopen, "overlay", 1), "fsopen overlay");
	set(fs, SET_FD, "lowerdir+", NULL, lower);
	set(fs, SET_FD, "upperdir", NULL, upper);
	set(fs, SET_FD, "workdir", NULL, work);
	for (size_t i = 0; i < sizeof options / sizeof *options; i++)
		set(fs, SET_STRING, options[i][0], options[i][1], 0);
	set(fs, SET_FLAG, "volatile", NULL, 0);
	set(fs, CREATE, NULL, NULL, 0);
	int mount = (int)must(syscall(SYS_fsmount, fs, 1, ATTR_NOSUID), "fsmount");
	close(fs);
	return mount;
}

static int devices(void)
{
	static const struct {
		const char *name;
		int major, minor;
	} nodes[] = { { "null", 1, 3 }, { "zero", 1, 5 }, { "full", 1, 7 }, { "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 } };
	char id[16];
	int fs = (int)must(syscall(SYS_fsopen, "tmpfs", 1), "fsopen tmpfs");
	snprintf(id, sizeof id, "%ld", HOST_ID);
	set(fs, SET_STRING, "mode", "755", 0);
	set(fs, SET_STRING, "size", "262144", 0);
	set(fs, SET_STRING, "uid", id, 0);
	set(fs, SET_STRING, "gid", id, 0);
	set(fs, CREATE, NULL, NULL, 0);
	int mount = (int)must(syscall(SYS_fsmount, fs, 1, ATTR_NOSUID), "fsmount");
	umask(0);
	for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
		must(mknodat(mount, nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), "mknod");
	close(fs);
	return mount;
}

static void send_two(int socket, int first, int second)
{
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec word = { "m", 1 };
	struct msghdr message = { .msg_iov = &word, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes };
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(2 * sizeof(int));
	memcpy(CMSG_DATA(head), (int[]){ first, second }, 2 * sizeof(int));
	must(sendmsg(socket, &message, 0), "sendmsg");
}

static void receive_two(int socket, int *fds)
{
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	char byte;
	struct iovec word = { &byte, 1 };
	struct msghdr message = { .msg_iov = &word, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes };
	must(recvmsg(socket, &message, MSG_CMSG_CLOEXEC), "recvmsg");
	memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), 2 * sizeof(int));
}

static void at(int directory, const char *fs, const char *path, unsigned long flags, const char *options)
{
	must(fchdir(directory), "fchdir");
	must(mount(fs, path, fs, MS_NOSUID | flags, options), fs);
}

static void fill(int root, int dev)
{
	static const char *const files[] = { "hosts", "hostname", "resolv.conf" };
	static const char *const links[][2] = { { "/proc/self/fd", "fd" }, { "/proc/self/fd/0", "stdin" }, { "/proc/self/fd/1", "stdout" },
		{ "/proc/self/fd/2", "stderr" }, { "/proc/kcore", "core" }, { "pts/ptmx", "ptmx" } };
	at(root, "proc", "proc", MS_NODEV | MS_NOEXEC, NULL);
	attach(dev, root, "dev");
	for (int i = 0; i < 3; i++)
		must(mkdirat(dev, (const char *[]){ "pts", "mqueue", "shm" }[i], 0755), "mkdir in dev");
	at(dev, "devpts", "pts", MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620");
	at(dev, "mqueue", "mqueue", MS_NODEV | MS_NOEXEC, NULL);
	at(dev, "tmpfs", "shm", MS_NODEV | MS_NOEXEC, "mode=1777,size=67108864");
	at(root, "sysfs", "sys", MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		char target[32];
		int file = (int)must(openat(dev, files[i], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), files[i]);
		must(write(file, "\n", 1), files[i]);
		snprintf(target, sizeof target, "etc/%s", files[i]);
		attach(tree(dev, files[i], 0), root, target);
	}
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		must(symlinkat(links[i][0], dev, links[i][1]), links[i][1]);
}

static void restrict_paths(int root, int dev)
{
	static const char *const read_only[] = { "proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger" };
	static const char *const masked[] = { "proc/acpi", "proc/asound", "proc/interrupts", "proc/kcore", "proc/keys", "proc/latency_stats",
		"proc/sched_debug", "proc/scsi", "proc/timer_list", "proc/timer_stats", "sys/devices/virtual/powercap", "sys/firmware" };
	struct stat stat;
	attributes(root, 0x8000, (struct attr){ .set = ATTR_NOSUID, .propagation = MS_PRIVATE });
	for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++) {
		int fd = openat(root, read_only[i], O_PATH | O_CLOEXEC);
		if (fd < 0)
			continue;
		int copy = tree(fd, "", AT_EMPTY_PATH | 0x8000);
		attributes(copy, 0x8000, (struct attr){ .set = ATTR_RDONLY });
		attach(copy, fd, "");
	}
	for (size_t i = 0; i < sizeof masked / sizeof *masked; i++) {
		int fd = openat(root, masked[i], O_PATH | O_CLOEXEC);
		if (fd < 0)
			continue;
		must(fstat(fd, &stat), masked[i]);
		if (S_ISDIR(stat.st_mode))
			at(fd, "tmpfs", ".", MS_RDONLY | MS_NODEV | MS_NOEXEC, "mode=0555");
		else
			attach(tree(dev, "null", 0), fd, "");
	}
}

static void drop(void)
{
	struct {
		uint32_t version;
		int pid;
	} header = { CAPABILITY_VERSION_3, 0 };
	struct capabilities kept[2] = { { 0x800405fb, 0x800405fb, 0 }, { 0, 0, 0 } };
	struct instruction code[FILTER] = { { LOAD_WORD, 0, 0, 0 } };
	for (int cap = 0; cap <= 40; cap++)
		if (cap > 31 || !(kept[0].effective >> cap & 1))
			must(prctl(PR_CAPBSET_DROP, cap), "drop a capability");
	must(syscall(SYS_capset, &header, kept), "capset");
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
	for (int i = 1; i < FILTER - 1; i++)
		code[i] = (struct instruction){ JUMP_EQ, 0, 0, 1000 + (uint32_t)i };
	code[FILTER - 1] = (struct instruction){ RETURN, 0, 0, ALLOW };
	struct filter filter = { FILTER, code };
	must(syscall(SYS_seccomp, 1, 0, &filter), "seccomp");
}

static void child(int channel, int tasks, char *program)
{
	struct ifreq lo = { .ifr_name = "lo" };
	int fds[2], control;
	if (tasks >= 0)
		must(write(tasks, "0", 1), "enter the v1 group");
	must(unshare(CLONE_NEWCGROUP_), "unshare");
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make mounts private");
	must(sethostname("confined", 8), "sethostname");
	control = (int)must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
	lo.ifr_flags = IFF_UP | IFF_RUNNING;
	must(ioctl(control, SIOCSIFFLAGS, &lo), "lo up");
	receive_two(channel, fds);
	must(syscall(SYS_setgroups, 0, NULL), "setgroups");
	must(syscall(SYS_setresgid, 0, 0, 0), "setresgid");
	must(syscall(SYS_setresuid, 0, 0, 0), "setresuid");
	attach(fds[0], AT_FDCWD, "/");
	fill(fds[0], fds[1]);
	restrict_paths(fds[0], fds[1]);
	must(fchdir(fds[0]), "fchdir");
	must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(umount2(".", MNT_DETACH), "detach the old root");
	must(setsid(), "setsid");
	drop();
	execve(program, (char *[]){ program, NULL }, (char *[]){ NULL });
	must(-1, program);
}

/* The group of this process in the v1 hierarchy that counts processes, none where there is no such hierarchy. */
static int make_v1_group(char *path, size_t size)
{
	char line[512], file[600];
	FILE *own = fopen("/proc/self/cgroup", "re");
	*path = 0;
	while (own && fgets(line, sizeof line, own)) {
		char *place = strstr(line, ":pids:");
		if (!place || access("/sys/fs/cgroup/pids", F_OK))
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(path, size, "/sys/fs/cgroup/pids%s/confined-%d", strcmp(place + 6, "/") ? place + 6 : "", getpid());
	}
	if (own)
		fclose(own);
	if (!*path)
		return -1;
	must(mkdir(path, 0755), path);
	snprintf(file, sizeof file, "%s/pids.max", path);
	put(file, "4096");
	snprintf(file, sizeof file, "%s/tasks", path);
	return (int)must(open(file, O_WRONLY | O_CLOEXEC), file);
}

static void map(pid_t pid, const char *file)
{
	char path[64], text[64];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
	snprintf(text, sizeof text, "0 %ld 65536\n", HOST_ID);
	put(path, text);
}

int main(int argc, char **argv)
{
	char cgroup[512], v1[512], directory[512], upper[600], work[600], path[700];
	int status, pair[2];

	if (argc != 5) {
		fprintf(stderr, "usage: confined ROOT SCRATCH CGROUP PROGRAM\n");
		return 2;
	}
	snprintf(cgroup, sizeof cgroup, "%s/confined-%d", argv[3], getpid());
	snprintf(directory, sizeof directory, "%s/confined-%d", argv[2], getpid());
	snprintf(upper, sizeof upper, "%s/upper", directory);
	snprintf(work, sizeof work, "%s/work", directory);
	must(mkdir(cgroup, 0755), "mkdir cgroup");
	must(mkdir(directory, 0700), "mkdir scratch");
	must(mkdir(upper, 0755), "mkdir upper");
	must(mkdir(work, 0755), "mkdir work");
	int tasks = make_v1_group(v1, sizeof v1);
	int fd = (int)must(open(cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC), "open cgroup");
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "socketpair");

	struct clone_args args = {
		.flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)fd,
	};
	pid_t pid = (pid_t)must(syscall(SYS_clone3, &args, sizeof args), "clone3");
	if (pid == 0)
		child(pair[1], tasks, argv[4]);
	map(pid, "uid_map");
	map(pid, "gid_map");
	snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
	int userns = (int)must(open(path, O_RDONLY | O_CLOEXEC), path);
	int lower = tree(AT_FDCWD, argv[1], 0);
	attributes(lower, 0, (struct attr){ .set = ATTR_IDMAP, .userns = (uint64_t)userns });
	int up = (int)must(open(upper, O_PATH | O_DIRECTORY | O_CLOEXEC), upper);
	must(fchownat(up, "", HOST_ID, HOST_ID, AT_EMPTY_PATH), "chown upper");
	int root = overlay(lower, up, (int)must(open(work, O_PATH | O_DIRECTORY | O_CLOEXEC), work));
	int dev = devices();
	send_two(pair[0], root, dev);
	close(root);
	close(dev);
	must(waitpid(pid, &status, 0), "wait");

	must(rmdir(cgroup), "rmdir cgroup");
	if (*v1)
		must(rmdir(v1), "rmdir v1 group");
	static const char *const made[] = { "work/work/incompat/volatile/dirty", "work/work/incompat/volatile", "work/work/incompat", "work/work", "work", "upper", "" };
	for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
		snprintf(path, sizeof path, "%s/%s", directory, made[i]);
		must(remove(path), path);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
