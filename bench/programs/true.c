/* The smallest program that succeeds: what is measured is the container around it.
 * `pause` as its name makes it wait for a signal instead. Built without a C library. */

#if defined(__x86_64__)
#define EXIT 60
#define PPOLL 271
static long call(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return result;
}
__asm__(".globl _start\n_start: mov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
#elif defined(__aarch64__)
#define EXIT 93
#define PPOLL 73
static long call(long number, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}
__asm__(".globl _start\n_start: mov x0, sp\n\tbl begin\n");
#endif

/* The stack holds argc, then argv. */
void begin(long *stack)
{
	char *name = (char *)stack[1];
	while (*name)
		name++;
	if (name[-1] == 'e' && name[-2] == 's') /* …pause, not …true */
		call(PPOLL, 0, 0, 0, 0);
	call(EXIT, 0, 0, 0, 0);
}
