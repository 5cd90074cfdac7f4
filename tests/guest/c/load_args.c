/* argv, envp and the auxiliary vector. Environment variables beginning with TEST_ are printed in order. */
#include "check.h"
#include <elf.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/uio.h>

extern char **environ;

int main(int argc, char **argv)
{
	show("argc %d", argc);
	for (int i = 1; i < argc; i++)
		show("argv[%d] (%zu) %.80s", i, strlen(argv[i]), argv[i]);
	CHECK("argv.null", argv[argc] == NULL);
	for (char **e = environ; *e; e++)
		if (strncmp(*e, "TEST_", 5) == 0)
			show("env %.200s", *e);
	CHECK("getenv.absent", getenv("TEST_ABSENT") == NULL);
	const char *base = strrchr(argv[0], '/');
	CHECK("argv0.path", base != NULL && access(argv[0], X_OK) == 0);

	CHECK_EQ("auxv.pagesz", getauxval(AT_PAGESZ), 4096);
	CHECK_EQ("auxv.clktck", getauxval(AT_CLKTCK), 100);
	CHECK_EQ("auxv.phent", getauxval(AT_PHENT), sizeof(Elf64_Phdr));
	CHECK("auxv.phnum", getauxval(AT_PHNUM) > 3);
	CHECK("auxv.entry", getauxval(AT_ENTRY) != 0);
	CHECK_EQ("auxv.secure", getauxval(AT_SECURE), 0);
	CHECK_EQ("auxv.uid", getauxval(AT_UID), getuid());
	CHECK_EQ("auxv.euid", getauxval(AT_EUID), geteuid());
	CHECK_EQ("auxv.gid", getauxval(AT_GID), getgid());
	const unsigned char *random = (const unsigned char *)getauxval(AT_RANDOM);
	int set = 0;
	for (int i = 0; i < 16; i++)
		set += random[i] != 0;
	CHECK("auxv.random", set > 4);
	const char *platform = (const char *)getauxval(AT_PLATFORM);
	CHECK("auxv.platform", platform && strcmp(platform, "x86_64") == 0);
	const char *name = (const char *)getauxval(AT_EXECFN);
	CHECK("auxv.execfn", name && strrchr(name, '/') && strcmp(strrchr(name, '/'), base) == 0);
	Elf64_Phdr *phdr = (Elf64_Phdr *)getauxval(AT_PHDR);
	int loads = 0, interpreters = 0;
	for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++) {
		loads += phdr[i].p_type == PT_LOAD;
		interpreters += phdr[i].p_type == PT_INTERP;
	}
	CHECK("auxv.phdr", loads >= 2);
	/* PT_INTERP present <=> the kernel passes the interpreter's base. */
	CHECK("auxv.base", (getauxval(AT_BASE) != 0) == (interpreters == 1));
	/* strings lie above the vectors, in order */
	CHECK("stack.order", (char *)argv < (char *)environ && (char *)environ < argv[0]);
	return check_done();
}
