/* Measures one command: what it takes until it exits, and the CPU time of its whole process tree.
 *
 *     measure COMMAND ARGUMENT...
 *
 * prints three numbers and the exit code: microseconds from fork to the command's exit, microseconds of
 * CPU (user and system) of all its processes, and microseconds until the last of them was gone.
 *
 * Orphans come to this process, a subreaper, and their CPU time is counted when they are reaped: a
 * monitor or a reaper that outlives its command line hides nothing here. What a daemon does elsewhere,
 * or the kernel's own workers, cannot be seen. After ten seconds it stops waiting for survivors.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static long long cpu_of_children(void)
{
	struct rusage used;
	getrusage(RUSAGE_CHILDREN, &used);
	return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000LL + used.ru_utime.tv_usec + used.ru_stime.tv_usec;
}

static void late(int signal)
{
	(void)signal;
}

int main(int argc, char **argv)
{
	int status = 0, other;
	if (argc < 2)
		return 2;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	long long begun = now();
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(null, 1);
		execvp(argv[1], argv + 1);
		fprintf(stderr, "measure: %s: %s\n", argv[1], strerror(errno));
		_exit(127);
	}
	if (pid < 0)
		return 125;
	while (waitpid(-1, &other, 0) != pid)
		;
	long long wall = now() - begun;
	status = other;

	struct sigaction act = { .sa_handler = late };
	sigaction(SIGALRM, &act, NULL);
	alarm(10);
	while (waitpid(-1, &other, 0) > 0)
		;
	printf("%lld %lld %lld %d\n", wall, cpu_of_children(), now() - begun,
	       WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return 0;
}
