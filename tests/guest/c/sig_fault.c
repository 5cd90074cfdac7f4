/* Hardware exceptions as signals: number, si_code and si_addr for each; blocked and ignored faults kill elsewhere (load_exit). */
#include "fault.h"
#include <stdint.h>
#include <sys/mman.h>
#include <ucontext.h>

static volatile int zero;
static char *expected;

#define AT_INSTRUCTION(label) \
	extern char label[]; \
	expected = label

static void divides(void *p)
{
	(void)p;
	__asm__ volatile(".globl divide_here\ndivide_here: idivl %0" ::"m"(zero), "a"(10), "d"(0) : "cc");
}

static void overflows_quotient(void *p)
{
	(void)p;
	__asm__ volatile("idivl %0" ::"r"(-1), "a"(INT32_MIN), "d"(-1) : "cc");
}

static void sse_divides(void *p)
{
	unsigned control;
	__asm__ volatile("stmxcsr %0" : "=m"(control));
	control &= ~(1U << 9); /* unmask divide by zero */
	__asm__ volatile("ldmxcsr %0" ::"m"(control));
	volatile double one = 1, nothing = 0, result = one / nothing;
	(void)result;
	(void)p;
}

static void ud2(void *p)
{
	(void)p;
	__asm__ volatile(".globl ud2_here\nud2_here: ud2");
}

static void int3(void *p)
{
	(void)p;
	__asm__ volatile("int3");
}

static void single_steps(void *p)
{
	(void)p;
	__asm__ volatile("pushf\n orl $0x100, (%%rsp)\n popf\n nop\n nop" ::: "memory", "cc");
}

static void halts(void *p)
{
	(void)p;
	__asm__ volatile("hlt");
}

static void reads_msr(void *p)
{
	(void)p;
	__asm__ volatile("rdmsr" ::"c"(0x10) : "eax", "edx");
}

static void reads_port(void *p)
{
	(void)p;
	__asm__ volatile("in $0x80, %%al" ::: "eax");
}

static void unaligned_sse(void *p)
{
	__asm__ volatile("movaps (%0), %%xmm0" ::"r"((char *)p + 1) : "xmm0");
}

static void bad_stack(void *p)
{
	__asm__ volatile("mov %%rsp, %%rbx\n mov %0, %%rsp\n push %%rax\n mov %%rbx, %%rsp" ::"r"(p) : "rbx", "memory");
}

static volatile unsigned long cr2, trap, error_code;
static void reads_context(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	(void)signal;
	(void)info;
	cr2 = (unsigned long)uc->uc_mcontext.gregs[REG_CR2];
	trap = (unsigned long)uc->uc_mcontext.gregs[REG_TRAPNO];
	error_code = (unsigned long)uc->uc_mcontext.gregs[REG_ERR];
	siglongjmp(fault_escape, 1);
}

static void show_fault(const char *name, struct fault f, const char *address)
{
	show("%s: signal %d code %d address %s", name, f.signal, f.code, f.address == address ? "right" : f.address == NULL ? "zero" : "other");
}

int main(void)
{
	stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
	REQUIRE(sigaltstack(&stack, NULL) == 0);
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(page != MAP_FAILED);

	AT_INSTRUCTION(divide_here);
	show_fault("divide", fault_of(divides, NULL), expected);
	show_fault("divide_overflow", fault_of(overflows_quotient, NULL), (char *)-1);
	show_fault("sse_divide", fault_of(sse_divides, NULL), (char *)-1);
	volatile double one = 1, nothing = 0;
	CHECK("sse.mask_restored", one / nothing > 1e300); /* the handler's frame and siglongjmp keep MXCSR usable */
	AT_INSTRUCTION(ud2_here);
	show_fault("ud2", fault_of(ud2, NULL), expected);
	show_fault("int3", fault_of(int3, NULL), (char *)-1);
	show_fault("single_step", fault_of(single_steps, NULL), (char *)-1);
	show_fault("hlt", fault_of(halts, NULL), (char *)-1);
	show_fault("rdmsr", fault_of(reads_msr, NULL), (char *)-1);
	show_fault("in", fault_of(reads_port, NULL), (char *)-1);
	show_fault("unaligned_sse", fault_of(unaligned_sse, page), (char *)-1);
	show_fault("noncanonical", fault_of(fault_read, (void *)0x1234567800000000UL), (char *)-1);
	show_fault("jump_to_null", fault_of(fault_call, NULL), (char *)0);
	show_fault("jump_to_data", fault_of(fault_call, page), page);
	show_fault("jump_noncanonical", fault_of(fault_call, (void *)0x1234567800000000UL), (char *)-1);
	show_fault("bad_stack", fault_of(bad_stack, (void *)4096), (char *)4088);
	REQUIRE(mprotect(page + 4096, 4096, PROT_NONE) == 0);
	show_fault("crossing", fault_of(fault_write, page + 4096), page + 4096);

	struct sigaction act = {.sa_sigaction = reads_context, .sa_flags = SA_SIGINFO};
	REQUIRE(sigaction(SIGSEGV, &act, NULL) == 0);
	if (sigsetjmp(fault_escape, 1) == 0)
		fault_write(page + 4096 + 77);
	CHECK("context.cr2", cr2 == (unsigned long)page + 4096 + 77);
	show("context trap %lu error write %lu user %lu", trap, error_code >> 1 & 1, error_code >> 2 & 1);
	return check_done();
}
