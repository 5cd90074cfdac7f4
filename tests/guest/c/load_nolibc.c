/* The smallest program there is: no libc, no interpreter; checks the initial stack and registers, then exits with 42. */
#include <elf.h>

static long call3(long number, long a, long b, long c)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}

static void say(const char *text)
{
	long length = 0;
	while (text[length])
		length++;
	call3(1, 1, (long)text, length);
}

static void check(const char *name, int holds)
{
	say(name);
	say(holds ? " ok\n" : " FAIL\n");
}

static char bss[3 * 4096 + 17];
static char data[8192] = {[0] = 'd', [5000] = 'e', [8191] = 'f'};
static const char rodata[] = "read-only";

__attribute__((used)) void start(long *stack)
{
	long argc = stack[0];
	char **argv = (char **)(stack + 1);
	char **envp = argv + argc + 1;
	check("stack.aligned", ((long)stack & 15) == 0);
	check("argv.terminated", argv[argc] == 0);
	while (*envp)
		envp++;
	long phdr = 0, page = 0, entry = 0, random = 0;
	for (Elf64_auxv_t *aux = (Elf64_auxv_t *)(envp + 1); aux->a_type != AT_NULL; aux++) {
		if (aux->a_type == AT_PHDR)
			phdr = (long)aux->a_un.a_val;
		if (aux->a_type == AT_PAGESZ)
			page = (long)aux->a_un.a_val;
		if (aux->a_type == AT_ENTRY)
			entry = (long)aux->a_un.a_val;
		if (aux->a_type == AT_RANDOM)
			random = (long)aux->a_un.a_val;
	}
	extern char _start[];
	check("auxv.phdr", phdr && ((Elf64_Phdr *)phdr)->p_type != 0);
	check("auxv.pagesz", page == 4096);
	check("auxv.entry", entry == (long)_start);
	check("auxv.random", random != 0);
	int zero = 1;
	for (unsigned i = 0; i < sizeof bss; i++)
		zero &= ((volatile char *)bss)[i] == 0;
	check("bss.zero", zero);
	check("data.kept", data[0] == 'd' && data[5000] == 'e' && data[8191] == 'f' && rodata[0] == 'r');
	for (unsigned i = 0; i < sizeof bss; i += 64)
		((volatile char *)bss)[i] = 1;
	data[1] = 'x';
	check("syscall.unknown", call3(100000, 0, 0, 0) == -38);
	check("syscall.badfd", call3(1, -1, 0, 0) == -9);
	for (long i = 1; i < argc; i++) {
		say(argv[i]);
		say("\n");
	}
	call3(231, 42, 0, 0);
	for (;;) {}
}

__asm__(".globl _start\n_start: xor %ebp,%ebp\n mov %rsp,%rdi\n and $-16,%rsp\n call start\n hlt\n");
