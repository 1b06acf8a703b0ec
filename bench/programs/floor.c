/* The floor: what a container costs when nothing but the kernel's part is done.
 *
 *     floor ROOT SCRATCH CGROUP PROGRAM
 *
 * clone3 with new mount, pid, network, ipc, uts and cgroup namespaces into a fresh child of CGROUP (a
 * cgroup2 directory); an overlay of ROOT with its upper directory below SCRATCH; proc, sys, a dev with
 * nodes, devpts; pivot_root; exec of PROGRAM; wait; the cgroup and the upper directory removed. No user
 * namespace, no limits, no capabilities dropped, no filter, no state: whatever runs containers properly
 * must cost more.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif
#define INTO_CGROUP 0x200000000ULL

/* struct clone_args of linux/sched.h, version 2 */
struct clone_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static void must(long result, const char *act)
{
	if (result >= 0)
		return;
	fprintf(stderr, "floor: %s: %s\n", act, strerror(errno));
	exit(125);
}

static void child(char *merged, const char *options, char *program)
{
	static const struct {
		const char *path;
		int minor;
	} nodes[] = { { "dev/null", 3 }, { "dev/zero", 5 }, { "dev/full", 7 }, { "dev/random", 8 }, { "dev/urandom", 9 } };

	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make mounts private");
	must(mount("overlay", merged, "overlay", 0, options), "mount overlay");
	must(chdir(merged), "chdir");
	must(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "mount proc");
	must(mount("sysfs", "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL), "mount sys");
	must(mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=64k"), "mount dev");
	umask(0);
	for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
		must(mknod(nodes[i].path, S_IFCHR | 0666, makedev(1, nodes[i].minor)), "mknod");
	must(mknod("dev/tty", S_IFCHR | 0666, makedev(5, 0)), "mknod tty");
	must(mkdir("dev/pts", 0755), "mkdir pts");
	must(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"), "mount devpts");
	must(symlink("pts/ptmx", "dev/ptmx"), "symlink ptmx");
	must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(umount2(".", MNT_DETACH), "detach the old root");
	execve(program, (char *[]){ program, NULL }, (char *[]){ NULL });
	must(-1, program);
}

int main(int argc, char **argv)
{
	char cgroup[512], directory[512], upper[600], work[600], inner[700], merged[600], options[4096];
	int status;

	if (argc != 5) {
		fprintf(stderr, "usage: floor ROOT SCRATCH CGROUP PROGRAM\n");
		return 2;
	}
	snprintf(cgroup, sizeof cgroup, "%s/floor-%d", argv[3], getpid());
	snprintf(directory, sizeof directory, "%s/floor-%d", argv[2], getpid());
	snprintf(upper, sizeof upper, "%s/upper", directory);
	snprintf(work, sizeof work, "%s/work", directory);
	snprintf(inner, sizeof inner, "%s/work/work", directory);
	snprintf(merged, sizeof merged, "%s/merged", directory);
	snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", argv[1], upper, work);
	must(mkdir(cgroup, 0755), "mkdir cgroup");
	must(mkdir(directory, 0700), "mkdir scratch");
	must(mkdir(upper, 0755), "mkdir upper");
	must(mkdir(work, 0755), "mkdir work");
	must(mkdir(merged, 0755), "mkdir merged");
	int fd = open(cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC);
	must(fd, "open cgroup");

	struct clone_args args = {
		.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)fd,
	};
	long pid = syscall(SYS_clone3, &args, sizeof args);
	must(pid, "clone3");
	if (pid == 0)
		child(merged, options, argv[4]);
	must(waitpid((pid_t)pid, &status, 0), "wait");

	must(rmdir(cgroup), "rmdir cgroup");
	must(rmdir(merged), "rmdir merged");
	must(rmdir(inner), "rmdir work/work");
	must(rmdir(work), "rmdir work");
	must(rmdir(upper), "rmdir upper");
	must(rmdir(directory), "rmdir scratch");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
