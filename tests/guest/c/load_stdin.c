/* Standard input to standard output and standard error, byte for byte: counts, sums, echoes upper-cased. */
#include "check.h"
#include <ctype.h>

int main(void)
{
	char line[256];
	unsigned sum = 0, lines = 0, bytes = 0;
	while (fgets(line, sizeof line, stdin)) {
		lines++;
		for (char *c = line; *c; c++) {
			bytes++;
			sum = sum * 31 + (unsigned char)*c;
			putchar(toupper((unsigned char)*c));
		}
	}
	fprintf(stderr, "%u lines, %u bytes\n", lines, bytes);
	printf("sum %08x eof %d error %d\n", sum, feof(stdin) != 0, ferror(stdin) != 0);
	CHECK_EQ("read.after_eof", read(0, line, sizeof line), 0);
	return 0;
}
